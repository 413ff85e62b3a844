"""Fleets seen from inside, for tests: their state step by step, what was said, and what is under way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from shivya_kernels.fleet import LAWS, Law, LocalView, Params, Scenario, World, discrete, state, views, worlds
from shivya_kernels.fleet.handover import Omniscience, repair
from shivya_kernels.fleet.omniscience import omniscience
from shivya_kernels.fleet.state import State

SHIVYA = LAWS["shivya"]
BUSY = Scenario(nodes=10, mean_degree=3.0, hotspot=0.25, load=0.9, seconds=4.0, warm_up=0.0)


def frozen(nodes: int, seed: int) -> World:
    """A fleet whose first jobs take longer than anyone will look."""
    rng = np.random.default_rng(seed)
    heap = tuple((int(rng.integers(nodes)), 0.01 * k, 1e4) for k in range(6 * nodes))
    return worlds(
        Scenario(nodes=nodes, mean_degree=3.5, arrivals=heap, seconds=2.0, warm_up=0.0, drain=60.0), [seed]
    )


def bare(world: World) -> World:
    return jax.tree.map(jnp.asarray, replace(world, scenario=None, seeds=()))


def numbers(law: Law) -> Params:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), law.params)


@partial(jax.jit, static_argnames="law")
def _advance(
    world: World, law: Law, params: Params, sees: Omniscience, now: State, begin: jax.Array, steps: jax.Array
) -> State:
    def one(i: jax.Array, s: State) -> State:
        return discrete.advance(world, law, params, sees, 16, s, begin + i)

    return jax.lax.fori_loop(0, steps, one, now)


def watched_at(world: World, law: Law, steps: Iterable[int]) -> Iterator[tuple[int, State]]:
    """The state after each of these steps, which are in order."""
    params, sees, plain = numbers(law), omniscience(world, law), bare(world)
    now = state.initial(plain, 16, law.handover == "second_order", law.sight == "omniscient")
    begin = 0
    for step in steps:
        now = _advance(plain, law, params, sees, now, jnp.int32(begin), jnp.int32(step + 1 - begin))
        begin = step + 1
        yield step, now


def watched(world: World, law: Law, stops: int, stride: int) -> Iterator[tuple[int, State]]:
    """The state after every `stride` steps."""
    return watched_at(world, law, range(stride - 1, stops * stride, stride))


def real(world: World) -> np.ndarray:
    """The places of the first fleet."""
    return np.nonzero(world.fleet == 0)[0]


def held(world: World, now: State) -> np.ndarray:
    """Jobs at each place, those in service included."""
    busy = (now.servers.job != world.shape.jobs).sum(axis=1)
    return np.asarray(now.queues.ends[:, 0]) + np.asarray(busy)


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


@partial(jax.jit, static_argnames="law")
def _seen(
    world: World, law: Law, params: Params, now: State, step: jax.Array
) -> tuple[views.Here, LocalView]:
    node = jnp.arange(world.shape.places, dtype=jnp.int32)
    me = views.here(world, params, now, node, now.queues.ends, step * world.shape.step)
    return me, views.look(world, law, params, now, node, me, step, me.waiting, node, node < 0)


def seen(world: World, law: Law, now: State, step: int) -> tuple[views.Here, LocalView]:
    """What each place knows of itself and of its neighbours, in a step."""
    found = _seen(bare(world), law, numbers(law), now, jnp.int32(step))
    return jax.tree.map(np.asarray, found)


_repair = jax.jit(repair, static_argnames="law")


def repaired(world: World, law: Law, now: State, step: int) -> State:
    """The state when those due in a step have handed over what the law lets them."""
    return _repair(bare(world), law, numbers(law), omniscience(world, law), now, jnp.int32(step))


def handed_over(world: World, law: Law, now: State, step: int) -> np.ndarray:
    """[M, D] jobs that all hand over within a period from `step` on, each as if nobody else did."""
    before = np.asarray(now.traffic.sent)
    period = range(step, step + world.shape.phases)
    moved = sum(np.asarray(repaired(world, law, now, s).traffic.sent) - before for s in period)
    return np.asarray(moved).reshape(-1, world.shape.degree)


def between_nodes(world: World, values: np.ndarray) -> np.ndarray:
    """[N, N] what is given per place and slot, by the numbers of the nodes."""
    place, slot = np.nonzero(world.linked)
    table = np.zeros((world.shape.nodes, world.shape.nodes))
    table[world.name[place], world.name[world.neighbour[place, slot]]] = values[place, slot]
    return table
