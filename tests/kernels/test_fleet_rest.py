"""Loads at rest: old prices are forgotten, and nothing moves, though repair and requests go on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from watching import SHIVYA, frozen, handed_over, last_said, real, watched, watched_at

from shivya_kernels.fleet import Law, Outage, Params, Scenario, World, simulate, state, worlds
from shivya_kernels.fleet.laws import keep

COST = 0.02 + 0.05
"""A hop and the gap."""

# Node 0 is cheap; 1, 2 and 3, and those further on, can tell each other of it in circles.
EDGES = ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 1), (4, 6))
HELD = (0, 13, 12, 14, 11, 12, 9, 13, 14)
CHANGE, RETURN, LATE = 400, 1800, 25.0
"""Steps and seconds: when the cheap node is gone, when it is back, and after all that is looked at."""


def priced_world(gone: str, seed: int, like: World | None = None) -> World:
    """A fleet of standing queues whose cheap node crashes for a while, or gets a heap of jobs."""
    crash = Outage(2.0, 9.0, node=0) if gone == "crash" else Outage(LATE, LATE + 1, node=0)
    heap = LATE if gone == "crash" else 2.0
    jobs = [(node, 0.0, 1e3) for node, count in enumerate(HELD) for _ in range(count)]
    jobs += [(0, heap, 1e3)] * 40
    scenario = Scenario(
        nodes=len(HELD), edges=EDGES, rates=(10.0,) * len(HELD), shares=None, arrivals=tuple(jobs),
        seconds=LATE + 2, warm_up=0.0, crash=crash,
    )  # fmt: skip
    return worlds(scenario, [seed], None if like is None else like.shape)


def hops_without(dead: int | None) -> np.ndarray:
    """Links on the shortest way between any two nodes, `dead` taken out."""
    hops = np.full((len(HELD), len(HELD)), np.inf)
    np.fill_diagonal(hops, 0)
    for a, b in EDGES:
        if dead not in (a, b):
            hops[a, b] = hops[b, a] = 1
    for k in range(len(HELD)):
        hops = np.minimum(hops, hops[:, k, None] + hops[k])
    return hops


def fixed_point(held: list[int], dead: int | None, cost: float) -> np.ndarray:
    """The least over all nodes of own waiting there and the way to it."""
    waiting = (np.array(held) + 1) / 10.0
    if dead is not None:
        waiting[dead] = np.inf
    return (waiting + cost * hops_without(dead)).min(axis=1)


@pytest.mark.parametrize("gone", ["crash", "heap"])
@pytest.mark.parametrize("drift", [0.0, 0.5])
def test_the_price_of_a_cheap_node_outlives_it_by_a_bounded_number_of_rounds(drift: float, gone: str) -> None:
    """Prices that nobody can keep rise by a hop's cost each round, and are gone when they must be."""
    law = Law("priced", keep, potential=True, slope=True, split=True, params=Params(drift=drift, kappa=0.0))
    law = replace(law, params=replace(law.params, prior_jobs=1e9))
    heap = priced_world("heap", 3)
    world = priced_world(gone, 3, like=heap)
    assert world.shape == heap.shape
    share = 0.5 if drift else 0.0
    dead = 0 if gone == "crash" else None
    others = [k for k in range(len(HELD)) if k != dead]
    heaped = [40, *HELD[1:]] if dead is None else list(HELD)
    true, least = (fixed_point(heaped, dead, cost) for cost in (COST, COST * (1 - share)))
    hops = hops_without(dead)[np.ix_(others, others)]

    # In a round everyone has heard what everyone said in the last one: a period and the latency.
    length = world.shape.phases + world.shape.latency
    rise = COST * (1 - share)
    rounds = math.ceil(float(true[others].max()) / rise) + int(hops.max())
    known_until = CHANGE + length + (200 if dead == 0 else 0)
    ends = [known_until + (r + 1) * length for r in range(rounds + 1)]
    back = RETURN + (int(hops_without(None).max()) + 1) * length
    assert ends[-1] < RETURN or dead is None
    stops = [CHANGE - 1, *ends] + ([back] if dead == 0 else [])
    order = np.argsort(world.name[real(world)])
    told = {}
    for step, now in watched_at(world, law, stops):
        told[step] = last_said(world, now, step)[real(world)][order, state.POTENTIAL]

    for step in stops[:1] + stops[len(ends) + 1 :]:
        low, high = (fixed_point(list(HELD), None, cost) for cost in (COST * (1 - share), COST))
        assert ((low - 1e-4 <= told[step]) & (told[step] <= high + 1e-4)).all()
    for r, step in enumerate(ends):
        floor = np.minimum(least, 0.1 + r * rise)
        assert (told[step][others] >= floor[others] - 1e-4).all()
    early, late = told[ends[2]][others], told[ends[-1]][others]
    assert (early < least[others] - 0.3).any()
    assert ((least[others] - 1e-4 <= late) & (late <= true[others] + 1e-4)).all()


@pytest.mark.parametrize("drift", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_queues_at_rest_stay_though_repair_and_requests_go_on(seed: int, drift: float) -> None:
    """Jobs spread, and then no flow, of which there still is some, moves any: none would gain a hop."""
    world = frozen(12, seed)
    law = replace(SHIVYA, params=Params(drift=drift, kappa=0.0, prior_jobs=1e9))
    (_, early), (_, late) = watched(world, law, stops=2, stride=500)
    assert int(np.max(early.jobs.tally)) > 256
    assert_array_equal(early.jobs.tally, late.jobs.tally)
    assert_array_equal(early.queues.ends, late.queues.ends)
    assert handed_over(world, law, late, 1000).sum() == 0
    assert handed_over(world, replace(law, name="unguarded", guard=False), late, 1000).sum() > 0


def idle_beside(rate: float, jobs: int) -> World:
    """An idle node of that rate beside one that serves 20 jobs/s and holds so many, none of which ends."""
    scenario = Scenario(
        nodes=2, edges=((0, 1),), rates=(rate, 20.0), shares=None, arrivals=((1, 0.0, 1e3),) * jobs,
        seconds=1.5, warm_up=0.0, drain=0.5,
    )  # fmt: skip
    return worlds(scenario, [0])


@pytest.mark.parametrize("rate", [5.0, 20.0, 40.0])
def test_an_idle_node_gets_a_job_only_if_the_last_one_gains_a_hop_and_the_gap(rate: float) -> None:
    """Tail time n / 20 against 1 / rate + .02 + .05; the rival who steals takes it all the same."""
    law = replace(SHIVYA, place=keep, handover="none", params=Params(kappa=0.0, prior_jobs=1e9))
    granted = []
    for jobs in range(1, 8):
        trace = simulate(idle_beside(rate, jobs), law)
        assert (int(trace.requests[0]) > 0) == (jobs >= 2)
        granted.append(int(np.sum(trace.moves)))
        stolen = simulate(idle_beside(rate, jobs), "steal")
        assert int(np.sum(stolen.moves)) == (jobs >= 2)
    assert granted == [int(n >= 2 and n / 20 > 1 / rate + COST) for n in range(1, 8)]
