"""Circuit breaker of one link (Nygard, Release It!, 2007).

The words are those of electricity: a *closed* breaker lets work through, an *open* one does not. (Some mesh
designs name a gate the other way round, open meaning that it flows.) Only what this node itself saw fail or
succeed counts: no message of another node opens or closes a breaker.
"""

from __future__ import annotations

from enum import Enum


class BreakerState(Enum):
    """Closed: work flows. Open: none does. Half-open: one trial is under way, and still no work flows."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Opens after `failures` consecutive failures; `pause` seconds later one trial decides."""

    __slots__ = ("_count", "_failures", "_opened_at", "_pause", "state")

    def __init__(self, failures: int, pause: float) -> None:
        self._failures = failures
        self._pause = pause
        self._count = 0
        self._opened_at = 0.0
        self.state = BreakerState.CLOSED

    @property
    def closed(self) -> bool:
        """Whether work flows."""
        return self.state is BreakerState.CLOSED

    def trial(self, now: float) -> None:
        """Say that a probe goes out now: once the pause is over, it is the trial."""
        if self.state is BreakerState.OPEN and now - self._opened_at >= self._pause:
            self.state = BreakerState.HALF_OPEN

    def failed(self, now: float) -> None:
        """Count a failure; while open nothing was tried, so nothing is learned."""
        if self.state is BreakerState.OPEN:
            return
        self._count += 1
        if self.state is BreakerState.HALF_OPEN or self._count >= self._failures:
            self.state = BreakerState.OPEN
            self._opened_at = now
            self._count = 0

    def succeeded(self) -> None:
        """Count a success: it ends a row of failures, and closes the breaker after a trial."""
        if self.state is not BreakerState.OPEN:
            self.state = BreakerState.CLOSED
            self._count = 0
