"""The chain: how an entry follows from all that came before. No files, no clocks.

An entry is {data, index, previous_hash, timestamp}; its hash is SHA3-256 over the canonical text of these
four. The first one is the genesis, whose previous hash is 64 zeros. Entry hashes are the leaves of the Merkle
tree.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from shivya_daemon.ledgers.audit.canonical import NotCanonical, canonical, digest, seal, unseal
from shivya_daemon.ledgers.audit.merkle import Frontier, leaf_hash

NO_HASH = "0" * 64
MAX_LINE_BYTES = 1 << 16
"""Of an entry as it is stored."""
GENESIS: Mapping[str, object] = {
    "type": "genesis",
    "message": "VENOM Λ-GENESIS initialization",
    "version": "0.1.0",
}
_FIELDS = {"data": dict, "index": int, "previous_hash": str, "timestamp": float}


class Entry(Struct, frozen=True):
    """One entry."""

    index: int
    timestamp: float
    """Seconds since 1970, by the clock of the node; nothing depends on it."""
    data: dict[str, Any]
    previous_hash: str
    hash: str

    def fields(self) -> dict[str, Any]:
        """Return the four fields that the hash is taken over."""
        return {
            "data": self.data,
            "index": self.index,
            "previous_hash": self.previous_hash,
            "timestamp": self.timestamp,
        }


class Tip(NamedTuple):
    """What all entries so far come to: all that it takes to write the next one, or to judge it."""

    length: int = 0
    """Bytes of all lines."""
    genesis_hash: str = NO_HASH
    latest_hash: str = NO_HASH
    tree: Frontier = Frontier()

    @property
    def size(self) -> int:
        """Number of entries, and index of the next one."""
        return self.tree.size

    def followed_by(self, line: bytes, hash: str) -> Tip:
        """Return the tip after one more line."""
        return Tip(
            self.length + len(line),
            self.genesis_hash if self.size else hash,
            hash,
            self.tree.append(leaf_hash(bytes.fromhex(hash))),
        )


def write(tip: Tip, data: Mapping[str, object], timestamp: float) -> tuple[Tip, Entry, bytes]:
    """Return the tip after a new entry, the entry, and its line; raises `NotCanonical`."""
    if not isinstance(data, Mapping):
        raise NotCanonical("is no object")
    number = isinstance(timestamp, int | float) and not isinstance(timestamp, bool)
    if not number or not abs(timestamp) <= sys.float_info.max:
        raise NotCanonical(f"has no finite timestamp: {timestamp!r}")
    fields = {
        "data": dict(data),
        "index": tip.size,
        "previous_hash": tip.latest_hash,
        "timestamp": float(timestamp),
    }
    text = canonical(fields)
    entry, line = Entry(hash=digest(text), **fields), seal(text)  # type: ignore[arg-type]
    if len(line) > MAX_LINE_BYTES:
        raise NotCanonical(f"would take {len(line)} bytes; at most {MAX_LINE_BYTES}")
    return tip.followed_by(line, entry.hash), entry, line


def read(tip: Tip, line: bytes) -> tuple[Tip, Entry]:
    """Return the tip after a line that was stored, and its entry.

    Raises `NotCanonical` unless the line is exactly what `write` made after `tip`.
    """
    fields, hash = unseal(line)
    entry = entry_of(fields, hash)
    if entry.index != tip.size:
        raise NotCanonical(f"calls itself entry {entry.index}")
    if entry.previous_hash != tip.latest_hash:
        raise NotCanonical("does not follow the one before it")
    return tip.followed_by(line, hash), entry


def entry_of(fields: Mapping[str, Any], hash: str) -> Entry:
    """Return the entry with these fields; raises `NotCanonical` unless they are its four, of their types."""
    if {name: type(value) for name, value in fields.items()} != _FIELDS:
        raise NotCanonical("does not have the four fields of an entry")
    return Entry(hash=hash, **fields)


def entry_hash(fields: Mapping[str, object]) -> str:
    """Return the hash of an entry given as the four fields; raises `NotCanonical`, a `ValueError`."""
    if fields.keys() != _FIELDS.keys():
        raise NotCanonical(f"an entry has the fields {', '.join(sorted(_FIELDS))}")
    return digest(canonical(dict(fields)))
