"""Conjugate gradient for symmetric positive semi-definite operators, differentiable and never NaN.

Shewchuk, "An Introduction to the Conjugate Gradient Method Without the Agonizing Pain" (1994), B.2.
Differs from `jax.scipy.sparse.linalg.cg`: it reports iterations, residual and status; it recomputes the
residual, so that the one reported is true; a projector keeps cotangents in the range of a singular operator,
where the plain solver's gradient is infinite; right-hand sides are normalised, so that tiny cotangents do not
underflow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int32, UInt32

from shivya_kernels.status import Status, flag

Operator = Callable[[Array], Array]


class SolveInfo(NamedTuple):
    """How a linear solve went."""

    iterations: Int32[Array, ""]
    residual: Float[Array, ""]
    """True residual |b - A x| / |b|, |b| being at least noise / tolerance; zero when b is zero."""
    status: UInt32[Array, ""]


class _Iterate(NamedTuple):
    x: Array
    residual: Array
    direction: Array
    energy: Array
    """Squared norm of the residual."""
    descent: Array
    """Product of the residual with the preconditioned residual; the energy where nothing preconditions."""
    steps: Array
    alive: Array
    """False once no step can help: a direction of no curvature, or rounding has the last word."""


def default_tolerance(dtype: jnp.dtype) -> float:
    """Relative residual asked for when the caller names none: 1e-8 in float64, 1e-5 in float32."""
    return 1e-8 if jnp.dtype(dtype).itemsize >= 8 else 1e-5


def solve(
    matvec: Operator,
    rhs: Float[Array, "n"],
    *,
    project: Operator | None = None,
    precondition: Operator | None = None,
    start: Float[Array, "n"] | None = None,
    tolerance: ArrayLike | None = None,
    max_iterations: ArrayLike = 1000,
    refresh: int = 50,
    noise: ArrayLike = 0.0,
) -> tuple[Float[Array, "n"], SolveInfo]:
    """Solve A x = b for a symmetric positive semi-definite A, given by its product with a vector.

    `project` is the orthogonal projector onto the range of A; it is applied to b and to x, and through
    them to tangents and cotangents. Without it b and all cotangents must lie in the range. `start` is a warm
    start. `precondition` is a symmetric positive definite approximation of A's inverse on the range of A,
    up to its kernel. `tolerance` is relative to |b|; a residual below `noise`, the rounding error of
    b, is not pursued.
    The residual is recomputed from scratch every `refresh` steps and before success is reported.

    Returns x and SolveInfo. A zero b gives zero. NaN or infinity in b gives zero and NON_FINITE_INPUT; a
    residual above the tolerance at the end gives NOT_CONVERGED. Works under jit, vmap and grad; derivatives
    are those of the solution (implicit), not of the iterations.
    """
    onto = project or (lambda vector: vector)
    finite = jnp.all(jnp.isfinite(rhs))
    rhs = onto(jnp.where(finite, rhs, 0))
    scale = jax.lax.stop_gradient(_norm(rhs))
    origin = None
    if start is not None:
        usable = jnp.where(jnp.all(jnp.isfinite(start)), start, 0)
        origin = jax.lax.stop_gradient(onto(usable))

    tolerance = default_tolerance(rhs.dtype) if tolerance is None else tolerance
    limits = np.finfo(rhs.dtype)
    least = jnp.asarray(noise, rhs.dtype) / jnp.maximum(tolerance, float(limits.tiny))
    scale = jnp.maximum(scale, jnp.minimum(jax.lax.stop_gradient(least), float(limits.max)))
    remainder = rhs if origin is None else rhs - matvec(origin)
    x, info = solve_linear(matvec, remainder, scale, tolerance, max_iterations, refresh, precondition)
    x = onto(x if origin is None else origin + x)
    return x, info._replace(status=info.status | flag(~finite, Status.NON_FINITE_INPUT))


def solve_linear(
    matvec: Operator,
    rhs: Float[Array, "n"],
    yardstick: ArrayLike = 0.0,
    tolerance: ArrayLike | None = None,
    max_iterations: ArrayLike = 1000,
    refresh: int = 50,
    precondition: Operator | None = None,
) -> tuple[Float[Array, "n"], SolveInfo]:
    """`solve` without its guards: linear in `rhs`, so that it may stand in a tangent rule.

    The residual is measured against `yardstick` where that is positive, else against |rhs|.
    """
    limit = default_tolerance(rhs.dtype) if tolerance is None else tolerance

    # The yardstick rides along as one more unknown: its tangent and cotangent being zero, the solves of
    # derivatives are measured against their own right-hand sides.
    def extended(unknown: Array) -> Array:
        return jnp.append(matvec(unknown[:-1]), unknown[-1])

    def descend(_: Operator, known: Array) -> tuple[Array, SolveInfo]:
        x, info = _iterate(matvec, known[:-1], known[-1], limit, max_iterations, refresh, precondition)
        return jnp.append(x, known[-1]), info

    known = jnp.append(rhs, jnp.asarray(yardstick, rhs.dtype))
    x, info = jax.lax.custom_linear_solve(extended, known, descend, symmetric=True, has_aux=True)
    return x[:-1], info


def _norm(vector: Array) -> Array:
    """Euclidean norm that neither underflows nor overflows."""
    peak = jnp.max(jnp.abs(vector), initial=0)
    unit = jnp.where(peak > 0, peak, 1)
    return jnp.where(peak > 0, peak * jnp.linalg.norm(vector / unit), 0)


def _iterate(
    matvec: Operator,
    rhs: Array,
    yardstick: Array,
    tolerance: ArrayLike,
    max_iterations: ArrayLike,
    refresh: int,
    precondition: Operator | None,
) -> tuple[Array, SolveInfo]:
    """Conjugate gradient from zero on the right-hand side scaled to unit peak."""
    peak = jnp.max(jnp.abs(rhs), initial=0)
    unit = jnp.where(peak > 0, peak, 1).astype(rhs.dtype)
    b = rhs / unit
    reference = jnp.where(yardstick > 0, yardstick / unit, jnp.linalg.norm(b))
    goal = jnp.square(jnp.asarray(tolerance, b.dtype) * reference)
    limit = jnp.asarray(max_iterations, jnp.int32)
    # Below this curvature a direction lies in the kernel, to working precision: all that is left is rounding.
    probe = jnp.cos(jnp.arange(1, b.shape[0] + 1, dtype=b.dtype))
    stiffness = jnp.linalg.norm(matvec(probe)) / jnp.linalg.norm(probe)
    flat = stiffness * float(np.finfo(b.dtype).eps) ** 0.7

    def conditioned(residual: Array) -> tuple[Array, Array, Array]:
        """The preconditioned residual, the energy and the descent."""
        energy = jnp.vdot(residual, residual)
        if precondition is None:
            return residual, energy, energy
        ahead = precondition(residual)
        return ahead, energy, jnp.vdot(residual, ahead)

    def step(s: _Iterate) -> _Iterate:
        image = matvec(s.direction)
        curvature = jnp.vdot(s.direction, image)
        alive = curvature > flat * jnp.vdot(s.direction, s.direction)
        length = jnp.where(alive, s.descent / jnp.where(alive, curvature, 1), 0)
        residual = s.residual - length * image
        ahead, energy, descent = conditioned(residual)
        ratio = descent / jnp.where(s.descent > 0, s.descent, 1)
        x = s.x + length * s.direction
        return _Iterate(x, residual, ahead + ratio * s.direction, energy, descent, s.steps + 1, alive)

    def stretch(s: _Iterate) -> _Iterate:
        end = jnp.minimum(s.steps + refresh, limit)
        last = jax.lax.while_loop(lambda t: (t.energy > goal) & (t.steps < end) & t.alive, step, s)
        residual = b - matvec(last.x)
        ahead, energy, descent = conditioned(residual)
        claimed = last.energy <= goal
        # Claimed but not so, and no better than before: the recursion runs on while rounding stands still.
        stuck = claimed & (energy > goal) & (energy > 0.25 * s.energy)
        direction = jnp.where(claimed, ahead, last.direction)
        return _Iterate(last.x, residual, direction, energy, descent, last.steps, last.alive & ~stuck)

    ahead, energy, descent = conditioned(b)
    first = _Iterate(jnp.zeros_like(b), b, ahead, energy, descent, jnp.int32(0), jnp.array(True))
    last = jax.lax.while_loop(lambda s: (s.energy > goal) & (s.steps < limit) & s.alive, stretch, first)
    residual = jnp.sqrt(last.energy) / jnp.where(reference > 0, reference, 1)
    return last.x * unit, SolveInfo(last.steps, residual, flag(last.energy > goal, Status.NOT_CONVERGED))
