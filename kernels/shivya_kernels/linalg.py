"""Cholesky factors that never fail silently: ridge once, then the identity, each with its status bit."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, UInt32

from shivya_kernels.status import Status, flag

RIDGE = 1e-6
"""What is added to the diagonal of a singular or indefinite matrix, exactly once."""

_UNROLLED = 8
"""Up to this size columns are unrolled: XLA fuses them over a batch, where LAPACK is called once per matrix."""


class Stabilised(NamedTuple):
    """The matrix in use, its lower Cholesky factor, and what had to be done to it."""

    matrix: Float[Array, "D D"]
    factor: Float[Array, "D D"]
    status: UInt32[Array, ""]


def stabilise(matrix: Float[Array, "D D"]) -> Stabilised:
    """A positive definite stand-in for a symmetric matrix, itself wherever possible. Differentiable.

    A singular or indefinite matrix gets ``RIDGE`` on its diagonal (SINGULAR_MATRIX); one that stays indefinite,
    or is not finite, becomes the identity (STABILIZATION_FAILED too). A pivot below rounding error relative to
    its own diagonal entry counts as zero, whatever the scale of the matrix.
    """
    eye = jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    # The checks see no derivative: that of a failed factor is NaN even where it is not selected.
    fixed = jax.lax.stop_gradient(matrix)
    rounding = matrix.shape[-1] * jnp.finfo(matrix.dtype).eps
    regular = _is_positive(fixed, rounding)
    ridged = matrix + RIDGE * eye
    repaired = _is_positive(jax.lax.stop_gradient(ridged), 0.0)
    chosen = jnp.where(regular, matrix, jnp.where(repaired, ridged, eye))
    status = flag(~regular, Status.SINGULAR_MATRIX) | flag(~regular & ~repaired, Status.STABILIZATION_FAILED)
    return Stabilised(chosen, cholesky(chosen), status)


def cholesky(matrix: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """Lower Cholesky factor; NaN where the matrix is not positive definite. Reads the lower triangle."""
    size = matrix.shape[-1]
    if size > _UNROLLED:
        factor: Array = jax.lax.linalg.cholesky(matrix, symmetrize_input=False)
        return factor
    columns = []
    for j in range(size):
        column = jnp.where(jnp.arange(size) >= j, matrix[:, j] / jnp.sqrt(matrix[j, j]), 0.0)
        matrix = matrix - column[:, None] * column[None, :]
        columns.append(column)
    return jnp.stack(columns, axis=1)


def solve_lower(factor: Float[Array, "D D"], right: Float[Array, "D *K"]) -> Float[Array, "D *K"]:
    """``factor^-1 right`` for a lower triangular factor."""
    solution: Array = solve_triangular(factor, right, lower=True)
    return solution


def log_determinant(factor: Float[Array, "D D"]) -> Float[Array, ""]:
    """``ln |A|`` from A's Cholesky factor."""
    return 2.0 * jnp.log(jnp.diagonal(factor)).sum()


def _is_positive(matrix: Float[Array, "D D"], rounding: float) -> Bool[Array, ""]:
    pivots = jnp.diagonal(cholesky(matrix)) ** 2
    # NaN compares false, so a failed factor is never taken for a good one.
    return jnp.all((pivots > rounding * jnp.diagonal(matrix)) & jnp.isfinite(pivots))
