"""Heartbeats: what a node says, when its neighbours hear of it, and what a node can see at all."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, UInt32

from shivya_kernels import flow
from shivya_kernels.complex import NO_VERTEX
from shivya_kernels.fleet import state as st
from shivya_kernels.fleet.laws import Law, LocalView, Params, drift_of
from shivya_kernels.fleet.scenario import MICROSECONDS
from shivya_kernels.fleet.state import State
from shivya_kernels.fleet.world import World

WAIT_CHANGE = 4.0
"""Changes of price that an own wait must have moved by for a heartbeat: it counts in flows and requests."""


class Here(NamedTuple):
    """What nodes know of themselves."""

    waiting: Int32[Array, "K"]
    held: Int32[Array, "K"]
    residual: Float[Array, "K"]
    """Expected time until a server is free; 0 where one is."""
    own: Float[Array, "K"]
    """Expected time in system of a job that would be the last."""
    tail: Float[Array, "K"]
    rate: Float[Array, "K"]


def uniform(key: UInt32[Array, "*K"], *counters: Int32[Array, "*K"]) -> Float[Array, "*K"]:
    """Uniform numbers in [0, 1) that depend on the key and the counters alone (a hash of good avalanche).

    Wellons' `lowbias32`; a fleet draws the same numbers in any batch.
    """
    for counter in counters:
        key = _mix(key ^ _mix(jnp.asarray(counter).astype(jnp.uint32) + jnp.uint32(0x9E3779B9)))
    drawn: Array = (key >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)
    return drawn


def _mix(x: Array) -> Array:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    mixed: Array = x ^ (x >> 16)
    return mixed


def seconds(microseconds: Array) -> Array:
    """Microseconds as float32 seconds."""
    spent: Array = microseconds.astype(jnp.float32) * jnp.float32(1 / MICROSECONDS)
    return spent


def within(window: Array, now: Array) -> Array:
    """Whether a time lies in [start, end)."""
    inside: Array = (window[0] <= now) & (now < window[1])
    return inside


def since_heartbeat(world: World, node: Array, step: Array) -> Array:
    """Seconds since the node's last heartbeat before this step, up to a whole period."""
    shape = world.shape
    phase = node // shape.rows
    steps = (step - phase - 1) % shape.phases + 1
    return seconds(steps * shape.step)


def here(
    world: World, params: Params, state: State, node: Int32[Array, "K"], ends: Int32[Array, "K 4"], now: Array
) -> Here:
    """The own state of nodes; `ends` are the rows of their queues."""
    slots = world.servers[node]
    running = state.servers.job[node] != world.shape.jobs
    rate = state.meters.rate[node]
    elapsed = seconds(now - state.servers.begun[node])
    busy = running.sum(axis=1, dtype=jnp.int32)
    full = busy == slots
    each = flow.residual_time(elapsed, (rate / slots)[:, None], params.kappa)
    rest = jnp.where(running, each, 0).sum(axis=1) / slots**2
    residual = jnp.where(full, rest, 0.0)
    waiting = ends[:, 0]
    own = jnp.where(full, residual + (waiting + slots) / rate, slots / rate)
    tail = jnp.where(full, own - 1 / rate, jnp.where(busy > 0, slots / rate, 0.0))
    return Here(waiting, waiting + busy, residual, own, tail, rate)


def hop(world: World, link: Int32[Array, "*K"]) -> Float[Array, "*K"]:
    """Seconds that a job takes over links; one number where all are alike."""
    shape = world.shape
    if not shape.unlike:
        return jnp.asarray(shape.hop * shape.step / MICROSECONDS, jnp.float32)
    taken: Array = world.hop.reshape(-1).at[link].get(mode="clip")
    return taken


def hop_steps(world: World, link: Int32[Array, "*K"]) -> Int32[Array, "*K"]:
    """The same in time steps."""
    steps: Array = jnp.round(hop(world, link) * (MICROSECONDS / world.shape.step)).astype(jnp.int32)
    return steps


def look(
    world: World,
    law: Law,
    params: Params,
    state: State,
    node: Int32[Array, "K"],
    me: Here,
    step: Array,
    ahead: Int32[Array, "K"],
    salt: Int32[Array, "K"],
    relayed: Bool[Array, "K"],
) -> LocalView:
    """What nodes see; `salt` is what their random numbers depend on besides their keys."""
    shape = world.shape
    d = shape.degree
    record = state.heard.table[node]
    stamp = record[:, st.STAMP]
    steps = step.astype(jnp.float32) - stamp
    live = world.linked[node] & (steps <= world.expiry.astype(jnp.float32))
    per_second = jnp.exp(-since_heartbeat(world, node, step) / params.drift_seconds)
    queue = record[:, st.QUEUE]
    if law.sight == "fresh":
        held = state.queues.ends[:, 0] + (state.servers.job != shape.jobs).sum(axis=1, dtype=jnp.int32)
        queue = held[world.neighbour[node]].astype(jnp.float32)
    slot = jnp.arange(d, dtype=jnp.int32)
    key = world.key[node]
    out = state.traffic.sent.reshape(-1, d)[node] - record[:, st.COUNTED]
    return LocalView(
        own=me.residual + (ahead + world.servers[node]) / me.rate,
        ahead=ahead,
        waiting=me.waiting,
        held=me.held,
        tail=me.tail,
        service_rate=me.rate,
        chance=uniform(key, salt, jnp.int32(-1)),
        relayed=relayed,
        live=live,
        potential=record[:, st.POTENTIAL],
        slope=record[:, st.SLOPE],
        rate=record[:, st.RATE],
        net_arrivals=record[:, st.NET],
        queue=queue,
        out=out,
        own_rate=state.traffic.pace.reshape(-1, d)[node] * per_second[:, None],
        age=steps * jnp.float32(shape.step / MICROSECONDS),
        hop=jnp.broadcast_to(hop(world, node[:, None] * d + slot), live.shape),
        random=uniform(key[:, None], salt[:, None], slot),
    )


def relay(world: World, state: State, step: Array) -> State:
    """Add what this step's publishers know of their neighbours to what they are to publish.

    Before anyone reads: later in the step, XLA would copy the whole history to keep the two apart.
    """
    shape, heard = world.shape, state.heard
    begin, row = (step % shape.phases) * shape.rows, (step // shape.phases) % heard.relayed.shape[0]
    zero = jnp.zeros_like(row)
    known = jax.lax.dynamic_slice_in_dim(heard.table, begin, shape.rows)
    told = jnp.stack([known[:, st.QUEUE], known[:, st.RATE]], axis=2).reshape(1, -1, 2)
    relayed = jax.lax.dynamic_update_slice(heard.relayed, told, (row, begin * shape.degree, zero))
    return state._replace(heard=heard._replace(relayed=relayed))


def hear(world: World, law: Law, state: State, step: Array) -> State:
    """Put down the heartbeats that count from this step on."""
    shape, heard = world.shape, state.heard
    links = shape.places * shape.degree
    left = step - shape.delay
    phase, number = left % shape.phases, left // shape.phases
    link = world.hears[phase]
    safe = jnp.minimum(link, links - 1)
    receiver, back = safe // shape.degree, world.back[safe]
    sender = back // shape.degree
    row = number % heard.published.shape[0]
    said = heard.published[row, sender]
    record = said.at[:, st.COUNTED].set(heard.counted[row, back])
    record = record.at[:, st.STAMP].set(left.astype(jnp.float32))
    if law.split:
        mine = said[:, st.NEXT_HOP] == (back % shape.degree).astype(jnp.float32)
        second = jnp.stack([said[:, st.SECOND], said[:, st.SECOND_SLOPE]], axis=1)
        pair = jnp.where(mine[:, None], second, record[:, : st.RATE])
        record = jnp.concatenate([pair, record[:, st.RATE :]], axis=1)
    arrives = (left >= 0) & (link < links)
    if shape.silence > 1:
        arrives &= state.spoken.sent[row, sender]
    if shape.loss:
        arrives &= uniform(world.key[receiver], number, link % shape.degree) >= world.loss
    if shape.crash:
        then, now = left * shape.step, step * shape.step
        arrives &= ~within(world.down[:, sender], then) & ~within(world.down[:, receiver], now)
    if shape.cut:
        across = world.side[sender] != world.side[receiver]
        arrives &= ~(across & within(world.cut, step * shape.step))
    place = jnp.where(arrives, receiver, shape.places)
    table = heard.table.at[place, :, link % shape.degree].set(record, mode="drop")
    return state._replace(heard=heard._replace(table=table))


def _news(world: World, own: Array, price: Array, wait: Array, told: Array, ticks: Array) -> Array:
    """Whether a heartbeat is due by what has changed since the last one, which told `wait` and price.

    Between two control steps a price is looked at only where the own wait, if low enough, may have moved it.
    """
    change, top = world.change, told + world.change
    near = jnp.abs(jnp.minimum(own, top) - jnp.minimum(wait, top)) > change
    moved = (jnp.abs(price - told) > change) & (ticks | near)
    news: Array = moved | (jnp.abs(own - wait) > WAIT_CHANGE * change)
    return news


def due(world: World, step: Array) -> Int32[Array, "R"]:
    """The places whose heartbeat leaves in this step."""
    return (step % world.shape.phases) * world.shape.rows + jnp.arange(world.shape.rows, dtype=jnp.int32)


def publish(world: World, law: Law, params: Params, state: State, step: Array) -> State:
    """The heartbeats that leave in this step: measure, and say what is so."""
    shape, heard, meters, traffic = world.shape, state.heard, state.meters, state.traffic
    node, period = due(world, step), shape.phases * shape.step / MICROSECONDS
    begin, d = node[0], shape.degree

    def cut(values: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(values, begin, shape.rows)

    def paste(values: Array, part: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(values, part, begin, 0)

    keep = jnp.exp(-period / jnp.asarray(params.rate_seconds, jnp.float32))
    finished, busy = cut(meters.finished) * keep, cut(meters.busy) * keep
    rate = flow.measured_rate(finished, busy / cut(world.servers), cut(world.nominal), params.prior_jobs)
    keep = jnp.exp(-period / jnp.asarray(params.drift_seconds, jnp.float32))
    net = cut(meters.net) * keep
    meters = meters._replace(
        finished=paste(meters.finished, finished),
        busy=paste(meters.busy, busy),
        rate=paste(meters.rate, rate),
        net=paste(meters.net, net),
    )
    state = state._replace(meters=meters)
    now = step * shape.step
    me = here(world, params, state, node, state.queues.ends[node], now)
    view = look(world, law, params, state, node, me, step, me.waiting, step + 0 * node, node < 0)
    if law.potential:
        window = flow.slope_window(params.slope_share, params.gap, view.hop, view.live)
        chosen = jax.vmap(lambda *x: flow.placement(*x[:-2], params.gap, *x[-2:]))(
            me.own,
            me.rate,
            # The next job raises the wait unless a server stays free beside it.
            (me.held + 1).astype(jnp.float32),
            world.servers[node].astype(me.own.dtype),
            view.potential,
            view.slope,
            view.out * params.own_sent,
            view.rate,
            view.hop,
            view.live,
            window,
            drift_of(view, params),
        )
        potential, second = chosen.potential, chosen.second_potential
        slope = chosen.slope if law.slope else 1 / me.rate
        second_slope = chosen.second_slope if law.slope else 1 / me.rate
        next_hop = jnp.where(chosen.next_hop == NO_VERTEX, -1, chosen.next_hop).astype(jnp.float32)
    else:
        potential = second = me.own
        slope = second_slope = 1 / me.rate
        next_hop = jnp.full_like(me.own, -1)
    said = jnp.stack(
        [potential, slope, rate, net, me.held.astype(jnp.float32), second, second_slope, next_hop], axis=1
    )
    number = step // shape.phases
    row = number % heard.published.shape[0]
    zero = jnp.zeros_like(row)
    sends = jnp.ones_like(me.own, bool)
    if shape.silence > 1:
        spoken, price = state.spoken, potential + slope
        wait, told, last = cut(spoken.wait), cut(spoken.price), cut(spoken.last)
        sends = _news(world, me.own, price, wait, told, number % shape.repairs == 0)
        sends |= number >= last + shape.silence
        spoken = st.Spoken(
            jax.lax.dynamic_update_slice(spoken.sent, sends[None], (row, begin)),
            paste(spoken.wait, jnp.where(sends, me.own, wait)),
            paste(spoken.price, jnp.where(sends, price, told)),
            paste(spoken.last, jnp.where(sends, number, last)),
        )
        state = state._replace(spoken=spoken)
    state = state._replace(beats=paste(state.beats, cut(state.beats) + sends))
    counted = jax.lax.dynamic_slice_in_dim(traffic.received, begin * d, shape.rows * d)
    heard = heard._replace(
        published=jax.lax.dynamic_update_slice(heard.published, said[None], (row, begin, zero)),
        counted=jax.lax.dynamic_update_slice(heard.counted, counted[None], (row, begin * d)),
    )
    pace = jax.lax.dynamic_slice_in_dim(traffic.pace, begin * d, shape.rows * d) * keep
    pace = jax.lax.dynamic_update_slice_in_dim(traffic.pace, pace, begin * d, 0)
    return state._replace(heard=heard, traffic=traffic._replace(pace=pace))
