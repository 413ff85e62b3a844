"""Rates of events from their counts: exponentially weighted, fed with explicit time."""

from __future__ import annotations

import math

RATE_WINDOW = 10.0
"""Time constant of arrival and service rates, seconds."""


class FadingSum:
    """A sum whose terms fade with time constant `window`."""

    __slots__ = ("_at", "_value", "_window")

    def __init__(self, window: float) -> None:
        self._window, self._at, self._value = window, -math.inf, 0.0

    def add(self, now: float, amount: float) -> None:
        """Add a term at `now`; a clock that went back adds at the latest time seen."""
        self._value = self.read(now) + amount
        self._at = max(self._at, now)

    def read(self, now: float) -> float:
        """Return the sum as faded by `now`."""
        return self._value * math.exp(-max(0.0, now - self._at) / self._window) if self._value else 0.0


class Arrivals:
    """Rate and squared coefficient of variation of arrivals, from counts that may be lumped together."""

    def __init__(self) -> None:
        self.total = 0
        self._first: float | None = None
        self._last = 0.0
        self._count = FadingSum(RATE_WINDOW)
        self._gaps = FadingSum(RATE_WINDOW)
        self._sum = FadingSum(RATE_WINDOW)
        self._squares = FadingSum(RATE_WINDOW)

    def add(self, now: float, count: int) -> None:
        """Count `count` arrivals since the last call."""
        self.total += count
        self._count.add(now, count)
        if self._first is None:
            self._first = self._last = now
            return
        elapsed = max(0.0, now - self._last)
        self._last = max(self._last, now)
        self._gaps.add(now, count)
        self._sum.add(now, elapsed)
        # n arrivals at random in a span: n uniform spacings have E[sum of squares] = 2 span^2 / (n + 1)
        self._squares.add(now, 2.0 * elapsed * elapsed / (count + 1))

    def rate(self, now: float) -> float:
        """Arrivals per second, over the last `RATE_WINDOW` or since the first one (at least a second)."""
        if self._first is None:
            return 0.0
        observed = RATE_WINDOW * -math.expm1(-max(1.0, now - self._first) / RATE_WINDOW)
        return self._count.read(now) / observed

    def variation(self) -> float:
        """Squared coefficient of variation of the time between arrivals; 1 (Poisson) while unknown."""
        gaps, total = self._gaps.read(self._last), self._sum.read(self._last)
        if gaps < 2.0 or total <= 0.0:
            return 1.0
        return max(0.0, gaps * self._squares.read(self._last) / (total * total) - 1.0)
