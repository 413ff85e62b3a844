"""Sticky places of nodes in the padded arrays: a join shifts nobody's state.

Slots 0 to 15 belong to this node's own cells (cell 0 is the node itself), the rest to other nodes, nearest
first. A slot that a node has left stays empty for one tick: the step sees it empty and forgets it.
"""

from __future__ import annotations

from collections.abc import Iterable

OWN_SLOTS = 16


class SlotMap:
    """Assigns node ids to slots of a fixed capacity."""

    def __init__(self, capacity: int) -> None:
        if capacity <= OWN_SLOTS:
            raise ValueError(
                f"capacity {capacity} leaves no slot for other nodes; it must exceed {OWN_SLOTS}"
            )
        self._capacity = capacity
        self._slots: dict[bytes, int] = {}

    def assign(self, own: bytes, others: Iterable[bytes]) -> tuple[dict[bytes, int], bool]:
        """Return the slot of every node that has one, and whether some did not fit.

        `others` come nearest first; when there are too many the farthest get none.
        """
        room = self._capacity - OWN_SLOTS
        ranked = list(others)
        wanted = ranked[:room]
        keep = {node: slot for node, slot in self._slots.items() if node in set(wanted)}
        cooling = set(self._slots.values()) - set(keep.values())
        free = [s for s in range(OWN_SLOTS, self._capacity) if s not in cooling and s not in keep.values()]
        crowded = len(ranked) > room
        for node in wanted:
            if node not in keep:
                if not free:
                    crowded = True
                    break
                keep[node] = free.pop(0)
        self._slots = keep
        return {own: 0, **keep}, crowded
