"""A node's own part of the organism: its foods are link neighbours, and nutrient comes and goes over links.

Each link has a place of its own among the foods; the cell on it is the boundary to the neighbour's part.
What crosses a link is given and taken there by ``trade``; the phase that the neighbour tells of its boundary
cell pulls that of ours like one joined by a tube. ``live`` is one round of it all, compiled as one call:

    total after = total before + moved + intake - upkeep - dissolved
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, UInt32

from shivya_kernels import organism
from shivya_kernels.body import NOWHERE, Organism, Params, as_complex, degree
from shivya_kernels.shapes import as_float

WITHERING = 0.05
"""Share of its nutrient that a cell loses per second while nothing joins it and it sits on no food."""


class Links(NamedTuple):
    """What is known of the links at the beginning of a round, by their place among the F foods."""

    position: Float[Array, "F 3"]
    """Where the link's food lies."""
    value: Float[Array, "F"]
    """Of the food, in [0, 1]; 0 where there is no link."""
    amount: Float[Array, "F"]
    """Nutrient that came over the link; negative: that is to leave over it."""
    phase: Float[Array, "F"]
    """Of the neighbour's boundary cell, radians."""
    heard: Bool[Array, "F"]
    """Whether `phase` is known."""


class Told(NamedTuple):
    """What a round came to."""

    nutrient: Float[Array, "F"]
    """Of each boundary cell; 0 where there is none."""
    phase: Float[Array, "F"]
    found: Bool[Array, "F"]
    """Whether a link has a boundary cell."""
    moved: Float[Array, "F"]
    """What `trade` moved."""
    intake: Float[Array, ""]
    upkeep: Float[Array, ""]
    dissolved: Float[Array, ""]
    alive: Bool[Array, ""]
    """Whether any cell is left."""
    status: UInt32[Array, ""]


@jax.jit
def live(
    s: Organism, key: PRNGKeyArray, dt: ArrayLike, params: Params, links: Links
) -> tuple[Organism, PRNGKeyArray, Told]:
    """One round of `dt` seconds: trade, see the links, grow, step, pulse with the neighbours.

    While one body has every food it wanders ever less, and fills half of its pool at most: the other half is
    for the search when a link comes. A cell that nothing joins withers. Returns (organism, key for the next
    round, what it came to). `dt` is bounded as in ``organism.step``.
    """
    growing, moving, onward = jax.random.split(key, 3)
    s, moved = trade(s, links.amount)
    s = feed(s, links.position, links.value)
    hungry = _hungry(s)
    room = jnp.maximum(1.0 - 2.0 * s.cell_mask.mean(dtype=s.nutrient.dtype), 0.0)
    curious = params._replace(exploration=params.exploration * jnp.where(hungry, 1.0, room))
    s, grew = organism.explore(s, growing, curious)
    s, withered = _wither(s, as_float(dt))
    s, went = organism.step(s, moving, dt, params)
    s = entrain(s, links.phase, links.heard, as_float(dt) * params.entrainment)
    found = s.food_cell >= 0
    cell = jnp.maximum(s.food_cell, 0)
    told = Told(
        jnp.where(found, s.nutrient[cell], 0.0),
        jnp.where(found, s.phase[cell], 0.0),
        found,
        moved,
        went.intake,
        went.upkeep,
        went.dissolved + withered,
        s.cell_mask.any(),
        grew.status | went.status,
    )
    return s, onward, told


def _hungry(s: Organism) -> Bool[Array, ""]:
    """Whether a food is not found, or found by a part that nothing joins to the others."""
    component = as_complex(s).component[jnp.maximum(s.food_cell, 0)]
    first = component[jnp.argmax(s.food_cell >= 0)]
    return ((s.food_value > 0.0) & ((s.food_cell < 0) | (component != first))).any()


def _wither(s: Organism, dt: Float[Array, ""]) -> tuple[Organism, Float[Array, ""]]:
    """What is alone and on no food loses its nutrient; returns how much was lost."""
    n = s.cell_mask.shape[0]
    seated = jnp.zeros(n, bool).at[jnp.where(s.food_cell < 0, n, s.food_cell)].set(True, mode="drop")
    alone = s.cell_mask & (degree(s) == 0) & ~seated
    lost = jnp.where(alone, s.nutrient * jnp.clip(WITHERING * dt, 0.0, 1.0), 0.0)
    return s._replace(nutrient=s.nutrient - lost), lost.sum()


@jax.jit
def trade(s: Organism, amount: Float[Array, "F"]) -> tuple[Organism, Float[Array, "F"]]:
    """Give nutrient to boundary cells (amount > 0) or take it (< 0); returns (organism, what was moved).

    What a link without a boundary cell brings goes to the lowest cell there is; nothing is taken for it. Of
    what is to be taken, no more than the cell holds, shared alike where links share a cell. Without any cell
    nothing moves.
    """
    n = s.cell_mask.shape[0]
    amount = jnp.where(jnp.isfinite(amount), amount, 0.0).astype(s.nutrient.dtype)
    found = s.food_cell >= 0
    seat = jnp.where(found, s.food_cell, jnp.argmax(s.cell_mask).astype(jnp.int32))
    given = jnp.where(s.cell_mask[seat], jnp.maximum(amount, 0.0), 0.0)
    wanted = jnp.where(found, jnp.maximum(-amount, 0.0), 0.0)
    asked = jnp.zeros(n, s.nutrient.dtype).at[seat].add(wanted)
    share = jnp.where(asked > s.nutrient, s.nutrient / jnp.where(asked > 0.0, asked, 1.0), 1.0)
    moved = given - wanted * share[seat]
    return s._replace(nutrient=jnp.maximum(s.nutrient.at[seat].add(moved), 0.0)), moved


@jax.jit
def feed(s: Organism, position: Float[Array, "F 3"], value: Float[Array, "F"]) -> Organism:
    """Replace the foods: one that has moved, or is gone (value 0), has lost its cell."""
    where = position.astype(s.food_position.dtype)
    value = jnp.clip(jnp.where(jnp.isfinite(value), value, 0.0), 0.0, 1.0).astype(s.food_value.dtype)
    stays = (where == s.food_position).all(axis=1) & (value > 0.0)
    cell = jnp.where(stays, s.food_cell, NOWHERE).astype(jnp.int32)
    return s._replace(food_position=where, food_value=value, food_cell=cell)


@jax.jit
def entrain(s: Organism, phase: Float[Array, "F"], heard: Bool[Array, "F"], strength: ArrayLike) -> Organism:
    """Pull each boundary cell's phase towards the neighbour's, by `strength` times the sine of the gap."""
    n = s.cell_mask.shape[0]
    there = heard & (s.food_cell >= 0)
    cell: Int32[Array, "F"] = jnp.where(there, s.food_cell, n)
    gap = jnp.where(there, phase - s.phase[jnp.minimum(cell, n - 1)], 0.0)
    theta = s.phase.at[cell].add(as_float(strength) * jnp.sin(gap), mode="drop")
    return s._replace(phase=theta - 2.0 * jnp.pi * jnp.round(theta / (2.0 * jnp.pi)))
