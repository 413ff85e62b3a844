"""Lives that are over, remembered for a while, so that an echo of their past does not bring them back."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from shivya_daemon.core.gossip.frames import fingerprint

FINAL = 0xFFFFFFFF
"""Heartbeat of a tombstone that no later heartbeat of the same life gets past."""
_MAX_IGNORED = 1024


class _Tombstone(Struct, frozen=True):
    node: bytes
    incarnation: int
    heartbeat: int
    expires: float


class Tombstones:
    """The last life of each forgotten node; the oldest makes room.

    Apart from them, and so that nobody can flush them by inventing pasts, a few fingerprints of lives that
    turned out to be superseded: they are not asked for again.
    """

    def __init__(self, lifetime: float, capacity: int) -> None:
        self._lifetime = lifetime
        self._capacity = capacity
        self._by_node: OrderedDict[bytes, _Tombstone] = OrderedDict()
        self._by_fingerprint: dict[bytes, _Tombstone] = {}
        self._ignored: OrderedDict[bytes, None] = OrderedDict()

    def bury(self, node: bytes, incarnation: int, heartbeat: int, now: float) -> None:
        """Remember that a node was forgotten, and the heartbeat it was last known by."""
        while self._by_node and next(iter(self._by_node.values())).expires <= now:
            self._pop(next(iter(self._by_node)))
        if node in self._by_node:
            self._pop(node)
        elif len(self._by_node) >= self._capacity:
            self._pop(next(iter(self._by_node)))
        stone = _Tombstone(node, incarnation, heartbeat, now + self._lifetime)
        self._by_node[node] = self._by_fingerprint[fingerprint(node, incarnation)] = stone

    def ignore(self, node: bytes, incarnation: int) -> None:
        """Remember that a life of a node was followed by another."""
        mark = fingerprint(node, incarnation)
        self._ignored[mark] = None
        self._ignored.move_to_end(mark)
        if len(self._ignored) > _MAX_IGNORED:
            self._ignored.popitem(last=False)

    def echoes(self, mark: bytes, heartbeat: int) -> bool:
        """Return whether a digest entry only repeats what is over."""
        stone = self._by_fingerprint.get(mark)
        return mark in self._ignored or (stone is not None and heartbeat <= stone.heartbeat)

    def outlived(self, node: bytes, incarnation: int, heartbeat: int) -> bool:
        """Return whether a life is known to be over."""
        stone = self._by_node.get(node)
        return stone is not None and (incarnation, heartbeat) <= (stone.incarnation, stone.heartbeat)

    def beyond(self, node: bytes) -> int:
        """Return the least heartbeat that is news of a forgotten node; never more than `FINAL`."""
        stone = self._by_node.get(node)
        return 0 if stone is None else min(stone.heartbeat + 1, FINAL)

    def __len__(self) -> int:
        return len(self._by_node)

    def _pop(self, node: bytes) -> None:
        stone = self._by_node.pop(node)
        del self._by_fingerprint[fingerprint(node, stone.incarnation)]
