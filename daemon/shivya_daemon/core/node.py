"""The node: bytes and times in, bytes and events out. It owns no clock, no socket, no task and no randomness.

A driver calls `receive` for every datagram and `handle_timer` when `next_deadline` has come, then drains
`datagrams` and `events`. Nothing that arrives can raise out of `receive`: what is not understood, not asked
for, or not from a proved address is dropped, and counted by reason in `counters`.

Its layers, from below: a wire (`wire`), the members it brings up (`peering`), gossip among them (`gossip`),
the hash table (`dht`), links and the heartbeats over them (`links`, `pulse`), signals along them (`signals`).
They are put together in `stack`; `inbox`, `news` and `agenda` let them work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from shivya_daemon.core.agenda import Agenda
from shivya_daemon.core.anomalies import Anomalies
from shivya_daemon.core.counters import Counters
from shivya_daemon.core.dht.operation import Operation
from shivya_daemon.core.events import Event
from shivya_daemon.core.frames import GOSSIP, HISTORY, LEASE, LINK, Frame, Leave, Peer, encode
from shivya_daemon.core.gossip.announcement import Profile
from shivya_daemon.core.gossip.frames import encode_payload
from shivya_daemon.core.gossip.resources import Reading, Resource, Resources, encode_resources
from shivya_daemon.core.gossip.state import Key
from shivya_daemon.core.history import Shown, Want
from shivya_daemon.core.history import encode_payload as encode_history
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.inbox import Inbox
from shivya_daemon.core.leases.leases import Leases
from shivya_daemon.core.links.invariants import Violation
from shivya_daemon.core.links_view import LinkView, view
from shivya_daemon.core.members import PeerView
from shivya_daemon.core.news import News
from shivya_daemon.core.outbox import Gate
from shivya_daemon.core.pulse import LocalLoad, Told
from shivya_daemon.core.settings import Address, NodeSettings
from shivya_daemon.core.signals import GradientReading, Kind
from shivya_daemon.core.stack import Stack
from shivya_daemon.core.wire import Rejected

__all__ = ["Address", "LinkView", "LocalLoad", "Node", "NodeSettings", "Operation", "PeerView", "Told"]

_Result = TypeVar("_Result")


class Node:
    """One node of the mesh; `entropy(n)` gives n unpredictable bytes, times are of any steady clock.

    `mesh_key` is 32 bytes that all nodes of a mesh share, or None for a mesh open to all; `allow` are the ids
    that it speaks with, None for all; `profile` is what it announces of itself besides its name.
    """

    def __init__(
        self,
        identity: Identity,
        settings: NodeSettings,
        entropy: Callable[[int], bytes],
        incarnation: int,
        *,
        mesh_key: bytes | None = None,
        allow: frozenset[bytes] | None = None,
        profile: Profile | None = None,
    ) -> None:
        self.identity = identity
        self.id = identity.node_id
        self.settings = settings
        self._entropy = entropy
        self._gate = Gate()
        self._mesh_key = mesh_key
        self._allow = allow
        self._profile = Profile(name=settings.name) if profile is None else profile
        self.restart(incarnation)

    def restart(self, incarnation: int) -> None:
        """Forget all but identity, settings and blocked addresses, as a process that starts again does."""
        self._stack = Stack(
            self.identity,
            self.settings,
            self._entropy,
            incarnation,
            self._gate,
            self._mesh_key,
            self._allow,
            self._profile,
        )
        self._inbox = Inbox(self._stack)
        self._news = News(self._stack)
        self._agenda = Agenda(self._stack)
        self._now = 0.0
        self._left = False

    # The five verbs

    def receive(self, data: bytes, address: Address, now: float) -> None:
        """Take one datagram that came from `address`."""
        self._now = now
        counters = self.counters
        counters.datagrams_received += 1
        counters.bytes_received += len(data)
        if self._left:
            counters.drop("left")
            return
        if self._gate.closed(address):
            counters.drop("blocked")
            return
        inbound = self._stack.wire.receive(data, address, now)
        self._news.spread(now)
        if inbound is None:
            return
        reason: str | None
        culprit: bytes | None = None
        if isinstance(inbound, str):
            reason = inbound
        elif isinstance(inbound, Rejected):
            reason, culprit = inbound.reason, inbound.sender
        else:
            reason = self._inbox.deliver(inbound, now)
            culprit = inbound.sender if self._stack.wire.authentic else None
        if reason is not None:
            counters.drop(reason)
            self.anomalies.dropped(reason, now, culprit)
        self._news.spread(now)

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`; harmless when called early or late."""
        self._now = now
        if not self._left:
            self._agenda.run(now)
            self._news.spread(now)

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` wants to be called next; None while there is nothing to wait for."""
        deadline = None if self._left else self._agenda.next_deadline()
        return None if deadline is None else max(self._now, deadline)

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Return what to send, and forget it."""
        return self._stack.outbox.datagrams()

    def events(self) -> list[Event]:
        """Return what happened since the last call, and forget it."""
        return self._stack.outbox.events()

    # What the host asks for

    def connect(self, address: Address, now: float) -> None:
        """Try `address` until a node answers there, ever more slowly, and again whenever it falls silent.

        Raises `ValueError` if no node can have this address, or too many are tried already.
        """
        self._now = now
        self._stack.peering.connect(address, now)
        self._agenda.hurry()

    def advertise(self, addresses: tuple[Address, ...]) -> None:
        """Announce where this node can be reached, at most three addresses; raises `EncodeError`."""
        self._stack.announce(addresses)
        self._profile = self._stack.profile

    def publish(self, load: LocalLoad, now: float) -> None:
        """Replace what heartbeats carry and make them due, at once or half an interval after the last ones.

        Raises `EncodeError`, and goes on with the old load, if the new one cannot be carried.
        """
        self._now = now
        self._stack.pulse.publish(load)
        if not self._left:
            self._agenda.publish(now)

    @property
    def told(self) -> dict[bytes, Told]:
        """What the last heartbeats said of each service, by tag."""
        return dict(self._stack.pulse.told)

    def drain(self, now: float) -> None:
        """Take no new link and end all there are, as before a planned end; peers are told that it drains."""
        self._stack.draining = True
        self._stack.leases.drain()
        self._agenda.beat(now)
        self._stack.links.drain(now)
        self._agenda.hurry()

    @property
    def draining(self) -> bool:
        """Whether `drain` was called."""
        return self._stack.draining

    @property
    def drained(self) -> bool:
        """Whether, after `drain`, every link neighbour knows, or was told often enough."""
        return self._stack.links.drained

    def leave(self, now: float) -> None:
        """Tell every peer goodbye, then be silent for good; `datagrams` holds the goodbyes."""
        self._now = now
        stack = self._stack
        stack.leases.close(now)
        for node, body in stack.leases.outgoing():
            stack.send_layer(node, LEASE, body, now)
        self._news.spread(now)
        goodbye = encode(Frame(self.id, Leave(stack.incarnation)))
        peers = [member.id for member in stack.members.all()]
        for node, exchange in stack.gossip.leave(now, peers):
            stack.send_layer(node, GOSSIP, encode_payload(exchange), now)
        for node in peers:
            stack.wire.send(node, goodbye, now)
        self._left = True

    def find(self, node_id: bytes) -> Operation[Peer]:
        """Look up where a node answers; the lookup starts with the next timer, which is due now."""
        return self._begin(self._stack.dht.find(node_id), node_id)

    def get(self, key: bytes) -> Operation[bytes]:
        """Look up a value; of a signed one, its payload."""
        return self._begin(self._stack.dht.get(key), key)

    def put(self, value: bytes) -> Operation[int]:
        """Store a value of at most 256 bytes under its hash, `key` of the operation; raises `ValueError`."""
        return self._begin(self._stack.dht.put(value), bytes(20))

    def put_signed(self, payload: bytes, sequence: int) -> Operation[int]:
        """Store at most 152 bytes under this node's own key, in place of lower sequences."""
        return self._begin(self._stack.dht.put_signed(payload, sequence, self.identity), self.id)

    def signal(self, kind: Kind, name: str, payload: bytes, now: float, *, ttl: int | None = None) -> bytes:
        """Send a signal of type `name`; returns its id. Raises `EncodeError` or `SignalRefused`."""
        sent = self._stack.signals.send(kind, name, payload, now, ttl=ttl)
        self._agenda.hurry()
        return sent

    def contribute(self, name: str, payload: bytes, now: float, *, subject: bytes | None = None) -> bytes:
        """Contribute to a quorum of type `name`; returns its subject. Raises as `signal` does."""
        chosen = self._stack.signals.contribute(name, payload, now, subject=subject)
        self._agenda.hurry()
        return chosen

    def register(self, name: str, roster: frozenset[bytes], threshold: int | None = None) -> None:
        """Fix who decides quorums of type `name`; raises `ValueError` for what cannot be met."""
        self._stack.signals.register(name, sorted(roster), threshold)

    def gradient(self, name: str, now: float) -> list[GradientReading]:
        """Return the gradient signals of type `name` felt here, the strongest first."""
        return self._stack.signals.read_gradient(name, now)

    @property
    def leases(self) -> Leases:
        """What this node lends and borrows; what is asked of it there goes out with the next timer."""
        return self._stack.leases

    def offer(self, resources: Resources) -> None:
        """Tell the fleet what share of each resource is free here; raises `EncodeError`."""
        self._stack.gossip.publish(Key.RESOURCES, encode_resources(resources))
        self._stack.gradient.own = resources

    def tell_ledger_head(self, checkpoint: bytes) -> None:
        """Tell the fleet how far the audit ledger of this node goes; raises `EncodeError`."""
        self._stack.gossip.publish(Key.LEDGER_HEAD, checkpoint)

    def ask_history(self, node: bytes, old: int, now: float) -> None:
        """Ask a member to show that its audit ledger continues its first `old` entries."""
        self._stack.send_layer(node, HISTORY, encode_history(Want(old)), now)

    def show_history(
        self, node: bytes, old: int, checkpoint: bytes, path: tuple[bytes, ...], now: float
    ) -> None:
        """Show a member that this node's does; raises `EncodeError`."""
        self._stack.send_layer(node, HISTORY, encode_history(Shown(old, checkpoint, path)), now)

    def tell_spirit(self, value: bytes) -> None:
        """Tell the fleet what this node knows of the spirit on the mesh; raises `EncodeError`."""
        self._stack.gossip.publish(Key.SPIRIT, value)

    def block(self, address: Address) -> None:
        """Drop every datagram to and from `address`; raises `ValueError` when too many are blocked."""
        self._gate.block(address)

    def unblock(self, address: Address) -> None:
        """Undo `block`."""
        self._gate.unblock(address)

    def quarantine(self, node: bytes, now: float) -> None:
        """Hold no link with a node until `readmit`, whatever it proposes; raises `ValueError` for too many.

        It stays a member: others may think otherwise of it, and what it does is still seen.
        """
        self._now = now
        farewell = self._stack.links.block(node, now)
        if farewell is not None and node in self._stack.members:
            self._stack.send_layer(node, LINK, farewell, now)
        self._news.spread(now)
        self._agenda.hurry()

    def readmit(self, node: bytes) -> None:
        """Undo `quarantine`: links come back as they came the first time."""
        self._stack.links.unblock(node)
        self._agenda.hurry()

    # What the host may know

    @property
    def anomalies(self) -> Anomalies:
        """What went wrong, and by whom; the host may add what it has noticed itself."""
        return self._stack.anomalies

    def peers(self, now: float) -> tuple[PeerView, ...]:
        """Return a frozen picture of every member that is up."""
        stack = self._stack
        return stack.members.views(
            {node: stack.links.score(node) or 0.0 for node in stack.links.established}, now
        )

    @property
    def members(self) -> frozenset[bytes]:
        """Ids of the nodes that this one believes to live, itself not among them."""
        return self._stack.ids

    @property
    def links(self) -> tuple[bytes, ...]:
        """Ids of the link neighbours, to whom heartbeats go."""
        return self._stack.links.established

    def link_views(self, now: float) -> tuple[LinkView, ...]:
        """Return a frozen picture of every link, those on their way and those that end included."""
        members = self._stack.members
        return tuple(view(link, members.get(link.node), now) for link in self._stack.links.agreements)

    def phases(self, now: float) -> dict[bytes, float]:
        """Return the phase of this node and of each peer within its TTL, in rad; none before a beat."""
        oscillator = self._stack.oscillator
        if oscillator is None:
            return {}
        told = {live.node: live.theta for live in self._stack.phases.live(now)}
        return {self.id: oscillator.at(now), **told}

    def profile(self, node: bytes) -> Profile | None:
        """Return what a known node announces of itself, this one's own among them."""
        if node == self.id:
            return self._stack.profile
        state = self._stack.gossip.state(node)
        return None if state is None else state.announcement.profile

    def public_key(self, node: bytes) -> bytes | None:
        """Return the key that a known node signs with, this one's own among them."""
        if node == self.id:
            return self.identity.public_key
        state = self._stack.gossip.state(node)
        return None if state is None else state.announcement.public_key

    def resource_readings(self, resource: Resource, now: float) -> dict[bytes, Reading]:
        """Return what is known of a resource, by node; this node's own is the first."""
        stack = self._stack
        hops = stack.topology.hops(now)
        nodes = (self.id, *sorted(stack.gossip.live))
        found = ((node, stack.gradient.reading(node, resource, hops, now)) for node in nodes)
        return {node: reading for node, reading in found if reading is not None}

    def flow_direction(self, resource: Resource) -> bytes | None:
        """Return the link neighbour that has most of a resource free, if that is more than here."""
        return self._stack.gradient.flow_direction(resource, self._stack.links.established)

    def invariants(self, now: float) -> tuple[Violation, ...]:
        """Return what does not hold of the links, as far as this node knows."""
        return self._stack.links.invariants(now)

    @property
    def incarnation(self) -> int:
        """The present life of this node."""
        return self._stack.incarnation

    @property
    def counters(self) -> Counters:
        """Datagrams and bytes each way, and drops by reason; drivers add their own reasons."""
        return self._stack.outbox.counters

    def _begin(self, operation: Operation[_Result] | None, target: bytes) -> Operation[_Result]:
        """Have an operation started at once; one that found no room is over."""
        if operation is None:
            self.counters.drop("lookups_full")
            operation = Operation(target)
            operation.finish(None)
        return operation
