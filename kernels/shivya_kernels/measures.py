"""How good a network the organism is: what its tubes cost, and how straight they join its foods.

The measures are those by which Tero et al. 2010 compare Physarum with railways: length of the tubes over that
of the minimum spanning tree of the foods, and distances along tubes against straight ones.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from shivya_kernels.body import Organism


class Measures(NamedTuple):
    """The network at one instant."""

    cells: Int32[Array, ""]
    tubes: Int32[Array, ""]
    nutrient: Float[Array, ""]
    efficiency: Float[Array, ""]
    """Straight distance over distance along tubes, mean over pairs of found foods: 1 is the optimum, a pair
    that no tubes join counts 0; 0 where fewer than two foods are found."""
    cost: Float[Array, ""]
    """Length of all tubes over that of the minimum spanning tree of the found foods; 0 below two foods."""


@jax.jit
def measure(s: Organism) -> Measures:
    """Return the measures of an organism."""
    found = s.food_cell >= 0
    seats = s.position[jnp.maximum(s.food_cell, 0)]
    straight = jnp.linalg.norm(seats[:, None] - seats[None], axis=2)
    length = jnp.linalg.norm(s.position[s.head] - s.position[s.tail], axis=1)
    length = jnp.where(s.tube_mask, length, jnp.inf)
    along = _distances(s, found, length)[:, jnp.maximum(s.food_cell, 0)]
    reached = jnp.isfinite(along)
    ratio = jnp.where(along > 0.0, straight / jnp.where(reached & (along > 0.0), along, 1.0), 1.0)
    pairs = jnp.triu(found[:, None] & found[None], 1)
    efficiency = jnp.where(pairs & reached, ratio, 0.0).sum() / jnp.maximum(pairs.sum(), 1)
    tree = _spanning_tree(straight, found)
    total = jnp.where(s.tube_mask, length, 0.0).sum()
    return Measures(
        s.cell_mask.sum(),
        s.tube_mask.sum(),
        s.nutrient.sum(),
        efficiency,
        jnp.where(tree > 0.0, total / jnp.where(tree > 0.0, tree, 1.0), 0.0),
    )


def _distances(s: Organism, found: Bool[Array, "F"], length: Float[Array, "M"]) -> Float[Array, "F N"]:
    """Along tubes, from each found food's cell to every cell (Bellman and Ford, to the fixed point)."""
    foods, n = s.food_cell.shape[0], s.cell_mask.shape[0]
    rows = jnp.arange(foods)
    start = jnp.full((foods, n), jnp.inf, length.dtype)
    start = start.at[rows, jnp.maximum(s.food_cell, 0)].set(jnp.where(found, 0.0, jnp.inf))

    def relax(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        far, _, rounds = state
        nearer = far.at[:, s.head].min(far[:, s.tail] + length).at[:, s.tail].min(far[:, s.head] + length)
        return nearer, jnp.any(nearer < far), rounds + 1

    begin = (start, jnp.array(True), jnp.int32(0))
    far: Array = jax.lax.while_loop(lambda state: state[1] & (state[2] < n), relax, begin)[0]
    return far


def _spanning_tree(straight: Float[Array, "F F"], found: Bool[Array, "F"]) -> Float[Array, ""]:
    """Length of the minimum spanning tree of the found foods (Prim)."""
    first = jnp.argmax(found)

    def join(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        outside, gap, total = state
        nearest = jnp.argmin(jnp.where(outside, gap, jnp.inf))
        more = outside[nearest]
        total = total + jnp.where(more, gap[nearest], 0.0)
        gap = jnp.where(more, jnp.minimum(gap, straight[nearest]), gap)
        return outside.at[nearest].set(False), gap, total

    start = (found.at[first].set(False), straight[first], jnp.zeros((), straight.dtype))
    total: Array = jax.lax.fori_loop(0, found.shape[0], join, start)[2]
    return total
