"""The node: bytes and times in, bytes and events out. It owns no clock, no socket, no task and no randomness.

A driver calls `receive` for every datagram and `handle_timer` when `next_deadline` has come, then drains
`datagrams` and `events`. Nothing that arrives can raise out of `receive`: what is not understood, not asked
for, or not from a proved address is dropped, and counted by reason in `counters`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from shivya_daemon.core.counters import Counters
from shivya_daemon.core.discovery import Discovery
from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.events import (
    Event,
    HeartbeatReceived,
    IncarnationAdopted,
    ObservationReceived,
    PeerRestarted,
)
from shivya_daemon.core.frames import (
    MAGIC,
    MAX_PEERS,
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Frame,
    GradientDiff,
    Heartbeat,
    Leave,
    Payload,
    Peer,
    Ping,
    Pong,
    Store,
    ThermodynamicPush,
    decode,
)
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.limits import KeyedLimit, TokenBucket
from shivya_daemon.core.lookup import Operation
from shivya_daemon.core.members import Member, PeerView
from shivya_daemon.core.outbox import Gate, Outbox
from shivya_daemon.core.peering import Peering
from shivya_daemon.core.pulse import LocalLoad, Pulse
from shivya_daemon.core.settings import Address, NodeSettings

__all__ = ["Address", "LocalLoad", "Node", "NodeSettings", "Operation", "PeerView"]

_MAX_OBSERVED = 1e9  # magnitude of a number in 0x03 or 0x04 beyond which it is noise
_MAX_INCARNATION = 1 << 63  # a claim above this would leave no room to go beyond it
_PONG = b"\x02"  # limited by what was asked: a flood of others must not keep this node from proving its seeds
_LATE_TIMER = 1.0  # seconds; a node that slept this long cannot judge who was silent
_STRANGERS = 512  # addresses whose rate is remembered
_STRANGER_PEERS = 4  # peers told to an address that has not proved itself
_STRANGER_PINGS = 2  # PINGs sent to it, so that with the PONG it never gets more than the next factor
_AMPLIFICATION = 3  # bytes told to it, per byte received


class Node:
    """One node of the mesh; `entropy(n)` gives n unpredictable bytes, times are of any steady clock."""

    def __init__(
        self,
        identity: Identity,
        settings: NodeSettings,
        entropy: Callable[[int], bytes],
        incarnation: int,
    ) -> None:
        self.identity = identity
        self.id = identity.node_id
        self.settings = settings
        self._entropy = entropy
        self._gate = Gate()
        self.restart(incarnation)

    def restart(self, incarnation: int) -> None:
        """Forget all but identity, settings and blocked addresses, as a process that starts again does."""
        settings = self.settings
        self.incarnation = incarnation
        self._outbox = Outbox(self.id, settings, self._gate)
        self._peering = Peering(self.id, settings, self._entropy, self._outbox)
        self._members = self._peering.members
        self._discovery = Discovery(self.id, settings, self._entropy, self._members, self._peering.table)
        self._pulse = Pulse(self.id, settings)
        self._strangers = KeyedLimit(settings.stranger_rate, 2 * settings.stranger_rate, _STRANGERS)
        self._all_strangers = TokenBucket(settings.strangers_rate, 2 * settings.strangers_rate, 0.0)
        self._housekeep_at = float("-inf")
        self._beaten_at = float("-inf")
        self._beat_at = float("-inf")
        self._push_at = float("-inf")
        self._now = 0.0
        self._urgent = False
        self._left = False

    # The five verbs

    def receive(self, data: bytes, address: Address, now: float) -> None:
        """Take one datagram that came from `address`."""
        self._now = now
        counters = self._outbox.counters
        counters.datagrams_received += 1
        counters.bytes_received += len(data)
        reason = self._receive(data, address, now)
        if reason is not None:
            counters.drop(reason)

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`; harmless when called early or late."""
        self._now = now
        if self._left:
            return
        if self._urgent or now >= self._housekeep_at:
            self._housekeep(now)
        if now >= self._beat_at:
            self._beat(now)

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` wants to be called next; None while there is nothing to wait for."""
        if self._left:
            return None
        if self._urgent:
            return self._now
        if len(self._members):
            return max(self._now, min(self._housekeep_at, self._beat_at))
        return max(self._now, self._housekeep_at) if self._peering.busy or self._discovery.busy else None

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Return what to send, and forget it."""
        return self._outbox.datagrams()

    def events(self) -> list[Event]:
        """Return what happened since the last call, and forget it."""
        return self._outbox.events()

    # What the host asks for

    def connect(self, address: Address, now: float) -> None:
        """Try `address` until a node answers there, ever more slowly, and again whenever it falls silent.

        Raises `ValueError` if no node can have this address, or too many are tried already.
        """
        self._now = now
        self._peering.connect(address, now)
        self._urgent = True

    def publish(self, load: LocalLoad, now: float) -> None:
        """Replace what heartbeats carry and make them due, at once or half an interval after the last ones.

        Raises `EncodeError`, and goes on with the old load, if the new one cannot be carried.
        """
        self._now = now
        self._pulse.publish(load)
        self._beat_at = min(self._beat_at, self._beaten_at + 0.5 * self.settings.heartbeat_interval)
        if not self._left and now >= self._beat_at:
            self._beat(now)

    def leave(self, now: float) -> None:
        """Tell every peer goodbye, then be silent for good; `datagrams` holds the goodbyes."""
        self._now = now
        for member in self._members.all():
            self._outbox.send(Leave(self.incarnation), member.address)
        self._left = True

    def find(self, node_id: bytes) -> Operation:
        """Look up a node; the lookup starts with the next timer, which is due now."""
        operation = self._discovery.find(node_id)
        if operation is None:
            self._outbox.counters.drop("lookups_full")
            operation = Operation(node_id)
            operation.finish(None, ())
        self._urgent = True
        return operation

    def block(self, address: Address) -> None:
        """Drop every datagram to and from `address`; raises `ValueError` when too many are blocked."""
        self._gate.block(address)

    def unblock(self, address: Address) -> None:
        """Undo `block`."""
        self._gate.unblock(address)

    def peers(self, now: float) -> tuple[PeerView, ...]:
        """Return a frozen picture of every live peer."""
        return self._members.views(now)

    @property
    def members(self) -> frozenset[bytes]:
        """Ids of the live peers."""
        return self._members.ids

    @property
    def links(self) -> tuple[bytes, ...]:
        """Ids of the link neighbours, to whom heartbeats go."""
        return self._members.links

    @property
    def counters(self) -> Counters:
        """Datagrams and bytes each way, and drops by reason; drivers add their own reasons."""
        return self._outbox.counters

    # Receiving: every handler returns None, or the reason for which the datagram was dropped

    def _receive(self, data: bytes, address: Address, now: float) -> str | None:
        if self._left:
            return "left"
        if self._gate.closed(address):
            return "blocked"
        if data[:4] != MAGIC:
            return "bad_magic"
        member = self._members.at(address)
        if member is not None:
            if not member.bucket.allow(now):
                return "rate_limited"
        elif data[4:5] != _PONG and not self._strangers_allow(address, now):
            return "rate_limited"
        try:
            frame = decode(data)
        except DecodeError as error:
            return error.reason
        if frame.sender == self.id:
            return "own_sender"
        if isinstance(frame.payload, Pong):
            return self._prove(frame.sender, frame.payload.timestamp, address, now)
        if member is None or member.id != frame.sender:
            return self._from_stranger(frame, address, len(data), now)
        member.last_seen = now
        return self._from_member(member, frame.payload, len(data), now)

    def _strangers_allow(self, address: Address, now: float) -> bool:
        return self._strangers.allow(address, now) and self._all_strangers.allow(now)

    def _from_stranger(self, frame: Frame, address: Address, size: int, now: float) -> str | None:
        """Handle a frame whose sender has not proved itself at its address."""
        match frame.payload:
            case FindNode() | FindValue():
                self._answer(frame.payload, frame.sender, address, size, _STRANGER_PEERS)
                return None
            case Leave():
                return "unverified_sender"
            case Ping(nonce):
                self._outbox.send(Pong(nonce), address)
                self._peering.probe(address, now, _STRANGER_PINGS)
                return None
        self._peering.probe(address, now, _STRANGER_PINGS)
        return "unverified_sender"

    def _from_member(self, member: Member, payload: Payload, size: int, now: float) -> str | None:
        """Handle a frame from the proved address of its sender."""
        match payload:
            case Heartbeat():
                return self._hear(member, payload, now)
            case ThermodynamicPush(a, b) | GradientDiff(_, a, b):
                if not (abs(a) <= _MAX_OBSERVED and abs(b) <= _MAX_OBSERVED):
                    return "out_of_range"
                if isinstance(payload, ThermodynamicPush):
                    member.pushed = payload
                self._outbox.emit(ObservationReceived(member.id, payload))
            case Ping(nonce):
                self._outbox.send(Pong(nonce), member.address)
            case FindNode() | FindValue():
                self._answer(payload, member.id, member.address, size, MAX_PEERS)
            case FoundNodes(peers):
                if not self._discovery.answer(member.id, member.address, peers, now):
                    return "unsolicited"
                self._peering.consider(peers, now)
                self._urgent = self._urgent or self._discovery.busy
            case Leave(incarnation):
                if member.incarnation is not None and incarnation < member.incarnation:
                    return "stale_incarnation"
                self._peering.lose(member, "left", now)
            case Store():
                return "store_unsupported"
            case FoundValue():
                return "unsolicited"
        return None

    def _prove(self, sender: bytes, nonce: int, address: Address, now: float) -> str | None:
        proof = self._peering.prove(sender, nonce, address, now)
        if isinstance(proof, str):
            return proof
        if proof.joined:
            self._pulse.describe()
            self._discovery.joined(now)
            self._ask(Peer(sender, *address), self.id, now)
        for target in self._discovery.wanted(sender):
            self._ask(Peer(sender, *address), target, now)
        return None

    def _hear(self, member: Member, beat: Heartbeat, now: float) -> str | None:
        if member.incarnation is None:
            member.incarnation = beat.incarnation
        elif beat.incarnation < member.incarnation:
            return "stale_incarnation"
        elif beat.incarnation > member.incarnation:
            member.reborn(beat.incarnation)
            self._outbox.emit(PeerRestarted(member.id, beat.incarnation))
        tags = member.hear(beat, now)
        if tags is None:
            return "stale_sequence"
        if beat.echo is not None:
            if beat.echo.incarnation == self.incarnation:
                rtt = self._pulse.round_trip(beat.echo, now)
                if rtt is not None:
                    member.measured(rtt)
            elif self.incarnation < beat.echo.incarnation < _MAX_INCARNATION:
                self.incarnation = beat.echo.incarnation + 1
                self._outbox.emit(IncarnationAdopted(self.incarnation))
        self._outbox.emit(HeartbeatReceived(member.id, tags))
        return None

    def _answer(
        self, query: FindNode | FindValue, sender: bytes, address: Address, size: int, limit: int
    ) -> None:
        """Name the closest peers; a value is never known, and strangers get few bytes for theirs."""
        key = query.target if isinstance(query, FindNode) else query.key
        room = math.inf if limit == MAX_PEERS else _AMPLIFICATION * size
        peers = self._peering.table.closest(key, limit, exclude=(sender,))
        while True:
            found = FoundNodes(peers) if isinstance(query, FindNode) else FoundValue(key, None, peers)
            data = self._outbox.encode(found)
            if len(data) <= room:
                return self._outbox.queue(data, address)
            peers = peers[:-1]

    # Doing what is due

    def _housekeep(self, now: float) -> None:
        if now - self._housekeep_at > _LATE_TIMER:
            self._peering.forgive(now)
        self._urgent = False
        self._housekeep_at = now + self.settings.housekeeping_interval
        self._peering.watch(now)
        for peer, target in self._discovery.due(now):
            self._ask(peer, target, now)
        if now >= self._push_at:
            self._push(now)
        self._peering.ping(now)

    def _push(self, now: float) -> None:
        self._push_at = now + self.settings.push_interval
        load = self._pulse.load
        free_energy = load.free_energy if math.isfinite(load.free_energy) else 0.0
        data = self._outbox.encode(ThermodynamicPush(free_energy, load.active_cells))
        for member in self._members.all():
            self._outbox.queue(data, member.address)

    def _beat(self, now: float) -> None:
        self._beaten_at = now
        self._beat_at = now + 1.25 * self.settings.heartbeat_interval
        for data, address in self._pulse.beat(self._members.linked(), self.incarnation, now):
            self._outbox.queue(data, address)

    def _ask(self, peer: Peer, target: bytes, now: float) -> None:
        """Put a FIND_NODE to a peer, which must prove itself first if it has not."""
        address = (peer.host, peer.port)
        member = self._members.at(address)
        if member is None or member.id != peer.id:
            self._peering.probe(address, now)
        elif self._discovery.ask(address, target, now):
            self._outbox.send(FindNode(target), address)
