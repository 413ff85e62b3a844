"""When the next round of an organism is due: its time runs with the clock and never makes up in a burst."""

from __future__ import annotations

STEP = 0.25
"""Seconds of the organism's time per round."""
MOST = 8
"""Rounds at a time; what a busy machine has no time for is left out."""
_LEAST_WAIT, _MOST_WAIT = 0.1, 0.25


class Steps:
    """Counts rounds since `now`."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._owed = 0.0
        self.left_out = 0.0
        """Seconds of its time that never were."""

    def due(self, speed: float, now: float) -> tuple[int, float]:
        """Return how many rounds are due, and how much of its time they are."""
        self._owed += max(0.0, now - self._at) * speed
        self._at = now
        rounds = min(int(self._owed / STEP), MOST)
        self._owed -= rounds * STEP
        if self._owed >= STEP:
            self.left_out += self._owed
            self._owed = 0.0
        return rounds, rounds * STEP

    def wait(self, speed: float, now: float) -> float:
        """Return how long to wait until the next look; links want one even when no round is due."""
        left = (STEP - self._owed) / speed - (now - self._at)
        return min(max(left, _LEAST_WAIT), _MOST_WAIT)
