"""Waiting jobs on the move: repair by a flow at each heartbeat, and requests of idle nodes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from shivya_kernels import flow
from shivya_kernels.fleet import queues, views, wire
from shivya_kernels.fleet import state as st
from shivya_kernels.fleet.laws import Law, LocalView, Params, drift_of
from shivya_kernels.fleet.state import State
from shivya_kernels.fleet.world import World

_GIVERS = 16
"""Nodes that hand over side by side."""
SMALLEST_VICTIM = 2
"""Jobs that a neighbour must hold to be asked for one."""
_REFUSED_SECONDS, _LOOK_SECONDS = 0.03, 0.01
"""How long an idle node that was refused, or that saw nobody to ask, waits before it looks again."""


class Omniscience(NamedTuple):
    """What only laws outside the information model know; empty arrays for the others."""

    member: Any
    """[M, N] places of the same fleet."""
    operator: Any
    """[2, M, D, N] flow per surplus of the whole fleet."""
    known: Any
    """[2, M, N] whether a place takes part."""
    distance: Any
    """[2, M, N] seconds on the way, as the fleet is and while it is broken."""
    route: Any
    """[2, M, N] slot that leads there."""


def repair(world: World, law: Law, params: Params, sees: Omniscience, state: State, step: Array) -> State:
    """Hand over waiting jobs along the law's flow, at the nodes whose heartbeat is due."""
    shape, node = world.shape, views.due(world, step)
    me = views.here(world, params, state, node, state.queues.ends[node], step * shape.step)
    view = views.look(world, law, params, state, node, me, step, me.waiting, step + 0 * node, node < 0)
    outflow, state = _outflow(world, law, params, sees, state, node, me, view, step)
    outflow = jnp.where(view.live, outflow, 0) * params.gain
    outflow = jnp.where(_repairs(world, step), outflow, 0)
    chance = views.uniform(world.key[node], step, jnp.int32(-2))
    counts = jax.vmap(flow.release)(outflow, me.waiting, chance)
    if shape.crash:
        counts = jnp.where(views.within(world.down[:, node], step * shape.step)[:, None], 0, counts)
    return _hand_over(world, law, params, state, step, node, me, view, counts)


class Giver(NamedTuple):
    """What a node that hands over goes by, per slot but for `tail` and `rate`."""

    node: Array
    counts: Array
    tail: Array
    rate: Array
    potential: Array
    slope: Array
    out: Array
    rates: Array
    drift: Array
    hop: Array
    turn: Array
    """The slot of the greatest number goes first."""


def _repairs(world: World, step: Array) -> Array:
    """Whether the period that this step is in begins with repairs."""
    now: Array = step // world.shape.phases % world.shape.repairs == 0
    return now


def _hand_over(
    world: World,
    law: Law,
    params: Params,
    state: State,
    step: Array,
    node: Array,
    me: views.Here,
    view: LocalView,
    counts: Array,
) -> State:
    """Send up to `counts` [R, D] jobs, as long as each gains by it. Few nodes do: they are picked out."""
    shape = world.shape
    everyone = Giver(
        node,
        counts,
        me.tail,
        me.rate,
        view.potential,
        view.slope,
        view.out,
        view.rate,
        # No gap is asked of what moves by repair: a forecast may take a share of the hop alone.
        jnp.maximum(drift_of(view, params), -params.drift_share * view.hop),
        view.hop,
        view.random + 1,
    )

    def eligible(giver: Giver, handed: Array) -> Array:
        """Where another job may go: each one sent makes its way dearer and the own tail shorter."""
        going = giver.counts > handed
        if law.guard:
            out = (giver.out + handed) * params.own_sent
            there = flow.priced(giver.potential, giver.slope, out, giver.rates, giver.drift) + giver.hop
            going &= (giver.tail - handed.sum(axis=1, dtype=jnp.int32) / giver.rate)[:, None] > there
        return going

    active = eligible(everyone, jnp.zeros_like(counts)).any(axis=1)
    listed, total = pick(active, _GIVERS)

    def some(state: State, begin: Array) -> tuple[State, Array]:
        row = jax.lax.dynamic_slice_in_dim(listed, begin, _GIVERS)
        giver = Giver(*(x.at[row].get(mode="clip") for x in everyone))
        giver = giver._replace(counts=jnp.where((row < shape.rows)[:, None], giver.counts, 0))

        def hand(state: State, rest: tuple[Array, Array]) -> tuple[State, tuple[Array, Array]]:
            handed, going = rest
            slot = jnp.argmax(jnp.where(going, giver.turn, 0), axis=1).astype(jnp.int32)
            which = going.any(axis=1) & wire.room(world, state.wire, step, _GIVERS)
            ends = state.queues.ends[giver.node]
            nowhere = jnp.zeros_like(giver.node)
            changed, job = queues.change(
                state.queues, giver.node, ends, nowhere, nowhere < 0, (nowhere, nowhere), which, law.order
            )
            state = state._replace(queues=changed)
            link = giver.node * shape.degree + slot
            state = wire.ship(world, params, state, step, job, link, which, wire.BY_REQUEST)
            state = wire.meter(world, params, state, giver.node, step, jnp.float32(-1), which)
            here = jnp.arange(shape.degree, dtype=jnp.int32)[None] == slot[:, None]
            handed = handed + (here & which[:, None])
            return state, (handed, eligible(giver, handed) & which.any())

        none = jnp.zeros_like(giver.counts)
        start = (none, eligible(giver, none))
        state, _ = st.over_hearing(lambda _, rest: rest[1].any(), hand, state, start)
        return state, begin + _GIVERS

    state, _ = st.over_hearing(lambda _, begin: begin < total, some, state, jnp.int32(0))
    return state


def pick(which: Array, lanes: int) -> tuple[Array, Array]:
    """The indices that `which` [N] names, in order, then N at least `lanes` times; and how many there are."""
    rank = jnp.cumsum(which, dtype=jnp.int32)
    size = which.shape[0]
    listed = jnp.full(size + lanes, size, jnp.int32)
    index = jnp.arange(size, dtype=jnp.int32)
    return listed.at[jnp.where(which, rank - 1, size + lanes)].set(index, mode="drop"), rank[-1]


def _outflow(
    world: World,
    law: Law,
    params: Params,
    sees: Omniscience,
    state: State,
    node: Array,
    me: views.Here,
    view: LocalView,
    step: Array,
) -> tuple[Array, State]:
    """Jobs that should go to each neighbour now, per the law, before caps."""
    if law.handover in ("diffusion", "second_order"):
        # Metropolis weights, speed-weighted (Elsässer, Monien and Preis 2002); beta as given.
        degree = world.linked.sum(axis=1, dtype=jnp.int32)
        widest = jnp.maximum(degree[node][:, None], degree[world.neighbour[node]])
        slower = jnp.minimum(me.rate[:, None], view.rate)
        share = slower / (1 + widest)
        diffused = share * (me.held / me.rate)[:, None] - share * view.queue / view.rate
        if law.handover == "diffusion":
            return diffused, state
        flows = params.momentum * state.previous[node] + (1 + params.momentum) * diffused
        flows = jnp.where(view.live, flows, 0)
        flows = jnp.where(_repairs(world, step), flows, state.previous[node])
        return flows, state._replace(previous=state.previous.at[node].set(flows))
    broken = (views.within(world.broken, step)).astype(jnp.int32)
    begin = node[0]
    if law.handover == "global":
        held = state.queues.ends[:, 0] + (state.servers.job != world.shape.jobs).sum(axis=1, dtype=jnp.int32)
        load, rate = held[sees.member[node]].astype(jnp.float32), world.rate[sees.member[node]]
        operator, known = sees.operator, sees.known
    else:
        through, source = world.through[node], world.source[node]
        stamp = state.heard.table[node, st.STAMP]
        stamp = jnp.take_along_axis(stamp, through, axis=1)
        number = jnp.maximum(stamp, 0).astype(jnp.int32) // world.shape.phases
        row = number % state.heard.relayed.shape[0]
        told = state.heard.relayed[row, source]
        heard = jnp.take_along_axis(view.live, through, axis=1)[..., None]
        told = jnp.where(heard, told, 0)
        direct = jnp.where(view.live, view.queue + view.out, 0)
        rates = jnp.where(view.live, view.rate, 0)
        load = jnp.concatenate([me.held[:, None].astype(jnp.float32), direct, told[..., 0]], axis=1)
        rate = jnp.concatenate([me.rate[:, None], rates, told[..., 1]], axis=1)
        operator, known = world.operator, world.known
    one = (broken, begin, *[jnp.zeros_like(begin)] * 2)
    counted = jax.lax.dynamic_slice(known, one[:3], (1, node.shape[0], known.shape[2]))[0]
    load, rate = jnp.where(counted, load, 0), jnp.where(counted, rate, 0)
    level = load.sum(axis=1) / rate.sum(axis=1)
    surplus = load - rate * level[:, None]
    size = (1, node.shape[0], *operator.shape[2:])
    part = jax.lax.dynamic_slice(operator, one, size)[0]
    return jnp.einsum("rdn,rn->rd", part, surplus), state


def ask(world: World, law: Law, params: Params, state: State, step: Array, chunk: int) -> State:
    """Idle nodes ask the neighbour that has most to wait for, as far as they know."""
    shape = world.shape
    busy = (state.servers.job != shape.jobs).sum(axis=1, dtype=jnp.int32)
    idle = (busy < world.servers) & (state.ask_at <= step)
    idle &= world.fleet < shape.fleets
    if shape.crash:
        idle &= ~views.within(world.down, step * shape.step)
    listed, total = pick(idle, chunk)
    pause = 2 * shape.latency + max(round(_REFUSED_SECONDS * 1e6 / shape.step), 1)
    soon = max(round(_LOOK_SECONDS * 1e6 / shape.step), 1)

    def some(state: State, begin: Array) -> tuple[State, Array]:
        node = jax.lax.dynamic_slice_in_dim(listed, begin, chunk)
        there = node < shape.places
        node = jnp.minimum(node, shape.places - 1)
        record = state.heard.table[node]
        age = step.astype(jnp.float32) - record[:, st.STAMP]
        queue, rate = record[:, st.QUEUE], record[:, st.RATE]
        wait = queue / rate
        open_to = world.linked[node] & (age <= world.expiry.astype(jnp.float32))
        open_to &= (queue >= SMALLEST_VICTIM) & (wait >= params.pull_wait)
        wait = jnp.where(open_to, wait, -1)
        slot = jnp.argmax(wait, axis=1).astype(jnp.int32)
        wish = there & open_to.any(axis=1) & wire.room_at(state.wire, step + shape.latency, chunk)
        lanes = jnp.where(there, node, shape.places)
        nothing = jnp.full_like(node, shape.jobs)
        return state._replace(
            wire=wire.append(state.wire, step + shape.latency, nothing, node * shape.degree + slot, wish),
            ask_at=state.ask_at.at[lanes].set(jnp.where(wish, step + pause, step + soon), mode="drop"),
            asks=state.asks.at[lanes].add(wish.astype(jnp.int32), mode="drop"),
        ), begin + chunk

    state, _ = st.over_hearing(lambda _, begin: begin < total, some, state, jnp.int32(0))
    return state
