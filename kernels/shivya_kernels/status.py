"""What went wrong inside a compiled call, as bits: nothing raises there."""

from __future__ import annotations

from enum import IntFlag

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, UInt32


class Status(IntFlag):
    """Bits of `info.status`. Several may be set; zero means that all is well."""

    SINGULAR_MATRIX = 1
    STABILIZATION_FAILED = 2
    NOT_CONVERGED = 4
    OVERFLOW = 8
    NON_FINITE_INPUT = 16


_REMEDIES = {
    Status.SINGULAR_MATRIX: "singular matrix: a ridge of 1e-6 was added; give the covariance full rank",
    Status.STABILIZATION_FAILED: "a matrix stayed indefinite after the ridge; the identity took its place; "
    "check that the covariance is symmetric and positive",
    Status.NOT_CONVERGED: "the iteration stopped before it reached its tolerance; raise max_iterations, "
    "loosen the tolerance or pass the last result as warm start",
    Status.OVERFLOW: "more items than the capacity holds and the farthest were dropped; raise the capacity",
    Status.NON_FINITE_INPUT: "the input held NaN or infinity and was taken as zero; check what produced it",
}


def flag(condition: Bool[ArrayLike, "..."], bit: Status) -> UInt32[Array, "..."]:
    """The bit where the condition holds, zero elsewhere, as uint32 to be OR-ed. Traceable."""
    return jnp.where(condition, jnp.uint32(bit), jnp.uint32(0))


def describe(bits: int) -> tuple[str, ...]:
    """One line per set bit: what happened and what to do. Host side; empty when all is well."""
    return tuple(f"{bit.name}: {text}" for bit, text in _REMEDIES.items() if int(bits) & bit)
