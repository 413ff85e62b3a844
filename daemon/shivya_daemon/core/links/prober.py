"""Checks of one agreement: probes sent, retransmitted, and matched with their echoes.

A check is a probe and its retransmissions; it fails when none is answered. Each transmission has a token of
its own, unpredictable, so that a round-trip time is never ambiguous (Karn) and no echo can come before its
probe. Now and then a check starts with a train of padded probes, which measures bandwidth; retransmissions
are bare, so that a path too narrow for padding costs the measurement and not the link.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from shivya_daemon.core.links.frames import HEAD_BYTES, Head, Probe
from shivya_daemon.core.links.settings import LinksSettings

_TOKENS = 8  # transmissions that an echo may still answer


class Tokens:
    """The last few transmissions: token to time sent."""

    __slots__ = ("_entropy", "_sent")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._sent: OrderedDict[int, float] = OrderedDict()

    def issue(self, now: float) -> int:
        """Return the token of a transmission that goes out now."""
        token = int.from_bytes(self._entropy(4), "big")
        self._sent[token] = now
        if len(self._sent) > _TOKENS:
            self._sent.popitem(last=False)
        return token

    def answered(self, token: int, now: float) -> float | None:
        """Return the round-trip time of the transmission, None if there was none; it is answered once."""
        sent = self._sent.pop(token, None)
        return None if sent is None else max(0.0, now - sent)


class Prober(Struct):
    """Paces the checks of one agreement; `failed` says that the last one was not answered."""

    settings: LinksSettings
    tokens: Tokens
    next_at: float
    train_at: float
    retry: float
    attempts: int
    sent: int = 0
    """Transmissions of the check under way; 0 between checks."""

    def due(self, head: Head, now: float) -> list[Probe]:
        """Return the probes to send now; call it only after `failed` was asked."""
        if now < self.next_at:
            return []
        self.sent += 1
        self.next_at = now + self.retry
        token = self.tokens.issue(now)
        if now < self.train_at:
            return [Probe(head, token)]
        self.train_at = now + self.settings.train_interval
        count = self.settings.train_length
        padding = self.settings.probe_size - HEAD_BYTES - 6
        return [Probe(head, token, index, count, padding) for index in range(count)]

    def failed(self, now: float) -> bool:
        """Return whether the check under way ran out of transmissions; the next is then due at once."""
        if self.sent < self.attempts or now < self.next_at:
            return False
        self.sent = 0
        return True

    def answered(self, token: int, now: float) -> float | None:
        """End the check under way and return its round-trip time; None if this was never sent."""
        rtt = self.tokens.answered(token, now)
        if rtt is not None:
            self.rest(now)
        return rtt

    def rest(self, now: float) -> None:
        """Start the next check one interval from now."""
        self.sent = 0
        self.next_at = now + self.settings.check_interval

    def hurry(self, now: float) -> None:
        """Make a check due now."""
        self.next_at = min(self.next_at, now)
