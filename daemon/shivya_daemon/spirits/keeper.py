"""What this node knows of the register, its own copy and what the others tell; it asks and sends nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from shivya_daemon.spirits.register import UNIT, Part, Register, decode


@dataclass(frozen=True, slots=True)
class Totals:
    """The spirit all over the mesh, as told."""

    nodes: int
    cells: int
    tubes: int
    nutrient: float


class Keeper:
    """The newest register heard. The caller bounds who is heard: one value per node that gossip knows."""

    def __init__(self) -> None:
        self.register = Register()
        self._told: dict[bytes, tuple[bytes, Part | None]] = {}
        """By node: the organism that it knows, and its part of it."""

    def hear(self, node: bytes, value: bytes) -> bool:
        """Take what a node told; empty: it went. Returns whether the register is another now.

        Raises `DecodeError`.
        """
        self._told.pop(node, None)
        if not value:
            return False
        register, part = decode(value)
        self._told[node] = (register.organism, part)
        if register.version <= self.register.version:
            return False
        self.register = register
        return True

    def write(self, register: Register) -> None:
        """Take a version of this node's own."""
        self.register = register

    def totals(self, own: Part | None, members: Collection[bytes]) -> Totals:
        """Return how much there is of the present organism, this node's part and those of `members`."""
        parts = [] if own is None else [own]
        organism = self.register.organism
        parts += [
            part
            for node, (known, part) in self._told.items()
            if part is not None and known == organism and node in members
        ]
        return Totals(
            len(parts),
            sum(part.cells for part in parts),
            sum(part.tubes for part in parts),
            sum(part.nutrient for part in parts) / UNIT,
        )
