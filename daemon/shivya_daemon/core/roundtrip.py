"""Smoothed round-trip times (RFC 6298, 2.3), and the least one of the last minutes."""

from __future__ import annotations

_GAIN = 0.125
_LONGEST = 2.0  # seconds; what took longer was measured over a jump of the clock, or an end slept
_MINIMUM_SPAN = 60.0  # seconds; the minimum covers one to two of them


def plausible(rtt: float) -> bool:
    """Whether a round-trip time says something about the way to the peer."""
    return rtt <= _LONGEST


def smooth(known: float | None, rtt: float) -> float | None:
    """Return the smoothed time after one more sample, of one transmission (Karn)."""
    if not plausible(rtt):
        return known
    return rtt if known is None else known + _GAIN * (rtt - known)


class RoundTrip:
    """Round-trip times in seconds; None before the first."""

    __slots__ = ("_current", "_previous", "_since", "smoothed")

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self._current = self._previous = float("inf")
        self._since = float("-inf")

    def measured(self, rtt: float, now: float) -> None:
        """Take one sample."""
        if not plausible(rtt):
            return
        self.smoothed = smooth(self.smoothed, rtt)
        if now - self._since >= _MINIMUM_SPAN:
            self._previous, self._current, self._since = self._current, rtt, now
        self._current = min(self._current, rtt)

    @property
    def minimum(self) -> float | None:
        """The least of the last one to two minutes of samples: distance without queues."""
        least = min(self._current, self._previous)
        return None if least == float("inf") else least
