"""Reciprocal relaxation between neighbours: Onsager flows of beliefs along the edges of a complex (the seeds'
OnsagerFlowRegulator).

Onsager 1931: near equilibrium the flow J = K (z_u - z_v) is linear in the force with one symmetric
coefficient per link, and the entropy production sum J^2 / K is never negative. Each component of z is its
own force: forces summed over components cancel where they should not.

Two relaxations are built from it, both explicit steps whose rate ``guarded_rate`` keeps in bounds:

* ``fuse``, of beliefs by precision. What flows are the natural parameters (precision and precision times
  mean), so each vertex ends with a convex combination of its own and its neighbours' information: covariance
  intersection (Julier, Uhlmann 1997), repeated a Kullback-Leibler consensus (Battistelli, Chisci 2014).
  Nothing is counted twice however often it went round: weights sum to one, a product of beliefs adds up.
* ``migrate``, of means alone, as the seeds have it.

Vectors of a padded complex may be passed unpadded; results over edges have the length of the conductance.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, UInt32

from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.linalg import cholesky, solve_lower, stabilise
from shivya_kernels.padding import lengths
from shivya_kernels.shapes import as_float, resize

_REFERENCE_BYTES = 1e6
"""Network load in bytes per second that doubles the base coupling."""

_SAFETY = 0.9
"""Largest rate * conductance * degree of an explicit step; at 1 a vertex would give all it has away."""


class Fused(NamedTuple):
    """Beliefs after an exchange with the neighbours."""

    mean: Float[Array, "V D"]
    covariance: Float[Array, "V D D"]
    status: UInt32[Array, ""]
    """SINGULAR_MATRIX, STABILIZATION_FAILED where a covariance that took part had to be mended."""


def flows(
    c: SimplicialComplex, conductance: Float[ArrayLike, "E"], z: Float[ArrayLike, "V D"]
) -> Float[Array, "E D"]:
    """Componentwise flow along each edge, positive from tail to head when z is larger at the tail.

    `conductance` >= 0 per edge, `z` any quantity per vertex and component. Raises DimensionMismatch.
    """
    k, values = as_float(conductance), as_float(z)
    found: Array = _flows(c, k, values, lengths(c, vertices=[values[:, 0]], edges=[k]).edges)
    return found


def entropy_production(
    c: SimplicialComplex, conductance: Float[ArrayLike, "E"], z: Float[ArrayLike, "V D"]
) -> Float[Array, ""]:
    """sum J^2 / K over edges and components: >= 0, and zero exactly at equilibrium. Raises
    DimensionMismatch."""
    k, values = as_float(conductance), as_float(z)
    lengths(c, vertices=[values[:, 0]], edges=[k])
    found: Array = _entropy_production(c, k, values)
    return found


@jax.jit
def base_coupling(network_bytes_per_second: ArrayLike, memory: ArrayLike) -> Float[Array, ""]:
    """Factor on every conductance: busy networks and full memories couple more tightly (seed 000).

    `memory` is a share in use, clipped to [0, 1]; the result lies in [0.5, 6].
    """
    network = jnp.minimum(as_float(network_bytes_per_second) / _REFERENCE_BYTES, 5.0)
    return 0.5 * (1.0 + network) * (1.0 + jnp.clip(as_float(memory), 0.0, 1.0))


def active_vertices(c: SimplicialComplex, active: Bool[ArrayLike, "V"] | None = None) -> Bool[Array, "V"]:
    """Who takes part: the vertices that exist and, where given, are `active`. At capacity. Raises
    DimensionMismatch."""
    if active is None:
        return c.vertex_mask
    given = jnp.asarray(active, bool)
    lengths(c, vertices=[given])
    return resize(given, c.vertex_mask.shape[0]) & c.vertex_mask


def guarded_rate(
    c: SimplicialComplex,
    conductance: Float[ArrayLike, "E"],
    rate: ArrayLike,
    *,
    active: Bool[ArrayLike, "V"] | None = None,
) -> Float[Array, ""]:
    """The rate of an explicit step, cut so that rate * K_max * deg_max <= 0.9.

    Below 1 every vertex keeps a share of its own, so that nothing overshoots. Only links with both ends
    `active` (None: all that exist) count. Raises DimensionMismatch.
    """
    k = as_float(conductance)
    lengths(c, edges=[k])
    found: Array = _guarded_rate(c, _open(c, k, active_vertices(c, active)), jnp.asarray(rate, k.dtype))
    return found


def fuse(
    c: SimplicialComplex,
    conductance: Float[ArrayLike, "E"],
    mean: Float[ArrayLike, "V D"],
    covariance: Float[ArrayLike, "V D D"],
    rate: ArrayLike,
    *,
    active: Bool[ArrayLike, "V"] | None = None,
    dimensions: Bool[ArrayLike, "V D"] | None = None,
) -> Fused:
    """Each belief moved towards its neighbours', in proportion to their precision.

    The weight of a neighbour is rate * conductance, with `rate` as ``guarded_rate`` leaves it; a vertex keeps
    the rest for itself. Fused precisions lie between those that went in, equal beliefs stay as they are, and
    total precision and total information over a component are conserved. A vertex without an open link keeps
    its belief to the bit: links are open between `active` vertices (None: all that exist) that use the same
    `dimensions` (None: all). Arrays over vertices at capacity or unpadded. Raises DimensionMismatch.
    """
    k, mu = as_float(conductance), as_float(mean)
    lengths(c, vertices=[mu[:, 0]], edges=[k])
    used = jnp.ones(mu.shape, bool) if dimensions is None else jnp.asarray(dimensions, bool)
    fused: Fused = _fuse(
        c, k, mu, as_float(covariance), jnp.asarray(rate, k.dtype), active_vertices(c, active), used
    )
    return fused


def migrate(
    c: SimplicialComplex,
    conductance: Float[ArrayLike, "E"],
    z: Float[ArrayLike, "V D"],
    rate: ArrayLike,
    *,
    form: Literal["componentwise", "seed"] = "componentwise",
    active: Bool[ArrayLike, "V"] | None = None,
    dimensions: Bool[ArrayLike, "V D"] | None = None,
) -> Float[Array, "V D"]:
    """Means after one explicit step of ``flows``, over links between `active` vertices; totals are conserved.

    "componentwise" flows in the `dimensions` that both ends use (None: all). "seed" takes the sum over those
    as the force, and a vertex spreads what it gets evenly over all it uses: sums relax, differences between
    components never do. `rate` as ``guarded_rate`` leaves it. Raises DimensionMismatch.
    """
    k, values = as_float(conductance), as_float(z)
    lengths(c, vertices=[values[:, 0]], edges=[k])
    used = jnp.ones(values.shape, bool) if dimensions is None else jnp.asarray(dimensions, bool)
    moved: Array = _migrate(
        c, k, values, jnp.asarray(rate, k.dtype), active_vertices(c, active), used, form == "seed"
    )
    return moved


@partial(jax.jit, static_argnames="edges")
def _flows(c: SimplicialComplex, conductance: Array, z: Array, edges: int) -> Array:
    k = resize(conductance, c.edge_mask.shape[0])
    return (k[:, None] * _force(c, z))[:edges]


@jax.jit
def _entropy_production(c: SimplicialComplex, conductance: Array, z: Array) -> Array:
    # K times the squared force, which is J^2 / K also where K is zero.
    k = resize(conductance, c.edge_mask.shape[0])
    return (k[:, None] * _force(c, z) ** 2).sum()


def _force(c: SimplicialComplex, z: Float[Array, "V D"]) -> Float[Array, "E D"]:
    return jnp.where(c.edge_mask[:, None], z[c.tail] - z[c.head], 0.0)


@jax.jit
def _guarded_rate(c: SimplicialComplex, open_conductance: Array, rate: Array) -> Array:
    joined = (open_conductance > 0).astype(open_conductance.dtype)
    degree = _at_ends(c, joined, joined, c.vertex_mask.shape[0])
    speed = open_conductance.max(initial=0.0) * degree.max(initial=0.0)
    limit = jnp.where(speed > 0, _SAFETY / jnp.where(speed > 0, speed, 1.0), jnp.inf)
    return jnp.minimum(jnp.maximum(rate, 0.0), limit)


@jax.jit
def _fuse(
    c: SimplicialComplex, k: Array, mean: Array, covariance: Array, rate: Array, active: Array, used: Array
) -> Fused:
    vertices, size = mean.shape
    alike = (used[c.tail] == used[c.head]).all(axis=1)
    k = _open(c, jnp.where(alike, resize(k, c.edge_mask.shape[0]), 0.0), active)
    linked = _at_ends(c, k, k, vertices) > 0
    eye = jnp.eye(size, dtype=mean.dtype)
    # Slots that take no part may hold anything; what is computed for them must not reach a derivative.
    before = jax.vmap(stabilise)(jnp.where(linked[:, None, None], covariance, eye))
    precision = _inverse(before.factor)
    information = precision @ jnp.where(linked[:, None], mean, 0.0)[:, :, None]
    natural = jnp.concatenate([precision, information], axis=2).reshape(vertices, -1)
    flow = k[:, None] * jnp.where((k > 0)[:, None], natural[c.tail] - natural[c.head], 0.0)
    moved = natural + _guarded_rate(c, k, rate) * _at_ends(c, -flow, flow, vertices)
    moved = moved.reshape(vertices, size, size + 1)
    after = _inverse(jax.vmap(cholesky)(moved[:, :, :size]))
    bits = jnp.bitwise_or.reduce(jnp.where(linked, before.status, 0))
    return Fused(
        jnp.where(linked[:, None], (after @ moved[:, :, size:])[:, :, 0], mean),
        jnp.where(linked[:, None, None], after, covariance),
        bits,
    )


@partial(jax.jit, static_argnames="summed")
def _migrate(
    c: SimplicialComplex, k: Array, z: Array, rate: Array, active: Array, used: Array, summed: bool
) -> Array:
    k = _open(c, k, active)
    common = (k > 0)[:, None] & used[c.tail] & used[c.head]
    force = jnp.where(common, z[c.tail] - z[c.head], 0.0)
    flow = k[:, None] * (force.sum(axis=1, keepdims=True) if summed else force)
    change = _guarded_rate(c, k, rate) * _at_ends(c, -flow, flow, z.shape[0])
    if summed:
        change = change / jnp.maximum(used.sum(axis=1, keepdims=True), 1)
    return jnp.where(used, z + change, z)


def _at_ends(c: SimplicialComplex, at_tail: Array, at_head: Array, vertices: int) -> Array:
    """At each vertex, the sum of what its edges bring to it."""
    ends = jnp.concatenate([c.tail, c.head])
    brought: Array = jax.ops.segment_sum(jnp.concatenate([at_tail, at_head]), ends, num_segments=vertices)
    return brought


def _open(c: SimplicialComplex, conductance: Array, active: Array) -> Float[Array, "E"]:
    """The conductance of the links that take part, zero elsewhere; what is not a positive number is zero."""
    k = resize(conductance, c.edge_mask.shape[0])
    sound = c.edge_mask & active[c.tail] & active[c.head] & (k > 0) & jnp.isfinite(k)
    return jnp.where(sound, k, 0.0)


def _inverse(factor: Float[Array, "V D D"]) -> Float[Array, "V D D"]:
    eye = jnp.eye(factor.shape[-1], dtype=factor.dtype)
    half = jax.vmap(lambda lower: solve_lower(lower, eye))(factor)
    return jnp.swapaxes(half, 1, 2) @ half
