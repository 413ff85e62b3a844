"""HEARTBEAT (0x10): what a node tells its link neighbours about itself and about them, every so often.

The payload has a prefix that differs per receiver (sequence, echo, conductance of the link) and a tail that
is the same for all (name, loads, descriptors), so that the tail is encoded once per beat. A load that does
not fit one datagram is spread over several frames by `split`.
"""

from __future__ import annotations

import math
import struct

from msgspec import Struct
from msgspec.structs import replace

from shivya_daemon.core.beacon import RATE_BYTES
from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.fields import (
    NAME_CHARACTERS,
    check,
    decode_count,
    decode_text,
    encode_text,
    unpack,
    up_to,
)
from shivya_daemon.core.load import (
    MAX_NAME_BYTES,
    MAX_NEIGHBOURS,
    MAX_RATE,
    MAX_SECONDS,
    Descriptor,
    NeighbourLoad,
    ServiceLoad,
    decode_descriptor,
    decode_service,
    descriptor_size,
    encode_descriptor,
    encode_service,
    service_size,
    service_tag,
)

__all__ = [
    "MAJOR",
    "MAX_DESCRIPTORS",
    "MAX_EXTENSION_BYTES",
    "MAX_FREE_ENERGY",
    "MAX_HOLD_US",
    "MAX_NEIGHBOURS",
    "MAX_RATE",
    "MAX_SECONDS",
    "MAX_SERVICES",
    "MINOR",
    "TYPE",
    "Descriptor",
    "Echo",
    "Heartbeat",
    "NeighbourLoad",
    "ServiceLoad",
    "decode_payload",
    "encode_payload",
    "encode_prefix",
    "encode_tail",
    "partition",
    "service_tag",
    "split",
]

TYPE = 0x10
MAJOR = 1
MINOR = 0

MAX_SERVICES = 8
MAX_DESCRIPTORS = 8
MAX_EXTENSION_BYTES = 256
MAX_FREE_ENERGY = 1e12  # nats, either sign
MAX_HOLD_US = 0xFFFFFFFF

_PAYLOAD_BUDGET = 1100  # what a datagram holds beside frame header, seal and an extension of usual size
_ECHO_FLAG = 0x01

_PREFIX = struct.Struct(">BBBQIf")
_ECHO = struct.Struct(">QII")
_SUMMARY = struct.Struct(">fH")
_LENGTH = struct.Struct(">H")


class Echo(Struct, frozen=True):
    """The receiver's last heartbeat as the sender saw it: a round-trip time without a shared clock."""

    incarnation: int
    sequence: int
    hold_us: int
    """Microseconds between hearing it and sending this; `MAX_HOLD_US` means too long ago to measure with."""


class Heartbeat(Struct, frozen=True):
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


def encode_payload(beat: Heartbeat) -> bytes:
    """Return the bytes of `beat`; raises `EncodeError` if a field has no encoding."""
    tail = encode_tail(
        beat.name, beat.free_energy, beat.active_cells, beat.services, beat.descriptors, beat.extension
    )
    return encode_prefix(beat.incarnation, beat.sequence, beat.conductance, beat.echo, beat.minor) + tail


def decode_payload(body: bytes) -> Heartbeat:
    """Return the heartbeat in `body`; raises `DecodeError` with the reason for anything else."""
    if len(body) < _PREFIX.size:
        raise DecodeError("truncated")
    major, minor, flags, incarnation, sequence, conductance = _PREFIX.unpack_from(body)
    if major != MAJOR:
        raise DecodeError("unsupported_version")
    if flags & ~_ECHO_FLAG:
        raise DecodeError("bad_flag")
    check(conductance, MAX_RATE)
    offset = _PREFIX.size
    echo = None
    if flags & _ECHO_FLAG:
        echo = Echo(*unpack(_ECHO, body, offset))
        offset += _ECHO.size
    name, offset = decode_text(body, offset, MAX_NAME_BYTES, NAME_CHARACTERS)
    free_energy, active_cells = unpack(_SUMMARY, body, offset)
    check(abs(free_energy), MAX_FREE_ENERGY)
    count, offset = decode_count(body, offset + _SUMMARY.size, MAX_SERVICES)
    services = []
    for _ in range(count):
        load, offset = decode_service(body, offset)
        services.append(load)
    count, offset = decode_count(body, offset, MAX_DESCRIPTORS)
    descriptors = []
    for _ in range(count):
        entry, offset = decode_descriptor(body, offset)
        descriptors.append(entry)
    if len({load.tag for load in services}) != len(services):
        raise DecodeError("repeated_entry")
    if len({entry.name for entry in descriptors}) != len(descriptors):
        raise DecodeError("repeated_entry")
    (length,) = unpack(_LENGTH, body, offset)
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


def encode_prefix(
    incarnation: int, sequence: int, conductance: float, echo: Echo | None, minor: int = MINOR
) -> bytes:
    """Return what differs per receiver: 19 bytes, or 35 with an echo."""
    flags = 0 if echo is None else _ECHO_FLAG
    head = _PREFIX.pack(MAJOR, minor, flags, incarnation, sequence, up_to(conductance, MAX_RATE))
    return head if echo is None else head + _ECHO.pack(echo.incarnation, echo.sequence, echo.hold_us)


def encode_tail(
    name: str,
    free_energy: float,
    active_cells: int,
    services: tuple[ServiceLoad, ...],
    descriptors: tuple[Descriptor, ...],
    extension: bytes = b"",
) -> bytes:
    """Return what all receivers share; raises `EncodeError` if a field has no encoding."""
    _distinct(services, descriptors)
    if len(extension) > MAX_EXTENSION_BYTES:
        raise EncodeError(f"an extension has at most {MAX_EXTENSION_BYTES} bytes, not {len(extension)}")
    if math.isnan(free_energy):
        raise EncodeError("free_energy must be a number")
    summary = _SUMMARY.pack(max(-MAX_FREE_ENERGY, min(free_energy, MAX_FREE_ENERGY)), active_cells)
    parts = [encode_text(name, MAX_NAME_BYTES, NAME_CHARACTERS), summary, bytes((len(services),))]
    parts += map(encode_service, services)
    parts.append(bytes((len(descriptors),)))
    parts += map(encode_descriptor, descriptors)
    parts += (_LENGTH.pack(len(extension)), extension)
    return b"".join(parts)


def partition(
    name: str, services: tuple[ServiceLoad, ...], descriptors: tuple[Descriptor, ...], extension: bytes = b""
) -> list[tuple[tuple[ServiceLoad, ...], tuple[Descriptor, ...]]]:
    """Spread services, then descriptors, in order, over groups that fit one datagram each; at least one.

    Raises `EncodeError` if there are too many of either, or one twice.
    """
    _distinct(services, descriptors)
    fixed = 1 + len(name) + _SUMMARY.size + 1 + 1 + _LENGTH.size + len(extension)
    room = _PAYLOAD_BUDGET - _PREFIX.size - _ECHO.size - fixed
    groups: list[tuple[list[ServiceLoad], list[Descriptor]]] = [([], [])]
    left = room
    for load in services:
        size = service_size(load) + (0 if load.net_arrivals is None else RATE_BYTES)
        if size > left:
            groups.append(([], []))
            left = room
        groups[-1][0].append(load)
        left -= size
    for entry in descriptors:
        size = descriptor_size(entry)
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


def _distinct(services: tuple[ServiceLoad, ...], descriptors: tuple[Descriptor, ...]) -> None:
    if len(services) > MAX_SERVICES or len({load.tag for load in services}) != len(services):
        raise EncodeError(f"a heartbeat carries at most {MAX_SERVICES} services, each once")
    if len(descriptors) > MAX_DESCRIPTORS or len({entry.name for entry in descriptors}) != len(descriptors):
        raise EncodeError(f"a heartbeat carries at most {MAX_DESCRIPTORS} descriptors, each name once")
