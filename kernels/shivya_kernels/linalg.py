"""Cholesky factors that never fail silently: ridge once, then the identity, each with its status bit.

Compiled code reads the bits. A person at a prompt inverts with ``inverse_stable`` and asks
``last_stabilization_event`` what had to be done, as in the seeds' stability helpers.

Matrices of up to 8 rows are factored and solved with by plain arithmetic. LAPACK's batched calls share the
threads of XLA's CPU pool: two at the same time may each wait for the other for ever (jaxlib 0.10.2).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, UInt32

from shivya_kernels import lanes
from shivya_kernels.shapes import as_float
from shivya_kernels.status import Status, describe, flag

RIDGE = 1e-6
"""What is added to the diagonal of a singular or indefinite matrix, exactly once."""


class StabilizationEvent(NamedTuple):
    """What ``inverse_stable`` had to do to a matrix, and what its owner can do about it."""

    status: Status
    size: int
    """Rows of the matrix."""
    remedies: tuple[str, ...]
    """One line per status bit."""


_last_event: ContextVar[StabilizationEvent | None] = ContextVar("last_stabilization_event", default=None)
# A context variable starts empty in every thread, so no thread reads another's record.


class Stabilised(NamedTuple):
    """The matrix in use, its lower Cholesky factor, and what had to be done to it."""

    matrix: Float[Array, "D D *L"]
    factor: Float[Array, "D D *L"]
    status: UInt32[Array, "*L"]


def stabilise(matrix: Float[Array, "D D *L"]) -> Stabilised:
    """A positive definite stand-in for a symmetric matrix, itself wherever possible. Differentiable.

    A singular or indefinite matrix gets ``RIDGE`` on its diagonal (SINGULAR_MATRIX); one that stays
    indefinite, or is not finite, becomes the identity (STABILIZATION_FAILED too). A pivot below rounding
    error relative to its own diagonal entry counts as zero, whatever the scale of the matrix. Trailing axes
    are lanes (``lanes``), each with a matrix and a status of its own.
    """
    found: Stabilised = _stabilise(matrix)
    return found


@jax.jit
def _stabilise(matrix: Float[Array, "D D *L"]) -> Stabilised:
    eye = lanes.identity(matrix.shape[0], matrix)
    fixed = jax.lax.stop_gradient(matrix)
    plain = cholesky(fixed)
    rounding = matrix.shape[0] * float(np.finfo(matrix.dtype).eps)
    regular = _is_factor(plain, fixed, rounding)
    helped = jax.lax.cond(
        lanes.anywhere(~regular), lambda m: cholesky(m + RIDGE * eye), lambda m: jnp.zeros_like(m), fixed
    )
    repaired = _is_factor(helped, fixed, 0.0)
    chosen = jnp.where(regular, matrix, jnp.where(repaired, matrix + RIDGE * eye, eye))
    factor = jnp.where(regular, plain, jnp.where(repaired, helped, eye))
    status = flag(~regular, Status.SINGULAR_MATRIX) | flag(~regular & ~repaired, Status.STABILIZATION_FAILED)
    return Stabilised(chosen, _with_derivative(chosen, factor), status)


@jax.jit
def inverse(matrix: Float[ArrayLike, "D D"]) -> tuple[Float[Array, "D D"], UInt32[Array, ""]]:
    """Inverse of the positive definite stand-in for a symmetric matrix, and its status bits. Reads the lower
    triangle."""
    found = stabilise(as_float(matrix))
    return cho_solve(
        (found.factor, True), jnp.eye(found.factor.shape[0], dtype=found.factor.dtype)
    ), found.status


def inverse_stable(matrix: Float[ArrayLike, "D D"]) -> Float[Array, "D D"]:
    """``inverse`` for the host: what had to be done to the matrix is kept for ``last_stabilization_event``.

    Raises TypeError inside ``jit``, ``vmap`` or ``grad``, where ``inverse`` returns the bits instead.
    """
    if isinstance(matrix, jax.core.Tracer):
        raise TypeError("inverse_stable keeps a record on the host; inside jit, vmap or grad call inverse")
    result: Array
    result, bits = inverse(matrix)
    if status := Status(int(bits)):
        _last_event.set(StabilizationEvent(status, result.shape[0], describe(status)))
    return result


def last_stabilization_event() -> StabilizationEvent | None:
    """This thread's latest ``inverse_stable`` that had to stabilise; None if there was none. Host side."""
    return _last_event.get()


def cholesky(matrix: Float[Array, "D D *L"]) -> Float[Array, "D D *L"]:
    """Lower Cholesky factor; NaN where the matrix is not positive definite. Reads the lower triangle.

    The derivative takes the change of the matrix to be symmetric.
    """
    if matrix.shape[0] > lanes.UNROLLED:
        stacked = jnp.moveaxis(matrix, (0, 1), (-2, -1))
        factor: Array = jax.lax.linalg.cholesky(stacked, symmetrize_input=False)
        return jnp.moveaxis(factor, (-2, -1), (0, 1))
    return _with_derivative(matrix, _cholesky_by_entries(jax.lax.stop_gradient(matrix)))


def _cholesky_by_entries(matrix: Float[Array, "D D *L"]) -> Float[Array, "D D *L"]:
    """One entry after the other (Golub, Van Loan 2013, 4.2), each a vector over the lanes."""
    size = matrix.shape[0]
    lower: list[list[Array]] = []
    for i in range(size):
        row: list[Array] = []
        for j in range(i):
            left = matrix[i, j]
            for k in range(j):
                left = left - row[k] * lower[j][k]
            row.append(left / lower[j][j])
        left = matrix[i, i]
        for entry in row:
            left = left - entry * entry
        lower.append([*row, jnp.sqrt(left)])
    none = jnp.zeros(matrix.shape[2:], matrix.dtype)
    factor = jnp.stack([jnp.stack([*row, *[none] * (size - len(row))]) for row in lower])
    sound = lower[0][0] > 0.0
    for row in lower[1:]:
        sound = sound & (row[-1] > 0.0)
    return jnp.where(sound, factor, jnp.nan)


def solve_lower(factor: Float[Array, "D D *L"], right: Float[Array, "D *K"]) -> Float[Array, "D *K"]:
    """``factor^-1 right`` for a lower triangular factor; the lanes of `right` are its last axes."""
    size, axes = factor.shape[0], factor.ndim - 2
    if size > lanes.UNROLLED:
        columns = jnp.moveaxis(right.reshape(size, -1, *factor.shape[2:]), (0, 1), (-2, -1))
        solution = solve_triangular(jnp.moveaxis(factor, (0, 1), (-2, -1)), columns, lower=True)
        return jnp.moveaxis(solution, (-2, -1), (0, 1)).reshape(right.shape)
    # Column by column, over the whole of what is left: each is one fused loop over the lanes.
    rest, rows = right, []
    for j in range(size):
        rows.append(rest[0] / factor[j, j])
        if j + 1 < size:
            column = factor[j + 1 :, j]
            column = column.reshape(-1, *[1] * (right.ndim - 1 - axes), *column.shape[1:])
            rest = rest[1:] - column * rows[j]
    return jnp.stack(rows)


def log_determinant(factor: Float[Array, "D D *L"]) -> Float[Array, "*L"]:
    """``ln |A|`` from A's Cholesky factor."""
    return 2.0 * lanes.total(jnp.log(lanes.diagonal(factor)))


def _is_factor(
    factor: Float[Array, "D D *L"], matrix: Float[Array, "D D *L"], rounding: float
) -> Bool[Array, "*L"]:
    pivots = lanes.diagonal(factor) ** 2
    # NaN compares false, so a failed factor is never taken for a good one.
    sound = (pivots > rounding * jnp.abs(lanes.diagonal(matrix))) & jnp.isfinite(pivots)
    return sound.all(axis=0)


@jax.custom_jvp
def _with_derivative(
    matrix: Float[Array, "D D *L"], factor: Float[Array, "D D *L"]
) -> Float[Array, "D D *L"]:
    """The factor already computed, with the derivative of the Cholesky factor of ``matrix``.

    Differentiating each trial in place would carry the NaN of a failed one through the selection.
    """
    return factor


@_with_derivative.defjvp
def _factor_tangent(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """dL = L Phi(L^-1 dA L^-T), Phi the lower triangle with half the diagonal (Murray 2016)."""
    _, factor = primals
    change = solve_lower(factor, lanes.transpose(solve_lower(factor, tangents[0])))
    size = factor.shape[0]
    half = np.tril(np.ones((size, size))) - 0.5 * np.eye(size)
    lower = change * jnp.asarray(half, factor.dtype).reshape(size, size, *[1] * (factor.ndim - 2))
    return factor, lanes.product(factor, lower)
