"""What holds at every time step, seen from inside: bounds of what is advertised, counters, idle servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from shivya_kernels.fleet import LAWS, Law, Params, Scenario, World, discrete, state, worlds
from shivya_kernels.fleet.omniscience import omniscience
from shivya_kernels.fleet.state import State

SHIVYA = LAWS["shivya"]
BUSY = Scenario(nodes=10, mean_degree=3.0, hotspot=0.25, load=0.9, seconds=4.0, warm_up=0.0)


def bare(world: World) -> World:
    return jax.tree.map(jnp.asarray, replace(world, scenario=None, seeds=()))


@partial(jax.jit, static_argnames=("law", "steps"))
def _advance(
    world: World, law: Law, params: Params, sees: object, now: State, begin: int, steps: int
) -> State:
    def one(i: jax.Array, s: State) -> State:
        return discrete.advance(world, law, params, sees, 16, s, begin + i)

    return jax.lax.fori_loop(0, steps, one, now)


def watched(world: World, law: Law, stops: int, stride: int) -> Iterator[tuple[int, State]]:
    """The state after every `stride` steps."""
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), law.params)
    sees, plain = omniscience(world, law), bare(world)
    now = state.initial(plain, 16, False, False)
    for k in range(stops):
        now = _advance(plain, law, params, sees, now, jnp.int32(k * stride), stride)
        yield (k + 1) * stride - 1, now


def last_said(world: World, now: State, step: int) -> np.ndarray:
    """What each place published last, at the end of a step."""
    place = np.arange(world.shape.places)
    number = (step - place // world.shape.rows) // world.shape.phases
    return np.asarray(now.heard.published)[number % now.heard.published.shape[0], place]


def on_the_wire(now: State, jobs: int) -> np.ndarray:
    """Jobs under way per link."""
    links = np.zeros(now.traffic.sent.shape[0])
    for row in range(now.wire.job.shape[0]):
        n = int(now.wire.filled[row])
        job, link = np.asarray(now.wire.job[row, :n]), np.asarray(now.wire.link[row, :n])
        np.add.at(links, link[job < jobs], 1)
    return links


@pytest.mark.parametrize("drift", [0.0, 0.5])
def test_what_holds_at_every_step(drift: float) -> None:
    law = replace(SHIVYA, params=Params(drift=drift, kappa=0.0))
    world = worlds(BUSY, [4])
    shape = world.shape
    arrived = np.cumsum(np.diff(world.first))
    moving = 0.0
    for step, now in watched(world, law, stops=90, stride=7):
        waiting = np.asarray(now.queues.ends[:, 0])
        busy = np.asarray((now.servers.job != shape.jobs).sum(axis=1))
        # An idle server with waiting jobs does not exist.
        assert not ((waiting > 0) & (busy < shape.servers)).any()
        # Conservation: of jobs, and per link of what was sent.
        flying = on_the_wire(now, shape.jobs)
        done = int((np.asarray(now.jobs.done) > 0).sum())
        assert done + int(waiting.sum()) + int(busy.sum()) + int(flying.sum()) == int(arrived[step])
        sent, received = np.asarray(now.traffic.sent), np.asarray(now.traffic.received)
        linked = world.linked.reshape(-1)
        assert_array_equal((sent - received[world.back])[linked], flying[linked])
        moving += flying.sum()
        # Jobs under way as the sender knows them: never fewer than there are.
        record = np.asarray(now.heard.table)
        heard = linked & (record[:, state.STAMP].reshape(-1) >= 0)
        out = sent - record[:, state.COUNTED].reshape(-1)
        assert (out[heard] >= flying[heard]).all()
        if step < shape.phases:
            continue
        # What was last published: 0 < W <= own waiting, W <= W2, slopes within (0, 1 / rate].
        said = last_said(world, now, step)[np.nonzero(world.fleet == 0)[0]]
        w, slope, rate = said[:, state.POTENTIAL], said[:, state.SLOPE], said[:, state.RATE]
        own = (said[:, state.QUEUE] + 1) / rate
        assert (w > 0).all() and (w <= own * (1 + 1e-5)).all()
        assert (w <= said[:, state.SECOND] + 1e-6).all()
        for value in (slope, said[:, state.SECOND_SLOPE]):
            assert (value > 0).all() and (value <= (1 + 1e-5) / rate).all()
        assert (w >= 1 / rate.max() - 1e-6).all()
    assert moving > 0


def test_counters_agree_one_heartbeat_after_the_last_arrival() -> None:
    world = worlds(BUSY, [4])
    *_, (_, now) = watched(world, SHIVYA, stops=12, stride=400)
    assert int(now.queues.ends[:, 0].sum()) == 0
    linked = world.linked.reshape(-1)
    out = np.asarray(now.traffic.sent - now.heard.table[:, state.COUNTED].reshape(-1))
    assert_array_equal(out[linked], 0)


def test_a_heartbeat_on_change_comes_when_what_was_told_has_moved_or_the_silence_was_long() -> None:
    """Silent nodes wait as long as they said, and nobody knows anything that was not sent."""
    world = worlds(replace(BUSY, change=0.03), [4])
    shape, real = world.shape, np.nonzero(world.fleet == 0)[0]
    period, (phase, neighbour) = shape.phases, (np.arange(shape.places) // shape.rows, world.neighbour)
    ours = np.asarray(world.fleet) == 0
    sent_in: list[set[int]] = [set() for _ in range(shape.places)]
    before = np.zeros(shape.places, int)
    quiet = 0
    for step, now in watched(world, SHIVYA, stops=400, stride=1):
        beats, due = np.asarray(now.beats), phase == step % period
        sent, before = beats > before, beats
        assert not sent[~due].any()
        for place in real[sent[real]]:
            sent_in[place].add(step)
        last = np.asarray(now.spoken.last) * period + phase
        if step >= period:
            assert (step - last[real] <= shape.silence * period).all()
        # A step's own decisions come before its heartbeats: what is held now is what was weighed.
        held = np.asarray(now.queues.ends[:, 0]) + np.asarray((now.servers.job != shape.jobs).sum(axis=1))
        silent = due & ~sent & (held == 0)
        quiet += int((due & ~sent)[real].sum())
        own = 1 / np.asarray(now.meters.rate)
        assert (np.abs(own - np.asarray(now.spoken.wait))[silent] <= 0.12 + 1e-6).all()
        number = step // period
        if number % shape.repairs == 0:  # between two control steps not every price is looked at
            said = np.asarray(now.heard.published)[number % shape.history]
            price = said[:, state.POTENTIAL] + said[:, state.SLOPE]
            assert (np.abs(price - np.asarray(now.spoken.price))[due & ~sent & ours] <= 0.03 + 1e-6).all()
        stamps = np.asarray(now.heard.table)[:, state.STAMP]
        for place in real:
            for slot in np.nonzero(world.linked[place] & (stamps[place] >= 0))[0]:
                assert int(stamps[place, slot]) in sent_in[neighbour[place, slot]]
    assert quiet > 0


def frozen(nodes: int, seed: int) -> World:
    """A fleet whose first jobs take longer than anyone will look."""
    rng = np.random.default_rng(seed)
    heap = tuple((int(rng.integers(nodes)), 0.01 * k, 1e4) for k in range(6 * nodes))
    return worlds(
        Scenario(nodes=nodes, mean_degree=3.5, arrivals=heap, seconds=2.0, warm_up=0.0, drain=60.0), [seed]
    )


@pytest.mark.parametrize("seed", range(3))
def test_frozen_queues_make_no_loops_and_no_moves(seed: int) -> None:
    """Loads at rest: potentials settle, next hops form a forest, and placement moves nothing any more."""
    world = frozen(12, seed)
    law = replace(SHIVYA, handover="none", pull="none", params=Params(kappa=0.0, prior_jobs=1e9))
    *_, (_, early), (step, late) = watched(world, law, stops=3, stride=600)
    assert_array_equal(early.jobs.tally, late.jobs.tally)
    assert_array_equal(early.queues.ends, late.queues.ends)
    said = last_said(world, late, step)
    hop, w = said[:, state.NEXT_HOP].astype(int), said[:, state.POTENTIAL]
    ahead = np.where(hop >= 0, np.take_along_axis(world.neighbour, np.maximum(hop, 0)[:, None], 1)[:, 0], -1)
    cost = 0.02 + 0.05
    for place in np.nonzero(world.fleet == 0)[0]:
        at, seen = int(place), set()
        while ahead[at] >= 0:
            assert at not in seen
            seen.add(at)
            # Each move on the way gains the hop and the gap.
            assert w[ahead[at]] <= w[at] - (1 - 0.5) * cost + 1e-5
            at = int(ahead[at])
    assert int((np.asarray(late.jobs.tally) % 256).max()) <= 8
