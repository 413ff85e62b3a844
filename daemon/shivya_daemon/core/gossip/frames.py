"""GOSSIP (0x11): three messages of one shape, after scuttlebutt (van Renesse et al. 2008) as in chitchat.

SYN shows a page of what the sender knows. ACK answers it with what the receiver knows better, and what it
wants. DELTA gives values that were asked for, and asks for those that the ACK showed to be newer. Nothing is
given unasked, so that a node that shows its page to three peers does not get everything three times. Counts
are one byte each; the whole message keeps to 1100 bytes, so that nothing is ever fragmented.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from hashlib import blake2b

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.fields import unpack

TYPE = 0x11
MAX_BYTES = 1100
MAX_VALUE_BYTES = 900
MAX_KEYS = 16
"""Keys of one node."""

Entry = tuple[bytes, int, int]
"""One digest entry: fingerprint (8 bytes), heartbeat counter, version known through."""
Want = tuple[bytes, int]
"""A fingerprint, and the version from which its values are wanted."""
Item = tuple[int, int, bytes]
"""Key, version and value."""

_ID = 20
_HEAD = struct.Struct(">BBBBB")
_ENTRY = struct.Struct(">8sII")
_FINGERPRINT = struct.Struct(">8s")
_WANT = struct.Struct(">8sI")
_NODE = struct.Struct(">20sQIIIB")
_ITEM = struct.Struct(">BIH")

HEAD_BYTES = _HEAD.size
ENTRY_BYTES = _ENTRY.size
FINGERPRINT_BYTES = _FINGERPRINT.size
WANT_BYTES = _WANT.size
NODE_BYTES = _NODE.size
ITEM_BYTES = _ITEM.size


class Kind(IntEnum):
    """What a message is for."""

    SYN = 1
    ACK = 2
    DELTA = 3


class NodeDelta(Struct, frozen=True):
    """Values of one life of one node: those of `items`, which complete what is known from `base` on."""

    node: bytes
    incarnation: int
    heartbeat: int
    base: int
    """The receiver must know every value up to this version."""
    through: int
    """With `items` it knows every value up to this one."""
    items: tuple[Item, ...] = ()


class Exchange(Struct, frozen=True):
    """One GOSSIP message."""

    kind: Kind
    entries: tuple[Entry, ...] = ()
    unknown: tuple[bytes, ...] = ()
    """Fingerprints that the sender cannot place: it wants their announcements."""
    wants: tuple[Want, ...] = ()
    deltas: tuple[NodeDelta, ...] = ()


def fingerprint(node: bytes, incarnation: int) -> bytes:
    """Return the 8 bytes that stand for one life of a node in digests."""
    life = node + incarnation.to_bytes(8, "big")
    return blake2b(life, digest_size=FINGERPRINT_BYTES, person=b"shivya/1 life").digest()


def delta_bytes(delta: NodeDelta) -> int:
    """Return the encoded size of a delta."""
    return NODE_BYTES + sum(ITEM_BYTES + len(value) for _, _, value in delta.items)


def exchange_bytes(message: Exchange) -> int:
    """Return the encoded size of a message."""
    return (
        HEAD_BYTES
        + ENTRY_BYTES * len(message.entries)
        + FINGERPRINT_BYTES * len(message.unknown)
        + WANT_BYTES * len(message.wants)
        + sum(map(delta_bytes, message.deltas))
    )


def encode_payload(message: Exchange, budget: int = MAX_BYTES) -> bytes:
    """Return the bytes of a message; raises `EncodeError` if it has no encoding or exceeds `budget`."""
    size = exchange_bytes(message)
    if size > budget:
        raise EncodeError(f"a gossip message has at most {budget} bytes, not {size}")
    counts = (len(message.entries), len(message.unknown), len(message.wants), len(message.deltas))
    try:
        parts = [_HEAD.pack(message.kind, *counts)]
        parts += [_ENTRY.pack(*entry) for entry in message.entries]
        parts += message.unknown
        parts += [_WANT.pack(*want) for want in message.wants]
        for delta in message.deltas:
            parts.append(_encode_node(delta))
            for key, version, value in delta.items:
                parts += (_ITEM.pack(key, version, len(value)), value)
    except struct.error as error:
        raise EncodeError(f"a gossip field is out of range: {error}") from None
    data = b"".join(parts)
    if len(data) != size or any(len(entry[0]) != FINGERPRINT_BYTES for entry in message.entries):
        raise EncodeError("a fingerprint has 8 bytes")
    return data


def decode_payload(body: bytes) -> Exchange:
    """Return the message in `body`; raises `DecodeError` with the reason for anything else."""
    if len(body) > MAX_BYTES:
        raise DecodeError("oversized")
    kind, entry_count, unknown_count, want_count, delta_count = unpack(_HEAD, body, 0)
    if (
        kind not in (1, 2, 3)
        or (kind == Kind.SYN and (unknown_count or want_count))
        or (kind == Kind.DELTA and entry_count)
        or (kind != Kind.DELTA and delta_count)
    ):
        raise DecodeError("bad_kind")
    entries_end = HEAD_BYTES + ENTRY_BYTES * entry_count
    unknown_end = entries_end + FINGERPRINT_BYTES * unknown_count
    wants_end = unknown_end + WANT_BYTES * want_count
    if len(body) < wants_end:
        raise DecodeError("truncated")
    entries = tuple(_ENTRY.iter_unpack(body[HEAD_BYTES:entries_end]))
    unknown = tuple(word for (word,) in _FINGERPRINT.iter_unpack(body[entries_end:unknown_end]))
    wants = tuple(_WANT.iter_unpack(body[unknown_end:wants_end]))
    deltas, offset = [], wants_end
    for _ in range(delta_count):
        delta, offset = _decode_node(body, offset)
        deltas.append(delta)
    if offset != len(body):
        raise DecodeError("trailing_bytes")
    return Exchange(Kind(kind), entries, unknown, wants, tuple(deltas))


def _encode_node(delta: NodeDelta) -> bytes:
    if len(delta.node) != _ID:
        raise EncodeError(f"a node id has {_ID} bytes")
    if _refused(delta):
        raise EncodeError("a delta names each key once, with at most 900 bytes, within its versions")
    return _NODE.pack(
        delta.node, delta.incarnation, delta.heartbeat, delta.base, delta.through, len(delta.items)
    )


def _decode_node(body: bytes, offset: int) -> tuple[NodeDelta, int]:
    node, incarnation, heartbeat, base, through, count = unpack(_NODE, body, offset)
    offset += NODE_BYTES
    if count > MAX_KEYS:
        raise DecodeError("bad_count")
    items = []
    for _ in range(count):
        key, version, length = unpack(_ITEM, body, offset)
        offset += ITEM_BYTES
        if length > MAX_VALUE_BYTES:
            raise DecodeError("bad_value_length")
        value = body[offset : offset + length]
        if len(value) != length:
            raise DecodeError("truncated")
        items.append((key, version, value))
        offset += length
    delta = NodeDelta(node, incarnation, heartbeat, base, through, tuple(items))
    reason = _refused(delta)
    if reason:
        raise DecodeError(reason)
    return delta, offset


def _refused(delta: NodeDelta) -> str:
    """Return why no honest node sends this, or nothing."""
    keys = {key for key, _, _ in delta.items}
    if len(keys) != len(delta.items):
        return "repeated_entry"
    if len(keys) > MAX_KEYS:
        return "bad_count"
    if any(len(value) > MAX_VALUE_BYTES for _, _, value in delta.items):
        return "bad_value_length"
    versions = [version for _, version, _ in delta.items]
    if 0 in versions or not delta.base <= delta.through <= max([delta.base, *versions]):
        return "bad_version"
    return ""
