"""The load of one service and its description, and their records in a heartbeat.

Times are seconds and rates per second; floats travel as binary32. Values above a maximum saturate when sent
and are refused when received.
"""

from __future__ import annotations

import hashlib
import struct

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.fields import (
    ADDRESS_CHARACTERS,
    NAME_CHARACTERS,
    check,
    decode_text,
    encode_text,
    unpack,
    up_to,
)

MAX_NEIGHBOURS = 12
MAX_NAME_BYTES = 32
MAX_ADDRESS_BYTES = 64
MAX_SECONDS = 1e6
MAX_RATE = 1e9  # jobs per second; also bounds a conductance

_ID = 20
_TAG = 4
_SELF = 255  # next-hop index of the node itself

_SERVICE = struct.Struct(">4sIH7fBB")
_NEIGHBOUR = struct.Struct(">20sIHfHIff")


class NeighbourLoad(Struct, frozen=True):
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
    inflow: float = 0.0
    """Jobs per second this neighbour reported sending to the sender, as last heard: with it, who hears only
    one end of a link knows its net traffic."""


class ServiceLoad(Struct, frozen=True):
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
    net_arrivals: float | None = None
    """Jobs per second that arrive here, from anywhere, and are not passed on; None: not told. Not in the
    record: it travels in the extension of the heartbeat (`beacon`)."""


class Descriptor(Struct, frozen=True):
    """A service by name, and the address where its application takes jobs (may be empty)."""

    name: str
    address: str


def service_tag(name: str) -> bytes:
    """Return the 4 bytes that stand for a service name in every heartbeat."""
    return hashlib.sha256(name.encode()).digest()[:_TAG]


def service_size(load: ServiceLoad) -> int:
    """Return the bytes of the record of `load`."""
    return _SERVICE.size + _NEIGHBOUR.size * len(load.neighbours)


def descriptor_size(entry: Descriptor) -> int:
    """Return the bytes of the record of `entry`."""
    return 2 + len(entry.name) + len(entry.address)


def encode_service(load: ServiceLoad) -> bytes:
    """Return the record of a load with its neighbours; raises `EncodeError` if it has none."""
    nodes = [entry.node for entry in load.neighbours]
    if len(nodes) > MAX_NEIGHBOURS or len(set(nodes)) != len(nodes):
        raise EncodeError(f"a service carries at most {MAX_NEIGHBOURS} neighbours, each once")
    if load.next_hop is not None and load.next_hop not in nodes:
        raise EncodeError("next_hop must be one of the neighbours or None")
    if len(load.tag) != _TAG or any(len(node) != _ID for node in nodes):
        raise EncodeError("a service tag has 4 bytes and a node id 20")
    head = _SERVICE.pack(
        load.tag,
        load.queue,
        load.servers,
        up_to(load.service_rate, MAX_RATE),
        up_to(load.arrival_rate, MAX_RATE),
        up_to(load.waiting, MAX_SECONDS),
        up_to(load.potential, MAX_SECONDS),
        up_to(load.slope, MAX_SECONDS),
        up_to(load.second_potential, MAX_SECONDS),
        up_to(load.second_slope, MAX_SECONDS),
        _SELF if load.next_hop is None else nodes.index(load.next_hop),
        len(nodes),
    )
    return head + b"".join(map(_encode_neighbour, load.neighbours))


def decode_service(body: bytes, offset: int) -> tuple[ServiceLoad, int]:
    """Read a load with its neighbours; returns it and the next offset."""
    tag, queue, servers, rate, arrivals, *seconds, hop, count = unpack(_SERVICE, body, offset)
    offset += _SERVICE.size
    check(rate, MAX_RATE)
    check(arrivals, MAX_RATE)
    for value in seconds:
        check(value, MAX_SECONDS)
    waiting, potential, slope, second_potential, second_slope = seconds
    if count > MAX_NEIGHBOURS or not (hop < count or hop == _SELF):
        raise DecodeError("bad_count")
    end = offset + count * _NEIGHBOUR.size
    if len(body) < end:
        raise DecodeError("truncated")
    neighbours = []
    for node, jobs, hosts, mu, age_ms, accepted, offload, inflow in _NEIGHBOUR.iter_unpack(body[offset:end]):
        if not (0 <= mu <= MAX_RATE and 0 <= offload <= MAX_RATE and 0 <= inflow <= MAX_RATE):
            for rate_there in (mu, offload, inflow):
                check(rate_there, MAX_RATE)  # says what is wrong
        neighbours.append(NeighbourLoad(node, jobs, hosts, mu, age_ms / 1000, accepted, offload, inflow))
    if len({entry.node for entry in neighbours}) != count:
        raise DecodeError("repeated_entry")
    next_hop = None if hop == _SELF else neighbours[hop].node
    load = ServiceLoad(
        tag,
        queue,
        servers,
        rate,
        arrivals,
        waiting,
        potential,
        slope,
        second_potential,
        second_slope,
        next_hop,
        tuple(neighbours),
    )
    return load, end


def encode_descriptor(entry: Descriptor) -> bytes:
    """Return the record of a descriptor; raises `EncodeError` if it has none."""
    name = encode_text(entry.name, MAX_NAME_BYTES, NAME_CHARACTERS)
    return name + encode_text(entry.address, MAX_ADDRESS_BYTES, ADDRESS_CHARACTERS)


def decode_descriptor(body: bytes, offset: int) -> tuple[Descriptor, int]:
    """Read a descriptor; returns it and the next offset."""
    name, offset = decode_text(body, offset, MAX_NAME_BYTES, NAME_CHARACTERS)
    address, offset = decode_text(body, offset, MAX_ADDRESS_BYTES, ADDRESS_CHARACTERS)
    return Descriptor(name, address), offset


def _encode_neighbour(entry: NeighbourLoad) -> bytes:
    return _NEIGHBOUR.pack(
        entry.node,
        entry.queue,
        entry.servers,
        up_to(entry.service_rate, MAX_RATE),
        round(min(up_to(entry.age, MAX_SECONDS) * 1000, 0xFFFF)),
        entry.accepted & 0xFFFFFFFF,
        up_to(entry.offload, MAX_RATE),
        up_to(entry.inflow, MAX_RATE),
    )
