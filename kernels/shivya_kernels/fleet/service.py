"""Servers: who is done, who is next, and how long a job takes."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from shivya_kernels.fleet import queues, views
from shivya_kernels.fleet import state as st
from shivya_kernels.fleet.scenario import MICROSECONDS
from shivya_kernels.fleet.state import State
from shivya_kernels.fleet.world import World


def serve(world: World, state: State, step: Array) -> State:
    """Jobs that were done by now leave, and the next ones start at the very moment.

    A single server's job that is done within the step in which it started is found in the next one, which no
    time shows. Several servers must take turns by the time at which they are free.
    """
    shape, now = world.shape, step * world.shape.step
    up = jnp.ones(shape.places, bool)
    if shape.crash:
        up = ~views.within(world.down, now)
        back = up & (world.down[1] <= now) & (world.down[1] > now - shape.step)
        late = back[:, None] & (state.servers.free > world.down[0][:, None])
        late &= state.servers.job != shape.jobs
        pause = jnp.where(late, (world.down[1] - world.down[0])[:, None], 0)
        servers = state.servers._replace(free=state.servers.free + pause, begun=state.servers.begun + pause)
        state = state._replace(servers=servers)
    if shape.servers == 1:
        state = _serve_earliest(world, state, now, up)
    else:

        def due(state: State) -> Array:
            done = (state.servers.job != shape.jobs) & (state.servers.free <= now)
            return (done & up[:, None]).any()

        def turn(state: State, rest: tuple[()]) -> tuple[State, tuple[()]]:
            return _serve_earliest(world, state, now, up), rest

        state, _ = st.over_hearing(lambda state, _: due(state), turn, state, ())
    busy = (state.servers.job != shape.jobs).sum(axis=1, dtype=jnp.int32)
    spent = jnp.where(up, busy, 0) * jnp.float32(shape.step / MICROSECONDS)
    return state._replace(meters=state.meters._replace(busy=state.meters.busy + spent))


def _serve_earliest(world: World, state: State, now: Array, up: Array) -> State:
    """At every node, the server that is free first."""
    shape, servers, jobs = world.shape, state.servers, state.jobs
    busy = servers.job != shape.jobs
    places = jnp.arange(shape.places, dtype=jnp.int32)
    which = jnp.argmin(jnp.where(busy, servers.free, st.NEVER), axis=1).astype(jnp.int32)
    job, free = servers.job[places, which], servers.free[places, which]
    due = up & (job != shape.jobs) & (free <= now)
    done = jobs.done.at[jnp.where(due, job, shape.jobs)].set(free, mode="drop")
    waiting, follower = queues.pop(state.queues, due & (state.queues.ends[:, 0] > 0))
    starts = follower != shape.jobs
    start = jnp.maximum(free, jobs.ready.at[follower].get(mode="clip"))
    if shape.crash:
        start = jnp.maximum(start, jnp.where(world.down[1] <= now, world.down[1], 0))
    finish = start + service_time(world, places, follower, start)
    column = jnp.arange(shape.servers, dtype=jnp.int32)[None] == which[:, None]
    begins = column & starts[:, None]
    servers = st.Servers(
        jnp.where(column & due[:, None], follower[:, None], servers.job),
        jnp.where(begins, start[:, None], servers.begun),
        jnp.where(begins, finish[:, None], servers.free),
    )
    meters = state.meters._replace(finished=state.meters.finished + due)
    return state._replace(jobs=jobs._replace(done=done), queues=waiting, servers=servers, meters=meters)


def service_time(world: World, node: Array, job: Array, start: Array) -> Array:
    """Microseconds that a job takes at a node if it starts at that time; at least 1."""
    shape = world.shape
    spent = world.size.at[job].get(mode="clip") * world.servers[node] / world.rate[node]
    if shape.slow:
        slow = views.within(world.slow[:, node], start)
        spent = spent * jnp.where(slow, world.factor[node], 1)
    return jnp.maximum(jnp.round(spent * MICROSECONDS), 1).astype(jnp.int32)
