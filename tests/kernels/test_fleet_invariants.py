"""What holds at every time step, seen from inside: bounds of what is advertised, counters, idle servers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from watching import BUSY, SHIVYA, frozen, last_said, on_the_wire, real, repaired, seen, watched

from shivya_kernels.fleet import LocalView, Params, state, worlds

COST = 0.02 + 0.05
"""A hop and the gap."""
CROWDED = replace(BUSY, load=1.2, hotspot=0.4)


def priced(view: LocalView, drift: float) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours' potentials with jobs under way, and their forecast change, as the law is written down."""
    price = view.potential + view.out * view.slope
    growth = np.clip((np.maximum(view.net_arrivals - view.own_rate, 0) - view.rate) / view.rate, -1, 1)
    change = drift * view.age * np.maximum(0, 1 - view.age / 0.4) * growth
    return price, np.maximum(change, -0.5 * COST)


def view_of(price: np.ndarray, change: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """V: the price and its change, not below one service time unless the price was."""
    return np.maximum(price + change, np.minimum(price, 1 / rate))


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


@pytest.mark.parametrize("drift", [0.0, 0.5])
def test_what_is_advertised_is_the_least_cost_and_its_slope_over_the_gap_and_a_hop(drift: float) -> None:
    """W_i <= e_ik for every live neighbour k, and no less than that; the slope's window is gap + hop."""
    law = replace(SHIVYA, params=Params(drift=drift, kappa=0.0))
    world = worlds(CROWDED, [4])
    shape, fleet = world.shape, real(world)
    phase = np.arange(shape.places) // shape.rows
    by_others = 0
    for step, now in watched(world, law, stops=400, stride=1):
        node = fleet[phase[fleet] == step % shape.phases]
        me, all_of = seen(world, law, now, step)
        # Since the own heartbeat the rate of jobs sent has been scaled to it: as it was when it was weighed.
        all_of = all_of._replace(own_rate=np.asarray(now.traffic.pace).reshape(all_of.live.shape))
        view = LocalView(*(values[node] for values in all_of))
        own, rate = me.own[node], me.rate[node]
        price, change = priced(view, drift)
        reach = np.where(view.live, view_of(price, change, view.rate) + COST, np.inf)
        said = last_said(world, now, step)[node]
        assert (said[:, state.POTENTIAL, None] <= reach + 1e-5).all()
        level = np.minimum(own, reach.min(axis=1))
        assert_allclose(said[:, state.POTENTIAL], level, rtol=1e-5)
        by_others += int((level < own).sum())
        top = level + COST
        room = np.maximum(top - own, 0) * rate
        room += (np.maximum(top[:, None] - reach, 0) / np.maximum(view.slope, 1e-4)).sum(axis=1)
        assert_allclose(said[:, state.SLOPE], np.minimum(1 / rate, COST / room), rtol=1e-3)
    assert by_others > 50


def test_every_job_handed_over_gains_more_than_the_hop() -> None:
    """The last one here would wait longer than there, however many have gone before it; so they are few."""
    world = worlds(CROWDED, [4])
    moved, most = 0, 0
    for step, now in watched(world, SHIVYA, stops=110, stride=7):
        after = repaired(world, SHIVYA, now, step + 1)
        me, view = seen(world, SHIVYA, now, step + 1)
        price, change = priced(view, 0.5)
        sent = np.asarray(after.traffic.sent - now.traffic.sent).reshape(view.live.shape)
        place, slot = np.nonzero(sent)
        count, rise, rate = sent[place, slot], view.slope[place, slot], view.rate[place, slot]
        first, d = price[place, slot], change[place, slot]
        tail = me.tail[place]
        assert view.live[place, slot].all()
        last = view_of(first + (count - 1) * rise, d, rate)
        assert (tail - (count - 1) / me.rate[place] > last + 0.02 - 1e-6).all()
        assert (count < (tail - first - d - 0.02) / rise + 1 + 1e-3).all()
        moved, most = moved + int(sent.sum()), max(most, int(sent.max()))
    assert moved > 20 and most > 1


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
