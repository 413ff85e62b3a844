"""What is due: every layer's turn, in one order, at the times that they ask for."""

from __future__ import annotations

import math

from shivya_daemon.core.beacon import Beacon
from shivya_daemon.core.chorus import Oscillator
from shivya_daemon.core.dht.dht import Question
from shivya_daemon.core.frames import (
    GOSSIP,
    LEASE,
    LINK,
    SIGNAL,
    Frame,
    Layered,
    Peer,
    ThermodynamicPush,
    encode,
)
from shivya_daemon.core.gossip.frames import encode_payload as encode_exchange
from shivya_daemon.core.peering import Whereabouts
from shivya_daemon.core.signals.frame import encode_payload as encode_signal
from shivya_daemon.core.stack import Stack, as_payload

_LATE_TIMER = 1.0  # seconds; a node that slept this long cannot judge who was silent
_HEARD = 0.3  # seconds since a peer was heard, less than its questions take to fail, for it to be back
_NEVER = float("inf")
_AT_ONCE = float("-inf")


class Agenda:
    """Does what is due on one node."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._housekeep_at = _AT_ONCE
        self._housekept_at: float | None = None
        self._beat_at = _AT_ONCE
        self._beaten_at = _AT_ONCE
        self._told_to: tuple[bytes, ...] = ()
        """Link neighbours who got the last heartbeats."""
        self._push_at = _AT_ONCE
        self._reach_at = _AT_ONCE
        self._hurried = False

    def run(self, now: float) -> None:
        """Do what is due at `now`; harmless when called early or late."""
        stack = self._stack
        if now >= self._housekeep_at:
            self._housekeep(now)
        deadline = stack.wire.next_deadline()
        if deadline is not None and now >= deadline:
            stack.wire.handle_timer(now)
        if now >= stack.dht.next_deadline():
            self._look_up(now)
        self._signal(now)
        if now >= stack.leases.next_deadline():
            stack.leases.due(now)
            for node, body in stack.leases.outgoing():
                stack.send_layer(node, LEASE, body, now)
        if now >= self._beat_at:
            self.beat(now)

    def next_deadline(self) -> float | None:
        """Return when `run` wants to be called next; None while there is nothing to wait for."""
        stack = self._stack
        looking_up = stack.dht.next_deadline()
        times = [stack.wire.next_deadline()]
        if (leases := stack.leases.next_deadline()) < _NEVER:
            times.append(leases)
        if len(stack.members):
            times += [self._housekeep_at, self._beat_at, looking_up]
        elif looking_up == _AT_ONCE:
            times.append(looking_up)
        if self._hurried or stack.peering.busy or len(stack.gossip.live):
            times.append(self._housekeep_at)
        return min((time for time in times if time is not None), default=None)

    def hurry(self) -> None:
        """Have housekeeping done with the next `run`."""
        self._housekeep_at = _AT_ONCE
        self._hurried = True

    def publish(self, now: float) -> None:
        """Make the next heartbeats due, at once or half an interval after the last ones.

        Where silence is allowed, only if they tell news, or if it would last too long.
        """
        stack, settings = self._stack, self._stack.settings
        pause = 0.5 * settings.heartbeat_interval
        told = self._told_to == stack.links.established and not stack.pulse.moved(settings.heartbeat_change)
        if settings.heartbeat_silence is not None and told:
            # Publications come at intervals that vary: half an interval early rather than a whole one late.
            if now >= self._beaten_at + settings.heartbeat_silence - pause:
                self.beat(now)
            return
        self._beat_at = min(self._beat_at, self._beaten_at + pause)
        if now >= self._beat_at:
            self.beat(now)

    def beat(self, now: float) -> None:
        """Send heartbeats to the link neighbours."""
        stack = self._stack
        settings = stack.settings
        longest = (
            settings.heartbeat_interval if settings.heartbeat_silence is None else settings.heartbeat_silence
        )
        self._beaten_at = now
        self._beat_at = now + longest + 0.25 * settings.heartbeat_interval
        self._told_to = stack.links.established
        if stack.oscillator is None:
            theta = math.tau * int.from_bytes(stack.entropy(4), "big") / 2**32
            stack.oscillator = Oscillator(stack.settings.chorus, theta, now)
        stack.oscillator.advance(stack.phases.live(now), now)
        linked = [
            member for node in stack.links.established if (member := stack.members.get(node)) is not None
        ]
        if not linked:
            return
        stack.pulse.beacon = Beacon(stack.oscillator.tell(), stack.draining)
        for node, frame in stack.pulse.beat(linked, stack.incarnation, now):
            if stack.wire.send(node, frame, now):
                stack.links.sent(node, len(frame))

    def _housekeep(self, now: float) -> None:
        stack = self._stack
        if self._housekept_at is not None and now - self._housekept_at > _LATE_TIMER:
            stack.peering.forgive(now)
            stack.links.forgive(now)
            stack.gossip.forgive(now)
        self._housekept_at = now
        self._hurried = False
        self._housekeep_at = now + stack.settings.housekeeping_interval
        silent, late = stack.peering.watch(stack.links.established, now)
        for member in silent:
            stack.lose(member.id, "silent", now)
        for node in late:
            stack.dht.failed(node, now)
        self._restore(now)
        stack.wire.handle_timer(now)
        for address in stack.gossip.contact(now):
            stack.wire.connect(address, now)
        peers = list(stack.members.ids)
        for node, exchange in stack.gossip.round(now, sorted(peers)):
            stack.send_layer(node, GOSSIP, encode_exchange(exchange), now)
        deadline = stack.links.next_deadline()
        if deadline is not None and now >= deadline:
            for node, body in stack.links.due(now, stack.candidates, stack.topology.graph):
                stack.send_layer(node, LINK, body, now)
        if now >= self._reach_at:
            self._meet(now)
        if stack.settings.wire == "open" and now >= self._push_at:
            self._push(now)

    def _restore(self, now: float) -> None:
        """Give the table back the linked peers that it lost in an outage too short for the links."""
        stack = self._stack
        for node in stack.links.established:
            member = stack.members.get(node)
            if member is not None and stack.dht.table.has_room(node) and now - member.last_seen < _HEARD:
                stack.dht.joined(Peer(node, *member.address), now)

    def _meet(self, now: float) -> None:
        """Bring up one more live node while there are too few for gossip."""
        stack = self._stack
        self._reach_at = now + stack.settings.reach_interval
        live = stack.gossip.live
        if len(stack.members) >= min(stack.settings.min_peers, len(live)):
            return
        nodes = sorted(live - stack.members.ids)
        for _ in range(min(2, len(nodes))):
            draw = int.from_bytes(stack.entropy(4), "big") % len(nodes)
            stack.reach(nodes.pop(draw), now)

    def _look_up(self, now: float) -> None:
        for question in self._stack.dht.due(now):
            self._ask(question, now)

    def _ask(self, question: Question, now: float) -> None:
        stack, peer = self._stack, question.peer
        if question.payload is not None:
            sent = stack.wire.send(
                peer.id, encode(Frame(stack.id, as_payload(question.payload))), now, question.request or 0
            )
            if not sent:
                stack.dht.left(peer.id)
            return
        if peer.id in stack.members:
            stack.dht.reached(peer.id, now)
            return
        announcement = stack.gossip.announcement(peer.id, now)
        static = None if announcement is None else announcement.static_key
        if not stack.peering.reach(Whereabouts(peer.id, (peer.host, peer.port), static), now):
            stack.dht.failed(peer.id, now)

    def _signal(self, now: float) -> None:
        stack = self._stack
        for node, frame, urgent in stack.signals.outgoing():
            data = encode(Frame(stack.id, Layered(SIGNAL, encode_signal(frame))))
            if not stack.wire.send(node, data, now, urgent=urgent):
                stack.outbox.counters.drop("signal_unsent")

    def _push(self, now: float) -> None:
        stack = self._stack
        self._push_at = now + stack.settings.push_interval
        load = stack.pulse.load
        free_energy = load.free_energy if math.isfinite(load.free_energy) else 0.0
        frame = encode(Frame(stack.id, ThermodynamicPush(free_energy, load.active_cells)))
        for member in stack.members.all():
            stack.wire.send(member.id, frame, now)
