"""One link as one of its ends sees it, from the proposal to the end.

The proposer repeats PROPOSE until ACCEPT, then probes until an ECHO; the acceptor waits with its ACCEPT given
until a probe arrives. So each end counts the link only when it knows that the other end agreed, and latency
is measured by then; bandwidth follows within seconds. What the last lost datagram leaves open, the checks
settle: both ends probe as long as the link stands, and who holds no such agreement answers with CLOSE.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from msgspec import Struct

from shivya_daemon.core.links.breaker import Breaker
from shivya_daemon.core.links.dispersion import Bandwidth, Dispersion
from shivya_daemon.core.links.frames import (
    Accept,
    Close,
    Closing,
    Echo,
    Head,
    LinkFrame,
    Probe,
    Propose,
    Refusal,
    Refuse,
)
from shivya_daemon.core.links.prober import Prober, Tokens
from shivya_daemon.core.links.settings import LinksSettings
from shivya_daemon.core.links.thickness import Thickness, conductance
from shivya_daemon.core.roundtrip import RoundTrip

_NEVER = float("inf")
REQUESTS = (Closing.PRUNE, Closing.SPARE, Closing.DRAINING)
"""What is answered with AGREED, if it is not refused."""
_ENDINGS = {
    Closing.PRUNE: "pruned",
    Closing.DRAINING: "draining",
    Closing.UNKNOWN: "unknown",
    Closing.SILENT: "silent",
    Closing.LAPSED: "lapsed",
}


class Phase(Enum):
    """Where an agreement stands."""

    PROPOSED = "proposed"
    """By this end; no answer yet."""
    CONFIRMING = "confirming"
    """Accepted by the other end; this end probes."""
    PENDING = "pending"
    """Accepted by this end; waits for a probe."""
    ESTABLISHED = "established"
    PARTING = "parting"
    """Over for this end, which still tells the other."""


class Stance(Struct):
    """What a node says of itself in every LINK frame."""

    incarnation: int
    degree: int = 0
    needy: bool = False

    def head(self, agreement: int, drawn: bool = False) -> Head:
        """Return the head of a frame about `agreement`, whose peer was `drawn` at random or not."""
        return Head(agreement, self.incarnation, min(self.degree, 255), self.needy, drawn)


class Agreement:
    """State machine of one agreement; `ended` says why it is over."""

    __slots__ = (
        "_dispersion",
        "_entropy",
        "_next_at",
        "_prober",
        "_request",
        "_sent",
        "_settings",
        "_stance",
        "_tokens",
        "asking",
        "bandwidth",
        "breaker",
        "claimed",
        "degree",
        "ended",
        "heard_at",
        "id",
        "incarnation",
        "node",
        "phase",
        "random",
        "refusal",
        "rtt",
        "since",
        "spared_until",
        "thickness",
    )

    def __init__(
        self,
        node: bytes,
        number: int,
        phase: Phase,
        stance: Stance,
        settings: LinksSettings,
        entropy: Callable[[int], bytes],
        now: float,
        random: bool = False,
    ) -> None:
        self.node = node
        self.id = number
        self.phase = phase
        self.random = random
        """Whether the peer was drawn at random, for the sake of the whole mesh."""
        self.claimed = False
        """Whether the peer says so of this node, and would not part."""
        self.ended: str | None = None
        self.refusal: Refusal | None = None
        self.asking: str | None = None
        """Why this end asks the other to part, while it does."""
        self.spared_until = now
        """Until when this end does not ask again."""
        self.since = now
        """When it was begun, then when it was established."""
        self.heard_at = now
        self.incarnation: int | None = None
        """Of the peer, once heard."""
        self.degree = 0
        """Of the peer, as it last said."""
        self.rtt = RoundTrip()
        self.bandwidth = Bandwidth()
        self.thickness = Thickness(settings, now)
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_pause)
        self._stance = stance
        self._settings = settings
        self._entropy = entropy
        self._request = Closing.PRUNE
        self._tokens = Tokens(entropy)
        train_at = now + settings.train_spread * entropy(1)[0] / 256
        self._prober = Prober(settings, Tokens(entropy), now, train_at, settings.retry, settings.attempts)
        self._dispersion = Dispersion()
        # A pending agreement begins with the ACCEPT that its maker sends.
        self._sent = 1 if phase is Phase.PENDING else 0
        self._next_at = now + settings.pending_lifetime if phase is Phase.PENDING else now

    @property
    def deadline(self) -> float:
        """When `due` has something to do."""
        if self.phase is Phase.CONFIRMING:
            return self._prober.next_at
        if self.phase is Phase.ESTABLISHED:
            return min(self._prober.next_at, self._next_at, self.heard_at + self._settings.dead_after)
        return self._next_at

    @property
    def conductance(self) -> float:
        """What this end advertises for the link; 0 before its latency is known."""
        rtt = self.rtt.smoothed
        return 0.0 if rtt is None else conductance(self.thickness.value, self.thickness.score, rtt)

    def due(self, now: float) -> list[LinkFrame]:
        """Return what to send now; may end the agreement."""
        match self.phase:
            case Phase.PROPOSED:
                if self._again(now, self._settings.retry, self._settings.attempts, "unanswered"):
                    return [Propose(self._head(), self._tokens.issue(now))]
            case Phase.CONFIRMING:
                if self._prober.failed(now):
                    self.ended = "unconfirmed"
                    return [Close(self._head(), Closing.LAPSED)]
                return [*self._prober.due(self._head(), now)]
            case Phase.PENDING:
                if now >= self._next_at:
                    self.ended = "lapsed"
            case Phase.ESTABLISHED:
                return self._tend(now)
            case Phase.PARTING:
                if self._again(now, self._settings.check_retry, self._settings.check_attempts, "draining"):
                    return [Close(self._head(), Closing.DRAINING)]
        return []

    def receive(self, frame: LinkFrame, size: int, now: float) -> list[LinkFrame] | str:
        """Take a frame of this agreement, its datagram `size` bytes long; a text is why it was dropped."""
        if self.phase is Phase.PARTING and not isinstance(frame, Close):
            return []  # the other end will hear that it is over
        self.incarnation = frame.head.incarnation
        self.degree = frame.head.degree
        self.claimed = frame.head.drawn
        self.heard_at = now
        match frame:
            case Propose():
                return self._proposed_again(frame)
            case Accept():
                return self._accepted(frame, now)
            case Refuse():
                return self._refused(frame, now)
            case Close():
                return self._closed(frame)
            case Probe():
                return self._probed(frame, size, now)
            case Echo():
                return self._echoed(frame, now)

    def challenge(self, now: float) -> list[LinkFrame]:
        """Find out whether the other end still holds this agreement, as it proposes another."""
        if self.phase in (Phase.CONFIRMING, Phase.ESTABLISHED) and not self._prober.sent:
            self._prober.next_at = now
        return self.due(now)

    def ask(self, reason: str, now: float, request: Closing = Closing.PRUNE) -> None:
        """Ask the other end to part, until it answers or a few requests are lost."""
        self.asking = reason
        self._request = request
        self._sent = 0
        self._next_at = now

    def part(self, now: float) -> None:
        """Tell the other end that this node leaves."""
        self.phase = Phase.PARTING
        self._sent = 0
        self._next_at = now

    def refuse(self, reason: Refusal) -> list[LinkFrame]:
        """Return a refusal of what the other end asks."""
        return [Refuse(self._head(), reason)]

    def _head(self) -> Head:
        return self._stance.head(self.id, self.random)

    def _again(self, now: float, retry: float, attempts: int, ending: str) -> bool:
        """Return whether the request of this phase goes out now; out of attempts, the agreement ends."""
        if now < self._next_at:
            return False
        if self._sent >= attempts:
            self.ended = ending
            return False
        self._sent += 1
        self._next_at = now + retry
        return True

    def _tend(self, now: float) -> list[LinkFrame]:
        settings, prober = self._settings, self._prober
        if now - self.heard_at >= settings.dead_after:
            self.ended = "silent"
            return [Close(self._head(), Closing.SILENT)]
        if prober.failed(now):
            self.breaker.failed(now)
        frames: list[LinkFrame] = [*prober.due(self._head(), now)]
        if frames and prober.sent == 1:
            self.breaker.trial(now)
        if self.asking is not None and now >= self._next_at:
            if self._sent >= settings.check_attempts:
                self._spare(now)
            else:
                self._sent += 1
                self._next_at = now + settings.check_retry
                frames.append(Close(self._head(), self._request))
        return frames

    def _spare(self, now: float) -> None:
        self.asking = None
        self.spared_until = now + 5 * self._settings.prune_interval
        self._next_at = _NEVER

    def _proposed_again(self, frame: Propose) -> list[LinkFrame] | str:
        if self.phase is Phase.PENDING:
            self._sent += 1
            return [Accept(self._head(), frame.token)]
        # After the confirmation it is a late copy; one of this end's own proposals it cannot be.
        return [] if self.phase is Phase.ESTABLISHED else "unsolicited"

    def _accepted(self, frame: Accept, now: float) -> list[LinkFrame] | str:
        if self.phase is Phase.PENDING:
            return "unsolicited"
        rtt = self._tokens.answered(frame.token, now)
        if rtt is None:
            return "unsolicited"
        self.rtt.measured(rtt, now)
        if self.phase is Phase.PROPOSED:
            self.phase = Phase.CONFIRMING
            self._prober.next_at = now
            return self.due(now)
        return []

    def _refused(self, frame: Refuse, now: float) -> list[LinkFrame] | str:
        if self.phase is Phase.PROPOSED:
            self.refusal = frame.reason
            self.ended = "refused"
        elif self.asking is not None:
            self._spare(now)
        else:
            return "unsolicited"
        return []

    def _closed(self, frame: Close) -> list[LinkFrame]:
        self.ended = self.asking or _ENDINGS.get(frame.reason, "pruned")
        if frame.reason in REQUESTS:
            return [Close(self._head(), Closing.AGREED)]
        return []

    def _probed(self, frame: Probe, size: int, now: float) -> list[LinkFrame] | str:
        if self.phase is Phase.PROPOSED:
            return "unsolicited"
        if self.phase is not Phase.ESTABLISHED:
            self._establish(now)
        bandwidth = self._dispersion.arrived(frame, size, now)
        if frame.index < frame.count - 1:
            return []
        return [Echo(self._head(), frame.token, bandwidth)]

    def _echoed(self, frame: Echo, now: float) -> list[LinkFrame] | str:
        rtt = self._prober.answered(frame.token, now)
        if rtt is None:
            return "unsolicited"
        self.rtt.measured(rtt, now)
        self.bandwidth.reported(frame.bandwidth)
        self.breaker.succeeded()
        if self.phase is Phase.CONFIRMING:
            self._establish(now)
        return []

    def _establish(self, now: float) -> None:
        prober, settings = self._prober, self._settings
        if self.phase is Phase.PENDING:
            prober.next_at = now  # this end has yet to measure
        prober.retry, prober.attempts = settings.check_retry, settings.check_attempts
        prober.sent = 0
        self.phase = Phase.ESTABLISHED
        self.since = now
        self._next_at = _NEVER
