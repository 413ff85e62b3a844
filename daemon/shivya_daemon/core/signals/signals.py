"""Signals between the nodes of a mesh: who relays what, and what the host gets to know of it.

Everything that arrives is checked in the order of what the check costs, the signature last; whatever is new
is remembered, so that it passes once, and travels no further than its TTL. Delivery is best effort: over
lossy links a signal arrives if one of its ways does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shivya_daemon.core.counters import Counters
from shivya_daemon.core.identity import Identity, node_id
from shivya_daemon.core.limits import KeyedLimit, TokenBucket
from shivya_daemon.core.signals.events import QuorumReached, SignalEvent, SignalReceived, Undeliverable
from shivya_daemon.core.signals.frame import (
    ID_BYTES,
    ActionPotential,
    Directed,
    Gradient,
    Kind,
    Quorum,
    Signal,
    SignalFrame,
    authentic,
    sign,
)
from shivya_daemon.core.signals.gradients import GradientReading, Gradients, strength
from shivya_daemon.core.signals.lanes import Lanes
from shivya_daemon.core.signals.quorums import Quorums
from shivya_daemon.core.signals.recent import Recent
from shivya_daemon.core.signals.refractory import Refractory
from shivya_daemon.core.signals.settings import SignalSettings
from shivya_daemon.core.signals.sources import Sources

Outgoing = tuple[bytes, SignalFrame, bool]
"""A node, what to send to it, and whether it goes ahead of other traffic."""


class SignalRefused(ValueError):
    """This node may not send a signal now; `reason` is a fixed word, the text says what to do."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(advice)
        self.reason = reason


def nowhere(target: bytes) -> bytes | None:
    """Know no way to any node that is not a link neighbour."""
    return None


class Signals:
    """The signals of one node; `entropy(n)` gives n unpredictable bytes, times are of any steady clock.

    `next_hop(target)` names the node through which to reach one that is no link neighbour, or None. `allow`
    are the only sources to hear, None for all. Lost entries of full queues are counted in `counters`.
    """

    def __init__(
        self,
        identity: Identity,
        settings: SignalSettings,
        entropy: Callable[[int], bytes],
        incarnation: int,
        *,
        next_hop: Callable[[bytes], bytes | None] = nowhere,
        allow: frozenset[bytes] | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._identity = identity
        self._own = identity.node_id
        self._settings = settings
        self._entropy = entropy
        self._next_hop = next_hop
        self._allow = allow
        self._incarnation = incarnation
        self._counter = 0
        self._links: dict[bytes, None] = {}  # in the order given, so that a run can be repeated
        self._rest = settings.min_refractory
        self._budget = TokenBucket(settings.source_rate, settings.source_rate, 0.0)
        self._sources = Sources(settings)
        self._recent = Recent(settings.max_recent)
        self._gradients = Gradients(settings)
        self._quorums = Quorums(settings)
        self._refractory = Refractory(settings.max_refractory_types)
        rate, total = settings.verify_rate, settings.verify_total_rate
        self._checks = KeyedLimit(rate, 2 * rate, settings.max_neighbours)
        self._all_checks = TokenBucket(total, 2 * total, 0.0)
        self._outgoing: Lanes[Outgoing] = Lanes(settings.max_queue)
        self._events: Lanes[SignalEvent] = Lanes(settings.max_events)
        self.counters = Counters() if counters is None else counters

    def set_links(self, links: Iterable[bytes], largest_rtt: float = 0.0) -> None:
        """Name the link neighbours, and the largest round-trip time to any of them."""
        self._links = dict.fromkeys(links)
        self._rest = max(self._settings.min_refractory, 2.0 * largest_rtt)

    def adopt(self, incarnation: int) -> None:
        """Go on under a higher incarnation of this node."""
        self._incarnation = max(self._incarnation, incarnation)

    def register(self, name: str, roster: Iterable[bytes], threshold: int | None = None) -> None:
        """Fix who decides quorums of type `name`: by default two thirds of `roster`, rounded up.

        Raises `ValueError` for a threshold that cannot be met, and for too large or too many rosters.
        """
        self._quorums.register(name, roster, threshold)

    # Sending

    def send(self, kind: Kind, name: str, payload: bytes, now: float, *, ttl: int | None = None) -> bytes:
        """Send a signal of type `name`; returns its id.

        Raises `EncodeError` if a field cannot be carried, `SignalRefused` if this is not the time for it.
        """
        refusal = self._refusal(kind, name, now)
        if refusal is not None:
            raise refusal
        signal = Signal(
            kind=kind,
            id=self._entropy(ID_BYTES),
            key=self._identity.public_key,
            incarnation=self._incarnation,
            counter=self._counter + 1,
            ttl=self._settings.ttl if ttl is None else ttl,
            type=name,
            payload=payload,
        )
        frame = sign(self._identity, signal)
        self._counter += 1
        self._originate(frame, now)
        return signal.id

    def contribute(self, name: str, payload: bytes, now: float, *, subject: bytes | None = None) -> bytes:
        """Contribute this node's signature to a subject, or raise a new one; returns the subject's id.

        The id of any signal can be the subject. A contribution may be repeated, for those whom none reached.
        Raises as `send` does; the type must be registered.
        """
        roster = self._quorums.roster(name)
        if roster is None:
            raise SignalRefused("unregistered_type", f"register the roster of {name!r} first")
        chosen = self._entropy(ID_BYTES) if subject is None else subject
        self.send(Quorum(roster.threshold, chosen), name, payload, now)
        return chosen

    def read_gradient(self, name: str, now: float) -> list[GradientReading]:
        """Return the gradients of type `name` felt here, this node's own included, the strongest first."""
        return self._gradients.read(name, now)

    # Receiving

    def receive(self, node: bytes, frame: SignalFrame, now: float) -> str | None:
        """Take a frame from the authenticated neighbour `node`; returns None, or why it was dropped."""
        signal = frame.signal
        source = node_id(signal.key)
        refusal = self._implausible(node, source, frame)
        if refusal is not None:
            return refusal
        refusal = self._sources.refusal(source, signal.incarnation, signal.counter)
        if refusal is not None:
            if refusal == "duplicate_signal" and self._recent.nearer(frame):
                self._relay(node, source, frame, now)
                return None
            return refusal
        if not (self._checks.allow(node, now) and self._all_checks.allow(now)):
            return "rate_limited"
        if not authentic(frame):
            return "bad_signature"
        # What says too much is remembered too: its other copies are then cheap.
        if not self._sources.accept(source, signal.incarnation, signal.counter, now):
            return "rate_limited"
        return self._take(node, source, frame, now)

    def outgoing(self) -> list[Outgoing]:
        """Return what to send, urgent first, and forget it."""
        return self._outgoing.drain()

    def events(self) -> list[SignalEvent]:
        """Return what happened, urgent first, and forget it."""
        return self._events.drain()

    # What a frame must fulfil before anything is spent on it

    def _implausible(self, node: bytes, source: bytes, frame: SignalFrame) -> str | None:
        signal, path = frame.signal, frame.path
        if source == self._own:
            return "own_signal"
        if self._own in path or source in path:
            return "looped_path"
        if node != (path[-1] if path else source):
            return "forged_path"
        if frame.hops > signal.ttl:
            return "expired_ttl"
        if self._allow is not None and source not in self._allow:
            return "source_not_allowed"
        return self._quorums.refusal(signal, source)

    def _refusal(self, kind: Kind, name: str, now: float) -> SignalRefused | None:
        if isinstance(kind, ActionPotential):
            left = self._refractory.left(name, now)
            if left > 0:
                return SignalRefused("refractory", f"{name!r} fired; it can again in {left:.2f} s")
        if isinstance(kind, Quorum):
            roster = self._quorums.roster(name)
            if roster is None:
                return SignalRefused("unregistered_type", f"register the roster of {name!r} first")
            if self._own not in roster.members:
                return SignalRefused("not_in_roster", f"this node is not in the roster of {name!r}")
            if kind.threshold != roster.threshold:
                return SignalRefused("wrong_threshold", f"{name!r} is registered with {roster.threshold}")
        if not self._budget.allow(now):
            advice = f"a node sends at most {self._settings.source_rate:g} signals a second; wait a little"
            return SignalRefused("rate_limited", advice)
        return None

    # Acting on what is new

    def _originate(self, frame: SignalFrame, now: float) -> None:
        signal, own = frame.signal, self._own
        match signal.kind:
            case Directed(target) if target == own:
                return self._emit_received(signal, own, 0)
            case Directed(target):
                if not self._route(frame, target, own):
                    self._emit(Undeliverable(signal.id, target))
                return
            case Quorum():
                self._count(signal, signal.kind, own, now)
            case ActionPotential():
                self._fire(signal.kind, signal.type, now)
        self._relay(own, own, frame, now)

    def _take(self, node: bytes, source: bytes, frame: SignalFrame, now: float) -> str | None:
        signal, urgent, news = frame.signal, False, True
        match signal.kind:
            case Directed(target) if target != self._own:
                return self._pass_to(frame, target, source)
            case Quorum():
                news = self._count(signal, signal.kind, source, now)
            case ActionPotential():
                if self._refractory.left(signal.type, now) > 0:
                    return "refractory"
                self._fire(signal.kind, signal.type, now)
                urgent = True
        if news:
            self._emit_received(signal, source, frame.hops, urgent=urgent)
        if not isinstance(signal.kind, Directed):
            self._recent.note(frame)
            self._relay(node, source, frame, now)
        return None

    def _fire(self, kind: ActionPotential, name: str, now: float) -> None:
        self._refractory.fire(name, max(self._rest, kind.refractory), now)

    def _count(self, signal: Signal, kind: Quorum, source: bytes, now: float) -> bool:
        """Count a contribution; returns whether it is the first to its content."""
        first, contributors = self._quorums.count(signal.type, kind, signal.payload, source, now)
        if contributors is not None:
            self._emit(QuorumReached(signal.type, kind.subject, signal.payload, contributors))
        return first

    # Relaying

    def _relay(self, node: bytes, source: bytes, frame: SignalFrame, now: float) -> None:
        """Queue what is for everybody for every link but the one it came over."""
        kind = frame.signal.kind
        if isinstance(kind, Gradient):
            hops = 0 if source == self._own else frame.hops
            self._gradients.feel(source, frame.signal, hops, now)
            if strength(frame.signal, hops + 1) <= self._settings.gradient_threshold:
                return
        onward = self._onward(frame, source)
        if onward is None:
            return
        for link in self._links:
            # Not even a link that the path names is left out: the path is the relays' word.
            if link not in (node, source):
                self._queue(link, onward, isinstance(kind, ActionPotential))

    def _pass_to(self, frame: SignalFrame, target: bytes, source: bytes) -> str | None:
        if frame.hops >= frame.signal.ttl:
            return "expired_ttl"
        return None if self._route(frame, target, source) else "no_route"

    def _route(self, frame: SignalFrame, target: bytes, source: bytes) -> bool:
        """Queue `frame` for the next node on its way; False if there is none."""
        hop = target if target in self._links else self._next_hop(target)
        onward = self._onward(frame, source)
        if onward is None or hop is None or hop in (source, self._own) or hop in frame.path:
            return False
        self._queue(hop, onward, urgent=False)
        return True

    def _onward(self, frame: SignalFrame, source: bytes) -> SignalFrame | None:
        """Return `frame` as it leaves this node; None if it has come as far as it may."""
        if source == self._own:
            return frame
        if frame.hops >= frame.signal.ttl:
            return None
        return SignalFrame(frame.signal, frame.signature, (*frame.path, self._own))

    def _queue(self, node: bytes, frame: SignalFrame, urgent: bool) -> None:
        if not self._outgoing.push((node, frame, urgent), urgent):
            self.counters.drop("signals_full")

    def _emit_received(self, signal: Signal, source: bytes, hops: int, *, urgent: bool = False) -> None:
        subject = signal.kind.subject if isinstance(signal.kind, Quorum) else signal.id
        left = strength(signal, hops)
        self._emit(
            SignalReceived(signal.kind, signal.type, source, signal.payload, left, hops, subject), urgent
        )

    def _emit(self, event: SignalEvent, urgent: bool = False) -> None:
        if not self._events.push(event, urgent):
            self.counters.drop("signal_events_full")
