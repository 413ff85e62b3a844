"""HEARTBEAT (0x10): what a node tells its link neighbours about itself and about them, ten times a second.

The payload has a prefix that differs per receiver (sequence, echo, conductance of the link) and a tail that is
the same for all (name, loads, descriptors), so that the tail is encoded once per beat. A load that does not fit
one datagram is spread over several frames by `split`. Times are seconds and rates per second unless a field
says otherwise; floats travel as binary32; values above a maximum saturate when sent, and are refused when
received.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass, replace
from typing import Any

from shivya_daemon.core.errors import DecodeError, EncodeError

TYPE = 0x10
MAJOR = 1
MINOR = 0

MAX_SERVICES = 8
MAX_NEIGHBOURS = 12
MAX_DESCRIPTORS = 8
MAX_NAME_BYTES = 32
MAX_ADDRESS_BYTES = 64
MAX_EXTENSION_BYTES = 256
MAX_SECONDS = 1e6
MAX_RATE = 1e9  # jobs per second; also bounds a conductance
MAX_FREE_ENERGY = 1e12  # nats, either sign
MAX_HOLD_US = 0xFFFFFFFF

_PAYLOAD_BUDGET = 1200 - 25  # bytes of a datagram less the frame header
_ID = 20
_ECHO_FLAG = 0x01
_SELF = 255  # next-hop index of the node itself

_PREFIX = struct.Struct(">BBBQIf")
_ECHO = struct.Struct(">QII")
_SUMMARY = struct.Struct(">fH")
_SERVICE = struct.Struct(">4sIH7fBB")
_NEIGHBOUR = struct.Struct(">20sIHfHIf")
_LENGTH = struct.Struct(">H")
_PREFIX_BUDGET = _PREFIX.size + _ECHO.size

_NAME_CHARACTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_ADDRESS_CHARACTERS = frozenset(range(0x21, 0x7F))


@dataclass(frozen=True, slots=True)
class Echo:
    """The receiver's last heartbeat as the sender saw it: a round-trip time without a shared clock."""

    incarnation: int
    sequence: int
    hold_us: int
    """Microseconds between hearing it and sending this; `MAX_HOLD_US` means too long ago to measure with."""


@dataclass(frozen=True, slots=True)
class NeighbourLoad:
    """A neighbour's load of one service, second hand, and the traffic shared with it."""

    node: bytes
    queue: int
    servers: int
    service_rate: float
    age: float
    """Seconds since the sender heard it; whole milliseconds on the wire, saturating at 65.535."""
    accepted: int
    """Jobs the sender accepted from this neighbour since that neighbour's incarnation, modulo 2^32."""
    offload: float
    """Jobs per second the sender reports sending to this neighbour."""


@dataclass(frozen=True, slots=True)
class ServiceLoad:
    """The sender's own load of one service and its potential for placement."""

    tag: bytes
    queue: int
    servers: int
    service_rate: float
    arrival_rate: float
    waiting: float
    """Expected time in system of one more job here."""
    potential: float
    """Least expected time over this node and what it can reach."""
    slope: float
    """Rise of the potential per job."""
    second_potential: float
    """The potential without the best next hop, for that hop (split horizon)."""
    second_slope: float
    next_hop: bytes | None = None
    """Neighbour through which the potential is reached; None is the node itself."""
    neighbours: tuple[NeighbourLoad, ...] = ()


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A service by name, and the address where its application takes jobs (may be empty)."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One HEARTBEAT; see the module for what is per receiver and what is shared."""

    incarnation: int
    sequence: int
    echo: Echo | None = None
    conductance: float = 1.0
    """Conductance the sender advertises for its link to the receiver."""
    name: str = ""
    free_energy: float = 0.0
    active_cells: int = 0
    services: tuple[ServiceLoad, ...] = ()
    descriptors: tuple[Descriptor, ...] = ()
    extension: bytes = b""
    """Fields of a later minor version, kept as they came."""
    minor: int = MINOR


def service_tag(name: str) -> bytes:
    """Return the 4 bytes that stand for a service name in every heartbeat."""
    return hashlib.sha256(name.encode()).digest()[:4]


def encode_payload(beat: Heartbeat) -> bytes:
    """Return the bytes of `beat`; raises `EncodeError` if a field has no encoding or it is too long."""
    tail = encode_tail(
        beat.name, beat.free_energy, beat.active_cells, beat.services, beat.descriptors, beat.extension
    )
    return encode_prefix(beat.incarnation, beat.sequence, beat.conductance, beat.echo, beat.minor) + tail


def encode_prefix(
    incarnation: int, sequence: int, conductance: float, echo: Echo | None, minor: int = MINOR
) -> bytes:
    """Return what differs per receiver: 19 bytes, or 35 with an echo."""
    flags = 0 if echo is None else _ECHO_FLAG
    head = _PREFIX.pack(MAJOR, minor, flags, incarnation, sequence, _up_to(conductance, MAX_RATE))
    return head if echo is None else head + _ECHO.pack(echo.incarnation, echo.sequence, echo.hold_us)


def encode_tail(
    name: str,
    free_energy: float,
    active_cells: int,
    services: tuple[ServiceLoad, ...],
    descriptors: tuple[Descriptor, ...],
    extension: bytes = b"",
) -> bytes:
    """Return what all receivers share; raises `EncodeError` if it does not fit one datagram."""
    if len(services) > MAX_SERVICES or len({load.tag for load in services}) != len(services):
        raise EncodeError(f"a heartbeat carries at most {MAX_SERVICES} services, each once")
    if len(descriptors) > MAX_DESCRIPTORS or len({entry.name for entry in descriptors}) != len(descriptors):
        raise EncodeError(f"a heartbeat carries at most {MAX_DESCRIPTORS} descriptors, each name once")
    if len(extension) > MAX_EXTENSION_BYTES:
        raise EncodeError(f"an extension has at most {MAX_EXTENSION_BYTES} bytes, not {len(extension)}")
    if math.isnan(free_energy):
        raise EncodeError("free_energy must be a number")
    summary = _SUMMARY.pack(max(-MAX_FREE_ENERGY, min(free_energy, MAX_FREE_ENERGY)), active_cells)
    parts = [_encode_text(name, MAX_NAME_BYTES, _NAME_CHARACTERS), summary, bytes((len(services),))]
    parts += map(_encode_service, services)
    parts.append(bytes((len(descriptors),)))
    parts += map(_encode_descriptor, descriptors)
    parts += (_LENGTH.pack(len(extension)), extension)
    tail = b"".join(parts)
    if len(tail) > _PAYLOAD_BUDGET - _PREFIX_BUDGET:
        raise EncodeError(f"a heartbeat of {len(tail)} bytes does not fit one datagram; split it first")
    return tail


def partition(
    name: str, services: tuple[ServiceLoad, ...], descriptors: tuple[Descriptor, ...], extension: bytes = b""
) -> list[tuple[tuple[ServiceLoad, ...], tuple[Descriptor, ...]]]:
    """Spread services, then descriptors, over as few groups as fit one datagram each; at least one group."""
    fixed = 1 + len(name) + _SUMMARY.size + 1 + 1 + _LENGTH.size + len(extension)
    room = _PAYLOAD_BUDGET - _PREFIX_BUDGET - fixed
    groups: list[tuple[list[ServiceLoad], list[Descriptor]]] = [([], [])]
    left = room
    for load in services:
        size = _SERVICE.size + _NEIGHBOUR.size * len(load.neighbours)
        if size > left:
            groups.append(([], []))
            left = room
        groups[-1][0].append(load)
        left -= size
    for entry in descriptors:
        size = 2 + len(entry.name) + len(entry.address)
        if size > left:
            groups.append(([], []))
            left = room
        groups[-1][1].append(entry)
        left -= size
    return [(tuple(loads), tuple(entries)) for loads, entries in groups]


def split(beat: Heartbeat) -> tuple[Heartbeat, ...]:
    """Spread `beat` over frames that fit 1200 bytes each, numbered on from its sequence."""
    groups = partition(beat.name, beat.services, beat.descriptors, beat.extension)
    return tuple(
        replace(
            beat, sequence=(beat.sequence + index) & 0xFFFFFFFF, services=services, descriptors=descriptors
        )
        for index, (services, descriptors) in enumerate(groups)
    )


def _up_to(value: float, maximum: float) -> float:
    if not value >= 0:
        raise EncodeError(f"{value} is not a number >= 0")
    return min(value, maximum)


def _encode_text(text: str, limit: int, allowed: frozenset[int]) -> bytes:
    raw = text.encode("utf-8", "replace")
    if len(raw) > limit or not allowed.issuperset(raw):
        raise EncodeError(f"{text[:80]!r} is not at most {limit} plain characters")
    return bytes((len(raw),)) + raw


def _encode_descriptor(entry: Descriptor) -> bytes:
    name = _encode_text(entry.name, MAX_NAME_BYTES, _NAME_CHARACTERS)
    return name + _encode_text(entry.address, MAX_ADDRESS_BYTES, _ADDRESS_CHARACTERS)


def _encode_service(load: ServiceLoad) -> bytes:
    nodes = [entry.node for entry in load.neighbours]
    if len(nodes) > MAX_NEIGHBOURS or len(set(nodes)) != len(nodes):
        raise EncodeError(f"a service carries at most {MAX_NEIGHBOURS} neighbours, each once")
    if load.next_hop is not None and load.next_hop not in nodes:
        raise EncodeError("next_hop must be one of the neighbours or None")
    if len(load.tag) != 4 or any(len(node) != _ID for node in nodes):
        raise EncodeError("a service tag has 4 bytes and a node id 20")
    head = _SERVICE.pack(
        load.tag,
        load.queue,
        load.servers,
        _up_to(load.service_rate, MAX_RATE),
        _up_to(load.arrival_rate, MAX_RATE),
        _up_to(load.waiting, MAX_SECONDS),
        _up_to(load.potential, MAX_SECONDS),
        _up_to(load.slope, MAX_SECONDS),
        _up_to(load.second_potential, MAX_SECONDS),
        _up_to(load.second_slope, MAX_SECONDS),
        _SELF if load.next_hop is None else nodes.index(load.next_hop),
        len(nodes),
    )
    return head + b"".join(map(_encode_neighbour, load.neighbours))


def _encode_neighbour(entry: NeighbourLoad) -> bytes:
    return _NEIGHBOUR.pack(
        entry.node,
        entry.queue,
        entry.servers,
        _up_to(entry.service_rate, MAX_RATE),
        round(min(_up_to(entry.age, MAX_SECONDS) * 1000, 0xFFFF)),
        entry.accepted & 0xFFFFFFFF,
        _up_to(entry.offload, MAX_RATE),
    )


def decode_payload(body: bytes) -> Heartbeat:
    """Return the heartbeat in `body`; raises `DecodeError` with the reason for anything else."""
    if len(body) < _PREFIX.size:
        raise DecodeError("truncated")
    major, minor, flags, incarnation, sequence, conductance = _PREFIX.unpack_from(body)
    if major != MAJOR:
        raise DecodeError("unsupported_version")
    if flags & ~_ECHO_FLAG:
        raise DecodeError("bad_flag")
    _check(conductance, MAX_RATE)
    offset = _PREFIX.size
    echo = None
    if flags & _ECHO_FLAG:
        echo = Echo(*_unpack(_ECHO, body, offset))
        offset += _ECHO.size
    name, offset = _decode_text(body, offset, MAX_NAME_BYTES, _NAME_CHARACTERS)
    free_energy, active_cells = _unpack(_SUMMARY, body, offset)
    _check(abs(free_energy), MAX_FREE_ENERGY)
    count, offset = _decode_count(body, offset + _SUMMARY.size, MAX_SERVICES)
    services = []
    for _ in range(count):
        load, offset = _decode_service(body, offset)
        services.append(load)
    count, offset = _decode_count(body, offset, MAX_DESCRIPTORS)
    descriptors = []
    for _ in range(count):
        entry, offset = _decode_descriptor(body, offset)
        descriptors.append(entry)
    if len({load.tag for load in services}) != len(services):
        raise DecodeError("repeated_entry")
    if len({entry.name for entry in descriptors}) != len(descriptors):
        raise DecodeError("repeated_entry")
    (length,) = _unpack(_LENGTH, body, offset)
    offset += _LENGTH.size
    if length > MAX_EXTENSION_BYTES:
        raise DecodeError("bad_count")
    if len(body) != offset + length:
        raise DecodeError("truncated" if len(body) < offset + length else "trailing_bytes")
    return Heartbeat(
        incarnation,
        sequence,
        echo,
        conductance,
        name,
        free_energy,
        active_cells,
        tuple(services),
        tuple(descriptors),
        body[offset:],
        minor,
    )


def _unpack(record: struct.Struct, body: bytes, offset: int) -> tuple[Any, ...]:
    if len(body) < offset + record.size:
        raise DecodeError("truncated")
    return record.unpack_from(body, offset)


def _check(value: float, maximum: float) -> None:
    if not math.isfinite(value):
        raise DecodeError("not_finite")
    if not 0 <= value <= maximum:
        raise DecodeError("out_of_range")


def _decode_count(body: bytes, offset: int, limit: int) -> tuple[int, int]:
    if len(body) <= offset:
        raise DecodeError("truncated")
    if body[offset] > limit:
        raise DecodeError("bad_count")
    return body[offset], offset + 1


def _decode_text(body: bytes, offset: int, limit: int, allowed: frozenset[int]) -> tuple[str, int]:
    length, offset = _decode_count(body, offset, limit)
    raw = body[offset : offset + length]
    if len(raw) != length:
        raise DecodeError("truncated")
    if not allowed.issuperset(raw):
        raise DecodeError("bad_text")
    return raw.decode("ascii"), offset + length


def _decode_descriptor(body: bytes, offset: int) -> tuple[Descriptor, int]:
    name, offset = _decode_text(body, offset, MAX_NAME_BYTES, _NAME_CHARACTERS)
    address, offset = _decode_text(body, offset, MAX_ADDRESS_BYTES, _ADDRESS_CHARACTERS)
    return Descriptor(name, address), offset


def _decode_service(body: bytes, offset: int) -> tuple[ServiceLoad, int]:
    fields = _unpack(_SERVICE, body, offset)
    hop, count = fields[-2:]
    offset += _SERVICE.size
    for rate in fields[3:5]:
        _check(rate, MAX_RATE)
    for seconds in fields[5:10]:
        _check(seconds, MAX_SECONDS)
    if count > MAX_NEIGHBOURS or not (hop < count or hop == _SELF):
        raise DecodeError("bad_count")
    neighbours = []
    for _ in range(count):
        node, jobs, hosts, rate, age_ms, accepted, offload = _unpack(_NEIGHBOUR, body, offset)
        _check(rate, MAX_RATE)
        _check(offload, MAX_RATE)
        neighbours.append(NeighbourLoad(node, jobs, hosts, rate, age_ms / 1000, accepted, offload))
        offset += _NEIGHBOUR.size
    if len({entry.node for entry in neighbours}) != count:
        raise DecodeError("repeated_entry")
    next_hop = None if hop == _SELF else neighbours[hop].node
    return ServiceLoad(*fields[:10], next_hop, tuple(neighbours)), offset
