"""The letters that name array shapes throughout the kernels, and the two helpers that padding needs.

V  vertices        E  edges          T  triangles
D  belief dimensions                 S  observations      A  actions

All are capacities (padded, static); the lower-case letter in a docstring is the number in use. Padding is
always gather-safe: padded edges and triangles point at index 0 and are silenced by a mask or a zero sign.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def as_float(values: ArrayLike) -> Array:
    """The values as a floating array; floats keep their width, integers take the default one."""
    array = jnp.asarray(values)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))


def resize(values: Float[Array, "n"], length: int) -> Float[Array, "length"]:
    """A vector cut, or padded with zeros, to a static length."""
    size = values.shape[0]
    return values[:length] if size >= length else jnp.pad(values, (0, length - size))
