"""The Kademlia routing table: 160 buckets of verified peers (Maymounkov and Mazieres, 2002)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from heapq import nsmallest

from shivya_daemon.core.frames import Peer

ID_BITS = 160


def distance(left: bytes, right: bytes) -> int:
    """Return the XOR distance of two ids."""
    return int.from_bytes(left, "big") ^ int.from_bytes(right, "big")


def bucket_index(own: bytes, other: bytes) -> int:
    """Return 159 less the number of leading bits that both ids share; -1 for the own id."""
    return distance(own, other).bit_length() - 1


class RoutingTable:
    """Peers by distance: `bucket_size` per bucket in order of last contact, as many replacements behind."""

    def __init__(self, own: bytes, bucket_size: int = 20) -> None:
        if bucket_size < 1:
            raise ValueError(f"bucket_size must be at least 1, not {bucket_size}")
        self._own = own
        self._size = bucket_size
        self._buckets: list[OrderedDict[bytes, Peer]] = [OrderedDict() for _ in range(ID_BITS)]
        self._waiting: list[OrderedDict[bytes, Peer]] = [OrderedDict() for _ in range(ID_BITS)]

    def add(self, peer: Peer) -> Peer | None:
        """Take a verified peer as the most recently seen one.

        Returns the oldest peer of its bucket when that is full: the caller pings it, and calls `touch` when
        it answers or `remove` when it does not, which promotes the newest replacement.
        """
        index = bucket_index(self._own, peer.id)
        if index < 0:
            return None
        bucket, waiting = self._buckets[index], self._waiting[index]
        if peer.id in bucket or len(bucket) < self._size:
            bucket[peer.id] = peer
            bucket.move_to_end(peer.id)
            return None
        waiting[peer.id] = peer
        waiting.move_to_end(peer.id)
        if len(waiting) > self._size:
            waiting.popitem(last=False)
        return next(iter(bucket.values()))

    def touch(self, node: bytes) -> None:
        """Note that `node` was just heard."""
        index = bucket_index(self._own, node)
        if index >= 0 and node in self._buckets[index]:
            self._buckets[index].move_to_end(node)

    def remove(self, node: bytes) -> None:
        """Forget a peer; the newest replacement takes its place, as the one heard longest ago."""
        index = bucket_index(self._own, node)
        if index < 0:
            return
        bucket, waiting = self._buckets[index], self._waiting[index]
        waiting.pop(node, None)
        if bucket.pop(node, None) is not None and waiting:
            promoted, peer = waiting.popitem()
            bucket[promoted] = peer
            bucket.move_to_end(promoted, last=False)

    def closest(self, target: bytes, count: int, exclude: Iterable[bytes] = ()) -> tuple[Peer, ...]:
        """Return up to `count` peers, nearest to `target` first."""
        centre = int.from_bytes(target, "big")
        skip = frozenset(exclude)
        candidates = (peer for bucket in self._buckets for peer in bucket.values() if peer.id not in skip)
        return tuple(nsmallest(count, candidates, key=lambda peer: int.from_bytes(peer.id, "big") ^ centre))

    def bucket(self, index: int) -> tuple[Peer, ...]:
        """Return the peers of one bucket, the one heard longest ago first."""
        return tuple(self._buckets[index].values())

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def __contains__(self, node: object) -> bool:
        return isinstance(node, bytes) and any(node in bucket for bucket in self._buckets)
