"""How often to look: as often as is pleasant, for at most a given share of a processor."""

from __future__ import annotations

from collections import deque

SHARE = 0.02
LEAST, MOST = 0.5, 15.0
"""Seconds between two looks of one's own accord; what a key asks for comes at once."""
_REMEMBERED = 5


class Pace:
    """Turns what the last looks cost into the time to wait before the next one."""

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._costs: deque[float] = deque(maxlen=_REMEMBERED)

    def spent(self, seconds: float) -> None:
        """Take the processor time of one look."""
        self._costs.append(max(seconds, 0.0))

    @property
    def interval(self) -> float:
        """Seconds from one look to the next."""
        mean = sum(self._costs) / len(self._costs) if self._costs else 0.0
        return min(max(mean / self._share, LEAST), MOST)
