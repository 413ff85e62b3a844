"""Jobs that arrive at a node, fresh or from a neighbour, and requests for jobs: the decisions of a step.

They are taken some at a time, and at most one per node at a time, so that each sees what the last one did.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from shivya_kernels import flow
from shivya_kernels.fleet import queues, views, wire
from shivya_kernels.fleet import state as st
from shivya_kernels.fleet.handover import SMALLEST_VICTIM, Omniscience
from shivya_kernels.fleet.laws import Law, Params
from shivya_kernels.fleet.service import service_time
from shivya_kernels.fleet.state import State
from shivya_kernels.fleet.world import World

T = TypeVar("T")


class Entry(NamedTuple):
    """What comes to nodes: the job and the link that it came over; see ``state.Wire``. Fresh: -1."""

    job: Int32[Array, "K"]
    link: Int32[Array, "K"]


class Pile(NamedTuple):
    """The entries of one step that are still to be dealt with: some put off, and the rest from `begin` on."""

    put_off: Entry
    waiting: Int32[Array, ""]
    """How many were put off: the first ones of `put_off`."""
    begin: Int32[Array, ""]


def land(
    world: World, law: Law, params: Params, sees: Omniscience, state: State, step: Array, chunk: int
) -> State:
    """Deal with everything that comes in this step: first what is on the wire, then fresh jobs."""
    state, entries, end = _pile_up(world, state, step, chunk)
    lane = jnp.arange(chunk, dtype=jnp.int32)

    def deal(state: State, pile: Pile) -> tuple[State, Pile]:
        follow = (jax.lax.dynamic_slice_in_dim(x, pile.begin - pile.waiting + chunk, chunk) for x in entries)
        both = zip(pile.put_off, follow, strict=True)
        entry = Entry(*(jnp.where(lane < pile.waiting, x, y) for x, y in both))
        active = pile.begin - pile.waiting + lane < end
        node = _node(world, entry)
        first = jnp.full(world.shape.places, chunk, jnp.int32)
        first = first.at[jnp.where(active, node, world.shape.places)].min(lane, mode="drop")
        now = active & (first[node] == lane)
        later = active & ~now
        rank = jnp.cumsum(later, dtype=jnp.int32)
        back = jnp.where(later, rank - 1, chunk)
        left = Entry(*(jnp.zeros_like(x).at[back].set(x, mode="drop") for x in entry))
        begin = jnp.minimum(pile.begin + chunk - pile.waiting, end)
        state = _deal(world, law, params, sees, state, step, entry, node, now)
        return state, Pile(left, rank[-1], begin)

    none = jnp.zeros(chunk, jnp.int32)
    pile = Pile(Entry(none, none), jnp.int32(0), jnp.int32(0))
    state, _ = st.over_hearing(lambda _, p: (p.waiting > 0) | (p.begin < end), deal, state, pile)
    return state


def _pile_up(world: World, state: State, step: Array, chunk: int) -> tuple[State, Entry, Array]:
    """Take this step's row off the wire, and put fresh jobs behind it; `chunk` more at either end."""
    shape, flying = world.shape, state.wire
    row = step % flying.job.shape[0]
    k = jnp.minimum(step, shape.horizon)
    begin = world.first[k]
    fresh = jnp.where(step <= shape.horizon, world.first[k + 1] - begin, 0)
    landed = flying.filled[row]
    ahead, behind = jnp.zeros(chunk, jnp.int32), jnp.zeros(shape.burst + chunk, jnp.int32)
    job = jnp.concatenate([ahead, flying.job[row], behind])
    link = jnp.concatenate([ahead, flying.link[row], behind])
    after = (landed + chunk,)
    job = jax.lax.dynamic_update_slice(job, begin + jnp.arange(shape.burst, dtype=jnp.int32), after)
    link = jax.lax.dynamic_update_slice(link, jnp.full(shape.burst, -1, jnp.int32), after)
    state = state._replace(wire=flying._replace(filled=flying.filled.at[row].set(0)))
    return state, Entry(job, link), landed + fresh


def _node(world: World, entry: Entry) -> Array:
    """Where each entry is."""
    far = world.neighbour.reshape(-1).at[jnp.maximum(entry.link, 0)].get(mode="clip")
    sender = (-2 - entry.link) // world.shape.degree
    home = world.home.at[entry.job].get(mode="clip")
    return jnp.where(entry.link >= 0, far, jnp.where(entry.link == -1, home, sender))


def _deal(
    world: World,
    law: Law,
    params: Params,
    sees: Omniscience,
    state: State,
    step: Array,
    entry: Entry,
    node: Array,
    active: Bool[Array, "K"],
) -> State:
    """Deal with entries at different nodes."""
    shape, now = world.shape, step * world.shape.step
    job, link = entry
    links = shape.places * shape.degree
    request = active & (job == shape.jobs)
    fresh = active & (link == -1)
    returned = active & (link < -1)
    landing = active & (link >= 0) & ~request
    present = active & ~request

    if shape.cut:
        across = world.side[node] != world.side[jnp.maximum(link, 0) // shape.degree]
        bounced = landing & across & views.within(world.cut, now)
        request &= ~(across & views.within(world.cut, now))
        landing &= ~bounced
        present &= ~bounced
        undone = jnp.where(returned, -2 - link, links)
        traffic = state.traffic._replace(sent=state.traffic.sent.at[undone].add(-1.0, mode="drop"))
        onward = wire.append(state.wire, step + views.hop_steps(world, link), job, -2 - link, bounced)
        state = state._replace(traffic=traffic, wire=onward)
    # A node that has crashed counts too: it and its neighbours start their counters anew when it is back.
    arrived = jnp.where(landing, world.back.at[jnp.maximum(link, 0)].get(mode="clip"), links)
    received = state.traffic.received.at[arrived].add(1.0, mode="drop")
    state = state._replace(traffic=state.traffic._replace(received=received))
    if shape.crash:
        down = views.within(world.down[:, node], now)
        gone = jnp.where(present & down, job, shape.jobs)
        code = jnp.where(fresh, st.REFUSED, st.LOST)
        done = state.jobs.done.at[gone].set(code, mode="drop")
        state = state._replace(jobs=state.jobs._replace(done=done))
        request &= ~down
        present &= ~down

    ends = state.queues.ends[node]
    started, state = _start(world, state, node, job, present, fresh, now)
    undecided = present & ~started
    started, undecided, present, node, job, link, ends, fresh = _worked_out(
        (started, undecided, present, node, job, link, ends, fresh)
    )
    me = views.here(world, params, state, node, ends, now)
    place = queues.locate(state.queues, ends, job, undecided & ~fresh & law.order)
    if law.sight == "omniscient":
        link_out, moved, state = _by_map(world, params, sees, state, step, job, node, undecided, present)
    else:
        salt = world.born.at[job].get(mode="clip")
        view = views.look(world, law, params, state, node, me, step, place[1], salt, ~fresh)
        slot = jax.vmap(law.place, in_axes=(0, None))(view, params)
        hops = state.jobs.tally.at[job].get(mode="clip") % wire.HOPS
        inside = (slot >= 0) & (slot < shape.degree)
        slot = jnp.clip(slot, 0, shape.degree - 1).astype(jnp.int32)
        moved = undecided & inside & (hops < params.hops)
        moved &= jnp.take_along_axis(view.live, slot[:, None], axis=1)[:, 0]
        link_out = node * shape.degree + slot
    space = wire.room(world, state.wire, step, job.shape[0])
    moved &= space

    asker = jnp.maximum(link, 0) // shape.degree
    back = world.back.at[jnp.maximum(link, 0)].get(mode="clip")
    granted = request & (me.waiting > 0) & (me.held >= SMALLEST_VICTIM) & space
    if law.pull == "guarded":
        hop = views.hop(world, back)
        told = state.heard.table[node, :, back % shape.degree]
        live = step.astype(jnp.float32) - told[:, st.STAMP] <= world.expiry.astype(jnp.float32)
        granted &= live & flow.grants(me.tail, world.servers[asker], told[:, st.RATE], hop, params.gap)
    kept = undecided & ~moved
    moved, granted, kept, link_out, started = _worked_out((moved, granted, kept, link_out, started))
    changed, given = queues.change(state.queues, node, ends, job, kept, place, granted, law.order)
    ready = jnp.where(fresh, world.born.at[job].get(mode="clip"), now)
    stored = state.jobs.ready.at[jnp.where(kept, job, shape.jobs)].set(ready, mode="drop")
    state = state._replace(queues=changed, jobs=state.jobs._replace(ready=stored))
    link_out = jnp.where(granted, back, link_out)
    tally = jnp.where(granted, wire.BY_REQUEST, wire.BY_PLACEMENT)
    state = wire.ship(
        world, params, state, step, jnp.where(granted, given, job), link_out, moved | granted, tally
    )
    change = jnp.where(granted, -1.0, 1.0).astype(jnp.float32)
    return wire.meter(world, params, state, node, step, change, kept | granted | started)


def _worked_out(values: T) -> T:
    """The values, worked out once: XLA would else do so for each of the many scatters that read them."""
    once: T = jax.lax.optimization_barrier(values)  # type: ignore[no-untyped-call]
    return once


def _start(
    world: World, state: State, node: Array, job: Array, present: Array, fresh: Array, now: Array
) -> tuple[Bool[Array, "K"], State]:
    """Jobs that find a server free start at once: at the server that has been free for longest."""
    shape, servers, jobs = world.shape, state.servers, state.jobs
    running, free = servers.job[node], servers.free[node]
    idle = running == shape.jobs
    if shape.servers > 1:
        # One that has started and finished within this step is free again; a queue would come first.
        idle |= (free <= now) & (state.queues.ends[node, 0] == 0)[:, None]
        idle &= jnp.arange(shape.servers, dtype=jnp.int32) < world.servers[node][:, None]
    which = jnp.argmin(jnp.where(idle, free, st.NEVER), axis=1).astype(jnp.int32)
    starts = present & idle.any(axis=1)
    since = jnp.take_along_axis(free, which[:, None], axis=1)[:, 0]
    lane = jnp.where(starts, node, shape.places)
    if shape.servers > 1:
        last = jnp.take_along_axis(running, which[:, None], axis=1)[:, 0]
        over = starts & (last != shape.jobs)
        done = jobs.done.at[jnp.where(over, last, shape.jobs)].set(since, mode="drop")
        finished = state.meters.finished.at[lane].add(over.astype(jnp.float32), mode="drop")
        meters = state.meters._replace(finished=finished)
        state = state._replace(jobs=jobs._replace(done=done), meters=meters)
    ready = jnp.where(fresh, world.born.at[job].get(mode="clip"), now)
    start = jnp.maximum(ready, since)
    if shape.crash:
        back = world.down[1, node]
        start = jnp.maximum(start, jnp.where(back <= now, back, 0))
    finish = start + service_time(world, node, job, start)
    servers = st.Servers(
        servers.job.at[lane, which].set(job, mode="drop"),
        servers.begun.at[lane, which].set(start, mode="drop"),
        servers.free.at[lane, which].set(finish, mode="drop"),
    )
    return starts, state._replace(servers=servers)


def _by_map(
    world: World,
    params: Params,
    sees: Omniscience,
    state: State,
    step: Array,
    job: Array,
    node: Array,
    undecided: Bool[Array, "K"],
    present: Bool[Array, "K"],
) -> tuple[Array, Bool[Array, "K"], State]:
    """The omniscient law: the best place of all, by true waits and shortest paths, decided once per job."""
    shape, jobs = world.shape, state.jobs
    target = jobs.target.at[job].get(mode="clip") - 1
    broken = jnp.int32(0)
    if shape.crash:
        broken |= ((world.down[0] <= step * shape.step) & (step * shape.step < world.down[1])).any()
    if shape.cut:
        broken |= views.within(world.cut, step * shape.step)
    # On its way it may find a server free.
    settled = present & (target >= 0) & (~undecided | (target == node))
    inbound = state.inbound.at[jnp.where(settled, target, shape.places)].add(-1, mode="drop")
    places = jnp.arange(shape.places, dtype=jnp.int32)
    ends = state.queues.ends
    all_of = views.here(world, params, state, places, ends, step * shape.step)
    queue = jnp.maximum(all_of.held + inbound + 1 - world.servers, 0)
    idle = all_of.held < world.servers
    behind = jnp.where(idle, queue / all_of.rate, all_of.residual + (ends[:, 0] + inbound) / all_of.rate)
    wait = behind + world.servers / all_of.rate
    member = sees.member[node]
    cost = wait[member] + sees.distance[broken, node]
    best = jnp.take_along_axis(member, jnp.argmin(cost, axis=1)[:, None], axis=1)[:, 0]
    decides = undecided & (target < 0)
    target = jnp.where(decides, best, target)
    moved = undecided & (target != node)
    slot = sees.route[broken, node, world.name[target]]
    stuck = moved & (slot < 0)
    moved &= ~stuck
    inbound = inbound.at[jnp.where(decides & moved, target, shape.places)].add(1, mode="drop")
    inbound = inbound.at[jnp.where(stuck & ~decides, target, shape.places)].add(-1, mode="drop")
    target = jnp.where(undecided & ~moved, node, target)
    stored = jobs.target.at[jnp.where(undecided, job, shape.jobs)].set(target + 1, mode="drop")
    state = state._replace(jobs=jobs._replace(target=stored), inbound=inbound)
    return node * shape.degree + jnp.maximum(slot, 0), moved, state
