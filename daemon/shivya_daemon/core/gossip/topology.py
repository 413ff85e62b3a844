"""How far away members are: hops over mutual links, from what each node publishes under LINKS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from types import MappingProxyType

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.identity import NODE_ID_BYTES

MAX_LINKS = 16


def encode_links(links: Iterable[bytes]) -> bytes:
    """Return the value of LINKS: the ids of the link neighbours in order; raises `EncodeError`."""
    ids = sorted(links)
    if len(ids) > MAX_LINKS or len(set(ids)) != len(ids) or any(len(node) != NODE_ID_BYTES for node in ids):
        raise EncodeError(f"a node lists at most {MAX_LINKS} links, each once, ids of {NODE_ID_BYTES} bytes")
    return b"".join(ids)


def decode_links(value: bytes) -> frozenset[bytes]:
    """Return the ids in a value of LINKS; raises `DecodeError`."""
    count, rest = divmod(len(value), NODE_ID_BYTES)
    if rest:
        raise DecodeError("truncated")
    if count > MAX_LINKS:
        raise DecodeError("bad_count")
    ids = [value[NODE_ID_BYTES * index : NODE_ID_BYTES * (index + 1)] for index in range(count)]
    if any(one >= two for one, two in pairwise(ids)):
        raise DecodeError("repeated_entry")
    return frozenset(ids)


class Topology:
    """The known graph; a link counts when both ends list it, so that nobody is near by claiming to be."""

    def __init__(self, own: bytes, interval: float = 1.0) -> None:
        self._own = own
        self._interval = interval
        self._links: dict[bytes, frozenset[bytes]] = {}
        self._hops: Mapping[bytes, int] = MappingProxyType({own: 0})
        self._changed = False
        self._computed_at = float("-inf")

    def put(self, node: bytes, links: frozenset[bytes]) -> None:
        """Replace the links that a node, this one or another, lists."""
        if self._links.get(node) != links:
            self._links[node] = links
            self._changed = True

    def forget(self, node: bytes) -> None:
        """Drop a node that is gone."""
        if self._links.pop(node, None) is not None:
            self._changed = True

    @property
    def graph(self) -> Mapping[bytes, frozenset[bytes]]:
        """What each node lists, as it is now."""
        return MappingProxyType(self._links)

    def links(self, node: bytes) -> frozenset[bytes]:
        """Return the links that both `node` and the other end list."""
        listed = self._links.get(node, frozenset())
        return frozenset(other for other in listed if node in self._links.get(other, ()))

    def hops(self, now: float) -> Mapping[bytes, int]:
        """Return the distance of every node that can be reached, at most `interval` seconds old."""
        if self._changed and now - self._computed_at >= self._interval:
            self._changed = False
            self._computed_at = now
            self._hops = MappingProxyType(self._search())
        return self._hops

    def _search(self) -> dict[bytes, int]:
        hops = {self._own: 0}
        front = [self._own]
        while front:
            beyond = []
            for node in front:
                for other in self._links.get(node, ()):
                    if other not in hops and node in self._links.get(other, ()):
                        hops[other] = hops[node] + 1
                        beyond.append(other)
            front = beyond
        return hops
