"""Reciprocal relaxation between neighbours: Onsager flows of beliefs along the edges of a complex.

Onsager 1931: near equilibrium the flow J = K (z_u - z_v) is linear in the force with one symmetric
coefficient per link, and the entropy production sum J^2 / K is never negative. Each component of z is its
own force: forces summed over components cancel where they should not.

Vectors of a padded complex may be passed unpadded; results over edges have the length of the conductance.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.padding import lengths
from shivya_kernels.shapes import as_float, resize

_REFERENCE_BYTES = 1e6
"""Network load in bytes per second that doubles the base coupling."""


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
