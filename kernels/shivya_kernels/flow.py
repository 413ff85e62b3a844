"""Which work should move where: the balancing flow, waiting potentials, placement, and whole jobs.

Of all flows that level waiting, the one of least energy is the gradient of a potential (Hu and Blake, "An
improved diffusion algorithm for dynamic load balancing", Parallel Computing 1999): nothing goes in circles.
Placement follows a min-plus potential with split horizon (Bertsekas and Gallager, "Data Networks", 5.2),
priced by the jobs under way.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Int32

from shivya_kernels import laplacian
from shivya_kernels.complex import NO_VERTEX, SimplicialComplex, restrict
from shivya_kernels.padding import Lengths, lengths
from shivya_kernels.shapes import as_float, resize

LEAST_SLOPE = 1e-4
"""Floor of an advertised slope, seconds per job."""


class Placement(NamedTuple):
    """What one node advertises, and where its next job goes."""

    potential: Float[Array, ""]
    """W: least waiting time that a job arriving here can reach, seconds."""
    slope: Float[Array, ""]
    """sigma: by how much W rises per job sent here, seconds."""
    next_hop: Int32[Array, ""]
    """The neighbour through which W is reached; NO_VERTEX = this node itself."""
    second_potential: Float[Array, ""]
    """W as the next hop is to see it: without the way back through it (split horizon)."""
    second_slope: Float[Array, ""]
    view: Float[Array, "V"]
    """Each vertex's potential with the jobs under way to it priced in, seconds."""


def balancing_flow(
    c: SimplicialComplex,
    backlog: Float[ArrayLike, "V"],
    capacity: Float[ArrayLike, "V"],
    conductance: Float[ArrayLike, "E"] | None = None,
) -> Float[Array, "E"]:
    """The least-energy flow that leaves equal backlog / capacity in every component.

    `backlog` is work, `capacity` the rate at which it is served, `conductance` K weighs the energy
    sum f^2 / K (None: all 1). With b = backlog - capacity * sum(backlog) / sum(capacity) per component, solve
    d0^T K d0 a = b; the flow is -K d0 a, positive from tail to head, in units of the backlog. It is a
    gradient in the K^-1 inner product: nothing goes round in circles, and every edge runs downhill in a.

    A vertex of no capacity hands on all that it holds; a component of none, and any input that is not finite,
    gives no flow. An edge without positive conductance does not exist. Raises DimensionMismatch.
    """
    load, rate = as_float(backlog), as_float(capacity)
    k = None if conductance is None else as_float(conductance)
    out = lengths(c, vertices=[load, rate], edges=[] if k is None else [k])
    flow: Array = _balancing_flow(c, load, rate, k, out)
    return flow


def waiting_potential(
    c: SimplicialComplex,
    waiting: Float[ArrayLike, "V"],
    hop_cost: Float[ArrayLike, "*E"],
    iterations: int | None = None,
) -> Float[Array, "V"]:
    """W_i = min(waiting_i, min over neighbours k of W_k + hop_cost_ik), the least waiting time within reach.

    `waiting` and `hop_cost` (scalar or [e], >= 0) are in seconds; edges are passable both ways. `iterations`
    limits the path length in hops (None: none, the fixed point). Differentiable along the best paths.
    Vertices that do not exist keep their own waiting. Raises DimensionMismatch.
    """
    w, hop = as_float(waiting), as_float(hop_cost)
    out = lengths(c, vertices=[w], edges=[hop] if hop.ndim else [])
    level: Array = _waiting_potential(c, w, hop, iterations, out)
    return level


@jax.jit
def waiting_time(
    queue: Float[ArrayLike, "*V"], servers: Float[ArrayLike, "*V"], service_rate: Float[ArrayLike, "*V"]
) -> Float[Array, "*V"]:
    """Expected time in system of a job arriving now at a first-come-first-served node, seconds.

    `queue` jobs are held, running ones included; `service_rate` is that of all `servers` together, jobs/s.
    """
    queue, servers, service_rate = as_float(queue), as_float(servers), as_float(service_rate)
    return (jnp.maximum(queue + 1 - servers, 0) + servers) / service_rate


@jax.jit
def tail_time(
    queue: Float[ArrayLike, "*V"], servers: Float[ArrayLike, "*V"], service_rate: Float[ArrayLike, "*V"]
) -> Float[Array, "*V"]:
    """Expected time in system of the last job already held, seconds; 0 where none is."""
    queue = as_float(queue)
    return jnp.where(queue > 0, waiting_time(queue - 1, servers, service_rate), 0)


@jax.jit
def grants(
    tail: Float[ArrayLike, "*K"],
    servers: Float[ArrayLike, "*K"],
    service_rate: Float[ArrayLike, "*K"],
    hop: Float[ArrayLike, "*#K"],
    gap: Float[ArrayLike, ""],
) -> Bool[Array, "*K"]:
    """Whether idle neighbours that ask get a job: the last one held here would gain by it.

    It is done here in `tail` seconds; there, after a transfer of `hop` seconds, a server is free.
    """
    servers = as_float(servers)
    there = waiting_time(jnp.zeros_like(servers), servers, service_rate)
    gains: Bool[Array, "*K"] = as_float(tail) > there + as_float(hop) + gap
    return gains


@jax.jit
def residual_time(
    elapsed: Float[ArrayLike, "*S"], rate: Float[ArrayLike, "*S"], kappa: Float[ArrayLike, ""] = 0.3
) -> Float[Array, "*S"]:
    """Expected time until a job in service is done, seconds: 1 / rate, or `kappa` of its time so far if more.

    `elapsed` seconds of service so far, at a server of `rate` jobs/s. A job that takes long goes on for long
    where sizes vary much; with exponential sizes the second term hardly ever matters.
    """
    elapsed, rate = as_float(elapsed), as_float(rate)
    return jnp.maximum(1 / rate, kappa * elapsed)


@jax.jit
def measured_rate(
    completions: Float[ArrayLike, "*V"],
    busy_seconds: Float[ArrayLike, "*V"],
    nominal_rate: Float[ArrayLike, "*V"],
    prior_jobs: Float[ArrayLike, ""] = 10.0,
) -> Float[Array, "*V"]:
    """Jobs done over busy time, jobs/s, beside `prior_jobs` that took as long as the nominal rate says."""
    completions, busy_seconds = as_float(completions), as_float(busy_seconds)
    return (completions + prior_jobs) / (busy_seconds + prior_jobs / as_float(nominal_rate))


@jax.jit
def forecast(
    age: Float[ArrayLike, "*V"],
    net_arrivals: Float[ArrayLike, "*V"],
    own_rate: Float[ArrayLike, "*V"],
    service_rate: Float[ArrayLike, "*V"],
    hop_cost: Float[ArrayLike, "*V"],
    gain: Float[ArrayLike, ""] = 0.5,
    fade: Float[ArrayLike, ""] = 0.4,
    share: Float[ArrayLike, ""] = 0.5,
) -> Float[Array, "*V"]:
    """By how much a vertex's potential has changed since its heartbeat of `age` seconds, seconds.

    `net_arrivals` is the rate of jobs that it accepts, as advertised, `own_rate` the part of it sent from
    here (which jobs under way price already), against `service_rate`. The forecast is trusted by `gain`, less
    the older it is, not at all at age `fade`, and falls by at most `share` of `hop_cost` (hop + gap): with a
    share below 1 no cycle of phantom gains can sustain itself.
    """
    age, rate, cost = as_float(age), as_float(service_rate), as_float(hop_cost)
    others = jnp.maximum(as_float(net_arrivals) - own_rate, 0)
    growth = jnp.clip((others - rate) / rate, -1, 1)
    return jnp.maximum(gain * age * jnp.maximum(1 - age / fade, 0) * growth, -as_float(share) * cost)


@jax.jit
def priced(
    potential: Float[ArrayLike, "*V"],
    slope: Float[ArrayLike, "*V"],
    own_sent: Float[ArrayLike, "*V"],
    service_rate: Float[ArrayLike, "*V"],
    drift: Float[ArrayLike, "*V"] = 0.0,
) -> Float[Array, "*V"]:
    """A vertex's potential with the jobs under way to it priced in, and its forecast change, seconds.

    Never below the time of one service there, unless the price was.
    """
    price = as_float(potential) + as_float(own_sent) * as_float(slope)
    return jnp.maximum(price + drift, jnp.minimum(price, 1 / as_float(service_rate)))


@jax.jit
def slope_window(
    share: Float[ArrayLike, ""],
    gap: Float[ArrayLike, ""],
    hop: Float[ArrayLike, "*K V"],
    candidate: Bool[ArrayLike, "*K V"],
) -> Float[Array, "*K"]:
    """Rise of W over which a slope is taken: `share` of `gap` + the shortest `hop` to a candidate, seconds.

    Ways within gap + hop of the best one are those that its jobs would take next; a wider window counts ways
    that no job takes, and moves double.
    """
    shortest = jnp.min(jnp.where(candidate, as_float(hop), jnp.inf), axis=-1, initial=jnp.inf)
    window: Array = as_float(share) * (gap + jnp.where(jnp.isfinite(shortest), shortest, 0))
    return window


@jax.jit
def placement(
    waiting: Float[ArrayLike, ""],
    own_service_rate: Float[ArrayLike, ""],
    queue: Float[ArrayLike, ""],
    servers: Float[ArrayLike, ""],
    potential: Float[ArrayLike, "V"],
    slope: Float[ArrayLike, "V"],
    own_sent: Float[ArrayLike, "V"],
    service_rate: Float[ArrayLike, "V"],
    hop: Float[ArrayLike, "V"],
    candidate: Bool[ArrayLike, "V"],
    gap: Float[ArrayLike, ""] = 0.05,
    slope_window: Float[ArrayLike, ""] = 0.05,
    drift: Float[ArrayLike, "*V"] = 0.0,
) -> Placement:
    """One node's placement rule: its own waiting against its neighbours' advertised potentials.

    Own: `waiting` (`waiting_time` here, seconds), `own_service_rate` (jobs/s), `queue` and `servers`.
    Per vertex, read only where `candidate`: `potential` and `slope` as this node sees them (the second ones
    of a neighbour that would send back here), `own_sent` jobs sent and not yet acknowledged, `service_rate`,
    `hop` (seconds), and `drift`, a forecast change of the potential. `gap` is the least gain worth a move and
    `slope_window` the rise of W over which the slope is taken, seconds: see the function of that name.

    Ties go to this node, then to the lowest index. With no second way the second values are this node's own.
    Differentiable. Jobs go to `next_hop` in order, which the cost of jobs under way changes as they are sent.
    """
    own, rate, held, slots, potential, slope, sent, rates, hop = map(
        as_float,
        (waiting, own_service_rate, queue, servers, potential, slope, own_sent, service_rate, hop),
    )
    view = priced(potential, slope, sent, rates, drift)
    reach = jnp.where(candidate, view + hop + gap, jnp.inf)
    slope = jnp.where(candidate, jnp.maximum(slope, LEAST_SLOPE), 1)
    idle = jnp.maximum(slots - held, 0)

    def rise(level: Array, with_own: Array | bool, others: Array) -> Array:
        """Seconds per job when every way within the window below `level` takes its share (water-filling)."""
        top = level + slope_window
        here = jnp.where(with_own & (own < top), (top - own) * rate + idle, 0)
        there = jnp.sum(jnp.where(others & (reach < top), (top - jnp.where(others, reach, 0)) / slope, 0))
        room = here + there
        return jnp.minimum(
            1 / rate, jnp.where(room > 0, slope_window / jnp.where(room > 0, room, 1), jnp.inf)
        )

    best = jnp.argmin(reach).astype(jnp.int32)
    stay = own <= reach[best]
    level = jnp.where(stay, own, reach[best])
    rest = jnp.asarray(candidate, bool) & (stay | (jnp.arange(reach.shape[0]) != best))
    other = jnp.min(jnp.where(rest, reach, jnp.inf))
    alone = stay & ~jnp.any(rest)
    second = jnp.where(alone, own, jnp.where(stay, other, jnp.minimum(own, other)))
    return Placement(
        level,
        rise(level, True, jnp.asarray(candidate, bool)),
        jnp.where(stay, NO_VERTEX, best).astype(jnp.int32),
        second,
        rise(second, ~stay | alone, rest),
        view,
    )


@jax.jit
def release(
    outflow: Float[ArrayLike, "V"], waiting_jobs: Int[ArrayLike, ""], uniform: Float[ArrayLike, ""]
) -> Int32[Array, "V"]:
    """Round one node's outflows to whole jobs, jointly: systematic sampling (Madow 1944).

    `outflow` in jobs (negative and non-finite entries count as 0) is scaled down together when it exceeds the
    `waiting_jobs`; `uniform` in [0, 1) is the one random number. The expectation is the outflow; each count
    is the floor or the ceiling of its outflow, and their total the floor or the ceiling of the sum.
    """
    flow = as_float(outflow)
    flow = jnp.where(jnp.isfinite(flow), jnp.maximum(flow, 0), 0)
    limit = jnp.maximum(jnp.asarray(waiting_jobs), 0)
    total = jnp.sum(flow)
    flow = flow * jnp.minimum(limit / jnp.where(total > 0, total, 1), 1)
    # Whole jobs are set aside, so that rounding in the running sum never touches a whole outflow.
    whole = jnp.floor(flow)
    base = whole.astype(jnp.int32)
    drawn = jnp.floor(jnp.cumsum(flow - whole) + uniform).astype(jnp.int32)
    drawn = jnp.minimum(drawn, jnp.floor(limit).astype(jnp.int32) - jnp.sum(base, dtype=jnp.int32))
    return base + jnp.diff(drawn, prepend=0)


@partial(jax.jit, static_argnames="out")
def _balancing_flow(
    c: SimplicialComplex, backlog: Array, capacity: Array, conductance: Array | None, out: Lengths
) -> Array:
    n, e = c.vertex_mask.shape[0], c.edge_mask.shape[0]
    load = jnp.where(c.vertex_mask, resize(backlog, n), 0)
    rate = jnp.where(c.vertex_mask, resize(capacity, n), 0)
    k = jnp.ones(e, load.dtype) if conductance is None else jnp.where(c.edge_mask, resize(conductance, e), 0)
    usable = jnp.all(jnp.isfinite(load)) & jnp.all(jnp.isfinite(rate)) & jnp.all(jnp.isfinite(k))
    load, rate = jnp.where(usable, load, 0), jnp.where(usable, jnp.maximum(rate, 0), 0)
    weights = None
    if conductance is not None:
        weights = jnp.where(usable & (k > 0), k, 0)
        c = restrict(c, edges=weights > 0)
    served = laplacian.component_sum(c, rate)
    share = rate / jnp.where(served > 0, served, 1)
    surplus = jnp.where(served > 0, load - share * laplacian.component_sum(c, load), 0)
    a, _ = laplacian.solve_laplacian(
        c, surplus, weights, tolerance=1e-12 if load.dtype.itemsize >= 8 else 1e-6
    )
    drop = laplacian.vertex_difference(c, a)
    return resize(-drop if weights is None else -weights * drop, out.edges)


@partial(jax.jit, static_argnames=("iterations", "out"))
def _waiting_potential(
    c: SimplicialComplex, waiting: Array, hop: Array, iterations: int | None, out: Lengths
) -> Array:
    n, e = c.vertex_mask.shape[0], c.edge_mask.shape[0]
    w = resize(waiting, n)
    w = jnp.where(jnp.isnan(w), jnp.inf, w)
    hop = jnp.broadcast_to(hop, (e,)) if hop.ndim == 0 else resize(hop, e)
    hop = jnp.where(c.edge_mask, jnp.maximum(hop, 0), jnp.inf)
    w = w.astype(jnp.result_type(w, hop))
    if e and iterations is None:
        w = _along_best_paths(c, w, hop)
    elif e:
        w = jax.lax.fori_loop(0, iterations, lambda _, level: _relax(c, level, hop), w)
    return resize(w, out.vertices)


def _relax(c: SimplicialComplex, level: Array, hop: Array) -> Array:
    """One min-plus sweep over all edges, both ways."""
    return level.at[c.tail].min(level[c.head] + hop).at[c.head].min(level[c.tail] + hop)


def _along_best_paths(c: SimplicialComplex, waiting: Array, hop: Array) -> Array:
    """The fixed point, found without derivatives and then summed along its paths with them.

    A loop of unknown length has no reverse mode, but the best paths form a forest: pointer doubling walks it
    in log2 V differentiable gathers. Parents improved strictly earlier, so zero hop costs make no cycle.
    """
    n = waiting.shape[0]
    fixed = jax.lax.stop_gradient(hop)

    def sweep(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        level, improved, turn = state
        lower = _relax(c, level, fixed)
        return lower, jnp.where(lower < level, turn, improved), turn + 1

    def unsettled(state: tuple[Array, Array, Array]) -> Array:
        _, improved, turn = state
        return (turn <= n) & jnp.any(improved == turn - 1)

    start = (jax.lax.stop_gradient(waiting), jnp.zeros(n, jnp.int32), jnp.int32(1))
    level, improved, _ = jax.lax.while_loop(unsettled, sweep, start)

    into, out_of = jnp.concatenate([c.tail, c.head]), jnp.concatenate([c.head, c.tail])
    both = jnp.concatenate([hop, hop])
    through = jnp.where(
        improved[out_of] < improved[into], level[out_of] + jnp.concatenate([fixed, fixed]), jnp.inf
    )
    least = jnp.full(n, jnp.inf, level.dtype).at[into].min(through)
    count = into.shape[0]
    index = jnp.arange(count, dtype=jnp.int32)
    tight = jnp.isfinite(through) & (through == least[into])
    arc = jnp.full(n, count, jnp.int32).at[into].min(jnp.where(tight, index, count))
    moved = (improved > 0) & (arc < count)
    safe = jnp.where(moved, arc, 0)
    parent = jnp.where(moved, out_of[safe], jnp.arange(n, dtype=jnp.int32))
    total = jnp.where(moved, jnp.where(moved, both[safe], 0), 0)
    for _ in range(max(n - 1, 1).bit_length()):
        total, parent = total + total[parent], parent[parent]
    return waiting[parent] + total
