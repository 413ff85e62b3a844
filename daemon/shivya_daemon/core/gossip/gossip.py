"""Gossip: pages of digests to a few peers twice a second, and what follows from their answers.

The machine is handed messages and times and returns messages; nothing here reads a clock or sends a byte.
Whoever hears something about itself that it never said begins another life, so that whatever others were
made to believe of it, by an earlier life or a forger, is void within a few rounds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence, Set

from shivya_daemon.core.counters import Counters
from shivya_daemon.core.gossip.announcement import Announcement, Announcements, Profile, encode_payload
from shivya_daemon.core.gossip.budget import Allowance
from shivya_daemon.core.gossip.events import GossipEvent, IncarnationAdopted
from shivya_daemon.core.gossip.frames import (
    ENTRY_BYTES,
    FINGERPRINT_BYTES,
    HEAD_BYTES,
    WANT_BYTES,
    Entry,
    Exchange,
    Kind,
    NodeDelta,
    Want,
    delta_bytes,
    exchange_bytes,
)
from shivya_daemon.core.gossip.members import Members
from shivya_daemon.core.gossip.merge import Merger
from shivya_daemon.core.gossip.own import Own
from shivya_daemon.core.gossip.settings import GossipSettings
from shivya_daemon.core.gossip.state import Key, NodeState, Status
from shivya_daemon.core.gossip.tombstones import FINAL
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.limits import KeyedLimit
from shivya_daemon.core.settings import Address

_MAX_ASKED = 16  # fingerprints asked for in one message: about what one answer of four messages holds
_MAX_MESSAGES = 4  # in answer to one
_ASK_AGAIN = 0.5  # seconds before another peer is asked for the same: a round
_ASKED_CAPACITY = 1024
_SYNS = 2  # answered to one peer in the time of a round; an honest one sends one
_PEERS = 512  # whose rate is remembered


class Gossip:
    """Membership of one node; `round` when `next_deadline` has come, `receive` for every GOSSIP message."""

    def __init__(
        self,
        identity: Identity,
        settings: GossipSettings,
        entropy: Callable[[int], bytes],
        incarnation: int,
        *,
        profile: Profile | None = None,
        announcements: Announcements | None = None,
        counters: Counters | None = None,
        refused: Callable[[bytes, str, float], None] = lambda relay, reason, now: None,
    ) -> None:
        self._settings = settings
        self._refused = refused
        self._entropy = entropy
        self.counters = Counters() if counters is None else counters
        self._own = Own(identity, settings, incarnation, profile or Profile())
        self._members = Members(settings, self.counters.drop)
        checked = Announcements(settings.max_nodes) if announcements is None else announcements
        self._merger = Merger(settings, self._members, checked)
        self._budget = Allowance(settings.budget, settings.budget)
        self._catch_up = Allowance(settings.catch_up, settings.catch_up_burst)
        self._syns = KeyedLimit(_SYNS / settings.interval, 2 * _SYNS / settings.interval, _PEERS)
        self._answers = KeyedLimit(settings.peer_rate, 2 * settings.peer_rate, _PEERS)
        self._asked: OrderedDict[bytes, float] = OrderedDict()
        """Fingerprints asked for, and when, the last one at the end."""
        self._round_at: float | None = None
        self._left = False

    # What this node says

    @property
    def own(self) -> NodeState:
        """What others are told of this node."""
        return self._own.state

    @property
    def incarnation(self) -> int:
        """The present life of this node."""
        return self._own.state.incarnation

    def publish(self, key: int, value: bytes) -> None:
        """Replace the own value of `key` within a few rounds; raises `EncodeError` if it has no room."""
        self._own.publish(key, value)

    def announce(self, profile: Profile) -> None:
        """Sign and publish another profile; raises `EncodeError` if it has no encoding."""
        self._own.announce(profile)

    def leave(self, now: float, peers: Iterable[bytes]) -> list[tuple[bytes, Exchange]]:
        """End this life for good; returns the goodbyes to send, and is silent from then on."""
        if self._left:
            return []
        self._left = True
        goodbye = Exchange(Kind.DELTA, deltas=(self._own.leave(),))
        return [(peer, goodbye) for peer in peers]

    # What this node knows

    @property
    def live(self) -> Set[bytes]:
        """Ids of the live nodes, this one not among them: a view that stays current."""
        return self._members.live

    def state(self, node: bytes) -> NodeState | None:
        """Return what is known of a node, this one included; None for one unknown or forgotten."""
        return self._own.state if node == self._own.state.id else self._members.table.get(node)

    def announcement(self, node: bytes, now: float) -> Announcement | None:
        """Return the announcement of another node, unless its last sign of life is too long ago."""
        state = self._members.table.get(node)
        if state is None or state.status is Status.LEFT:
            return None
        sign = self._members.last_sign(state)
        if sign is None or now - sign > self._settings.announcement_ttl:
            return None
        return state.announcement

    def events(self) -> list[GossipEvent]:
        """Return what happened since the last call, and forget it."""
        return self._members.events()

    def contact(self, now: float) -> list[Address]:
        """Return addresses of dead members that are worth another try now."""
        return [] if self._left else self._members.contacts.due(now)

    def phi(self, node: bytes, now: float) -> float:
        """Return how suspect a live node is; at the threshold it dies."""
        return self._members.detector.phi(node, now)

    # Doing what is due

    def next_deadline(self) -> float | None:
        """Return when `round` wants to be called next; None before the first round and after `leave`."""
        return None if self._left else self._round_at

    def forgive(self, now: float) -> None:
        """Judge nobody by silence before `now`: this node did not listen."""
        self._members.detector.forgive(now)

    def round(self, now: float, peers: Sequence[bytes]) -> list[tuple[bytes, Exchange]]:
        """Count a heartbeat, judge who was silent, show a page to some of `peers`; nothing when early."""
        if self._left or (self._round_at is not None and now < self._round_at):
            return []
        if self._round_at is not None and now - self._round_at > self._settings.late:
            self.forgive(now)
        self._round_at = now + self._settings.interval
        own = self._own
        own.state.heartbeat = min(own.state.heartbeat + 1, FINAL)
        own.flush(now, len(self._members.live))
        self._members.judge(now)
        self._budget.refill(now)
        sends: list[tuple[bytes, Exchange]] = []
        for peer in self._choose(peers):
            page = (own.state.entry, *self._members.table.page(self._settings.page - 1))
            message = Exchange(Kind.SYN, page)
            size = exchange_bytes(message) + self._settings.overhead
            # One in any case: nobody can make this node fall silent by asking it much.
            if sends and self._budget.left < size:
                break
            self._budget.spend(size)
            sends.append((peer, message))
        return sends

    # Receiving

    def heard(self, node: bytes, now: float) -> None:
        """Note that traffic came from `node` itself, by whatever frame."""
        self._members.heard(node, now)

    def meet(self, node: bytes, announcement: Announcement, now: float) -> str | None:
        """Take an announcement that `node` sent outside of gossip; returns why it is refused, or None."""
        raw = encode_payload(announcement)
        item = (int(Key.ANNOUNCEMENT), announcement.version, raw)
        delta = NodeDelta(announcement.node_id, announcement.incarnation, 0, 0, 0, (item,))
        return self._take(delta, node, now)

    def receive(self, node: bytes, message: Exchange, now: float) -> list[Exchange] | str:
        """Take a message that `node` sent; returns the answers to send back, or why it was dropped.

        Of a message that is taken, single nodes may be refused: that is counted in `counters`.
        """
        if self._left:
            return "left"
        limit = self._syns if message.kind is Kind.SYN else self._answers
        if not limit.allow(node, now):
            return "rate_limited"
        self._budget.refill(now)
        self._catch_up.refill(now)
        for delta in message.deltas:
            reason = self._take(delta, node, now)
            if reason is not None:
                self.counters.drop(reason)
                self._refused(node, reason, now)
        better, unknown, wants = self._compare(message.entries, now)
        room = self._settings.message_bytes - HEAD_BYTES
        room -= FINGERPRINT_BYTES * len(unknown) + WANT_BYTES * len(wants)
        if message.kind is Kind.SYN:
            entries = self._better(message.entries, better, room // ENTRY_BYTES)
            return self._sent([Exchange(Kind.ACK, entries, unknown, wants)])
        groups = self._answer(message, room)
        first = Exchange(Kind.DELTA, (), unknown, wants, groups[0])
        rest = [Exchange(Kind.DELTA, deltas=group) for group in groups[1:]]
        return self._sent([first, *rest] if unknown or wants or groups[0] else [])

    def _compare(
        self, entries: Sequence[Entry], now: float
    ) -> tuple[list[NodeState], tuple[bytes, ...], tuple[Want, ...]]:
        """Take the counters of a digest; returns what is known better, not at all, and less well."""
        better: list[NodeState] = []
        unknown: list[bytes] = []
        wants: list[Want] = []
        members, own = self._members, self._own.state
        find = members.table.find
        # The last one taken is the first one told: so what the sender put first stays first.
        for fingerprint, heartbeat, version in reversed(entries):
            state = find(fingerprint)
            if state is None:
                if fingerprint == own.fingerprint:
                    if heartbeat > own.heartbeat or version > own.through:
                        self._contradicted(own.incarnation, now)
                elif (
                    len(unknown) < _MAX_ASKED
                    and not members.tombstones.echoes(fingerprint, heartbeat)
                    and self._may_ask(fingerprint, now)
                ):
                    unknown.append(fingerprint)
                continue
            known = state.heartbeat
            if heartbeat > known:
                members.advanced(state, heartbeat, now)
            if state.status is Status.DEAD:
                continue
            through = state.through
            if version > through and len(wants) < _MAX_ASKED and self._may_ask(fingerprint, now):
                wants.append((fingerprint, through))
            if heartbeat < known or version < through:
                better.append(state)
        better.reverse()
        return better, tuple(unknown), tuple(wants)

    def _better(self, shown: Sequence[Entry], better: Sequence[NodeState], limit: int) -> tuple[Entry, ...]:
        """Return what to show in answer: the own state, others to who lacks some, what is known better."""
        entries = [self._own.state.entry]
        # Who shows itself and fewer others than are told here lacks some; who shows a whole page may not.
        if len(shown) < min(self._settings.page, 1 + self._members.table.told):
            known = {entry[0] for entry in shown}
            page = self._members.table.page(self._settings.page)
            entries += [entry for entry in page if entry[0] not in known]
        entries += [state.entry for state in better]
        return tuple(entries[:limit])

    def _may_ask(self, fingerprint: bytes, now: float) -> bool:
        """Note a question, unless it was put a moment ago, perhaps to another peer."""
        asked = self._asked
        if now - asked.get(fingerprint, float("-inf")) < _ASK_AGAIN:
            return False
        asked[fingerprint] = now
        asked.move_to_end(fingerprint)
        if len(asked) > _ASKED_CAPACITY:
            asked.popitem(last=False)
        return True

    def _answer(self, message: Exchange, room: int) -> list[tuple[NodeDelta, ...]]:
        """Return what `message` asks for, in groups of one message each: the first has `room` bytes."""
        find = self._members.table.find
        own = self._own.state
        asked: list[tuple[bytes, int | None]] = [(mark, None) for mark in message.unknown[:_MAX_ASKED]]
        asked += message.wants[:_MAX_ASKED]
        groups: list[list[NodeDelta]] = [[]]
        for fingerprint, base in asked:
            state = own if fingerprint == own.fingerprint else find(fingerprint)
            if state is None or state.status is Status.DEAD or (base is not None and base >= state.through):
                continue
            purse = self._catch_up if base is None else self._budget
            if purse.left <= (0.0 if base is None else -0.9 * self._settings.budget):
                self.counters.drop("budget_spent")
                break
            delta = _delta(state, base, room)
            if delta is None and len(groups) < _MAX_MESSAGES:
                groups.append([])
                room = self._settings.message_bytes - HEAD_BYTES
                delta = _delta(state, base, room)
            if delta is not None:
                size = delta_bytes(delta)
                room -= size
                purse.spend(size)
                groups[-1].append(delta)
        return [tuple(group) for group in groups]

    def _sent(self, messages: list[Exchange]) -> list[Exchange]:
        """Charge answers to the budget; deltas were charged as they were made."""
        for message in messages:
            given = sum(map(delta_bytes, message.deltas))
            self._budget.spend(exchange_bytes(message) - given + self._settings.overhead)
        return messages

    def _take(self, delta: NodeDelta, relay: bytes, now: float) -> str | None:
        """Merge what `relay` says of one node; returns why it is refused, or None."""
        own = self._own.state
        if delta.node != own.id:
            return self._merger.take(delta, relay, now)
        if delta.incarnation < own.incarnation:
            self._members.tombstones.ignore(own.id, delta.incarnation)
            return "stale_incarnation"
        if delta.incarnation == own.incarnation:
            return None
        proof = self._merger.proof(delta, relay, now)
        if isinstance(proof, str):
            return proof
        self._contradicted(delta.incarnation, now)
        return None

    def _contradicted(self, incarnation: int, now: float) -> None:
        """Go beyond what somebody knows of this node and it never said: an earlier life, or a forgery."""
        own = self._own.state
        if self._own.adopt(incarnation + 1, now):
            for past in (own.incarnation, incarnation):
                self._members.tombstones.ignore(own.id, past)
            self._members.emit(IncarnationAdopted(incarnation + 1))

    def _choose(self, peers: Sequence[bytes]) -> list[bytes]:
        """Return at most `fanout` different peers at random."""
        fanout = self._settings.fanout
        if len(peers) <= fanout:
            return list(peers)
        chosen: dict[int, None] = {}
        while len(chosen) < fanout:
            draw = int.from_bytes(self._entropy(4), "big")
            chosen[draw % len(peers)] = None
        return [peers[index] for index in chosen]


def _delta(state: NodeState, base: int | None, room: int) -> NodeDelta | None:
    return state.introduction(room) if base is None else state.since(base, room)
