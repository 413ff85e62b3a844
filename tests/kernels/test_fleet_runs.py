"""Whole runs: nothing is lost or made, faults cost what they must, and the better law is better."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from watching import watched_at

from shivya_kernels.fleet import (
    LAWS,
    FleetTrace,
    LocalView,
    Outage,
    Params,
    Scenario,
    rollout,
    simulate,
    worlds,
)
from shivya_kernels.fleet.state import STAMP

SMALL = Scenario(nodes=12, mean_degree=3.5, hotspot=0.2, seconds=8.0, warm_up=2.0)
TINY = replace(SMALL, seconds=4.0, warm_up=1.0)


def settled(trace: FleetTrace) -> None:
    """Every job is accounted for once, and every link has delivered what was sent."""
    sojourn = np.asarray(trace.sojourn)
    real = np.asarray(trace.fleet) < len(trace.arrived)
    assert_array_equal(trace.arrived, np.asarray(trace.done) + trace.refused + trace.lost + trace.left)
    assert int(np.isfinite(sojourn[real]).sum()) == int(np.sum(trace.done))
    assert (sojourn[real & np.isfinite(sojourn)] > 0).all()
    assert np.isnan(sojourn[~real]).all()
    assert_array_equal(trace.left, 0)
    assert_array_equal(trace.sent, trace.received)
    assert int(np.max(trace.placements)) <= 8
    assert (np.asarray(trace.moves) >= np.asarray(trace.placements)).all()


@pytest.mark.parametrize("name", ["sed", "steal", "second_order", "l2", "shivya"])
def test_nothing_is_lost_or_made(name: str) -> None:
    trace = simulate(worlds(TINY, [1, 2]), name)
    settled(trace)
    assert int(np.sum(trace.lost)) == int(np.sum(trace.refused)) == 0
    assert int(np.sum(trace.moves)) > 0
    assert trace.held.shape == (math.ceil(TINY.horizon / TINY.heartbeat), 2)


def test_heartbeats_on_change_are_fewer_where_little_happens_and_lose_nothing() -> None:
    """An idle node says so every .3 s; a busy one is heard as soon as it matters."""
    paced = simulate(worlds(TINY, [1, 2]), "shivya")
    assert_array_equal(paced.heartbeats, TINY.nodes * np.round(np.asarray(paced.seconds) / TINY.heartbeat))
    on_change = replace(TINY, change=0.03)
    for scenario in (on_change, replace(on_change, load=0.02)):
        trace = simulate(worlds(scenario, [1, 2]), "shivya")
        settled(trace)
        rate = np.asarray(trace.heartbeats) / TINY.nodes / float(trace.seconds)
        least, most = (1 / 0.3, 10.0) if scenario.load > 0.1 else (1 / 0.3, 3.9)
        assert ((least - 0.3 < rate) & (rate < most)).all()


def test_the_same_fleet_does_the_same_alone_and_in_a_batch() -> None:
    """To the bit, whatever the batch, the float type in force, and the number of calls."""
    both = simulate(worlds(TINY, [3, 4]), "shivya")
    again = simulate(worlds(TINY, [3, 4]), "shivya")
    assert_array_equal(both.sojourn, again.sojourn)
    for fleet, seed in enumerate((3, 4)):
        alone = simulate(worlds(TINY, [seed]), "shivya")
        mine, own = np.asarray(both.fleet) == fleet, np.asarray(alone.fleet) == 0
        assert_array_equal(np.asarray(both.sojourn)[mine], np.asarray(alone.sojourn)[own])
        assert_array_equal(np.asarray(both.moves)[mine], np.asarray(alone.moves)[own])
        assert both.summary(fleet) == alone.summary(0)
    with jax.enable_x64(False):
        single = simulate(worlds(TINY, [3, 4]), "shivya")
    assert_array_equal(both.sojourn, single.sojourn)


def test_a_second_batch_of_the_same_shape_compiles_nothing() -> None:
    from shivya_kernels.fleet import discrete

    scenario = replace(TINY, nodes=4, edges=((0, 1), (1, 2), (2, 3)), arrivals=((0, 0.5, 1.0), (1, 0.6, 1.0)))
    simulate(worlds(scenario, [0]), "sed")
    before = discrete.go_on._cache_size()
    simulate(worlds(replace(scenario, arrivals=((2, 0.3, 1.0), (1, 0.6, 2.0))), [9]), "sed")
    simulate(worlds(scenario, [1]), "sed", Params(gap=0.1))
    assert discrete.go_on._cache_size() == before


def test_whoever_is_told_how_far_a_run_is_changes_nothing() -> None:
    """In parts or in one go, to the bit; a world that was on the device before is still good afterwards."""
    world = jax.device_put(worlds(TINY, [1, 2]))
    heard: list[float] = []
    told = simulate(world, "shivya", told=heard.append)
    untold = simulate(world, "shivya")
    for name in ("sojourn", "moves", "held", "heartbeats", "sent", "seconds"):
        assert_array_equal(getattr(told, name), getattr(untold, name))
    assert heard == sorted(set(heard)) and heard[-1] == pytest.approx(float(told.seconds))
    assert sum(seconds < TINY.horizon for seconds in heard) >= 4


def test_no_heartbeat_no_move() -> None:
    """A node that hears nothing trusts its own waiting alone: the same as never moving a job."""
    deaf = simulate(worlds(replace(TINY, loss=1.0), [1, 2]), "shivya")
    still = simulate(worlds(TINY, [1, 2]), replace(LAWS["none"], order=True))
    assert int(np.sum(deaf.moves)) == 0
    assert_array_equal(deaf.sojourn, still.sojourn)


def test_a_law_as_a_function() -> None:
    def to_the_lowest_live_slot(view: LocalView, params: Params) -> jax.Array:
        return jnp.where(view.live.any() & ~view.relayed, jnp.argmax(view.live), -1).astype(jnp.int32)

    trace = simulate(worlds(TINY, [1, 2]), to_the_lowest_live_slot)
    settled(trace)
    assert set(np.unique(trace.moves)) == {0, 1}


def test_a_crash_loses_only_what_was_sent_before_the_silence_was_noticed() -> None:
    crash = Outage(3.0, 6.0)
    scenario = replace(SMALL, crash=crash, ttl=0.5)
    world = worlds(scenario, [5, 6])
    (dead,) = np.nonzero(world.down[0] < world.down[1].max())
    for name in ("sed", "shivya"):
        trace = simulate(world, name)
        settled(trace)
        home, born, sojourn = (np.asarray(x) for x in (world.home, trace.born, trace.sojourn))
        gone = np.isnan(sojourn) & (np.asarray(trace.fleet) < 2)
        refused = gone & np.isin(home, dead) & (born > crash.start) & (born <= crash.end)
        assert int(refused.sum()) == int(np.sum(trace.refused)) > 0
        # Lost jobs moved, and had been born by the time that the last heartbeat expired, a hop or two later.
        lost = gone & ~refused
        assert int(lost.sum()) == int(np.sum(trace.lost))
        assert (np.asarray(trace.moves)[lost] > 0).all()
        assert (born[lost] < crash.start + scenario.ttl + scenario.heartbeat).all()
        assert int(lost.sum()) < world.rate[dead].sum() * 4 * scenario.ttl
        # What it held waited for its return.
        late = np.isin(home, dead) & (born < crash.start) & (born + sojourn > crash.end)
        assert late.any()


def test_a_partition_loses_nothing_and_is_not_crossed() -> None:
    """What is on its way when the cut comes turns back, too; before and after it jobs go across."""
    cut = (3.0, 6.0)
    scenario = replace(SMALL, partition=cut, ttl=0.5)
    world = worlds(scenario, [5, 6])
    across = world.side[world.neighbour] != world.side[:, None]
    assert (across & world.linked).any()
    for name in ("sed", "shivya", "oracle"):
        trace = simulate(world, name)
        settled(trace)
        assert int(np.sum(trace.lost)) == int(np.sum(trace.refused)) == 0
    first, last = (scenario.steps(time) for time in cut)
    crossing = (across & world.linked).reshape(-1)
    # The receiver is the one who counts, at the link that leads back; and it is who hears.
    assert_array_equal(crossing[world.back[crossing]], True)
    received, heard, turned_back = {}, {}, 0
    stops = [first - 401, *range(first - 1, last, 5), last + 399]
    for step, now in watched_at(world, LAWS["shivya"], stops):
        received[step] = np.asarray(now.traffic.received)[crossing]
        heard[step] = np.asarray(now.heard.table)[:, STAMP].reshape(-1)[crossing]
        turned_back += int((np.asarray(now.wire.link) < -1).sum())
    for step in range(first - 1, last, 5):
        assert_array_equal(received[step], received[first - 1])
        assert_array_equal(heard[step], heard[first - 1])
    assert turned_back > 0
    assert received[stops[0]].sum() < received[first - 1].sum() < received[stops[-1]].sum()


def test_a_slow_node_hands_on_more() -> None:
    slow = Outage(2.0, 10.0, node=3, factor=8.0)
    worse = simulate(worlds(replace(SMALL, slow=slow), [1, 2]), "shivya")
    plain = simulate(worlds(SMALL, [1, 2]), "shivya")
    settled(worse)
    at = np.asarray(worse.node) == 3
    assert np.asarray(worse.moves)[at].mean() > np.asarray(plain.moves)[at].mean()
    stuck = simulate(worlds(replace(SMALL, slow=slow), [1, 2]), "none")
    assert worse.summary()["p99"] < stuck.summary()["p99"]


def test_wrong_rates_are_found_out() -> None:
    """Rates misstated by a factor of 3 cost little where they are measured."""
    world = worlds(replace(SMALL, misstatement=3.0), [1, 2, 3, 4])
    measured = simulate(world, "shivya").summary()
    believed = simulate(world, "shivya", replace(LAWS["shivya"].params, prior_jobs=1e9)).summary()
    assert measured["p99"] < believed["p99"]


def test_stale_telemetry_does_not_set_off_a_storm_of_moves() -> None:
    """Full gain under delay: the guard and the jobs under way bound what repair does."""
    trace = simulate(worlds(replace(SMALL, extra_age=1.0), [1, 2]), "shivya")
    settled(trace)
    assert trace.summary()["moves_per_job"] < 3.0


def test_the_order_of_laws() -> None:
    """Less time in the tail, on the same jobs: random, shortest expected delay, the potential."""
    world = worlds(Scenario(nodes=20, seconds=15.0, warm_up=5.0, hotspot=0.15, load=0.8), [1, 2, 3])
    traces = {name: simulate(world, name) for name in ("shivya", "sed", "random", "oracle")}
    p99 = {name: trace.summary()["p99"] for name, trace in traces.items()}
    assert p99["shivya"] < p99["sed"] < p99["random"]
    # Who knows everything does no worse than who knows only neighbours, in every single fleet.
    for fleet in range(3):
        assert traces["oracle"].summary(fleet)["p99"] <= traces["sed"].summary(fleet)["p99"]


def test_a_slope_over_more_than_the_gap_and_a_hop_costs_moves() -> None:
    """It counts ways that no job takes, so that too many are sent where others send, too."""
    world = worlds(TINY, [1, 2])
    moves = [simulate(world, "shivya", Params(slope_share=s)).summary()["moves_per_job"] for s in (1.0, 2.0)]
    assert moves[1] > 1.3 * moves[0]


def test_step_response_settles() -> None:
    """A heap at one node of a ring spreads, and is done in a third of the time that one server needs."""
    edges = tuple((i, (i + 1) % 8) for i in range(8))
    heap = tuple((0, 0.5, 1.0) for _ in range(160))
    scenario = Scenario(
        nodes=8, edges=edges, arrivals=heap, rates=(20.0,) * 8, shares=None, seconds=6.0, warm_up=0.0
    )
    world = worlds(scenario, [0])
    held = np.asarray(simulate(world, "shivya").held)[:, 0]
    alone = np.asarray(simulate(world, "none").held)[:, 0]
    assert held.max() > 100 and alone.max() > 150
    assert (np.diff(held[10:]) <= 0).all()
    empty, serial = int(np.argmax(held[10:] == 0)), 160 / 20 / scenario.heartbeat
    assert empty < serial / 3
    assert alone[10 + empty] > 100


def test_a_rollout_from_a_key() -> None:
    first: Any = rollout(jax.random.key(1), TINY, "sed")
    again = rollout(jax.random.key(1), TINY, "sed")
    other = rollout(jax.random.key(2), TINY, "sed")
    assert_array_equal(first.sojourn, again.sojourn)
    assert first.summary() != other.summary()
    assert_allclose(first.summary()["jobs_done"], first.arrived[0])


def test_a_rollout_under_jit_and_vmap_is_the_same() -> None:
    keys = jax.random.split(jax.random.key(1), 2)
    scenario = replace(TINY, seconds=1.5, warm_up=0.5)
    both = jax.jit(jax.vmap(lambda key: rollout(key, scenario, "shivya")))(keys)
    for k in range(2):
        alone = rollout(keys[k], scenario, "shivya")
        real = np.asarray(alone.fleet) == 0
        mine = np.asarray(both.fleet)[k] == 0
        assert_array_equal(np.asarray(both.sojourn)[k][mine], np.asarray(alone.sojourn)[real])
        assert_array_equal(np.asarray(both.moves)[k][mine], np.asarray(alone.moves)[real])
