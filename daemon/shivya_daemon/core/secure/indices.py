"""Session indices: 32-bit names, chosen by the receiver, under which datagrams find what they are for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Owner = TypeVar("Owner")


class Indices(Generic[Owner]):
    """Owners by index; an index comes from `entropy`, so that nobody can guess one in use."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._owners: dict[int, Owner] = {}

    def draw(self) -> int:
        """Return an index (from 1 to 2^32 - 1) that has no owner."""
        while True:
            index = int.from_bytes(self._entropy(4), "big")
            if index and index not in self._owners:
                return index

    def put(self, index: int, owner: Owner) -> None:
        """Give an index to an owner, in the place of another if it has one."""
        self._owners[index] = owner

    def get(self, index: int) -> Owner | None:
        """Return the owner of an index."""
        return self._owners.get(index)

    def free(self, index: int) -> None:
        """Take an index from its owner."""
        del self._owners[index]

    def __len__(self) -> int:
        return len(self._owners)
