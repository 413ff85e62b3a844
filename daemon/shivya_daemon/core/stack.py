"""One life of a node: its layers, and what they share: sending, reaching, and who counts as a member."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from shivya_daemon.core.anomalies import Anomalies
from shivya_daemon.core.candidates import LiveCandidates
from shivya_daemon.core.chorus import Oscillator, Phases
from shivya_daemon.core.dht import token_frames
from shivya_daemon.core.dht.dht import Dht
from shivya_daemon.core.dht.requests import Message
from shivya_daemon.core.dht.token_frames import TokenGrant, TokenPut, TokenRequest, TokenStored
from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.events import IncarnationAdopted, LedgerHeadTold, PeerJoined, PeerLeft, SpiritTold
from shivya_daemon.core.frames import TOKEN, Frame, Layered, Payload, encode
from shivya_daemon.core.gossip.announcement import Profile
from shivya_daemon.core.gossip.gossip import Gossip
from shivya_daemon.core.gossip.resources import ResourceGradient, decode_resources
from shivya_daemon.core.gossip.state import Key
from shivya_daemon.core.gossip.topology import Topology, decode_links, encode_links
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.leases.kinds import Kind
from shivya_daemon.core.leases.leases import Leases
from shivya_daemon.core.leases.search import Offer, rank
from shivya_daemon.core.links.keeper import Links
from shivya_daemon.core.members import Member
from shivya_daemon.core.open_wire import OpenWire
from shivya_daemon.core.outbox import Gate, Outbox
from shivya_daemon.core.peering import Peering, Whereabouts
from shivya_daemon.core.pulse import Pulse
from shivya_daemon.core.secure_wire import SecureWire
from shivya_daemon.core.settings import Address, NodeSettings
from shivya_daemon.core.signals.signals import Signals
from shivya_daemon.core.wire import Wire

_MAX_INCARNATION = 1 << 63  # a claim above this would leave no room to go beyond it


class Stack:
    """The layers of a node, from the wire up; they meet here and in `inbox`, `news` and `agenda` only."""

    def __init__(
        self,
        identity: Identity,
        settings: NodeSettings,
        entropy: Callable[[int], bytes],
        incarnation: int,
        gate: Gate,
        mesh_key: bytes | None,
        allow: frozenset[bytes] | None,
        profile: Profile,
    ) -> None:
        self.id = identity.node_id
        self.settings = settings
        self.entropy = entropy
        self.incarnation = incarnation
        self.outbox = Outbox(self.id, settings, gate)
        counters = self.outbox.counters
        self.anomalies = Anomalies()
        self._secure: SecureWire | None = None
        if settings.wire == "secure":
            self._secure = SecureWire(identity, settings, entropy, self.outbox, incarnation, mesh_key, allow)
        self.wire: Wire = self._secure or OpenWire(self.id, settings, entropy, self.outbox)
        self.peering = Peering(settings, self.wire)
        self.members = self.peering.members
        self.gossip = Gossip(
            identity,
            settings.gossip,
            entropy,
            incarnation,
            profile=profile,
            counters=counters,
            refused=self._refused,
        )
        self.dht = Dht(self.id, replace(settings.dht, request_ids=settings.wire == "secure"), entropy)
        self.links = Links(self.id, settings.links, entropy, incarnation)
        self.signals = Signals(
            identity,
            settings.signals,
            entropy,
            incarnation,
            next_hop=self._next_hop,
            allow=allow,
            counters=counters,
        )
        self.leases = Leases(self.id, settings.leases, entropy, self._lenders, counters)
        self.topology = Topology(self.id)
        self.gradient = ResourceGradient(self.id)
        self.candidates = LiveCandidates(self.gossip, self.members, self.topology)
        self.phases = Phases(settings.chorus)
        self.oscillator: Oscillator | None = None
        self.pulse = Pulse(self.id, settings)
        self.profile = profile
        self.draining = False
        self._known: set[bytes] = set()
        self._spirited: set[bytes] = set()
        """Nodes that told of a spirit."""

    # Sending

    def send(self, node: bytes, payload: Payload, now: float, request: int = 0) -> bool:
        """Send a payload to a member; one that is not up is brought up, and this payload is lost."""
        if self.wire.send(node, encode(Frame(self.id, payload)), now, request):
            return True
        self.reach(node, now)
        return False

    def send_layer(self, node: bytes, code: int, body: bytes, now: float) -> bool:
        """Send the payload of a layer."""
        return self.send(node, Layered(code, body), now)

    def reach(self, node: bytes, now: float) -> bool:
        """Bring a node up, by what it announced of itself; False if nothing is known, or too many wait."""
        announcement = self.gossip.announcement(node, now)
        if announcement is None:
            return node in self.members
        addresses = announcement.profile.addresses
        if not addresses:
            return False
        # Any of them, so that the next attempt may find the one that answers.
        address = addresses[int.from_bytes(self.entropy(2)) % len(addresses)]
        return self.peering.reach(Whereabouts(node, address, announcement.static_key), now)

    # Who counts as a member

    def known(self, node: bytes, reason: str = "silent") -> None:
        """Look again whether a node is a member, by gossip or on the wire, and tell the host of changes."""
        is_member = node in self.gossip.live or node in self.members
        if is_member and node not in self._known:
            self._known.add(node)
            member = self.members.get(node)
            self.outbox.emit(PeerJoined(node, None if member is None else member.incarnation))
        elif not is_member and node in self._known:
            self._known.discard(node)
            self.outbox.emit(PeerLeft(node, reason))

    @property
    def ids(self) -> frozenset[bytes]:
        """Ids of the members."""
        return frozenset(self._known)

    def lose(self, node: bytes, reason: str, now: float) -> None:
        """Take a node down: it left, or fell silent; what hangs on it hears of it."""
        self.links.lost(node, now)
        self.dht.left(node)
        if reason == "left":
            self.leases.left(node, now)
        self.peering.lose(node, now, search=reason == "silent")
        self.known(node, reason)

    # The own life

    def announce(self, addresses: tuple[Address, ...]) -> None:
        """Publish where this node can be reached; raises `EncodeError` if that has no encoding."""
        self.profile = replace(self.profile, addresses=addresses)
        self.gossip.announce(self.profile)

    def adopt(self, incarnation: int) -> None:
        """Go on in a later life, as others remember one of this node that it does not."""
        if not self.incarnation < incarnation <= _MAX_INCARNATION:
            return
        self.incarnation = incarnation
        self.links.renew(incarnation)
        self.signals.adopt(incarnation)
        if self._secure is not None:
            self._secure.adopt(incarnation)
        self.outbox.emit(IncarnationAdopted(incarnation))

    def read(self, node: bytes, keys: Iterable[int], now: float) -> None:
        """Read again what a live node publishes; what cannot be read is as if it had never been said."""
        state = self.gossip.state(node)
        if state is None:
            return
        for key in keys:
            stamped = state.values.get(key)
            if stamped is None:
                continue
            version, value = stamped
            try:
                if key == Key.ANNOUNCEMENT:
                    self._follow(node, now)
                elif key == Key.LINKS:
                    self.topology.put(node, decode_links(value))
                elif key == Key.RESOURCES:
                    stamp = (state.incarnation, version)
                    self.gradient.hear(node, stamp, decode_resources(value), now)
                elif key == Key.LEDGER_HEAD:
                    self.outbox.emit(LedgerHeadTold(node, state.announcement.public_key, value))
                elif key == Key.SPIRIT:
                    self._spirited.add(node)
                    self.outbox.emit(SpiritTold(node, value))
            except DecodeError as error:
                self.outbox.counters.drop(error.reason)

    def _follow(self, node: bytes, now: float) -> None:
        member, announcement = self.members.get(node), self.gossip.announcement(node, now)
        if member is not None and announcement is not None:
            self.peering.moved(member, announcement.profile.addresses, now)

    def _refused(self, relay: bytes, reason: str, now: float) -> None:
        """Hold against a relay what no honest node passes on."""
        self.anomalies.dropped(reason, now, relay if self.wire.authentic else None)

    def forget(self, node: bytes) -> None:
        """Drop what a node published that is gone."""
        self.topology.forget(node)
        self.gradient.forget(node)
        if node in self._spirited:
            self._spirited.discard(node)
            self.outbox.emit(SpiritTold(node, b""))

    def say_links(self) -> None:
        """Tell the other layers, and the fleet, which links there are."""
        links = self.links.established
        self.topology.put(self.id, frozenset(links))
        self.gossip.publish(Key.LINKS, encode_links(links))
        rtts = [rtt for node in links if (rtt := self.links.rtt(node)) is not None]
        self.signals.set_links(links, max(rtts, default=0.0))

    def _lenders(self, kind: Kind, amount: int, left: float, now: float) -> list[bytes]:
        """Return whom to ask for a lease, the best first, of those that take work."""
        hops = self.topology.hops(now)
        offers = []
        for member in self.members.all():
            reading = self.gradient.reading(member.id, kind.resource, hops, now)
            if reading is not None and self._takes_work(member, now):
                offers.append(Offer(member.id, reading, member.rtt))
        mean = self.gradient.average(kind.resource)
        return rank(offers, kind, amount, left, mean, self.settings.leases)

    def _takes_work(self, member: Member, now: float) -> bool:
        """Return whether placement would send work to a member, or could if it were a link neighbour.

        What gets none for its silence or an open breaker is not asked for a lease either.
        """
        node = member.id
        if member.full or self.links.blocks(node):
            return False
        return node not in self.links.established or self.links.carries(node, now)

    def _next_hop(self, target: bytes) -> bytes | None:
        """Return the way to `target`: a link neighbour that lists it, or itself if it is up."""
        listed = self.topology.graph.get(target, frozenset())
        for link in self.links.established:
            if link in listed:
                return link
        if target in self.members:
            return target
        return None


def as_payload(message: Message) -> Payload:
    """Return a message of the hash table as the payload of a frame."""
    if isinstance(message, TokenRequest | TokenGrant | TokenStored | TokenPut):
        return Layered(TOKEN, token_frames.encode_payload(message))
    return message
