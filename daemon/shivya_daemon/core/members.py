"""The nodes that this node speaks with: where each is reached, and what it last said."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from shivya_daemon.core.frames import ThermodynamicPush
from shivya_daemon.core.heartbeat import (
    MAX_DESCRIPTORS,
    MAX_HOLD_US,
    MAX_SERVICES,
    Descriptor,
    Echo,
    Heartbeat,
    ServiceLoad,
    service_tag,
)
from shivya_daemon.core.roundtrip import smooth
from shivya_daemon.core.settings import Address

_REMEMBERED = 1024  # incarnations of peers that are gone


class PeerView(Struct, frozen=True):
    """One live peer as its node sees it at one moment."""

    id: bytes
    name: str
    address: Address
    rtt: float | None
    """Smoothed round-trip time in seconds, both ends' event loops included; None until measured."""
    age: float
    """Seconds since its last datagram."""
    incarnation: int | None
    """None until its first heartbeat."""
    linked: bool
    """Whether heartbeats go to it."""
    heartbeat: Heartbeat | None
    """Its last heartbeat, with the services and descriptors of the ones before merged in."""
    services: dict[bytes, ServiceLoad]
    """Last load of each service, by tag."""
    received: dict[bytes, float]
    """When that load was received, by tag."""
    descriptors: dict[bytes, Descriptor]
    """Name and address of each service, by tag."""
    free_energy: float | None
    conductance: float | None
    """Conductance it advertises for the link to this node."""
    bandwidth_score: float | None = None
    """What the link to it can carry, 0 to 1; None where there is no link."""


class Member(Struct):
    """One live peer: its verified address and what it last said."""

    id: bytes
    address: Address
    last_seen: float
    incarnation: int | None = None
    """Last incarnation known, perhaps from before it was lost."""
    rtt: float | None = None
    probe_at: float = float("-inf")
    """When it may be asked for a sign of life again."""
    heard_at: float = float("-inf")
    """When `beat` was received."""
    beat: Heartbeat | None = None
    draining: bool = False
    """Whether it said that it takes no new work and is about to leave."""
    pushed: ThermodynamicPush | None = None
    services: dict[bytes, tuple[float, int, ServiceLoad]] = field(default_factory=dict)
    """Tag to (time received, sequence, load)."""
    descriptors: dict[bytes, tuple[float, Descriptor]] = field(default_factory=dict)

    def measured(self, rtt: float) -> None:
        """Take one round-trip time."""
        self.rtt = smooth(self.rtt, rtt)

    @property
    def full(self) -> bool:
        """Whether it takes no work: it drains, or serves nothing of what it offers."""
        loads = [load for _, _, load in self.services.values()]
        return self.draining or (bool(loads) and all(load.service_rate <= 0 for load in loads))

    def echo(self, now: float) -> Echo | None:
        """Return what the next heartbeat to this peer says of its own."""
        if self.incarnation is None:
            return None
        if self.beat is None:
            return Echo(self.incarnation, 0, MAX_HOLD_US)
        hold = min(max(0.0, now - self.heard_at) * 1e6, MAX_HOLD_US)
        return Echo(self.incarnation, self.beat.sequence, int(hold))

    def hear(self, beat: Heartbeat, now: float) -> tuple[bytes, ...] | None:
        """Merge a heartbeat of the current incarnation; returns the tags it brought news of, None if old."""
        newest = self.beat is None or _newer(beat.sequence, self.beat.sequence)
        fresh = []
        for load in beat.services:
            known = self.services.get(load.tag)
            if known is None or _newer(beat.sequence, known[1]):
                self.services[load.tag] = (now, beat.sequence, load)
                fresh.append(load.tag)
        if not newest and not fresh:
            return None
        while len(self.services) > MAX_SERVICES:
            del self.services[min(self.services, key=lambda tag: self.services[tag][0])]
        for entry in beat.descriptors:
            self.descriptors[service_tag(entry.name)] = (now, entry)
        while len(self.descriptors) > MAX_DESCRIPTORS:
            del self.descriptors[min(self.descriptors, key=lambda tag: self.descriptors[tag][0])]
        if newest:
            self.beat, self.heard_at = beat, now
        return tuple(fresh)

    def tell(self, tags: tuple[bytes, ...], net_arrivals: tuple[tuple[bytes, float], ...]) -> None:
        """Take the net arrivals that came with the loads of `tags`."""
        for tag, rate in net_arrivals:
            if tag in tags and (known := self.services.get(tag)) is not None:
                at, sequence, load = known
                self.services[tag] = (at, sequence, replace(load, net_arrivals=rate))

    def reborn(self, incarnation: int) -> None:
        """Forget what an earlier life said."""
        self.incarnation = incarnation
        self.beat = None
        self.services.clear()
        self.descriptors.clear()

    def view(self, now: float, score: float | None, oldest: float) -> PeerView:
        """Return the frozen picture of this peer, without what was not repeated since `oldest`."""
        loads = {tag: entry for tag, entry in self.services.items() if entry[0] >= oldest}
        services = {tag: load for tag, (_, _, load) in loads.items()}
        descriptors = {tag: entry for tag, (at, entry) in self.descriptors.items() if at >= oldest}
        beat = self.beat and replace(
            self.beat, services=tuple(services.values()), descriptors=tuple(descriptors.values())
        )
        pushed = None if self.pushed is None else self.pushed.free_energy
        return PeerView(
            id=self.id,
            name="" if beat is None else beat.name,
            address=self.address,
            rtt=self.rtt,
            age=max(0.0, now - self.last_seen),
            incarnation=self.incarnation,
            linked=score is not None,
            bandwidth_score=score,
            heartbeat=beat,
            services=services,
            received={tag: at for tag, (at, _, _) in loads.items()},
            descriptors=descriptors,
            free_energy=pushed if beat is None else beat.free_energy,
            conductance=None if beat is None else beat.conductance,
        )


class Members:
    """The nodes that are up on the wire, by id."""

    def __init__(self, oldest: float) -> None:
        self._oldest = oldest
        self._members: dict[bytes, Member] = {}
        self._incarnations: OrderedDict[bytes, int] = OrderedDict()

    def add(self, node: bytes, address: Address, now: float) -> Member:
        """Take a node that proved itself at `address`."""
        member = self._members[node] = Member(node, address, now, self._incarnations.get(node))
        return member

    def remove(self, node: bytes) -> Member | None:
        """Take a node out; its incarnation is remembered, so that a replay of its past stays refused."""
        member = self._members.pop(node, None)
        if member is not None and member.incarnation is not None:
            self._incarnations[node] = member.incarnation
            self._incarnations.move_to_end(node)
            if len(self._incarnations) > _REMEMBERED:
                self._incarnations.popitem(last=False)
        return member

    def get(self, node: bytes) -> Member | None:
        """Return a node by id, None if it is not up."""
        return self._members.get(node)

    def all(self) -> list[Member]:
        """Return the nodes in the order in which they came up."""
        return list(self._members.values())

    def views(self, links: Mapping[bytes, float], now: float) -> tuple[PeerView, ...]:
        """Return a frozen picture of each; loads not repeated for a while are left out.

        `links` are the link neighbours with their bandwidth scores.
        """
        oldest = now - self._oldest
        return tuple(member.view(now, links.get(member.id), oldest) for member in self._members.values())

    @property
    def ids(self) -> frozenset[bytes]:
        """Ids of the nodes."""
        return frozenset(self._members)

    def __contains__(self, node: object) -> bool:
        return node in self._members

    def __len__(self) -> int:
        return len(self._members)


def _newer(sequence: int, than: int) -> bool:
    """Compare 32-bit serial numbers (RFC 1982)."""
    return 0 < (sequence - than) & 0xFFFFFFFF < 0x80000000
