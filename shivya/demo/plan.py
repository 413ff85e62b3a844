"""What is asked of the fleet: who serves how fast, and which job arrives where and when.

Everything follows from the number of nodes, the duration and the seed, so both phases of a run (and two runs
with one seed) face exactly the same jobs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SERVICE_RATES = (10.0, 20.0, 40.0)
"""Jobs of mean size per second, repeated over the nodes."""
LOAD = 0.65
"""All arrivals together, as a share of all service rates together."""
HOT_RATE = 20.0
HOT_FACTOR = 2.0
"""The first node of rate `HOT_RATE` is asked for this multiple of what it can serve."""

# Arrivals are a two-state Markov-modulated Poisson process per node, with mean intensity 1.
BURST_INTENSITY, BURST_SECONDS = 2.5, 2.0
CALM_INTENSITY, CALM_SECONDS = 0.5, 6.0

MIN_NODES, MAX_NODES = 2, 16
MIN_SECONDS, MAX_SECONDS = 5.0, 600.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """One job: seconds from the start, node, size (mean 1; served in size / rate seconds), id."""

    time: float
    node: int
    size: float
    id: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet and the jobs of one phase, ordered by time; ids count from 0 in that order."""

    seconds: float
    service_rates: tuple[float, ...]
    arrival_rates: tuple[float, ...]
    hot: int
    victim: int
    """The busiest node that is not the hot one: the one to kill."""
    arrivals: tuple[Arrival, ...]


def make_plan(nodes: int, seconds: float, seed: int) -> Plan:
    """Lay out one phase of `seconds` for `nodes` nodes; ValueError names an argument out of range."""
    if not MIN_NODES <= nodes <= MAX_NODES:
        raise ValueError(f"--nodes must be between {MIN_NODES} and {MAX_NODES}, not {nodes}")
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise ValueError(f"--seconds must be between {MIN_SECONDS:g} and {MAX_SECONDS:g}, not {seconds:g}")
    service = tuple(SERVICE_RATES[i % len(SERVICE_RATES)] for i in range(nodes))
    hot = service.index(HOT_RATE)
    rates = spread_load(service, hot)
    drawn = sorted(
        (time, node, size)
        for node, rate in enumerate(rates)
        for time, size in _bursty_arrivals(random.Random(f"{seed}/{node}"), rate, seconds)
    )
    return Plan(
        seconds=seconds,
        service_rates=service,
        arrival_rates=rates,
        hot=hot,
        victim=max((i for i in range(nodes) if i != hot), key=lambda i: (rates[i], service[i], -i)),
        arrivals=tuple(Arrival(time, node, size, k) for k, (time, node, size) in enumerate(drawn)),
    )


def spread_load(service_rates: tuple[float, ...], hot: int) -> tuple[float, ...]:
    """Mean arrivals per second at each node: the hot one first, the rest in proportion to service rate.

    In a fleet of two the hot node takes the whole load, which is less than its usual multiple.
    """
    total = LOAD * sum(service_rates)
    at_hot = min(HOT_FACTOR * service_rates[hot], total)
    others = sum(service_rates) - service_rates[hot]
    return tuple(
        at_hot if i == hot else (total - at_hot) * rate / others for i, rate in enumerate(service_rates)
    )


def _bursty_arrivals(rng: random.Random, rate: float, seconds: float) -> list[tuple[float, float]]:
    """(time, size) of one node's jobs: exponential sojourns in burst and calm, exponential sizes."""
    if rate <= 0:
        return []
    found: list[tuple[float, float]] = []
    bursting = rng.random() < BURST_SECONDS / (BURST_SECONDS + CALM_SECONDS)
    now = 0.0
    while now < seconds:
        mean, intensity = (BURST_SECONDS, BURST_INTENSITY) if bursting else (CALM_SECONDS, CALM_INTENSITY)
        end = min(now + rng.expovariate(1 / mean), seconds)
        now += rng.expovariate(rate * intensity)
        while now < end:
            found.append((now, rng.expovariate(1.0)))
            now += rng.expovariate(rate * intensity)
        now = end
        bursting = not bursting
    return found
