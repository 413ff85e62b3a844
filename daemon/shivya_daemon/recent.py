"""The last minute of every node that is known, one sample a second: what a forecast of the mesh starts from.

Heartbeats carry a rate of arrivals that fades over ten seconds. Two of them tell how many jobs came in
between, so the counts of each second, and how unevenly they fall, are known of neighbours as of this node.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from shivya_daemon.rates import RATE_WINDOW
from shivya_daemon.world import World

SPAN = 60
"""Seconds that are remembered, at one sample each."""
MAX_NODES = 512
"""Nodes remembered, over all services; beyond that the one that was silent for longest makes room."""
_INTERVAL = 1.0
_GAP = 3.0
"""Seconds of silence after which a node's past is begun anew."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a node said of one service."""

    at: float
    """When it was true, seconds on this node's clock."""
    queue: int
    service_rate: float
    arrival_rate: float | None
    """From outside, jobs per second, faded over `RATE_WINDOW`; None where it is not told, two links away."""


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


class Recent:
    """Remembers; `note` wants to be called at each tick."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, bytes], deque[Sample]] = {}
        self._due = -math.inf

    def note(self, worlds: Iterable[World], now: float) -> None:
        """Take one sample of every node, if a second has passed since the last."""
        if now < self._due:
            return
        self._due = now + _INTERVAL if now - self._due > _INTERVAL else self._due + _INTERVAL
        for world in worlds:
            for vertex in world.vertices:
                told = vertex.direct or vertex.id == world.own.id
                rate = vertex.arrival_rate if told else None
                sample = Sample(now - vertex.age, vertex.queue, vertex.service_rate, rate)
                if vertex.age <= world.stale_after:
                    self._add((world.service, vertex.id), sample)
        for key in [key for key, samples in self._samples.items() if now - samples[-1].at > SPAN]:
            del self._samples[key]

    def past(self, service: str, node: bytes) -> Past | None:
        """Return the last minute of a node; None while there are no two samples of it."""
        samples = self._samples.get((service, node), ())
        if len(samples) < 2:
            return None
        count = len(samples)
        arrived = [jobs_between(*pair) for pair in zip(samples, list(samples)[1:], strict=False)]
        return Past(
            seconds=samples[-1].at - samples[0].at,
            queue=sum(sample.queue for sample in samples) / count,
            service_rate=sum(sample.service_rate for sample in samples) / count,
            counts=tuple(jobs for jobs in arrived if jobs is not None),
        )

    def _add(self, key: tuple[str, bytes], sample: Sample) -> None:
        samples = self._samples.pop(key, None) or deque(maxlen=SPAN + 1)
        if samples:
            jobs = jobs_between(samples[-1], sample)
            anew = jobs is not None and jobs < -1.0  # no rate falls faster than it fades, but for a new life
            if (
                anew
                or sample.at - samples[-1].at > _GAP
                or (jobs is None) != (samples[-1].arrival_rate is None)
            ):
                samples.clear()
            elif sample.at <= samples[-1].at:
                self._samples[key] = samples
                return
        samples.append(sample)
        if len(self._samples) >= MAX_NODES:
            del self._samples[next(iter(self._samples))]
        self._samples[key] = samples


def jobs_between(first: Sample, second: Sample) -> float | None:
    """Return how many jobs came between two samples, by how the rate faded; None if they do not tell.

    Right to a few per cent, as what came in between has faded by half of it on average. Rates that are less
    than half a minute old have not faded as much as they will: their counts are rougher.
    """
    if first.arrival_rate is None or second.arrival_rate is None:
        return None
    elapsed = second.at - first.at
    kept = math.exp(-elapsed / RATE_WINDOW)
    return RATE_WINDOW * (second.arrival_rate - first.arrival_rate * kept) / math.sqrt(kept)
