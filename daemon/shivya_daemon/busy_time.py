"""How long servers have been at work: counted by the client, or else reckoned from its queue.

A client's lines come some hundredths of a second apart: a job that begins after a pause is told at once, its
end, if that comes soon, a little later. Busy time by when lines come is too long, the more so the shorter
jobs and pauses are. Standard library only.
"""

from __future__ import annotations

import math

from shivya_daemon.rates import FadingSum


class BusyTime:
    """Server-seconds at work since they were last taken."""

    __slots__ = ("_at", "_busy", "_seconds")

    def __init__(self) -> None:
        self._busy, self._at, self._seconds = 0, -math.inf, 0.0

    def hold(self, busy: int, now: float) -> None:
        """Take the number of servers at work from now on."""
        if self._busy:
            self._seconds += self._busy * max(0.0, now - self._at)
        self._busy, self._at = busy, max(self._at, now)

    def take(self, now: float) -> float:
        """Return the server-seconds up to now, and begin again at zero."""
        self.hold(self._busy, now)
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class BusyAccount:
    """Server-seconds at work, faded with time constant `window`; and seconds of all servers in all."""

    __slots__ = ("_at", "_known", "_known_at", "_reckoned", "_since_known", "_total", "_window")

    def __init__(self, window: float) -> None:
        self._window = window
        self._at = 0.0
        self._known_at: float | None = None
        self._total = self._since_known = 0.0
        self._known, self._reckoned = FadingSum(window), FadingSum(window)

    @property
    def total(self) -> float:
        """Seconds at work since the beginning, of all servers on average."""
        return self._total + self._since_known

    def faded(self, now: float) -> float:
        """Server-seconds of late."""
        return self._known.read(now) + self._reckoned.read(now)

    def advance(self, busy: int, servers: int, now: float) -> None:
        """Reckon that so many of the servers were at work since the last call."""
        elapsed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        self._since_known += busy * elapsed / servers
        self._reckoned.add(now, busy * self._spread(elapsed))

    def tell(self, seconds: float, servers: int, now: float) -> None:
        """Take the server-seconds counted since the last call of this, in place of those reckoned since."""
        if self._known_at is None:  # what was reckoned before anybody counted stands
            self._known_at, self._known = now, self._reckoned
            self._total = self._since_known
        elapsed = max(0.0, now - self._known_at)
        self._known_at = max(self._known_at, now)
        self._known.add(now, seconds * (self._spread(elapsed) / elapsed if elapsed else 1.0))
        self._total += seconds / servers
        self._since_known, self._reckoned = 0.0, FadingSum(self._window)

    def _spread(self, elapsed: float) -> float:
        """What is left of `elapsed` seconds, each of which has faded since it passed."""
        return self._window * -math.expm1(-elapsed / self._window)
