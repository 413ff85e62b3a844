"""What a node does next: hold, shed, absorb or probe, whichever has the least expected free energy.

A policy is a row of action values. They act on the agent in the two ways its model knows: through W, by which
attention lowers the noise of the senses, and through m, by which an action shifts the state expected next.

    attention   1 is everyday attention; a probe pays more
    transfer    -1 sheds work, +1 takes some on: the expected waiting falls or rises
    effort      what it costs: the expected use of the processor rises

Preferring the waiting of the neighbourhood (``neighbourhood_mean``), a node that waits longer than its
neighbours sheds and one that waits less absorbs; one that is uncertain probes, unless it is busy; one that is
certain and level holds. The choice is the minimum itself, not a draw: the same beliefs give the same action.

Sources: Friston et al. 2015 and Parr, Pezzulo, Friston 2022 (policies by expected free energy).
"""

from __future__ import annotations

from enum import IntEnum
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from shivya_kernels.beliefs import Agent, expected_free_energy
from shivya_kernels.complex import DimensionMismatch, SimplicialComplex
from shivya_kernels.padding import lengths
from shivya_kernels.shapes import as_float, resize

WAITING, PROCESSOR = 0, 2
"""The senses, and the belief dimensions, that a transfer and an effort shift."""


class Action(IntEnum):
    """Rows of ``repertoire``."""

    HOLD = 0
    SHED = 1
    ABSORB = 2
    PROBE = 3


class Choice(NamedTuple):
    """The policy of least expected free energy."""

    action: Int[Array, ""]
    """Its row; the first of those that tie."""
    energies: Float[Array, "P"]
    """Expected free energy of every policy, nats; infinite where it could not be computed."""


class Modulation(NamedTuple):
    """What an action changes."""

    values: Float[Array, "*V A"]
    """Action values with which the next observation is to be inferred: the precision of the senses."""
    conductance: Float[Array, "*V"]
    """Factor on the conductance that the vertex advertises for its links."""


@jax.jit
def repertoire(
    probe: ArrayLike = 2.0, transfer_effort: ArrayLike = 0.25, probe_effort: ArrayLike = 1.0
) -> Float[Array, "4 3"]:
    """The policies hold, shed, absorb and probe as rows of attention, transfer and effort.

    ``probe`` is the attention of a probe, where 1 is everyday attention.
    """
    rows: list[list[ArrayLike]] = [
        [1.0, 0.0, 0.0],
        [1.0, -1.0, transfer_effort],
        [1.0, 1.0, transfer_effort],
        [probe, 0.0, probe_effort],
    ]
    return jnp.array(rows)


def effects(
    senses: int,
    dimensions: int,
    *,
    attention: ArrayLike = 4.6,
    transfer: ArrayLike = 0.5,
    effort: ArrayLike = 1.2,
) -> tuple[Float[Array, "S 3"], Float[Array, "D 3"]]:
    """W and m of an agent for the columns of ``repertoire``.

    Attention a adds variance exp(-attention a) to every sense; a transfer shifts the expected log1p of the
    waiting seconds by ``transfer``, an effort the expected use of the processor by ``effort``. Raises
    DimensionMismatch when there is no sense of the processor.
    """
    if min(senses, dimensions) <= PROCESSOR:
        raise DimensionMismatch(
            f"actions need at least {PROCESSOR + 1} senses and dimensions, got {senses} and {dimensions}"
        )
    strength, shift, cost = as_float(attention), as_float(transfer), as_float(effort)
    sharpen = jnp.zeros((senses, 3), strength.dtype).at[:, 0].set(strength)
    move = jnp.zeros((dimensions, 3), shift.dtype).at[WAITING, 1].set(shift).at[PROCESSOR, 2].set(cost)
    return sharpen, move


@partial(jax.jit, static_argnames="form")
def choose(
    agent: Agent,
    mean: Float[ArrayLike, "D"],
    covariance: Float[ArrayLike, "D D"],
    policies: Float[ArrayLike, "P A"],
    form: Literal["risk_ambiguity", "seed"] = "risk_ambiguity",
) -> Choice:
    """The policy [P, A] of least expected free energy; ties go to the earlier row, so hold stands first.

    Energies closer than the square root of rounding error tie. One that is not finite is never chosen, and
    if none is finite the first row is. ``form`` as in ``beliefs.expected_free_energy``; ``vmap`` for
    several vertices.
    """
    found = expected_free_energy(agent, mean, covariance, policies, form=form)
    energies = jnp.where(jnp.isfinite(found), found, jnp.inf)
    least = energies.min()
    slack = float(np.sqrt(np.finfo(energies.dtype).eps)) * (1.0 + jnp.abs(least))
    return Choice(jnp.argmax(energies <= least + slack), energies)


@jax.jit
def modulate(
    action: Int[ArrayLike, "*V"], policies: Float[ArrayLike, "P A"], opening: ArrayLike = 0.5
) -> Modulation:
    """What the chosen row of ``policies`` does to the senses and to the links of its vertex.

    To shed or to absorb opens the links by the share ``opening``; they stay as they are otherwise.
    """
    chosen, rows = jnp.asarray(action), as_float(policies)
    moves = (chosen == Action.SHED) | (chosen == Action.ABSORB)
    return Modulation(rows[chosen], jnp.where(moves, 1.0 + jnp.asarray(opening, rows.dtype), 1.0))


def neighbourhood_mean(
    c: SimplicialComplex, values: Float[ArrayLike, "V"], known: Bool[ArrayLike, "V"]
) -> Float[Array, "V"]:
    """Mean over each vertex and its neighbours, of those that are known; 0 where none is.

    A vector of a padded complex may be passed unpadded. Raises DimensionMismatch.
    """
    numbers, mask = as_float(values), jnp.asarray(known, bool)
    length = lengths(c, vertices=[numbers, mask]).vertices
    found: Array = _neighbourhood_mean(c, numbers, mask, length)
    return found


@partial(jax.jit, static_argnames="length")
def _neighbourhood_mean(c: SimplicialComplex, values: Array, known: Array, length: int) -> Array:
    capacity = c.vertex_mask.shape[0]
    weight = resize(known.astype(values.dtype), capacity) * c.vertex_mask
    number = jnp.where(weight > 0.0, resize(values, capacity), 0.0)
    both = jnp.stack([number, weight], axis=1)
    linked = c.edge_mask[:, None]
    summed = both.at[c.head].add(jnp.where(linked, both[c.tail], 0.0))
    summed = summed.at[c.tail].add(jnp.where(linked, both[c.head], 0.0))
    return (summed[:, 0] / jnp.maximum(summed[:, 1], 1.0))[:length]
