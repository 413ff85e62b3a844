"""The sending side of heartbeats: what they carry, how they are numbered, and when each number was sent."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from shivya_daemon.core.beacon import Beacon, encode_beacon
from shivya_daemon.core.errors import EncodeError
from shivya_daemon.core.frames import header
from shivya_daemon.core.heartbeat import (
    TYPE,
    Descriptor,
    Echo,
    ServiceLoad,
    encode_prefix,
    encode_tail,
    partition,
)
from shivya_daemon.core.members import Member
from shivya_daemon.core.settings import NodeSettings

_Tail = tuple[bytes, tuple[tuple[bytes, float], ...]]
"""What all receivers of one frame share, and the net arrivals of the services in it."""
_REMEMBERED_SENDS = 256  # sequence numbers whose time of sending is kept
_WAIT_CHANGE = 4.0  # changes of price; the wait itself counts in flows and requests for jobs
_MAX_MEASURED_HOLD = 1.0  # seconds; a longer hold would mix the drift of two clocks into the round-trip time


class Told(NamedTuple):
    """What the last heartbeats said of one service; seconds."""

    waiting: float
    """Time that a job which stays at this node waits and is served."""
    price: float
    """W and its slope together: what a neighbour reckons with once it has sent a job."""

    def moved(self, load: ServiceLoad, change: float) -> bool:
        """Whether that is no longer true."""
        far = abs(load.waiting - self.waiting) > _WAIT_CHANGE * change
        return far or abs(_price(load) - self.price) > change

    def in_doubt(self, waiting: float, change: float) -> bool:
        """Whether `moved` may hold now that the wait is `waiting`: above the price it moves nothing else."""
        top = self.price + change
        near = abs(min(waiting, top) - min(self.waiting, top)) > change
        return near or abs(waiting - self.waiting) > _WAIT_CHANGE * change


def _price(load: ServiceLoad) -> float:
    return load.potential + load.slope


class LocalLoad(Struct, frozen=True):
    """What this node says of itself in every heartbeat until the next `publish`."""

    free_energy: float = 0.0
    """Collective free energy in nats."""
    active_cells: int = 0
    services: tuple[ServiceLoad, ...] = ()
    descriptors: tuple[Descriptor, ...] = ()
    conductances: Mapping[bytes, float] = field(default_factory=dict)
    """Conductance advertised for the link to each peer, by id."""
    conductance: float = 1.0
    """The same for peers not named in `conductances`."""


class Pulse:
    """Builds the heartbeats of one node; loads are encoded once per publication, not once per receiver."""

    def __init__(self, own: bytes, settings: NodeSettings) -> None:
        self._header = header(own, TYPE)
        self._settings = settings
        self._sequence = 0
        self._sent: list[tuple[int, float]] = [(-1, 0.0)] * _REMEMBERED_SENDS
        self._described_at = float("-inf")
        self.beacon = Beacon()
        """What the next heartbeats carry beside the load; net arrivals come with the load."""
        self.told: dict[bytes, Told] = {}
        """What the last heartbeats said of each service, by tag."""
        self.load = LocalLoad()
        self.publish(self.load)

    def publish(self, load: LocalLoad) -> None:
        """Replace what heartbeats carry; if it has no encoding, keep the old and raise `EncodeError`."""
        try:
            plain = self._encode(load, ())
            described = self._encode(load, load.descriptors)
        except struct.error as error:
            raise EncodeError(f"load: {error}") from None
        changed = load.descriptors != self.load.descriptors
        self.load = load
        self._plain, self._described = plain, described
        if changed:
            self.describe()

    def moved(self, change: float) -> bool:
        """Whether the last heartbeats are no longer true: services came or went, or one is told too wrong."""
        loads, told = {load.tag: load for load in self.load.services}, self.told
        return loads.keys() != told.keys() or any(told[tag].moved(loads[tag], change) for tag in loads)

    def describe(self) -> None:
        """Make the next heartbeat carry the descriptors."""
        self._described_at = float("-inf")

    def beat(self, links: list[Member], incarnation: int, now: float) -> list[tuple[bytes, bytes]]:
        """Return the (receiver, frame) pairs to send now, one or more for each link neighbour."""
        describe = now - self._described_at >= self._settings.descriptor_interval
        if describe:
            self._described_at = now
        load = self.load
        self.told = {service.tag: Told(service.waiting, _price(service)) for service in load.services}
        receivers = [
            (member, member.echo(now), load.conductances.get(member.id, load.conductance)) for member in links
        ]
        result: list[tuple[bytes, bytes]] = []
        for tail, net_arrivals in self._described if describe else self._plain:
            beacon = encode_beacon(replace(self.beacon, net_arrivals=net_arrivals))
            body = tail[:-2] + len(beacon).to_bytes(2) + beacon  # tails end in an empty extension
            self._sequence = (self._sequence + 1) & 0xFFFFFFFF
            self._sent[self._sequence % _REMEMBERED_SENDS] = (self._sequence, now)
            for member, echo, conductance in receivers:
                prefix = encode_prefix(incarnation, self._sequence, conductance, echo)
                result.append((member.id, self._header + prefix + body))
        return result

    def round_trip(self, echo: Echo, now: float) -> float | None:
        """Return the round-trip time that an echo of this incarnation shows, if it shows one."""
        hold = echo.hold_us / 1e6
        sequence, sent = self._sent[echo.sequence % _REMEMBERED_SENDS]
        if sequence != echo.sequence or hold > _MAX_MEASURED_HOLD:
            return None
        return max(0.0, now - sent - hold)

    def _encode(self, load: LocalLoad, descriptors: tuple[Descriptor, ...]) -> tuple[_Tail, ...]:
        name = self._settings.name
        for conductance in (load.conductance, *load.conductances.values()):
            encode_prefix(0, 0, conductance, None)
        tails = []
        for services, entries in partition(name, load.services, descriptors):
            told = tuple((s.tag, s.net_arrivals) for s in services if s.net_arrivals is not None)
            encode_beacon(Beacon(net_arrivals=told))
            tail = encode_tail(name, load.free_energy, load.active_cells, services, entries)
            tails.append((tail, told))
        return tuple(tails)
