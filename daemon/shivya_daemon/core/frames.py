"""The frames of the open wire: one datagram, big endian, a 25-byte header and one payload.

Types 0x01 to 0x09 are byte for byte those of the reference implementation, except that this codec is strict:
the length is exact, numbers are finite, counts and flags are canonical, so that `encode(decode(x)) == x` for
everything that is accepted. Peer records of family 6 and the types from 0x10 are extensions. Layouts:
docs/protocol.md.
"""

from __future__ import annotations

import ipaddress
import math
import struct
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from shivya_daemon.core import heartbeat
from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.heartbeat import Heartbeat

__all__ = [
    "ANNOUNCE",
    "GOSSIP",
    "HEADER_BYTES",
    "HISTORY",
    "LEASE",
    "LINK",
    "MAGIC",
    "MAX_DATAGRAM_BYTES",
    "MAX_PEERS",
    "MAX_VALUE_BYTES",
    "SIGNAL",
    "TOKEN",
    "DecodeError",
    "EncodeError",
    "FindNode",
    "FindValue",
    "FoundNodes",
    "FoundValue",
    "Frame",
    "GradientDiff",
    "Heartbeat",
    "Layered",
    "Leave",
    "Payload",
    "Peer",
    "Ping",
    "Pong",
    "Store",
    "ThermodynamicPush",
    "decode",
    "encode",
    "header",
]

MAGIC = b"SHVY"
MAX_DATAGRAM_BYTES = 1200
MAX_PEERS = 8  # peer records in one frame
MAX_VALUE_BYTES = 256

_ID = 20  # bytes of a node id or key
_HEADER = struct.Struct(">4sB20s")
HEADER_BYTES = _HEADER.size
_U64 = struct.Struct(">Q")
_TWO_F64 = struct.Struct(">2d")
_GRADIENT = struct.Struct(">20s2d")
_IPV4 = struct.Struct(">20sB4sH")
_IPV6 = struct.Struct(">20sB16sH")
_LENGTH = struct.Struct(">H")
_HAS_AND_LENGTH = struct.Struct(">BH")


class Peer(Struct, frozen=True):
    """Where a node can be reached: id (20 bytes), textual IP address, UDP port."""

    id: bytes
    host: str
    port: int


class Ping(Struct, frozen=True):
    """0x01: asks for a PONG; `timestamp` is 64 opaque bits, an unguessable nonce in what this node sends."""

    timestamp: int


class Pong(Struct, frozen=True):
    """0x02: answers a PING with its `timestamp`."""

    timestamp: int


class ThermodynamicPush(Struct, frozen=True):
    """0x03: the sender's collective free energy (nats) and pressure (its number of active cells)."""

    free_energy: float
    pressure: float


class GradientDiff(Struct, frozen=True):
    """0x04: a flow along an edge to `target` and the coefficient it was computed with."""

    target: bytes
    coefficient: float
    flow: float


class FindNode(Struct, frozen=True):
    """0x05: asks for the peers closest to `target`."""

    target: bytes


class FoundNodes(Struct, frozen=True):
    """0x06: answers FIND_NODE with at most 8 peers."""

    peers: tuple[Peer, ...]


class Store(Struct, frozen=True):
    """0x07: a key (20 bytes) and a value of at most 256 bytes."""

    key: bytes
    value: bytes


class FindValue(Struct, frozen=True):
    """0x08: asks for the value of `key`."""

    key: bytes


class FoundValue(Struct, frozen=True):
    """0x09: answers FIND_VALUE: the value, or None and closer peers (b"" is a value, None is not)."""

    key: bytes
    value: bytes | None
    peers: tuple[Peer, ...]


class Leave(Struct, frozen=True):
    """0x15: the sender's life of this incarnation ends now."""

    incarnation: int


class Layered(Struct, frozen=True):
    """GOSSIP, ANNOUNCE, LINK, SIGNAL, TOKEN, LEASE or HISTORY (`LAYERED`): each for its layer."""

    code: int
    body: bytes


LAYERED = (0x11, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18)
GOSSIP, ANNOUNCE, LINK, SIGNAL, TOKEN, LEASE, HISTORY = LAYERED

Payload = (
    Ping
    | Pong
    | ThermodynamicPush
    | GradientDiff
    | FindNode
    | FoundNodes
    | Store
    | FindValue
    | FoundValue
    | Heartbeat
    | Leave
    | Layered
)


class Frame(Struct, frozen=True):
    """One datagram: the 20-byte id its sender claims, and what it says."""

    sender: bytes
    payload: Payload


def encode(frame: Frame) -> bytes:
    """Return the bytes of `frame`; raises `EncodeError` if a field cannot be carried."""
    code, encoder = _ENCODERS[type(frame.payload)]
    if isinstance(frame.payload, Layered):
        code = frame.payload.code
    try:
        data = header(frame.sender, code) + encoder(frame.payload)
    except struct.error as error:
        raise EncodeError(f"{type(frame.payload).__name__}: {error}") from None
    if len(data) > MAX_DATAGRAM_BYTES:
        raise EncodeError(
            f"{type(frame.payload).__name__} takes {len(data)} bytes, more than {MAX_DATAGRAM_BYTES}"
        )
    return data


def decode(data: bytes) -> Frame:
    """Return the frame in `data`; raises `DecodeError` with the reason for anything else."""
    if len(data) < HEADER_BYTES:
        raise DecodeError("short_header")
    if len(data) > MAX_DATAGRAM_BYTES:
        raise DecodeError("oversized")
    magic, code, sender = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise DecodeError("bad_magic")
    decoder = _DECODERS.get(code)
    if decoder is None:
        raise DecodeError("unknown_type")
    return Frame(sender, decoder(data[HEADER_BYTES:]))


def header(sender: bytes, code: int) -> bytes:
    """Return the 25 bytes in front of every payload; raises `EncodeError` unless the id has 20 bytes."""
    return _HEADER.pack(MAGIC, code, _identifier(sender, "sender"))


def _identifier(value: bytes, name: str) -> bytes:
    if len(value) != _ID:
        raise EncodeError(f"{name} must be {_ID} bytes, not {len(value)}")
    return value


def _sized(body: bytes, size: int) -> bytes:
    if len(body) != size:
        raise DecodeError("truncated" if len(body) < size else "trailing_bytes")
    return body


def _finite(*values: float) -> None:
    if not all(map(math.isfinite, values)):
        raise DecodeError("not_finite")


def _encode_u64(value: int) -> bytes:
    return _U64.pack(value)


def _decode_u64(body: bytes) -> int:
    (value,) = _U64.unpack(_sized(body, 8))
    return int(value)


def _encode_thermodynamic(payload: ThermodynamicPush) -> bytes:
    if not (math.isfinite(payload.free_energy) and math.isfinite(payload.pressure)):
        raise EncodeError("ThermodynamicPush: free_energy and pressure must be finite")
    return _TWO_F64.pack(payload.free_energy, payload.pressure)


def _decode_thermodynamic(body: bytes) -> ThermodynamicPush:
    free_energy, pressure = _TWO_F64.unpack(_sized(body, _TWO_F64.size))
    _finite(free_energy, pressure)
    return ThermodynamicPush(free_energy, pressure)


def _encode_gradient(payload: GradientDiff) -> bytes:
    if not (math.isfinite(payload.coefficient) and math.isfinite(payload.flow)):
        raise EncodeError("GradientDiff: coefficient and flow must be finite")
    return _GRADIENT.pack(_identifier(payload.target, "target"), payload.coefficient, payload.flow)


def _decode_gradient(body: bytes) -> GradientDiff:
    target, coefficient, flow = _GRADIENT.unpack(_sized(body, _GRADIENT.size))
    _finite(coefficient, flow)
    return GradientDiff(target, coefficient, flow)


def _encode_peers(peers: tuple[Peer, ...]) -> bytes:
    if len(peers) > MAX_PEERS:
        raise EncodeError(f"a frame carries at most {MAX_PEERS} peers, not {len(peers)}")
    return bytes((len(peers),)) + b"".join(map(_encode_peer, peers))


def _encode_peer(peer: Peer) -> bytes:
    try:
        address = ipaddress.ip_address(peer.host)
    except ValueError:
        raise EncodeError(f"peer host {peer.host!r} is not an IP address") from None
    if getattr(address, "scope_id", None):
        raise EncodeError(f"peer host {peer.host!r} has a zone, which means nothing on another host")
    record = _IPV4 if address.version == 4 else _IPV6
    return record.pack(_identifier(peer.id, "peer id"), address.version, address.packed, peer.port)


def _decode_peers(body: bytes, offset: int) -> tuple[Peer, ...]:
    """Read a count and that many peer records, which must end exactly at the end of `body`."""
    if len(body) <= offset:
        raise DecodeError("truncated")
    count = body[offset]
    if count > MAX_PEERS:
        raise DecodeError("bad_count")
    offset += 1
    peers = []
    for _ in range(count):
        if len(body) <= offset + _ID:
            raise DecodeError("truncated")
        family = body[offset + _ID]
        if family not in (4, 6):
            raise DecodeError("bad_family")
        record = _IPV4 if family == 4 else _IPV6
        if len(body) < offset + record.size:
            raise DecodeError("truncated")
        node, _, packed, port = record.unpack_from(body, offset)
        host = ".".join(map(str, packed)) if family == 4 else str(ipaddress.IPv6Address(packed))
        peers.append(Peer(node, host, port))
        offset += record.size
    _sized(body, offset)
    return tuple(peers)


def _value(value: bytes) -> bytes:
    if len(value) > MAX_VALUE_BYTES:
        raise EncodeError(f"a value has at most {MAX_VALUE_BYTES} bytes, not {len(value)}")
    return value


def _encode_store(payload: Store) -> bytes:
    return _identifier(payload.key, "key") + _LENGTH.pack(len(payload.value)) + _value(payload.value)


def _decode_store(body: bytes) -> Store:
    if len(body) < _ID + 2:
        raise DecodeError("truncated")
    (length,) = _LENGTH.unpack_from(body, _ID)
    if length > MAX_VALUE_BYTES:
        raise DecodeError("bad_value_length")
    _sized(body, _ID + 2 + length)
    return Store(body[:_ID], body[_ID + 2 :])


def _encode_found_value(payload: FoundValue) -> bytes:
    value = b"" if payload.value is None else _value(payload.value)
    head = _HAS_AND_LENGTH.pack(payload.value is not None, len(value))
    return _identifier(payload.key, "key") + head + value + _encode_peers(payload.peers)


def _decode_found_value(body: bytes) -> FoundValue:
    start = _ID + _HAS_AND_LENGTH.size
    if len(body) < start:
        raise DecodeError("truncated")
    has_value, length = _HAS_AND_LENGTH.unpack_from(body, _ID)
    if has_value not in (0, 1):
        raise DecodeError("bad_flag")
    if length > MAX_VALUE_BYTES or (length and not has_value):
        raise DecodeError("bad_value_length")
    if len(body) < start + length:
        raise DecodeError("truncated")
    value = body[start : start + length] if has_value else None
    return FoundValue(body[:_ID], value, _decode_peers(body, start + length))


_DECODERS: Mapping[int, Callable[[bytes], Payload]] = MappingProxyType(
    {
        0x01: lambda body: Ping(_decode_u64(body)),
        0x02: lambda body: Pong(_decode_u64(body)),
        0x03: _decode_thermodynamic,
        0x04: _decode_gradient,
        0x05: lambda body: FindNode(_sized(body, _ID)),
        0x06: lambda body: FoundNodes(_decode_peers(body, 0)),
        0x07: _decode_store,
        0x08: lambda body: FindValue(_sized(body, _ID)),
        0x09: _decode_found_value,
        heartbeat.TYPE: heartbeat.decode_payload,
        0x15: lambda body: Leave(_decode_u64(body)),
        **{code: partial(Layered, code) for code in LAYERED},
    }
)

_ENCODERS: Mapping[type, tuple[int, Callable[[Any], bytes]]] = MappingProxyType(
    {
        Ping: (0x01, lambda payload: _encode_u64(payload.timestamp)),
        Pong: (0x02, lambda payload: _encode_u64(payload.timestamp)),
        ThermodynamicPush: (0x03, _encode_thermodynamic),
        GradientDiff: (0x04, _encode_gradient),
        FindNode: (0x05, lambda payload: _identifier(payload.target, "target")),
        FoundNodes: (0x06, lambda payload: _encode_peers(payload.peers)),
        Store: (0x07, _encode_store),
        FindValue: (0x08, lambda payload: _identifier(payload.key, "key")),
        FoundValue: (0x09, _encode_found_value),
        Heartbeat: (heartbeat.TYPE, heartbeat.encode_payload),
        Leave: (0x15, lambda payload: _encode_u64(payload.incarnation)),
        Layered: (0, lambda payload: payload.body),
    }
)
