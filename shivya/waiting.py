"""Jobs that wait, the one born first at the front: whoever was handed over keeps its place in the line.

A job's birth is a time on this process's own clock: its arrival here less its age then (`transfer.Job.age`),
so that nodes whose clocks differ agree on the order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """A line ordered by birth; of two born at the same time, the one that came first is ahead.

    It takes what it is given: whoever accepts jobs bounds their number.
    """

    __slots__ = ("_births", "_jobs")

    def __init__(self) -> None:
        self._births: list[float] = []
        self._jobs: list[T] = []

    def add(self, job: T, born: float) -> None:
        """Put a job in the place that is its by birth."""
        place = bisect_right(self._births, born)
        self._births.insert(place, born)
        self._jobs.insert(place, job)

    def ahead(self, born: float) -> int:
        """Return how many jobs a job born then would have ahead of it."""
        return bisect_right(self._births, born)

    def pop_first(self) -> tuple[T, float]:
        """Take the job to serve next, with its birth; raises `IndexError` when none waits."""
        return self._pop(0)

    def pop_middle(self) -> tuple[T, float]:
        """Take the job to hand over, the one half-way down the line; raises `IndexError` when none waits.

        The first is served soon anyhow, and the last would stand behind older jobs wherever it went.
        """
        return self._pop(len(self._jobs) // 2)

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[T]:
        return iter(self._jobs)

    def _pop(self, place: int) -> tuple[T, float]:
        return self._jobs.pop(place), self._births.pop(place)
