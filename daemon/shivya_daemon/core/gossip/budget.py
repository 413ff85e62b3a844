"""Bytes a node may send: an allowance that fills with time, and that a burst may overdraw."""

from __future__ import annotations


class Allowance:
    """Grows by `rate` bytes per second up to `most`; a debt is paid off before anything else."""

    __slots__ = ("_at", "_most", "_rate", "left")

    def __init__(self, rate: float, most: float) -> None:
        self._rate = rate
        self._most = most
        self._at: float | None = None
        self.left = most
        """Bytes; negative after a burst."""

    def refill(self, now: float) -> None:
        """Account for the time since the last call."""
        if self._at is not None:
            self.left = min(self._most, self.left + max(0.0, now - self._at) * self._rate)
        self._at = now

    def spend(self, size: float) -> None:
        """Take `size` bytes; the debt is never more than `most`, whoever asked for how much."""
        self.left = max(-self._most, self.left - size)
