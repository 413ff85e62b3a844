"""Fleets as live meshes are: rates and backlogs per node, unequal servers, nodes that fail for good."""

from __future__ import annotations

import heapq
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from shivya_kernels.fleet import Failure, FleetTrace, Scenario, World, simulate, worlds

RATES = (5.0, 12.0, 0.0, 3.0)
LIVE = Scenario(
    nodes=4, edges=((0, 1), (1, 2), (2, 3)), rates=(10.0, 20.0, 10.0, 10.0), shares=None, arrival_rates=RATES,
    bursts=False, seconds=30.0, warm_up=1.0, step=0.025, hop=0.025, latency=0.025,
)  # fmt: skip


def homes(world: World, fleet: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """When the jobs of one fleet come, in seconds, and to which node."""
    mine = world.owner == fleet
    return world.born[mine] / 1e6, world.name[world.home[mine]]


def test_rates_are_those_of_the_nodes() -> None:
    world = worlds(replace(LIVE, seconds=900.0, warm_up=0.0), [0])
    _, node = homes(world)
    found = np.bincount(node, minlength=4) / 900.0
    assert found[2] == 0
    assert_allclose(found, RATES, atol=4 * np.sqrt(max(RATES) / 900.0))


def test_spread_rates_differ_from_fleet_to_fleet_by_as_much_as_was_said() -> None:
    spread = (0.5, 0.0, 0.3, 0.0)
    world = worlds(replace(LIVE, arrival_spread=spread, seconds=100.0), range(200))
    counts = np.stack([np.bincount(homes(world, b)[1], minlength=4) for b in range(200)]) / 101.0
    assert_allclose(counts.mean(axis=0), RATES, rtol=0.12)
    noise = np.sqrt(np.array(RATES) / 101.0)
    expected = np.sqrt(noise**2 + (np.array(spread) * RATES) ** 2)
    assert_allclose(counts.std(axis=0), expected, rtol=0.2)


def test_true_service_rates_are_spread_about_those_that_are_known() -> None:
    world = worlds(replace(LIVE, rate_spread=(0.2, 0.0, 0.1, 0.0), seconds=1.0), range(1000))
    name = world.name[world.fleet < 1000]
    rates, known = (values[world.fleet < 1000] for values in (world.rate, world.nominal))
    for node, (rate, spread) in enumerate(zip(LIVE.rates, (0.2, 0.0, 0.1, 0.0), strict=True)):
        mine = rates[name == node]
        assert_allclose(known[name == node], rate)
        assert_allclose((mine.mean(), mine.std()), (rate, spread * rate), rtol=0.1, atol=1e-3)


def test_a_backlog_waits_from_the_start_and_is_not_measured() -> None:
    scenario = replace(LIVE, backlog=(0, 7, 3, 0))
    world = worlds(scenario, [1])
    born, node = homes(world)
    assert_array_equal(np.bincount(node[born == 0], minlength=4), [0, 7, 3, 0])
    trace = simulate(world, "none")
    held = np.asarray(trace.born)[np.asarray(trace.born) == 0]
    assert len(held) and not np.asarray(trace.measured)[: len(held)].any()
    # At the node that gets nothing else they leave one after the other.
    mine = (np.asarray(trace.node) == 2) & (np.asarray(trace.fleet) == 0)
    assert_allclose(
        np.asarray(trace.sojourn)[mine], np.cumsum(world.size[: len(mine)][mine]) / 10.0, atol=1e-3
    )
    row = trace.summary()
    assert row["jobs_done"] == row["jobs_submitted"] == len(born)


def kiefer(world: World) -> np.ndarray:
    """Sojourn times where jobs stay, by the recursion of Kiefer and Wolfowitz."""
    free = {i: [0.0] * int(world.servers[i]) for i in range(world.shape.places)}
    result = np.full(world.shape.jobs, np.nan)
    for j in np.nonzero(world.owner == 0)[0]:
        home, born = int(world.home[j]), world.born[j] / 1e6
        needed = world.size[j] * world.servers[home] / float(world.rate[home])
        end = max(born, heapq.heappop(free[home])) + needed
        heapq.heappush(free[home], end)
        result[j] = end - born
    return result


def test_every_node_has_its_own_servers() -> None:
    world = worlds(replace(LIVE, servers=(1, 3, 2, 1), arrival_rates=(8.0, 16.0, 8.0, 8.0)), [2])
    assert world.shape.servers == 3
    trace = simulate(world, "none")
    assert_allclose(np.asarray(trace.sojourn), kiefer(world), atol=5e-4)


@pytest.mark.parametrize("law", ["shivya", "sed", "oracle"])
def test_unequal_servers_under_a_law_that_moves_jobs(law: str) -> None:
    """All jobs are done, none twice; and one server more changes the time of those who share it."""
    busy = replace(LIVE, arrival_rates=(25.0, 0.0, 5.0, 0.0), backlog=(9, 0, 0, 0))
    rows = [simulate(worlds(replace(busy, servers=s), [3]), law).summary() for s in ((1, 4, 1, 2), 1)]
    for row in rows:
        assert row["jobs_done"] == row["jobs_submitted"] and row["moves_per_job"] > 0
    assert rows[0]["mean"] > rows[1]["mean"], "slow servers side by side are slower than one fast one"


def after(world: World, trace: FleetTrace, time: float) -> np.ndarray:
    born = np.asarray(trace.born)
    return (born > time) & (np.asarray(trace.fleet) == 0)


def test_clients_of_failed_nodes_turn_to_their_surviving_neighbours() -> None:
    healthy = replace(LIVE, failure=Failure((), 1.0), backlog=(0, 6, 0, 2), seconds=200.0)
    failed = replace(healthy, failure=Failure((1,), 1.0))
    before, then = worlds(healthy, [4]), worlds(failed, [4])
    (born, node), (born2, node2) = homes(before), homes(then)
    again = (born2 == 1.0).sum()
    assert again == 6 and not (node2[born2 == 1.0] == 1).any()
    assert len(born2) == len(born) + 6
    assert (node2[born2 > 1.0] != 1).all() and (node2[born2 < 1.0] == 1).any()
    moved = np.bincount(node2[born2 > 1], minlength=4) - np.bincount(node[born > 1], minlength=4)
    assert moved[3] == 0, "not a neighbour"
    assert_allclose(moved[[0, 2]], -moved[1] / 2, rtol=0.1)
    kept = np.sort(then.size[then.owner == 0])
    assert np.isin(before.size[before.owner == 0], kept).all(), "the same work, and what is tried again"


def test_jobs_sent_to_failed_nodes_come_back_and_none_is_lost() -> None:
    failed = replace(
        LIVE, failure=Failure((1,), 1.0), arrival_rates=(12.0, 0.0, 0.0, 0.0), backlog=(8, 0, 0, 0)
    )
    world = worlds(failed, [5])
    trace = simulate(world, "shivya")
    row = trace.summary()
    assert row["jobs_done"] == row["jobs_submitted"] and row["jobs_lost"] == row["jobs_refused"] == 0
    # Cut off behind its only neighbour, the node is alone with a load of 1.2.
    late = after(world, trace, 3.0)
    assert (np.asarray(trace.moves)[late] == 0).mean() > 0.99
    assert float(np.asarray(trace.peak).max()) >= 8.0
    assert_array_equal(np.asarray(trace.peak) <= np.asarray(trace.held), True)


def test_a_fleet_without_survivors_among_neighbours_is_helped_by_all() -> None:
    world = worlds(replace(LIVE, failure=Failure((0, 1, 2), 0.0), arrival_rates=(9.0, 9.0, 9.0, 0.0)), [0])
    _, node = homes(world)
    assert set(node.tolist()) == {3}


def test_healthy_and_failed_fleets_share_one_program() -> None:
    one, two = (worlds(replace(LIVE, failure=Failure(nodes, 1.0)), [0]).shape for nodes in ((), (2,)))
    assert (one.cut, one.crash, one.degree, one.near) == (two.cut, two.crash, two.degree, two.near)
    plain = worlds(LIVE, [0, 1])
    same = worlds(replace(LIVE, failure=Failure((), 1.0)), [0, 1])
    for law in ("shivya", "none"):
        assert_array_equal(np.asarray(simulate(plain, law).sojourn), np.asarray(simulate(same, law).sojourn))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arrival_rates": (1.0,)}, "arrival_rates has 1 entries, there are 4 nodes"),
        ({"backlog": (0, 0, 0, -1)}, "backlog must be 0 or more"),
        ({"servers": (1, 1, 1, 0)}, "servers must be 1 or more"),
        ({"servers": 0}, "servers must be 1 or more"),
        ({"arrival_rates": (1.0, 1.0, 1.0, float("nan"))}, "arrival_rates must be 0 or more"),
        ({"arrival_rates": None, "arrival_spread": (0.1,) * 4}, "give those, too"),
        ({"rate_spread": (0.1,) * 4, "shares": (0.25,) * 4}, "without shares"),
        ({"failure": Failure((4,), 1.0)}, "failure names nodes outside"),
        ({"failure": Failure((0, 1, 2, 3), 1.0)}, "or all of them"),
        ({"failure": Failure((1,), 1.0), "partition": (1.0, 2.0)}, "cannot be combined"),
        ({"arrivals": ((0, 1.0, 1.0),)}, "leave no room"),
    ],
)
def test_what_does_not_fit_the_nodes_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(LIVE, **changes)  # type: ignore[arg-type]
