"""Cholesky factors that never fail silently: ridge once, then the identity, each with its status bit.

Compiled code reads the bits. A person at a prompt inverts with ``inverse_stable`` and asks
``last_stabilization_event`` what had to be done, as in the seeds' stability helpers.
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

from shivya_kernels.shapes import as_float
from shivya_kernels.status import Status, describe, flag

_UNROLLED = 8
"""Largest matrix factored and solved with by plain arithmetic. LAPACK's batched calls share the threads of
XLA's CPU pool: two at the same time may each wait for the other for ever (seen with jaxlib 0.10.2)."""

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

    matrix: Float[Array, "D D"]
    factor: Float[Array, "D D"]
    status: UInt32[Array, ""]


def stabilise(matrix: Float[Array, "D D"]) -> Stabilised:
    """A positive definite stand-in for a symmetric matrix, itself wherever possible. Differentiable.

    A singular or indefinite matrix gets ``RIDGE`` on its diagonal (SINGULAR_MATRIX); one that stays
    indefinite, or is not finite, becomes the identity (STABILIZATION_FAILED too). A pivot below rounding
    error relative to its own diagonal entry counts as zero, whatever the scale of the matrix.
    """
    eye = jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    fixed = jax.lax.stop_gradient(matrix)
    plain, helped = cholesky(fixed), cholesky(fixed + RIDGE * eye)
    rounding = matrix.shape[-1] * float(np.finfo(matrix.dtype).eps)
    regular, repaired = _is_factor(plain, fixed, rounding), _is_factor(helped, fixed, 0.0)
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


def cholesky(matrix: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """Lower Cholesky factor; NaN where the matrix is not positive definite. Reads the lower triangle.

    The derivative takes the change of the matrix to be symmetric.
    """
    if matrix.shape[-1] > _UNROLLED:
        factor: Array = jax.lax.linalg.cholesky(matrix, symmetrize_input=False)
        return factor
    return _with_derivative(matrix, _cholesky_by_entries(jax.lax.stop_gradient(matrix)))


def _cholesky_by_entries(matrix: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """One entry after the other (Golub, Van Loan 2013, 4.2), all scalars: over a batch each is one vector."""
    size = matrix.shape[-1]
    lower: list[list[Array]] = []
    for i in range(size):
        row: list[Array] = []
        for j in range(i):
            dot = sum((row[k] * lower[j][k] for k in range(j)), jnp.zeros((), matrix.dtype))
            row.append((matrix[i, j] - dot) / lower[j][j])
        square = matrix[i, i] - sum((x * x for x in row), jnp.zeros((), matrix.dtype))
        lower.append([*row, jnp.sqrt(square)])
    none = jnp.zeros((), matrix.dtype)
    factor = jnp.stack([jnp.stack([*row, *[none] * (size - len(row))]) for row in lower])
    return jnp.where((jnp.diagonal(factor) > 0.0).all(), factor, jnp.nan)


def solve_lower(factor: Float[Array, "D D"], right: Float[Array, "D *K"]) -> Float[Array, "D *K"]:
    """``factor^-1 right`` for a lower triangular factor."""
    size = factor.shape[-1]
    if size > _UNROLLED:
        solution: Array = solve_triangular(factor, right, lower=True)
        return solution
    # Column by column, over the whole of what is left: each is one fused loop over a batch.
    rest, rows = right, []
    for j in range(size):
        rows.append(rest[j] / factor[j, j])
        if j + 1 < size:
            column = factor[:, j].reshape(-1, *[1] * (right.ndim - 1))
            rest = rest - column * rows[j]
    return jnp.stack(rows)


def log_determinant(factor: Float[Array, "D D"]) -> Float[Array, ""]:
    """``ln |A|`` from A's Cholesky factor."""
    return 2.0 * jnp.log(jnp.diagonal(factor)).sum()


def _is_factor(factor: Float[Array, "D D"], matrix: Float[Array, "D D"], rounding: float) -> Bool[Array, ""]:
    pivots = jnp.diagonal(factor) ** 2
    # NaN compares false, so a failed factor is never taken for a good one.
    return jnp.all((pivots > rounding * jnp.abs(jnp.diagonal(matrix))) & jnp.isfinite(pivots))


@jax.custom_jvp
def _with_derivative(matrix: Float[Array, "D D"], factor: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """The factor already computed, with the derivative of the Cholesky factor of ``matrix``.

    Differentiating each trial in place would carry the NaN of a failed one through the selection.
    """
    return factor


@_with_derivative.defjvp
def _factor_tangent(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """dL = L Phi(L^-1 dA L^-T), Phi the lower triangle with half the diagonal (Murray 2016)."""
    _, factor = primals
    change = solve_lower(factor, solve_lower(factor, tangents[0]).T)
    lower = jnp.tril(change) - 0.5 * jnp.diag(jnp.diagonal(change))
    return factor, factor @ lower
