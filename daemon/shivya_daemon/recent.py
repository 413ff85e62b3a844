"""The last minute of every node that is known, one sample a second: what a forecast of the mesh starts from.

Heartbeats carry a rate of arrivals that fades over ten seconds. Two of them tell how many jobs came in
between, so the counts of each second, and how unevenly they fall, are known of neighbours as of this node.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from shivya_daemon.rates import RATE_WINDOW
from shivya_daemon.world import World

SPAN = 60
"""Seconds that are remembered, at one sample each."""
MAX_NODES = 512
"""Nodes remembered, over all services; beyond that the one that was silent for longest makes room."""
_INTERVAL = 1.0
_NO_JOBS = -1.0
"""Fewer jobs than that cannot have come, whatever the rounding: the node has begun anew."""
_GAP = 3.0
"""Seconds of silence after which a node's past is begun anew."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """What a node said of one service."""

    at: float
    """When it was true, seconds on this node's clock."""
    queue: int
    service_rate: float
    faded: float | None
    """Jobs that came from outside, each counting less with its age; None of nodes two links away."""


@dataclass(frozen=True, slots=True)
class Past:
    """The last minute of one node."""

    seconds: float
    """Between its first sample and its last."""
    queue: float
    """Mean number of jobs held."""
    service_rate: float
    """Mean."""
    counts: tuple[float, ...]
    """Jobs that came from outside, in equal parts of `seconds`; none where that is not told."""


class _Watch:
    """The samples of one node and service."""

    def __init__(self) -> None:
        self.samples: deque[_Sample] = deque(maxlen=SPAN + 1)
        self._began = -math.inf
        """When its first job came; long ago where that was not seen."""

    def add(self, at: float, queue: int, service_rate: float, arrival_rate: float | None) -> None:
        """Take a sample; what contradicts the ones before is a new life, or is heard again after silence."""
        last = self.samples[-1] if self.samples else None
        if last is not None and at <= last.at:
            return
        if last is not None and (at - last.at > _GAP or (last.faded is None) != (arrival_rate is None)):
            self.samples.clear()
            self._began = -math.inf
            last = None
        if last is not None and last.faded == 0.0 and arrival_rate:
            self._began = (last.at + at) / 2
        sample = _Sample(at, queue, service_rate, self._faded(at, arrival_rate))
        if last is not None and (jobs_between(last, sample) or 0.0) < _NO_JOBS:
            self.samples.clear()
            self._began = (last.at + at) / 2
            sample = _Sample(at, queue, service_rate, self._faded(at, arrival_rate))
        self.samples.append(sample)

    def _faded(self, at: float, arrival_rate: float | None) -> float | None:
        """Undo what `rates.Arrivals` divides by: the window, or as much of it as there was yet."""
        if arrival_rate is None:
            return None
        return arrival_rate * RATE_WINDOW * -math.expm1(-max(1.0, at - self._began) / RATE_WINDOW)


class Recent:
    """Remembers; `note` wants to be called at each tick."""

    def __init__(self) -> None:
        self._watches: dict[tuple[str, bytes], _Watch] = {}
        self._due = -math.inf

    def note(self, worlds: Iterable[World], now: float) -> None:
        """Take one sample of every node, if a second has passed since the last."""
        if now < self._due:
            return
        self._due = now + _INTERVAL if now - self._due > _INTERVAL else self._due + _INTERVAL
        for world in worlds:
            for vertex in world.vertices:
                if vertex.age > world.stale_after:
                    continue
                told = vertex.direct or vertex.id == world.own.id
                rate = vertex.arrival_rate if told else None
                watch = self._watch((world.service, vertex.id))
                watch.add(now - vertex.age, vertex.queue, vertex.service_rate, rate)
        for key in [key for key, watch in self._watches.items() if now - watch.samples[-1].at > SPAN]:
            del self._watches[key]

    def past(self, service: str, node: bytes) -> Past | None:
        """Return the last minute of a node; None while there are no two samples of it."""
        watch = self._watches.get((service, node))
        if watch is None or len(watch.samples) < 2:
            return None
        samples = watch.samples
        arrived = [jobs_between(one, two) for one, two in pairwise(samples)]
        return Past(
            seconds=samples[-1].at - samples[0].at,
            queue=sum(sample.queue for sample in samples) / len(samples),
            service_rate=sum(sample.service_rate for sample in samples) / len(samples),
            counts=tuple(jobs for jobs in arrived if jobs is not None),
        )

    def _watch(self, key: tuple[str, bytes]) -> _Watch:
        """Return the samples of a node, as those last used."""
        watch = self._watches.pop(key, None) or _Watch()
        if len(self._watches) >= MAX_NODES:
            del self._watches[next(iter(self._watches))]
        self._watches[key] = watch
        return watch


def jobs_between(first: _Sample, second: _Sample) -> float | None:
    """Return how many jobs came between two samples; None if they do not tell.

    Right to a few per cent of them: what came in between has faded by half of the time on average.
    """
    if first.faded is None or second.faded is None:
        return None
    kept = math.exp(-(second.at - first.at) / RATE_WINDOW)
    return (second.faded - first.faded * kept) / math.sqrt(kept)
