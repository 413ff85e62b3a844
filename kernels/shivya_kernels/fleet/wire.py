"""Sending: what leaves a node, in a ring over the steps in which it lands."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from shivya_kernels.fleet import views
from shivya_kernels.fleet.laws import Params
from shivya_kernels.fleet.state import State, Wire
from shivya_kernels.fleet.world import World

BY_PLACEMENT, BY_REQUEST = 257, 256
"""What a move adds to a job's tally."""
HOPS = 256


def append(
    wire: Wire,
    step: Int32[Array, "*K"],
    job: Int32[Array, "K"],
    link: Int32[Array, "K"],
    which: Bool[Array, "K"],
) -> Wire:
    """Let the jobs or requests that `which` names land in `step`, the same for all or one for each.

    There must be room for all of them.
    """
    row = step % wire.job.shape[0]
    if row.ndim == 0:
        rank = jnp.cumsum(which, dtype=jnp.int32) - 1
        filled = wire.filled.at[row].add(rank[-1] + 1)
    else:
        lane = jnp.arange(row.shape[0])
        before = which[None] & (row[None] == row[:, None]) & (lane[None] < lane[:, None])
        rank = before.sum(axis=1, dtype=jnp.int32)
        filled = wire.filled.at[row].add(which.astype(jnp.int32))
    column = jnp.where(which, wire.filled[row] + rank, wire.job.shape[1])
    return Wire(
        wire.job.at[row, column].set(job, mode="drop"),
        wire.link.at[row, column].set(link, mode="drop"),
        filled,
    )


def room(world: World, wire: Wire, step: Array, lanes: int) -> Bool[Array, ""]:
    """Whether so many jobs may leave, over whatever links, with room to spare for what comes back."""
    if not world.shape.unlike:
        return room_at(wire, step + world.shape.hop, lanes)
    enough: Array = wire.filled.max() + 2 * lanes <= wire.job.shape[1]
    return enough


def room_at(wire: Wire, step: Array, lanes: int) -> Bool[Array, ""]:
    """The same for what lands in `step`."""
    return wire.filled[step % wire.job.shape[0]] + 2 * lanes <= wire.job.shape[1]


def ship(
    world: World,
    params: Params,
    state: State,
    step: Array,
    job: Int32[Array, "K"],
    link: Int32[Array, "K"],
    which: Bool[Array, "K"],
    tally: Int32[Array, "K"] | int,
) -> State:
    """Send jobs over links, and count them: at the sender, and in the job's tally."""
    shape, traffic, jobs = world.shape, state.traffic, state.jobs
    lane = jnp.where(which, link, shape.places * shape.degree)
    age = views.since_heartbeat(world, link // shape.degree, step)
    weight = jnp.exp(age / params.drift_seconds) / params.drift_seconds
    traffic = traffic._replace(
        sent=traffic.sent.at[lane].add(1.0, mode="drop"),
        pace=traffic.pace.at[lane].add(weight, mode="drop"),
    )
    moved = jobs.tally.at[jnp.where(which, job, shape.jobs)].add(tally, mode="drop")
    return state._replace(
        traffic=traffic,
        jobs=jobs._replace(tally=moved),
        wire=append(state.wire, step + views.hop_steps(world, link), job, link, which),
    )


def meter(
    world: World, params: Params, state: State, node: Array, step: Array, change: Array, which: Array
) -> State:
    """Count jobs kept (+1) or handed over (-1) in the nodes' net arrivals."""
    age = views.since_heartbeat(world, node, step)
    weight = change * jnp.exp(age / params.drift_seconds) / params.drift_seconds
    lane = jnp.where(which, node, world.shape.places)
    net = state.meters.net.at[lane].add(weight, mode="drop")
    return state._replace(meters=state.meters._replace(net=net))
