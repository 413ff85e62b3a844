"""How long to wait before a question is repeated: RFC 6298 over all peers together."""

from __future__ import annotations

from shivya_daemon.core.dht.settings import DhtSettings

_GAIN = 1 / 8
_VARIATION_GAIN = 1 / 4


class Pace:
    """Smoothed round-trip time and its variation, from questions that were sent once (Karn)."""

    __slots__ = ("_interval", "_mean", "_settings", "_variation")

    def __init__(self, settings: DhtSettings) -> None:
        self._settings = settings
        self._mean: float | None = None
        self._variation = 0.0
        self._interval = settings.retry_first

    def measured(self, rtt: float) -> None:
        """Take one round-trip time."""
        if self._mean is None:
            self._mean, self._variation = rtt, rtt / 2
        else:
            self._variation += _VARIATION_GAIN * (abs(rtt - self._mean) - self._variation)
            self._mean += _GAIN * (rtt - self._mean)
        wait = self._mean + 4 * self._variation
        self._interval = min(max(wait, self._settings.retry_min), self._settings.retry_max)

    def interval(self, attempts: int) -> float:
        """Return how long to wait for an answer to transmission number `attempts`, counted from 1."""
        return min(self._interval * self._settings.retry_growth ** (attempts - 1), self._settings.retry_max)
