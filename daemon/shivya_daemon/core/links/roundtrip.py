"""Latency of a link: smoothed round-trip time (RFC 6298, 2.3) and the least one of the last minutes."""

from __future__ import annotations

_GAIN = 0.125
_MINIMUM_SPAN = 60.0  # seconds; the minimum covers one to two of them


class RoundTrip:
    """Round-trip times in seconds; None before the first."""

    __slots__ = ("_current", "_previous", "_since", "smoothed")

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self._current = self._previous = float("inf")
        self._since = float("-inf")

    def measured(self, rtt: float, now: float) -> None:
        """Take one sample; whoever measures sees to it that it is of one transmission (Karn)."""
        self.smoothed = rtt if self.smoothed is None else self.smoothed + _GAIN * (rtt - self.smoothed)
        if now - self._since >= _MINIMUM_SPAN:
            self._previous, self._current, self._since = self._current, rtt, now
        self._current = min(self._current, rtt)

    @property
    def minimum(self) -> float | None:
        """The least of the last one to two minutes of samples: distance without queues."""
        least = min(self._current, self._previous)
        return None if least == float("inf") else least
