"""Conductance of a link: how readily it carries work, one number that both of its ends agree on.

Each end advertises its own estimate; the conductance in use is the mean of the two last advertised, so it is
symmetric by construction (Onsager reciprocity) and jumps at neither end when the other's heartbeat is late.

Conductance also learns, as a tube of Physarum does (hyphal links): it grows with the flow through it and
decays without (Tero et al. 2007). ``response`` is the growth f(|Q|): ``linear``, ``Power`` or ``Sigmoid``,
or any function of an array that may be hashed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from shivya_kernels import cg, padding
from shivya_kernels.complex import SimplicialComplex, component_labels
from shivya_kernels.laplacian import solve_laplacian, vertex_difference
from shivya_kernels.shapes import as_float, resize

Response = Callable[[Array], Array]
"""Growth of a conductance by the size of its flow; static, so it must be hashable."""

_REFERENCE_RTT = 0.01
"""Round trip time in seconds that halves a link's conductance."""


@jax.jit
def advertised(
    thickness: Float[ArrayLike, "*E"], bandwidth_score: Float[ArrayLike, "*E"], rtt: Float[ArrayLike, "*E"]
) -> Float[Array, "*E"]:
    """What this end says of a link: thickness * bandwidth score / (1 + rtt / 10 ms); `rtt` >= 0 in
    seconds."""
    return as_float(thickness) * as_float(bandwidth_score) / (1.0 + as_float(rtt) / _REFERENCE_RTT)


@jax.jit
def symmetric(
    own: Float[ArrayLike, "*E"], remote: Float[ArrayLike, "*E"], remote_known: Bool[ArrayLike, "*E"]
) -> Float[Array, "*E"]:
    """The mean of both ends' last advertised values; this end's alone where the other's is unknown."""
    own = as_float(own)
    return jnp.where(jnp.asarray(remote_known, bool), 0.5 * (own + as_float(remote)), own)


def linear(flow: Float[Array, "*E"]) -> Float[Array, "*E"]:
    """f = |Q|: of all routes between one source and one sink only the shortest survives."""
    return flow


@dataclass(frozen=True)
class Power:
    """f = |Q|^exponent. Below 1 every route survives, shared unequally; above 1 the start decides."""

    exponent: float = 0.5

    def __call__(self, flow: Float[Array, "*E"]) -> Float[Array, "*E"]:
        """Zero at zero, and there of slope zero whatever the exponent, so that gradients stay finite."""
        used = jnp.where(flow > 0, flow, 1.0)
        return jnp.where(flow > 0, used**self.exponent, 0.0)


@dataclass(frozen=True)
class Sigmoid:
    """f = (1 + a) |Q|^exponent / (1 + a |Q|^exponent): 1 at |Q| = 1, never above 1 + 1/a (Tero 2007)."""

    exponent: float = 2.0
    a: float = 1.0

    def __call__(self, flow: Float[Array, "*E"]) -> Float[Array, "*E"]:
        """The response to flows >= 0."""
        raised = Power(self.exponent)(flow)
        return (1.0 + self.a) * raised / (1.0 + self.a * raised)


def tero_step(
    D: Float[ArrayLike, "E"],
    lengths: Float[ArrayLike, "E"],
    c: SimplicialComplex,
    sources: Float[ArrayLike, "V"],
    dt: ArrayLike,
    *,
    response: Response,
    decay: Float[ArrayLike, "*E"] = 1.0,
) -> tuple[Float[Array, "E"], Float[Array, "E"]]:
    """One explicit Euler step of dD/dt = f(|Q|) - decay D, with the flow Q of the old D (Tero et al. 2007).

    `D` >= 0 conductance times length, `lengths` > 0, `sources` the inflow at each vertex from outside
    (negative: a sink); the part that does not sum to zero over a component is dropped. `dt` and 1 / `decay`
    share a unit of time; dt * decay <= 1 keeps D positive, beyond that it stops at zero.

    Returns (D, Q), Q positive from tail to head. Raises DimensionMismatch.
    """
    tubes, far, injected = as_float(D), as_float(lengths), as_float(sources)
    edges = padding.lengths(c, vertices=[injected], edges=[tubes, far]).edges
    found: tuple[Array, Array] = _tero_step(
        tubes, far, c, injected, as_float(dt), as_float(decay), response, edges
    )
    return found


@partial(jax.jit, static_argnames=("response", "edges"))
def _tero_step(
    D: Array,
    far: Array,
    c: SimplicialComplex,
    sources: Array,
    dt: Array,
    decay: Array,
    response: Response,
    edges: int,
) -> tuple[Array, Array]:
    size = c.edge_mask.shape[0]
    weights = resize(D, size) / jnp.where(c.edge_mask, resize(far, size), 1.0)
    flow, _, _ = potential_flow(weights, c, resize(sources, c.vertex_mask.shape[0]))
    flow = flow[:edges]
    return jnp.maximum(D + dt * (response(jnp.abs(flow)) - decay * D), 0.0), flow


class PotentialFlow(NamedTuple):
    """Flow of least energy between given sources and sinks."""

    flow: Float[Array, "E"]
    """Positive from tail to head."""
    pressure: Float[Array, "V"]
    """Mean 0 per component; a warm start for the next solve."""
    info: cg.SolveInfo


def potential_flow(
    weights: Float[Array, "E"],
    c: SimplicialComplex,
    sources: Float[Array, "V"],
    *,
    start: Float[Array, "V"] | None = None,
    tolerance: ArrayLike | None = None,
    max_iterations: ArrayLike = 1000,
) -> PotentialFlow:
    """Q = K (p_tail - p_head) with net outflow `sources` at each vertex; vectors at capacity.

    A weight below rounding error relative to the largest counts as that error while solving, so that tubes
    which died, and vertices that only they reach, leave no singular system behind. `start`, `tolerance` and
    `max_iterations` are those of ``solve_laplacian``.
    """
    w = jnp.where(c.edge_mask, weights, 0.0)
    rounding = w.shape[0] * float(np.finfo(w.dtype).eps)
    peak = jax.lax.stop_gradient(w.max(initial=0.0))
    # Without any tube all weights are 1: nothing flows as Q below uses the weights as they are.
    floor = jnp.where(peak > 0, peak * rounding, 1.0)
    pressure, info = solve_laplacian(
        c, sources, jnp.maximum(w, floor), start=start, tolerance=tolerance, max_iterations=max_iterations
    )
    return PotentialFlow(-w * vertex_difference(c, pressure), pressure, info)


class SeedInfo(NamedTuple):
    """What the seed's rule did to each tube."""

    flow: Float[Array, "E"]
    """Positive from tail to head."""
    kept: Bool[Array, "E"]
    """False where the tube came out no thicker than the pruning threshold."""


@jax.jit
def seed_step(
    thickness: Float[ArrayLike, "E"],
    pressure_drop: Float[ArrayLike, "E"],
    *,
    growth: ArrayLike = 0.1,
    decay: ArrayLike = 0.1,
    least: ArrayLike = 0.01,
    most: ArrayLike = 2.0,
    prune: ArrayLike = 0.01,
) -> tuple[Float[Array, "E"], SeedInfo]:
    """The seed's rule, kept as `seed`: flow = drop * thickness^4 (Hagen-Poiseuille), then thickness +
    growth |flow| - decay thickness, within [least, most]; tubes not above `prune` are marked.

    Lengths play no part, and thickness runs to either bound by where it started: prefer ``tero_step``.
    """
    t = as_float(thickness)
    flow = as_float(pressure_drop) * t**4
    after = jnp.clip(t + growth * jnp.abs(flow) - decay * t, least, most)
    return after, SeedInfo(flow, after > prune)


@jax.jit
def prune_links(
    c: SimplicialComplex, conductance: Float[Array, "E"], target_degree: ArrayLike, threshold: ArrayLike
) -> Bool[Array, "E"]:
    """Which links stay: those of a vertex with more than 1.5 * `target_degree` links go, weakest first, if
    below `threshold`, as long as both ends keep `target_degree` and the component stays in one piece.

    `conductance` at capacity. The strongest spanning forest always stays, so no component is ever cut.
    Ties go by edge index, the same on every node that numbers the links alike.
    """
    ends = jnp.concatenate([c.tail, c.head])
    present = jnp.concatenate([c.edge_mask, c.edge_mask]).astype(jnp.int32)
    degree = jax.ops.segment_sum(present, ends, num_segments=c.vertex_mask.shape[0])
    spine = _strongest_forest(c, conductance)
    crowded = degree > 1.5 * jnp.asarray(target_degree)

    def consider(left: Array, edge: Array) -> tuple[Array, Array]:
        u, v = c.tail[edge], c.head[edge]
        goes = c.edge_mask[edge] & ~spine[edge] & (conductance[edge] < threshold)
        goes &= (crowded[u] | crowded[v]) & (jnp.minimum(left[u], left[v]) > target_degree)
        less = goes.astype(left.dtype)
        return left.at[u].add(-less).at[v].add(-less), goes

    weakest_first = jnp.argsort(jnp.where(c.edge_mask, conductance, jnp.inf), stable=True)
    _, going = jax.lax.scan(consider, degree, weakest_first)
    return c.edge_mask & ~jnp.zeros_like(c.edge_mask).at[weakest_first].set(going)


def _strongest_forest(c: SimplicialComplex, conductance: Float[Array, "E"]) -> Bool[Array, "E"]:
    """Edges of the maximum spanning forest: each round, every part takes its strongest way out (Boruvka)."""
    size, edges = c.vertex_mask.shape[0], c.edge_mask.shape[0]
    order = jnp.argsort(jnp.where(c.edge_mask, -conductance, jnp.inf), stable=True)
    rank = jnp.zeros(edges, jnp.int32).at[order].set(jnp.arange(edges, dtype=jnp.int32))

    def extend(state: tuple[Array, Array]) -> tuple[Array, Array]:
        chosen, _ = state
        part = component_labels(c.tail, c.head, chosen, size)
        leaving = c.edge_mask & (part[c.tail] != part[c.head])
        offer = jnp.where(leaving, rank, edges)
        best = jnp.full(size, edges, jnp.int32).at[part[c.tail]].min(offer).at[part[c.head]].min(offer)
        taken = leaving & ((best[part[c.tail]] == rank) | (best[part[c.head]] == rank))
        return chosen | taken, jnp.any(taken)

    start = (jnp.zeros_like(c.edge_mask), jnp.array(True))
    forest: Array = jax.lax.while_loop(lambda state: state[1], extend, start)[0]
    return forest
