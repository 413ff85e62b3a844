"""What a law may look at, and what it foretells: the next observation of every sense of every vertex.

The variables of a law for one sense of one vertex are free of absolute time: the last four observations of
that sense, the latest first, its slow mean, and the latest of all senses of that vertex. Variable 0 is the
latest observation, so the law ``("var", 0)`` says "as before".

Letters: V vertices, S senses, I instructions, K = 4 + 1 + S variables.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from shivya_kernels.morphic import Program, evaluate

LAGS = 4
"""Observations of a sense that its law sees."""

_SLOW = 0.05
"""Share of the way to each observation that the slow mean goes: a memory of about 20 observations."""

_BEYOND = 1e6
"""A prediction larger than this is none: no sense comes near it, and its square still fits float32."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Memory:
    """What was observed of late."""

    recent: Float[Array, "4 V S"]
    """The last observations, the latest first."""
    slow: Float[Array, "V S"]
    """Exponential mean."""


def names(senses: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the variables, for ``formula.text``; those of the senses are given."""
    return ("last", "last2", "last3", "last4", "slow", *senses)


def forget(vertices: int, senses: int, dtype: jnp.dtype[jnp.floating]) -> Memory:
    """The memory of nothing: every vertex has to be met before it is predicted."""
    return Memory(jnp.zeros((LAGS, vertices, senses), dtype), jnp.zeros((vertices, senses), dtype))


def remember(
    memory: Memory, observed: Float[Array, "V S"], seen: Bool[Array, "V"], known: Bool[Array, "V"]
) -> Memory:
    """The memory after a tick: vertices not seen keep theirs, and of one not known before all is as now."""
    shifted = jnp.concatenate([observed[None], memory.recent[:-1]])
    met = known[:, None]
    recent = jnp.where(met, shifted, observed)
    slow = jnp.where(met, memory.slow + _SLOW * (observed - memory.slow), observed)
    return Memory(
        jnp.where(seen[:, None], recent, memory.recent), jnp.where(seen[:, None], slow, memory.slow)
    )


def variables(memory: Memory) -> Float[Array, "K V S"]:
    """What the laws see."""
    latest = memory.recent[0]
    others = jnp.broadcast_to(latest.T[:, :, None], (latest.shape[1], *latest.shape))
    return jnp.concatenate([memory.recent, memory.slow[None], others])


@jax.jit
def predict(laws: Program, memory: Memory) -> Float[Array, "V S"]:
    """The next observation of every sense by its own law (`laws` stacked [S]).

    Where a law gives nothing finite, or more than 1e6, the latest observation stands: "as before".
    """
    # One law after the other, each for its own length, over all vertices at once.
    columns = jnp.moveaxis(variables(memory), -1, 0)
    found = lax.map(lambda one: evaluate(*one), (laws, columns)).T
    return jnp.where(jnp.abs(found) <= _BEYOND, found, memory.recent[0])
