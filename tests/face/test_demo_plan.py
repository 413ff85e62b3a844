from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shivya.demo.plan import LOAD, make_plan, spread_load


@given(nodes=st.integers(2, 16), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_jobs_are_ordered_numbered_and_at_nodes_of_the_fleet(nodes: int, seed: int) -> None:
    plan = make_plan(nodes, 5.0, seed)
    assert [job.id for job in plan.arrivals] == list(range(len(plan.arrivals)))
    assert all(a.time <= b.time for a, b in itertools.pairwise(plan.arrivals))
    assert all(0 <= job.time < 5.0 and 0 <= job.node < nodes and job.size > 0 for job in plan.arrivals)


@pytest.mark.parametrize("nodes", range(2, 17))
def test_total_load_and_the_share_of_the_hot_node(nodes: int) -> None:
    plan = make_plan(nodes, 5.0, 0)
    assert plan.service_rates == tuple([10.0, 20.0, 40.0] * 6)[:nodes]
    assert plan.hot == 1
    assert sum(plan.arrival_rates) == pytest.approx(LOAD * sum(plan.service_rates))
    others = [
        a / s for i, (a, s) in enumerate(zip(plan.arrival_rates, plan.service_rates, strict=True)) if i != 1
    ]
    assert max(others) - min(others) < 1e-12, "the rest is in proportion to the service rates"
    assert min(others) >= 0
    if nodes > 2:
        assert plan.arrival_rates[1] == 40.0, "the hot node is asked for twice its rate"
    else:
        assert list(plan.arrival_rates) == pytest.approx([0.0, LOAD * 30.0])


def test_the_victim_is_the_busiest_that_is_not_hot() -> None:
    plan = make_plan(5, 5.0, 0)
    assert plan.victim == 2
    assert make_plan(2, 5.0, 0).victim == 0


def test_a_seed_names_its_jobs() -> None:
    assert make_plan(5, 10.0, 3) == make_plan(5, 10.0, 3)
    assert make_plan(5, 10.0, 3).arrivals != make_plan(5, 10.0, 4).arrivals


def test_mean_rates_and_sizes_over_a_long_time() -> None:
    plans = [make_plan(3, 600.0, seed) for seed in range(8)]
    for node, rate in enumerate(plans[0].arrival_rates):
        seen = [sum(job.node == node for job in plan.arrivals) / 600.0 for plan in plans]
        # One run's rate deviates by about a twelfth (bursts); five standard errors of the mean of eight.
        assert statistics.fmean(seen) == pytest.approx(rate, rel=5 / 12 / 8**0.5)
    sizes = [job.size for plan in plans for job in plan.arrivals]
    assert statistics.fmean(sizes) == pytest.approx(1.0, rel=0.01)
    assert statistics.pstdev(sizes) == pytest.approx(1.0, rel=0.02)


def test_arrivals_come_in_bursts() -> None:
    plan = make_plan(3, 600.0, 0)
    seconds = [0] * 600
    for job in plan.arrivals:
        if job.node == plan.hot:
            seconds[int(job.time)] += 1
    # A Poisson process has a variance-to-mean ratio of 1; at 40 a second this one's is far above.
    assert statistics.pvariance(seconds) > 5 * statistics.fmean(seconds)


def test_a_small_fleet_gives_all_to_the_hot_node() -> None:
    assert list(spread_load((10.0, 20.0), 1)) == pytest.approx([0.0, 19.5])


@pytest.mark.parametrize(
    ("nodes", "seconds", "named"),
    [
        (1, 30, "--nodes"),
        (17, 30, "--nodes"),
        (5, 4.9, "--seconds"),
        (5, 601, "--seconds"),
        (5, float("nan"), "--seconds"),
    ],
)
def test_arguments_out_of_range_are_named(nodes: int, seconds: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make_plan(nodes, seconds, 0)
