"""The live peers of a node: what each last said, and which of them are link neighbours."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

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
from shivya_daemon.core.limits import TokenBucket
from shivya_daemon.core.routing import distance
from shivya_daemon.core.settings import Address, NodeSettings

_RTT_GAIN = 0.125  # RFC 6298, 2.3
_REMEMBERED = 1024  # incarnations of peers that are gone


@dataclass(frozen=True)
class PeerView:
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


@dataclass(slots=True)
class Member:
    """One live peer: its verified address and what it last said."""

    id: bytes
    address: Address
    last_seen: float
    bucket: TokenBucket
    incarnation: int | None = None
    """Last incarnation known, perhaps from before it was lost."""
    rtt: float | None = None
    heard_at: float = float("-inf")
    """When `beat` was received."""
    beat: Heartbeat | None = None
    pushed: ThermodynamicPush | None = None
    services: dict[bytes, tuple[float, int, ServiceLoad]] = field(default_factory=dict)
    """Tag to (time received, sequence, load)."""
    descriptors: dict[bytes, tuple[float, Descriptor]] = field(default_factory=dict)

    def measured(self, rtt: float) -> None:
        """Take one round-trip time."""
        self.rtt = rtt if self.rtt is None else self.rtt + _RTT_GAIN * (rtt - self.rtt)

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

    def reborn(self, incarnation: int) -> None:
        """Forget what an earlier life said."""
        self.incarnation = incarnation
        self.beat = None
        self.services.clear()
        self.descriptors.clear()

    def view(self, now: float, linked: bool, oldest: float) -> PeerView:
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
            linked=linked,
            heartbeat=beat,
            services=services,
            received={tag: at for tag, (at, _, _) in loads.items()},
            descriptors=descriptors,
            free_energy=pushed if beat is None else beat.free_energy,
            conductance=None if beat is None else beat.conductance,
        )


class Members:
    """The live peers by id and by address, and the links among them."""

    def __init__(self, own: bytes, settings: NodeSettings) -> None:
        self._own = own
        self._settings = settings
        self._members: dict[bytes, Member] = {}
        self._by_address: dict[Address, bytes] = {}
        self._links: list[bytes] = []
        self._incarnations: OrderedDict[bytes, int] = OrderedDict()

    def add(self, node: bytes, address: Address, now: float) -> Member | None:
        """Take a peer that proved itself at `address`; None when there is no room."""
        if len(self._members) >= self._settings.max_peers:
            return None
        rate = self._settings.peer_rate
        member = Member(node, address, now, TokenBucket(rate, 2 * rate, now), self._incarnations.get(node))
        self._members[node] = member
        self._by_address[address] = node
        self._relink()
        return member

    def remove(self, node: bytes) -> Member:
        """Take a peer out; its incarnation is remembered, so that a replay of its past stays refused."""
        member = self._members.pop(node)
        del self._by_address[member.address]
        if member.incarnation is not None:
            self._incarnations[node] = member.incarnation
            self._incarnations.move_to_end(node)
            if len(self._incarnations) > _REMEMBERED:
                self._incarnations.popitem(last=False)
        if node in self._links:
            self._links.remove(node)
            self._relink()
        return member

    def move(self, member: Member, address: Address) -> None:
        """Note that a peer proved itself at another address."""
        del self._by_address[member.address]
        member.address = address
        self._by_address[address] = member.id

    def get(self, node: bytes) -> Member | None:
        """Return a live peer by id."""
        return self._members.get(node)

    def at(self, address: Address) -> Member | None:
        """Return the live peer at an address."""
        node = self._by_address.get(address)
        return None if node is None else self._members[node]

    def all(self) -> list[Member]:
        """Return the live peers in the order in which they joined."""
        return list(self._members.values())

    def linked(self) -> list[Member]:
        """Return the link neighbours."""
        return [self._members[node] for node in self._links]

    def views(self, now: float) -> tuple[PeerView, ...]:
        """Return a frozen picture of every live peer."""
        links, oldest = set(self._links), now - self._settings.peer_timeout
        return tuple(member.view(now, member.id in links, oldest) for member in self._members.values())

    @property
    def ids(self) -> frozenset[bytes]:
        """Ids of the live peers."""
        return frozenset(self._members)

    @property
    def links(self) -> tuple[bytes, ...]:
        """Ids of the link neighbours."""
        return tuple(self._links)

    def __len__(self) -> int:
        return len(self._members)

    def _relink(self) -> None:
        """Fill free link places with the peers nearest by XOR distance; a link once taken is kept."""
        room = self._settings.max_links - len(self._links)
        if room > 0:
            free = [node for node in self._members if node not in self._links]
            self._links += sorted(free, key=lambda node: distance(self._own, node))[:room]


def _newer(sequence: int, than: int) -> bool:
    """Compare 32-bit serial numbers (RFC 1982)."""
    return 0 < (sequence - than) & 0xFFFFFFFF < 0x80000000
