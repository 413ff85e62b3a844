"""The constants of a program fitted to samples by Levenberg-Marquardt steps through the machine.

A nonlinear least-squares fit of the constants is what makes symbolic regression find laws rather than shapes
(Kommenda, Burlacu, Kronberger, Affenzeller 2020); its Jacobian is one sweep over the program's registers.
Letters: I instructions (padded), K variables, N samples.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from shivya_kernels.linalg import cholesky
from shivya_kernels.morphic import Program, jacobian

_FIRST_DAMPING = 1e-2
_LEAST_DAMPING = 1e-6
_MOST_DAMPING = 1e6


class _Fit(NamedTuple):
    """Where a fit stands."""

    constants: Float[Array, "I"]
    residual: Float[Array, "N"]
    slope: Float[Array, "I N"]
    error: Float[Array, ""]
    damping: Float[Array, ""]


@partial(jax.jit, static_argnames="steps")
def polish(
    program: Program,
    variables: Float[Array, "K N"],
    target: Float[Array, "N"],
    weight: Float[Array, "N"],
    steps: int = 6,
) -> tuple[Program, Float[Array, ""]]:
    """The program with constants that lower the weighted mean square error, and that error.

    A step that does not lower the error is not taken, so the result is never worse than what came in. The
    error is infinite where the program is not finite on a sample that has weight; then nothing changes.
    Computes in the float type of the program's constants.
    """
    dtype = program.constants.dtype
    variables, target, weight = (jnp.asarray(given, dtype) for given in (variables, target, weight))
    total = jnp.maximum(weight.sum(), 1.0)

    def stand(constants: Float[Array, "I"], damping: Float[Array, ""]) -> _Fit:
        value, slope, _ = jacobian(replace(program, constants=constants), variables)
        counted = weight > 0.0
        residual = jnp.where(counted, target - value, 0.0)
        error = (weight * residual**2).sum() / total
        slope = jnp.where(counted & jnp.isfinite(slope), slope, 0.0)
        return _Fit(constants, residual, slope, jnp.where(jnp.isfinite(error), error, jnp.inf), damping)

    def improve(fit: _Fit, _: None) -> tuple[_Fit, None]:
        weighted = fit.slope * weight
        curvature = weighted @ fit.slope.T
        size = jnp.diagonal(curvature)
        # A register that is no constant, or does not matter, has no slope: its row becomes the identity.
        diagonal = jnp.where(size > 0.0, fit.damping * size, 1.0)
        factor = cholesky(curvature + jnp.diag(diagonal))
        shift = jax.scipy.linalg.cho_solve((factor, True), weighted @ fit.residual)
        sound = jnp.isfinite(shift).all()
        trial = stand(fit.constants + jnp.where(sound, shift, 0.0), fit.damping)
        better = sound & (trial.error < fit.error)
        kept: _Fit = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, fit)
        damping = jnp.clip(fit.damping * jnp.where(better, 0.2, 8.0), _LEAST_DAMPING, _MOST_DAMPING)
        return kept._replace(damping=damping), None

    start = stand(program.constants, jnp.asarray(_FIRST_DAMPING, program.constants.dtype))
    fit, _ = lax.scan(improve, start, None, length=steps)
    return replace(program, constants=fit.constants), fit.error
