"""Fleets of whole jobs in small time steps: service, arrivals, placement, heartbeats.

Time steps only batch decisions: jobs start and finish at exact times, and nothing is rounded to a step but
the moment at which a node acts. All of a batch is one graph and one program; see ``world``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from shivya_kernels.fleet import state as st
from shivya_kernels.fleet import views
from shivya_kernels.fleet.handover import Omniscience, ask, repair
from shivya_kernels.fleet.landing import land
from shivya_kernels.fleet.laws import Law, Params
from shivya_kernels.fleet.scenario import MICROSECONDS
from shivya_kernels.fleet.service import serve
from shivya_kernels.fleet.state import State
from shivya_kernels.fleet.world import Shape, World

_PARTS = 40
"""In which a run goes on while jobs arrive, if someone is to be told how far it is."""
_LEAST = 10
"""Periods of a part: below that, calls would take longer than what they do."""

Told = Callable[[float], None]
"""Hears now and then how many seconds have been simulated."""


class Outcome(NamedTuple):
    """What is left when a batch has run."""

    done: Int32[Array, "J"]
    tally: Int32[Array, "J"]
    series: Float[Array, "T B"]
    """Jobs held by each fleet at the end of each period (``Shape.phases``) until the horizon."""
    peaks: Float[Array, "T B"]
    """Most jobs held by any one node then."""
    beats: Int32[Array, "B"]
    asks: Int32[Array, "B"]
    sent: Float[Array, "L"]
    received: Float[Array, "L"]
    steps: Int32[Array, ""]


class Midway(NamedTuple):
    """A batch at the end of a period."""

    state: State
    series: Float[Array, "2 T B"]
    """Of ``Outcome``: all jobs, and the most of any node."""
    period: Int32[Array, ""]
    """How many are over."""


def run(
    world: World, law: Law, params: Params, sees: Omniscience, chunk: int, told: Told | None = None
) -> Outcome:
    """Run a batch until all is drained, or until the world's end."""
    world, sees = jax.tree.map(jnp.asarray, (world, sees))

    def further(now: Midway, until: np.int32) -> tuple[Midway, Array]:
        both: tuple[Midway, Array] = go_on(world, law, params, sees, chunk, now, until)
        return both

    outcome: Outcome = end(world, in_parts(begin(world, law, chunk), further, world.shape, told))
    return outcome


def in_parts(
    now: Midway,
    further: Callable[[Midway, np.int32], tuple[Midway, Array]],
    shape: Shape,
    told: Told | None,
) -> Midway:
    """Go further until all is done: in one call, or in several if someone is to be told."""
    if told is None:
        return further(now, np.int32(shape.end))[0]
    part = max(_periods(shape) // _PARTS, _LEAST)
    until, going = 0, True
    while going:
        until += part
        now, unfinished = further(now, np.int32(until))
        going = bool(np.any(unfinished))
        told(int(np.max(now.period)) * shape.phases * shape.step / MICROSECONDS)
    return now


def _periods(shape: Shape) -> int:
    """In which jobs arrive."""
    return -(-shape.horizon // shape.phases)


@partial(jax.jit, static_argnames=("law", "chunk"))
def begin(world: World, law: Law, chunk: int) -> Midway:
    """Before the first step."""
    state = st.initial(world, chunk, law.handover == "second_order", law.sight == "omniscient")
    nothing = jnp.zeros((2, _periods(world.shape), world.shape.fleets), jnp.float32)
    return Midway(state, nothing, jnp.int32(0))


@partial(jax.jit, static_argnames=("law", "chunk"), donate_argnames="now")
def go_on(
    world: World,
    law: Law,
    params: Params,
    sees: Omniscience,
    chunk: int,
    now: Midway,
    until: Int32[Array, ""] | np.int32,
) -> tuple[Midway, Bool[Array, ""]]:
    """Run until so many periods are over, or until all is drained; and whether there is more to do."""
    shape = world.shape

    def held(state: State) -> Array:
        return state.queues.ends[:, 0] + (state.servers.job != shape.jobs).sum(axis=1, dtype=jnp.int32)

    def going(now: Midway) -> Array:
        first = now.period * shape.phases
        busy = (first <= shape.horizon) | held(now.state).any() | (now.state.wire.filled > 0).any()
        return busy & (first < shape.end)

    def one_period(now: Midway) -> Midway:
        first = now.period * shape.phases
        state = jax.lax.fori_loop(
            0,
            shape.phases,
            lambda i, s: advance(world, law, params, sees, chunk, s, first + i),
            now.state,
        )
        there, none = held(state), jnp.zeros(shape.fleets, jnp.int32)
        total = none.at[world.fleet].add(there, mode="drop")
        most = none.at[world.fleet].max(there, mode="drop")
        both = jnp.stack([total, most]).astype(jnp.float32)
        return Midway(state, now.series.at[:, now.period].set(both, mode="drop"), now.period + 1)

    now = jax.lax.while_loop(lambda now: going(now) & (now.period < until), one_period, now)
    return now, going(now)


@jax.jit
def end(world: World, now: Midway) -> Outcome:
    """What is left when all is done."""
    state, none = now.state, jnp.zeros(world.shape.fleets, jnp.int32)
    return Outcome(
        state.jobs.done,
        state.jobs.tally,
        now.series[0],
        now.series[1],
        none.at[world.fleet].add(state.beats, mode="drop"),
        none.at[world.fleet].add(state.asks, mode="drop"),
        state.traffic.sent,
        state.traffic.received,
        now.period * world.shape.phases,
    )


def advance(
    world: World, law: Law, params: Params, sees: Omniscience, chunk: int, state: State, step: Array
) -> State:
    """All that happens up to and at one time."""
    step = step.astype(jnp.int32)
    state = views.hear(world, law, state, step)
    if law.handover == "flow":
        state = views.relay(world, state, step)
    state = serve(world, state, step)
    state = land(world, law, params, sees, state, step, chunk)
    if law.handover != "none":
        state = repair(world, law, params, sees, state, step)
    state = views.publish(world, law, params, state, step)
    if law.pull != "none":
        state = ask(world, law, params, state, step, chunk)
    return state
