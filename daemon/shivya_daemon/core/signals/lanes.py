"""A bounded queue with a lane for what is urgent."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Lanes(Generic[_Item]):
    """Two first-in first-out lanes of `capacity` items each; the urgent one is drained first.

    The lanes do not share their room, so neither crowd can keep the other out.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._urgent: deque[_Item] = deque()
        self._normal: deque[_Item] = deque()

    def push(self, item: _Item, urgent: bool) -> bool:
        """Queue one item; False, and it is lost, when its lane is full."""
        lane = self._urgent if urgent else self._normal
        if len(lane) >= self._capacity:
            return False
        lane.append(item)
        return True

    def drain(self) -> list[_Item]:
        """Return all items, the urgent ones first, and forget them."""
        items = [*self._urgent, *self._normal]
        self._urgent.clear()
        self._normal.clear()
        return items

    def __len__(self) -> int:
        return len(self._urgent) + len(self._normal)
