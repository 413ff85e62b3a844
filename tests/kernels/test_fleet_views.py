"""What nodes can know: what heartbeats said, exactly as old as they are, and two hops away older by one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from watching import BUSY, SHIVYA, bare, held, last_said, numbers, real, seen, watched

from shivya_kernels.fleet import Law, Params, World, handover, state, views, worlds
from shivya_kernels.fleet.omniscience import omniscience
from shivya_kernels.fleet.state import State


@partial(jax.jit, static_argnames="law")
def _outflow(world: World, law: Law, params: Params, sees: object, now: State, step: jax.Array) -> jax.Array:
    node = views.due(world, step)
    me = views.here(world, params, now, node, now.queues.ends[node], step * world.shape.step)
    view = views.look(world, law, params, now, node, me, step, me.waiting, node, node < 0)
    return handover._outflow(world, law, params, sees, now, node, me, view, step)[0]  # type: ignore[arg-type]


def test_what_a_node_knows_of_others_is_as_old_as_their_heartbeats() -> None:
    """Of a neighbour: latency and extra age, until the next one. Of who is two hops away: that twice."""
    world = worlds(replace(BUSY, extra_age=0.13), [4])
    shape, fleet = world.shape, real(world)
    delay, period = 28, shape.phases
    phase = np.arange(shape.places) // shape.rows
    end = world.neighbour
    beyond = end.reshape(-1)[world.source]

    def last(sender: np.ndarray, by: np.ndarray | int) -> np.ndarray:
        """The sender's last heartbeat that left by then."""
        return np.asarray(by - (by - phase[sender]) % period)

    queues: list[np.ndarray] = []
    rates: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    said: list[np.ndarray] = []
    ages: list[np.ndarray] = []
    by_way_of_here = 0
    changed = flows = 0.0
    for step, now in watched(world, SHIVYA, stops=300, stride=1):
        queues.append(held(world, now))
        rates.append(np.asarray(now.meters.rate))
        counts.append(np.asarray(now.traffic.received)[world.back].reshape(end.shape))
        said.append(last_said(world, now, step))
        if step < 200:
            continue
        held_then, rate_then, counted_then = (np.stack(values) for values in (queues, rates, counts))
        left = last(end, step - delay)
        there = world.linked
        record = np.asarray(now.heard.table)
        assert_array_equal(record[:, state.STAMP][there], left[there])
        assert_array_equal(record[:, state.QUEUE][there], held_then[left, end][there])
        assert_array_equal(record[:, state.RATE][there], rate_then[left, end][there])
        counted = np.take_along_axis(counted_then, left[None], axis=0)[0]
        assert_array_equal(record[:, state.COUNTED][there], counted[there])
        # Who would send its own jobs here tells of the second best way.
        word = np.stack(said)[left, end]
        back = world.back.reshape(end.shape) % shape.degree
        mine = there & (word[..., state.NEXT_HOP] == back)
        by_way_of_here += int(mine.sum())
        for kept, first, second in (
            (state.POTENTIAL, state.POTENTIAL, state.SECOND),
            (state.SLOPE, state.SLOPE, state.SECOND_SLOPE),
        ):
            expected = np.where(mine, word[..., second], word[..., first])
            assert_array_equal(record[:, kept][there], expected[there])
        _, view = seen(world, SHIVYA, now, step)
        assert_allclose(view.age[there], (step - left[there]) * 0.005, rtol=1e-5)
        ages.append(view.age[there])

        # What repair goes by: the own queue now, the neighbours' then, and those beyond as their neighbours
        # had heard of them by then.
        older = last(beyond, np.take_along_axis(left, world.through, axis=1) - delay)
        out = np.asarray(now.traffic.sent).reshape(end.shape) - counted
        load = np.concatenate(
            [held(world, now)[:, None], held_then[left, end] + out, held_then[older, beyond]], axis=1
        )
        rate = np.concatenate(
            [rates[-1][:, None], rate_then[left, end], rate_then[older, beyond]], axis=1, dtype=float
        )
        known = world.known[0]
        load, rate = np.where(known, load, 0), np.where(known, rate, 0)
        surplus = load - rate * (load.sum(axis=1) / np.maximum(rate.sum(axis=1), 1e-9))[:, None]
        expected = np.einsum("mdn,mn->md", world.operator[0], surplus)
        due = np.intersect1d(fleet, np.nonzero(phase == step % period)[0])
        found = np.asarray(
            _outflow(bare(world), SHIVYA, numbers(SHIVYA), omniscience(world, SHIVYA), now, jnp.int32(step))
        )
        assert_allclose(found[due % shape.rows], expected[due], atol=2e-4)
        flows += np.abs(expected[due]).sum()
        far = known[:, -shape.near :]
        changed += (held_then[older, beyond] != held_then[step - 1][beyond])[far].sum()
    aged = np.concatenate(ages)
    assert_allclose([aged.min(), aged.max()], [0.14, 0.14 + 0.095], rtol=1e-5)
    assert flows > 0 and changed > 0 and by_way_of_here > 0
