"""What arrives: each frame goes to the layer it belongs to. A handler returns None, or why it was dropped."""

from __future__ import annotations

from shivya_daemon.core.beacon import decode_beacon
from shivya_daemon.core.dht import token_frames
from shivya_daemon.core.dht.requests import Message
from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.events import (
    HeartbeatReceived,
    HistoryShown,
    HistoryWanted,
    ObservationReceived,
    PeerRestarted,
)
from shivya_daemon.core.frames import (
    ANNOUNCE,
    GOSSIP,
    HISTORY,
    LEASE,
    LINK,
    SIGNAL,
    TOKEN,
    FindNode,
    FindValue,
    Frame,
    GradientDiff,
    Layered,
    Leave,
    ThermodynamicPush,
    encode,
)
from shivya_daemon.core.gossip import announcement
from shivya_daemon.core.gossip import frames as gossip_frames
from shivya_daemon.core.heartbeat import Heartbeat
from shivya_daemon.core.history import Want
from shivya_daemon.core.history import decode_payload as decode_history
from shivya_daemon.core.limits import KeyedLimit
from shivya_daemon.core.members import Member
from shivya_daemon.core.signals import frame as signal_frame
from shivya_daemon.core.stack import Stack, as_payload
from shivya_daemon.core.wire import Inbound

_HISTORY_RATE = 1 / 30  # per second and node: a proof takes reading a whole ledger
_MAX_OBSERVED = 1e9  # magnitude of a number in 0x03 or 0x04 beyond which it is noise


class Inbox:
    """Delivers frames to the layers of one node."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._histories = KeyedLimit(_HISTORY_RATE, 4.0, 1024)

    def deliver(self, inbound: Inbound, now: float) -> str | None:
        """Hand a frame to its layer, and send what that answers."""
        stack = self._stack
        member = stack.members.get(inbound.sender)
        if not inbound.proved or member is None:
            if isinstance(inbound.payload, FindNode | FindValue):
                return self._look_up(inbound, inbound.payload, now)
            return "unverified_sender"
        member.last_seen = now
        match inbound.payload:
            case Heartbeat():
                return self._hear(member, inbound.payload, inbound.size, now)
            case Layered(code, body):
                try:
                    return self._layer(member, code, body, inbound, now)
                except DecodeError as error:
                    return error.reason
            case ThermodynamicPush(a, b) | GradientDiff(_, a, b):
                if not (abs(a) <= _MAX_OBSERVED and abs(b) <= _MAX_OBSERVED):
                    return "out_of_range"
                if isinstance(inbound.payload, ThermodynamicPush):
                    member.pushed = inbound.payload
                stack.outbox.emit(ObservationReceived(member.id, inbound.payload))
                return None
            case Leave(incarnation):
                if member.incarnation is not None and incarnation < member.incarnation:
                    return "stale_incarnation"
                stack.leases.left(member.id, now)
                if member.id in stack.gossip.live:
                    # Its signed goodbye, which ends it for all, may still be on the way: the wire stays open.
                    stack.links.lost(member.id, now)
                    member.draining = True
                else:
                    stack.lose(member.id, "left", now)
                return None
        return self._look_up(inbound, inbound.payload, now)

    def _layer(self, member: Member, code: int, body: bytes, inbound: Inbound, now: float) -> str | None:
        stack = self._stack
        if code == GOSSIP:
            exchange = gossip_frames.decode_payload(body)
            answers = stack.gossip.receive(member.id, exchange, now)
            if isinstance(answers, str):
                return answers
            for answer in answers:
                stack.send_layer(member.id, GOSSIP, gossip_frames.encode_payload(answer), now)
            return None
        if code == LINK:
            replies = stack.links.receive(member.id, body, inbound.size, now)
            if isinstance(replies, str):
                return replies
            for reply in replies:
                stack.send_layer(member.id, LINK, reply, now)
            return None
        if code == SIGNAL:
            return stack.signals.receive(member.id, signal_frame.decode_payload(body), now)
        if code == LEASE:
            return stack.leases.receive(member.id, body, now)
        if code == HISTORY:
            return self._history(member, body, now)
        if code == ANNOUNCE:
            return stack.gossip.meet(member.id, announcement.decode_payload(body), now)
        assert code == TOKEN
        return self._look_up(inbound, token_frames.decode_payload(body), now)

    def _history(self, member: Member, body: bytes, now: float) -> str | None:
        stack, frame = self._stack, decode_history(body)
        if not self._histories.allow(member.id, now):
            return "rate_limited"
        if isinstance(frame, Want):
            stack.outbox.emit(HistoryWanted(member.id, frame.old))
            return None
        state = stack.gossip.state(member.id)
        if state is None:
            return "unannounced"
        key = state.announcement.public_key
        stack.outbox.emit(HistoryShown(member.id, key, frame.old, frame.checkpoint, frame.path))
        return None

    def _look_up(self, inbound: Inbound, payload: Message, now: float) -> str | None:
        stack = self._stack
        replies = stack.dht.receive(
            inbound.sender, inbound.address, inbound.request, payload, inbound.size, inbound.proved, now
        )
        if isinstance(replies, str):
            return replies
        for reply in replies:
            stack.wire.answer(inbound, encode(Frame(stack.id, as_payload(reply.payload))), now)
        return None

    def _hear(self, member: Member, beat: Heartbeat, size: int, now: float) -> str | None:
        stack = self._stack
        if member.incarnation is None:
            member.incarnation = beat.incarnation
        elif beat.incarnation < member.incarnation:
            return "stale_incarnation"
        elif beat.incarnation > member.incarnation:
            member.reborn(beat.incarnation)
            stack.outbox.emit(PeerRestarted(member.id, beat.incarnation))
        tags = member.hear(beat, now)
        if tags is None:
            return "stale_sequence"
        if beat.echo is not None:
            if beat.echo.incarnation == stack.incarnation:
                rtt = stack.pulse.round_trip(beat.echo, now)
                if rtt is not None:
                    member.measured(rtt)
            else:
                stack.adopt(beat.echo.incarnation + 1)
        stack.gossip.heard(member.id, now)
        stack.links.heard(member.id, now)
        stack.links.got(member.id, size)
        stack.outbox.emit(HeartbeatReceived(member.id, tags))
        if not beat.extension:
            return None
        try:
            beacon = decode_beacon(beat.extension)
        except DecodeError as error:  # the load in it was sound, and counts
            return error.reason
        member.draining = beacon.draining
        member.tell(tags, beacon.net_arrivals)
        if beacon.phase is None:
            return None
        transit = 0.0 if member.rtt is None else member.rtt / 2
        return stack.phases.hear(member.id, beat.incarnation, beacon.phase, now, transit)
