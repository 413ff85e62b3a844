"""Jobs and when they come: Poisson, bursts, a hotspot, rates per node, or a recorded trace; on the host."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shivya_kernels.fleet.graph import Ints
from shivya_kernels.fleet.scenario import MICROSECONDS, Scenario


class Arrivals(NamedTuple):
    """The jobs of one fleet, sorted by time."""

    time: NDArray[np.int32]
    """Microseconds."""
    node: NDArray[np.int32]
    size: NDArray[np.float32]
    intensity: NDArray[np.float64]
    """[N] mean arrivals per second at each node."""


def draw_arrivals(
    scenario: Scenario, rng: np.random.Generator, rate: NDArray[np.float64], neighbour: Ints
) -> Arrivals:
    """All jobs until the horizon; `neighbour` [N, D] says who is linked, -1 where nobody is.

    Raises ValueError for a trace that does not fit the fleet.
    """
    if scenario.arrivals is not None:
        return _recorded(scenario, scenario.arrivals)
    n = scenario.nodes
    intensity = _intensity(scenario, rng, rate)
    times = [_one_node(scenario, rng, mean) for mean in intensity]
    held = np.array(scenario.backlog or (0,) * n)
    node = np.repeat(np.arange(n, dtype=np.int32), [len(t) for t in times])
    node = np.concatenate([np.repeat(np.arange(n, dtype=np.int32), held), node])
    time = np.concatenate([np.zeros(held.sum(), np.int32), *times])
    size = _sizes(scenario, rng, len(time))
    if scenario.failure is not None:
        # The sizes of all other jobs stay as they were without the failure.
        time, node = _turned_away(scenario, rng, neighbour, time, node)
        size = np.concatenate([size, _sizes(scenario, rng, len(time) - len(size))])
    order = np.argsort(time, kind="stable")
    return Arrivals(time[order], node[order], size[order], intensity)


def _intensity(
    scenario: Scenario, rng: np.random.Generator, rate: NDArray[np.float64]
) -> NDArray[np.float64]:
    n = scenario.nodes
    if scenario.arrival_rates is None:
        share = np.full(n, 1 / n)
        if scenario.hotspot > 0 and n > 1:
            share[:] = (1 - scenario.hotspot) / (n - 1)
            share[rng.integers(n)] = scenario.hotspot
        return share * (scenario.load * float(rate.sum()))
    known: NDArray[np.float64] = np.array(scenario.arrival_rates, float)
    if scenario.arrival_spread is None:
        return known
    return spread(rng, known, scenario.arrival_spread)


def spread(
    rng: np.random.Generator, known: NDArray[np.float64], deviation: tuple[float, ...]
) -> NDArray[np.float64]:
    """What values may truly be that are known up to a relative standard deviation each: gamma, mean 1."""
    variance = np.maximum(np.square(deviation), 1e-12)
    drawn: NDArray[np.float64] = known * rng.gamma(1 / variance, variance)
    return drawn


def _turned_away(
    scenario: Scenario, rng: np.random.Generator, neighbour: Ints, time: NDArray[np.int32], node: Ints
) -> tuple[NDArray[np.int32], Ints]:
    """Times and nodes when clients of failed nodes turn elsewhere; what is tried again comes last."""
    failure = scenario.failure
    assert failure is not None
    survivors = np.setdiff1d(np.arange(scenario.nodes), failure.nodes)
    begin = max(round(failure.at * MICROSECONDS), 1)
    held = scenario.backlog or (0,) * scenario.nodes
    home, again = node.copy(), [np.zeros(0, np.int32)]
    for dead in failure.nodes:
        around = np.intersect1d(neighbour[dead], survivors)
        choices = around if len(around) else survivors
        turned = (node == dead) & (time > begin)
        home[turned] = rng.choice(choices, turned.sum())
        again.append(rng.choice(choices, held[dead]).astype(np.int32))
    retried = np.concatenate(again)
    return np.concatenate([time, np.full(len(retried), begin, np.int32)]), np.concatenate([home, retried])


def _one_node(scenario: Scenario, rng: np.random.Generator, mean: float) -> NDArray[np.int32]:
    """A Poisson process whose rate alternates (Markov-modulated), by inversion of its integrated rate."""
    horizon = scenario.horizon
    knots, level = [0.0], []
    high, low, up, down = (
        scenario.burst_high,
        scenario.burst_low,
        scenario.burst_seconds,
        scenario.calm_seconds,
    )
    if scenario.bursts:
        long_run = (high * up + low * down) / (up + down)
        bursting = rng.random() < up / (up + down)
        while knots[-1] < horizon:
            knots.append(knots[-1] + rng.exponential(up if bursting else down))
            level.append((high if bursting else low) / long_run)
            bursting = not bursting
    else:
        knots, level = [0.0, horizon], [1.0]
    integral = np.concatenate([[0.0], np.cumsum(np.diff(knots) * level)]) * mean
    total = float(np.interp(horizon, knots, integral))
    drawn = np.sort(rng.random(rng.poisson(total))) * total
    time = np.ceil(np.interp(drawn, integral, knots) * MICROSECONDS)
    return np.clip(time, 1, horizon * MICROSECONDS).astype(np.int32)


def _sizes(scenario: Scenario, rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    if scenario.sizes == "exponential":
        drawn = rng.exponential(size=count)
    elif scenario.sizes == "lognormal":
        variance = np.log1p(scenario.size_variation)
        drawn = rng.lognormal(-variance / 2, np.sqrt(variance), count)
    else:
        drawn = np.ones(count)
    return drawn.astype(np.float32)


def _recorded(scenario: Scenario, trace: tuple[tuple[int, float, float], ...]) -> Arrivals:
    rows = np.array(trace, float).reshape(-1, 3)
    node, time, size = rows[:, 0].astype(np.int32), rows[:, 1], rows[:, 2]
    if len(rows) and (node.min() < 0 or node.max() >= scenario.nodes):
        raise ValueError(f"arrivals name nodes outside 0..{scenario.nodes - 1}")
    if len(rows) and not ((time >= 0).all() and (time <= scenario.horizon).all() and (size > 0).all()):
        raise ValueError("arrivals need times from 0 to warm_up + seconds, and positive sizes")
    order = np.argsort(time, kind="stable")
    due = np.maximum(np.ceil(time[order] * MICROSECONDS), 1).astype(np.int32)
    intensity = np.bincount(node, minlength=scenario.nodes) / scenario.horizon
    return Arrivals(due, node[order], size[order].astype(np.float32), intensity)
