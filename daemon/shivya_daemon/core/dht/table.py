"""The Kademlia routing table: 160 buckets of verified peers (Maymounkov and Mazieres, 2002, 2.4 and 4.1)."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from shivya_daemon.core.dht.subnets import SubnetCount
from shivya_daemon.core.frames import Peer

ID_BITS = 160


def distance(left: bytes, right: bytes) -> int:
    """Return the XOR distance of two ids."""
    return int.from_bytes(left, "big") ^ int.from_bytes(right, "big")


def bucket_index(own: bytes, other: bytes) -> int:
    """Return 159 less the number of leading bits that both ids share; -1 for the own id."""
    return distance(own, other).bit_length() - 1


class _Entry(Struct):
    peer: Peer
    number: int
    """The id as an integer."""
    heard_at: float
    since: float


class RoutingTable:
    """Peers by distance: `bucket_size` per bucket in order of last contact, as many replacements behind.

    At most `subnet_limit` entries are of one /24 (IPv4) or /64 (IPv6), over all buckets, and as many in the
    replacements of one bucket: an attacker needs addresses, not just ids, to fill a table.
    """

    def __init__(
        self, own: bytes, bucket_size: int = 20, subnet_limit: int | None = None, limit_private: bool = False
    ) -> None:
        if bucket_size < 1:
            raise ValueError(f"bucket_size must be at least 1, not {bucket_size}")
        self._own = int.from_bytes(own, "big")
        self._size = bucket_size
        self._limit = subnet_limit
        self._subnets = SubnetCount(subnet_limit, limit_private)
        # A dictionary keeps the order of insertion: the peer heard longest ago comes first.
        self._buckets: list[dict[bytes, _Entry]] = [{} for _ in range(ID_BITS)]
        self._waiting: list[dict[bytes, _Entry]] = [{} for _ in range(ID_BITS)]
        self._occupied = 0
        self._count = 0

    def add(self, peer: Peer, now: float) -> Peer | None:
        """Take a verified peer as the most recently heard one.

        Returns the oldest peer of its bucket when that is full: `peer` waits as its replacement until the
        oldest is heard (`touch`) or is not (`remove`).
        """
        number = int.from_bytes(peer.id, "big")
        index = (number ^ self._own).bit_length() - 1
        if index < 0:
            return None
        bucket = self._buckets[index]
        known = bucket.get(peer.id)
        if known is not None and known.peer == peer:
            self._touch(bucket, known, now)
            return None
        if known is not None:
            self._drop(index, peer.id)  # it moved
        if self._subnets.full(peer.host):
            self._fill(index)
            return None
        entry = _Entry(peer, number, now, now)
        if len(bucket) < self._size:
            self._take(index, entry)
            return None
        self._wait(index, entry)
        return next(iter(bucket.values())).peer

    def touch(self, node: bytes, now: float) -> None:
        """Note that `node` was just heard."""
        index = (int.from_bytes(node, "big") ^ self._own).bit_length() - 1
        if index >= 0:
            bucket = self._buckets[index]
            entry = bucket.get(node)
            if entry is not None:
                self._touch(bucket, entry, now)

    def remove(self, node: bytes) -> None:
        """Forget a peer; the newest replacement that may takes its place, as the one heard longest ago."""
        index = self._index(node)
        if index < 0:
            return
        self._waiting[index].pop(node, None)
        if node in self._buckets[index]:
            self._drop(index, node)
            self._fill(index)

    def get(self, node: bytes) -> Peer | None:
        """Return an entry of the table by id."""
        index = self._index(node)
        entry = self._buckets[index].get(node) if index >= 0 else None
        return None if entry is None else entry.peer

    def has_room(self, node: bytes) -> bool:
        """Whether a peer that is not in the table would be taken at once, as far as its bucket goes."""
        index = self._index(node)
        return index >= 0 and node not in self._buckets[index] and len(self._buckets[index]) < self._size

    def heard_at(self, node: bytes) -> float | None:
        """Return when an entry of the table was last heard; None for others."""
        index = self._index(node)
        entry = self._buckets[index].get(node) if index >= 0 else None
        return None if entry is None else entry.heard_at

    def since(self, node: bytes) -> float | None:
        """Return when an entry of the table was taken; None for others."""
        index = self._index(node)
        entry = self._buckets[index].get(node) if index >= 0 else None
        return None if entry is None else entry.since

    def closest(self, target: bytes, count: int, exclude: bytes | None = None) -> tuple[Peer, ...]:
        """Return up to `count` peers, nearest to `target` first, without the id `exclude`."""
        centre = int.from_bytes(target, "big")
        result: list[Peer] = []
        for index in self._by_distance(centre):
            entries = [(entry.number ^ centre, entry.peer) for entry in self._buckets[index].values()]
            entries.sort(key=_first)
            for _, peer in entries:
                if peer.id != exclude:
                    result.append(peer)
                    if len(result) >= count:
                        return tuple(result)
        return tuple(result)

    def bucket(self, index: int) -> tuple[Peer, ...]:
        """Return the peers of one bucket, the one heard longest ago first."""
        return tuple(entry.peer for entry in self._buckets[index].values())

    @property
    def nearest_bucket(self) -> int | None:
        """Index of the bucket of the nearest peer; None when the table is empty."""
        return (self._occupied & -self._occupied).bit_length() - 1 if self._occupied else None

    def __len__(self) -> int:
        return self._count

    def __contains__(self, node: object) -> bool:
        return isinstance(node, bytes) and self.get(node) is not None

    def _by_distance(self, centre: int) -> Iterator[int]:
        """Yield the occupied buckets so that every peer of one is nearer to `centre` than all of the next.

        A peer of bucket i differs from the own id in bit i first. Where the target does too, bucket i comes
        before all lower ones, and where it does not, after them.
        """
        gap = centre ^ self._own
        top = (1 << gap.bit_length()) - 1
        nearer = self._occupied & gap
        while nearer:
            index = nearer.bit_length() - 1
            yield index
            nearer ^= 1 << index
        for rest in (self._occupied & top & ~gap, self._occupied & ~top):
            while rest:
                lowest = rest & -rest
                yield lowest.bit_length() - 1
                rest ^= lowest

    def _index(self, node: bytes) -> int:
        return (int.from_bytes(node, "big") ^ self._own).bit_length() - 1

    @staticmethod
    def _touch(bucket: dict[bytes, _Entry], entry: _Entry, now: float) -> None:
        entry.heard_at = now
        del bucket[entry.peer.id]
        bucket[entry.peer.id] = entry

    def _take(self, index: int, entry: _Entry) -> None:
        self._waiting[index].pop(entry.peer.id, None)
        self._buckets[index][entry.peer.id] = entry
        self._occupied |= 1 << index
        self._count += 1
        self._subnets.add(entry.peer.host)

    def _drop(self, index: int, node: bytes) -> None:
        entry = self._buckets[index].pop(node)
        self._count -= 1
        self._subnets.remove(entry.peer.host)
        if not self._buckets[index]:
            self._occupied &= ~(1 << index)

    def _wait(self, index: int, entry: _Entry) -> None:
        """Remember a replacement; the oldest of its own subnet makes room first."""
        waiting = self._waiting[index]
        waiting.pop(entry.peer.id, None)
        place = self._subnets.place(entry.peer.host)
        if place is not None:
            same = [node for node, other in waiting.items() if self._subnets.place(other.peer.host) == place]
            if self._limit is not None and len(same) >= self._limit:
                del waiting[same[0]]
        waiting[entry.peer.id] = entry
        if len(waiting) > self._size:
            del waiting[next(iter(waiting))]

    def _fill(self, index: int) -> None:
        """Promote the newest replacement whose subnet has room, to the place of the one heard longest ago."""
        bucket, waiting = self._buckets[index], self._waiting[index]
        if len(bucket) >= self._size:
            return
        for node in reversed(list(waiting)):
            entry = waiting[node]
            if not self._subnets.full(entry.peer.host):
                others = list(bucket.items())
                bucket.clear()
                self._take(index, entry)
                bucket.update(others)
                return


def _first(entry: tuple[int, Peer]) -> int:
    return entry[0]
