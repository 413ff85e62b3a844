"""Jobs that stay where they are: exact recursions and the formulas of queueing theory."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from shivya_kernels.fleet import FleetTrace, Scenario, World, simulate, worlds

NODES = 6
PLAIN = Scenario(
    nodes=NODES, mean_degree=2.0, bursts=False, hotspot=0.0, rates=(10.0,) * NODES, shares=None,
    seconds=400.0, warm_up=20.0, load=0.6, step=0.025, hop=0.025, latency=0.025,
)  # fmt: skip


def ran(scenario: Scenario, seed: int = 1) -> tuple[World, FleetTrace]:
    world = worlds(scenario, [seed])
    return world, simulate(world, "none")


def lindley(world: World, servers: int) -> np.ndarray:
    """Sojourn times by the recursion of Kiefer and Wolfowitz, first come first served at each node."""
    free = {i: [0.0] * servers for i in range(world.shape.places)}
    result = np.full(world.shape.jobs, np.nan)
    for j in np.nonzero(world.owner == 0)[0]:
        home, born = int(world.home[j]), world.born[j] / 1e6
        start = max(born, heapq.heappop(free[home]))
        end = start + world.size[j] * servers / float(world.rate[home])
        heapq.heappush(free[home], end)
        result[j] = end - born
    return result


@pytest.mark.parametrize(("servers", "sizes"), [(1, "exponential"), (3, "exponential"), (1, "lognormal")])
def test_every_job_takes_exactly_as_long_as_it_must(servers: int, sizes: str) -> None:
    """Time steps do not show in the times: no server is idle while a job waits, whatever the step."""
    scenario = Scenario(
        nodes=NODES, mean_degree=2.0, seconds=60.0, warm_up=0.0, servers=servers, sizes=sizes, load=0.8,
        step=0.025, hop=0.025, latency=0.025,
    )  # type: ignore[arg-type]  # fmt: skip
    world, trace = ran(scenario)
    assert_allclose(np.asarray(trace.sojourn), lindley(world, servers), atol=5e-4)


@pytest.mark.parametrize("servers", [1, 3])
def test_mean_time_in_system_of_poisson_arrivals(servers: int) -> None:
    """M/M/1 and M/M/c (Erlang's C formula) within three standard errors of batch means."""
    world, trace = ran(Scenario(**{**PLAIN.__dict__, "servers": servers}), seed=3)
    rate, load = 10.0, PLAIN.load
    offered = load * servers
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) / (1 - load)
    waits = last / (sum(terms) + last)
    expected = servers / rate + waits / (rate * (1 - load))
    counted = np.asarray(trace.measured) & ~np.isnan(np.asarray(trace.sojourn))
    sojourn, born = np.asarray(trace.sojourn)[counted], np.asarray(trace.born)[counted]
    batch = (
        np.minimum(((born - PLAIN.warm_up) / 40.0).astype(int), 9) * NODES + np.asarray(trace.node)[counted]
    )
    means = np.bincount(batch, sojourn) / np.bincount(batch)
    error = means.std(ddof=1) / math.sqrt(len(means))
    assert abs(means.mean() - expected) < 3 * error
    assert error < 0.1 * expected
    assert trace.summary()["jobs_done"] == int((world.owner == 0).sum())


def test_what_is_not_done_in_time_is_not_left_out() -> None:
    scenario = Scenario(**{**PLAIN.__dict__, "load": 3.0, "seconds": 10.0, "drain": 5.0})
    trace = simulate(worlds(scenario, [0]), "none")
    row = trace.summary()
    assert row["jobs_left"] > 0 and row["p999"] == math.inf
    assert row["jobs_submitted"] == row["jobs_done"] + row["jobs_left"]
    assert float(trace.seconds) == pytest.approx(scenario.end, abs=0.2)
