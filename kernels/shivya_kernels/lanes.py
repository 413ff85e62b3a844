"""Small problems by the thousand: one in every lane, and the lanes are the trailing axes of all arrays.

The entries of 4096 matrices are then vectors of 4096 neighbours in memory. XLA's CPU back end makes one
vectorised loop of an operation on them, where leading batch axes leave it entries that lie far apart.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

UNROLLED = 8
"""Largest matrix that is factored, and solved with, entry by entry."""

_TERMS = 16
"""Largest sum written out term by term: one fused loop, where a reduction or a product would be a call."""


@jax.custom_batching.custom_vmap
def anywhere(mask: Bool[Array, "*L"]) -> Bool[Array, ""]:
    """True if any lane is; under ``vmap``, if any lane of any batch is, which gives one answer for all.

    A ``lax.cond`` on it stays a branch, where one on ``mask.any()`` becomes a selection between two results
    that are both computed. Both branches must then be right for a batch that did not ask.
    """
    return mask.any()


@anywhere.def_vmap
def _anywhere_in_batch(size: int, batched: list[bool], mask: Array) -> tuple[Array, bool]:
    return anywhere(mask), False


def total(terms: Float[Array, "K *L"], axis: int = 0) -> Float[Array, "*L"]:
    """Sum over one axis, the first."""
    if not 0 < terms.shape[axis] <= _TERMS:
        return terms.sum(axis=axis)
    one, *rest = (jax.lax.index_in_dim(terms, k, axis, keepdims=False) for k in range(terms.shape[axis]))
    return sum(rest, start=one)


def product(left: Float[Array, "N K *L"], right: Float[Array, "K M *L"]) -> Float[Array, "N M *L"]:
    """The matrix product in every lane."""
    inner = left.shape[1]
    if not 0 < inner <= _TERMS:
        return jnp.einsum("ij...,jk...->ik...", left, right)
    result = left[:, 0, None] * right[None, 0]
    for k in range(1, inner):
        result = result + left[:, k, None] * right[None, k]
    return result


def transpose(matrix: Float[Array, "N M *L"]) -> Float[Array, "M N *L"]:
    """The transposed matrix in every lane."""
    return jnp.swapaxes(matrix, 0, 1)


def diagonal(matrix: Float[Array, "N N *L"]) -> Float[Array, "N *L"]:
    """The diagonal in every lane."""
    if not 0 < matrix.shape[0] <= _TERMS:
        return jnp.moveaxis(jnp.diagonal(matrix), -1, 0)
    return jnp.stack([matrix[i, i] for i in range(matrix.shape[0])])


def identity(size: int, like: Array) -> Float[Array, "N N *L"]:
    """The identity with as many lane axes, all of length 1, as the matrices `like` have."""
    return jnp.eye(size, dtype=like.dtype).reshape(size, size, *[1] * (like.ndim - 2))
