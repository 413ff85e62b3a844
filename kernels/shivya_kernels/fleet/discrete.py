"""Fleets of whole jobs in small time steps: service, arrivals, placement, heartbeats.

Time steps only batch decisions: jobs start and finish at exact times, and nothing is rounded to a step but
the moment at which a node acts. All of a batch is one graph and one program; see ``world``.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from shivya_kernels.fleet import state as st
from shivya_kernels.fleet import views
from shivya_kernels.fleet.handover import Omniscience, ask, repair
from shivya_kernels.fleet.landing import land
from shivya_kernels.fleet.laws import Law, Params
from shivya_kernels.fleet.service import serve
from shivya_kernels.fleet.state import State
from shivya_kernels.fleet.world import World


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


@partial(jax.jit, static_argnames=("law", "chunk"))
def run(world: World, law: Law, params: Params, sees: Omniscience, chunk: int) -> Outcome:
    """Run a batch until all is drained, or until the world's end."""
    world = jax.tree.map(jnp.asarray, world)
    shape = world.shape
    periods = -(-shape.horizon // shape.phases)
    nothing = jnp.zeros((2, periods, shape.fleets), jnp.float32)
    state = st.initial(world, chunk, law.handover == "second_order", law.sight == "omniscient")

    def held(state: State) -> Array:
        return state.queues.ends[:, 0] + (state.servers.job != shape.jobs).sum(axis=1, dtype=jnp.int32)

    def going(carry: tuple[State, Array, Array]) -> Array:
        state, _, period = carry
        begin = period * shape.phases
        busy = (begin <= shape.horizon) | held(state).any() | (state.wire.filled > 0).any()
        return busy & (begin < shape.end)

    def one_period(carry: tuple[State, Array, Array]) -> tuple[State, Array, Array]:
        state, series, period = carry
        begin = period * shape.phases
        state = jax.lax.fori_loop(
            0, shape.phases, lambda i, s: advance(world, law, params, sees, chunk, s, begin + i), state
        )
        now, none = held(state), jnp.zeros(shape.fleets, jnp.int32)
        total = none.at[world.fleet].add(now, mode="drop")
        most = none.at[world.fleet].max(now, mode="drop")
        both = jnp.stack([total, most]).astype(jnp.float32)
        return state, series.at[:, period].set(both, mode="drop"), period + 1

    start = (state, nothing, jnp.int32(0))
    state, series, period = jax.lax.while_loop(going, one_period, start)
    beats = jnp.zeros(shape.fleets, jnp.int32).at[world.fleet].add(state.beats, mode="drop")
    asks = jnp.zeros(shape.fleets, jnp.int32).at[world.fleet].add(state.asks, mode="drop")
    return Outcome(
        state.jobs.done,
        state.jobs.tally,
        series[0],
        series[1],
        beats,
        asks,
        state.traffic.sent,
        state.traffic.received,
        period * shape.phases,
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
