"""What the predictor of a service learns from, and what a lesson comes to. No JAX here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shivya_daemon.mind.programs import AS_BEFORE, SENSES, Programs

if TYPE_CHECKING:
    from shivya_kernels.search import Population

HISTORY = 18_000
"""Ticks remembered: half an hour at ten ticks per second, 288 kB per service."""

LEAST = 3_000
"""Ticks to learn from, at the least: five minutes."""


class History:
    """A ring of what a service's own vertex sensed, one row per tick."""

    def __init__(self) -> None:
        self._ring = np.zeros((HISTORY, len(SENSES)), np.float32)
        self._seen = 0

    def __len__(self) -> int:
        return min(self._seen, HISTORY)

    def add(self, senses: tuple[float, ...]) -> None:
        """Remember one tick; the oldest gives way."""
        self._ring[self._seen % HISTORY] = senses
        self._seen += 1

    def rows(self) -> NDArray[np.float32]:
        """Return a copy, oldest first."""
        if self._seen <= HISTORY:
            return self._ring[: self._seen].copy()
        return np.roll(self._ring, -(self._seen % HISTORY), axis=0)


@dataclass(frozen=True)
class Lesson:
    """One search, given."""

    senses: NDArray[np.float32]
    """[T, S], oldest first, `LEAST` <= T <= `HISTORY`."""
    running: Programs = AS_BEFORE
    populations: tuple[Population, ...] = ()
    """What the last lesson of the service left; empty at the first."""
    number: int = 0
    """Decides with the seed about every draw."""


@dataclass(frozen=True)
class Outcome:
    """One search, done."""

    programs: Programs
    """The laws that should run from now on."""
    texts: tuple[str, ...]
    """The same as algebra."""
    ratios: tuple[float, ...]
    """Their square error over that of "as before", on the newest third; 1 where nothing is learned."""
    accepted: int
    """Laws that are new."""
    dropped: int
    """Laws given up because they had become worse than "as before"."""
    populations: tuple[Population, ...]
    """For the next lesson."""
    before: tuple[float, ...] = ()
    """As `ratios`, of the laws that ran until now."""
