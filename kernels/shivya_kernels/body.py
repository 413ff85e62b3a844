"""The body of the organism: a pool of cells and tubes in space, padded to a capacity, and how it lives.

What moves it is ``organism``. On the map of a mesh a food is a peer, its value the bandwidth there.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32

from shivya_kernels.complex import SimplicialComplex, component_labels
from shivya_kernels.shapes import as_float

MAX_CELLS = 4096
MAX_TUBES = 8192
NOWHERE = -1
"""The cell of a food that no cell has reached yet."""


class Params(NamedTuple):
    """How the organism lives; lengths in units of space, times in seconds."""

    exploration: ArrayLike = 0.3
    """Chance per ``explore`` that a tip sprouts."""
    branching: ArrayLike = 0.1
    """Chance that a cell along a tube sprouts, as a share of that of a tip; > 0."""
    stride: ArrayLike = 0.1
    """Length of a new tube."""
    reach: ArrayLike = 0.1
    """A food within this distance of a new cell is found."""
    fuse: ArrayLike = 0.06
    """A sprout that ends this close to a cell joins it instead of making a new one."""
    scent: ArrayLike = 0.5
    """Distance over which the scent of a food falls by a factor e."""
    boldness: ArrayLike = 0.4
    """Weight of chance against scent and momentum in the direction of growth."""
    least_nutrient: ArrayLike = 0.02
    """A cell that holds less does not sprout, and dissolves once it is alone."""
    feeding: ArrayLike = 1.0
    """Per second, how fast a food fills its cell up to 1."""
    upkeep: ArrayLike = 0.01
    """Share of its nutrient that a cell lives on per second."""
    sharing: ArrayLike = 1.0
    """Share of its surplus over the body's mean that a cell gives away per second."""
    flux: ArrayLike = 1.0
    """Nutrient per second pushed from one food towards another; less where the cell holds less."""
    saturation: ArrayLike = 5.0
    """Flow, in multiples of `flux`, at which growth is half its most. Large: a tree; small: many loops."""
    growth: ArrayLike = 1.0
    """Per second, how fast conductance follows its flow."""
    decay: ArrayLike = 0.5
    """Per second, decay of the conductance of a new tube; half of that for one past `maturity`."""
    maturity: ArrayLike = 30.0
    """Age in seconds at which a tube is as stable as it gets."""
    infancy: ArrayLike = 3.0
    """Age in seconds up to which a tube is not pruned."""
    prune: ArrayLike = 0.02
    """Conductance below which a tube goes."""
    pulse: ArrayLike = 1.0
    """Natural frequency of the pulse, rad/s."""
    entrainment: ArrayLike = 2.0
    """Coupling of the pulses of cells joined by a tube, 1/s."""


class Organism(NamedTuple):
    """Pool of N cells and M tubes, and F foods. Padding: masks false, tubes from cell 0 to itself."""

    position: Float[Array, "N 3"]
    nutrient: Float[Array, "N"]
    """What each cell holds; a food fills its cell up to 1."""
    phase: Float[Array, "N"]
    """Of the pulse, radians."""
    pressure: Float[Array, "N"]
    """Of the last solve: the next one's warm start."""
    cell_mask: Bool[Array, "N"]
    tail: Int32[Array, "M"]
    head: Int32[Array, "M"]
    conductance: Float[Array, "M"]
    """Conductivity: conductance times length. Thickness is its fourth root (Hagen-Poiseuille)."""
    flow: Float[Array, "M"]
    """Of the last step, positive from tail to head."""
    age: Float[Array, "M"]
    tube_mask: Bool[Array, "M"]
    food_position: Float[Array, "F 3"]
    food_value: Float[Array, "F"]
    """In [0, 1]; 0 on padding."""
    food_cell: Int32[Array, "F"]
    """The cell that sits on it, or NOWHERE."""


def plant(
    origin: Float[ArrayLike, "3"],
    food_position: Float[ArrayLike, "F 3"],
    food_value: Float[ArrayLike, "F"],
    *,
    cells: int = MAX_CELLS,
    tubes: int = MAX_TUBES,
) -> Organism:
    """One cell at `origin`, full, and the foods around it (value 0: a place kept free).

    Raises ValueError for a pool too small to grow in, or foods of another shape.
    """
    if cells < 2 or tubes < 1:
        raise ValueError(f"an organism needs room for 2 cells and 1 tube, got {cells} and {tubes}")
    where, value = as_float(food_position), as_float(food_value)
    if not value.shape[0] or where.shape != (value.shape[0], 3):
        raise ValueError(
            "foods need positions [F, 3] and values [F], F >= 1; "
            f"got {list(where.shape)} and {list(value.shape)}"
        )
    kind = where.dtype
    cell, tube = jnp.zeros(cells, kind), jnp.zeros(tubes, kind)
    ends = jnp.zeros(tubes, jnp.int32)
    return Organism(
        jnp.zeros((cells, 3), kind).at[0].set(jnp.asarray(origin, kind)),
        cell.at[0].set(1.0),
        cell,
        cell,
        jnp.zeros(cells, bool).at[0].set(True),
        ends,
        ends,
        tube,
        tube,
        tube,
        jnp.zeros(tubes, bool),
        where,
        jnp.clip(value.astype(kind), 0.0, 1.0),
        jnp.full(value.shape, NOWHERE, jnp.int32),
    )


@jax.jit
def thickness(s: Organism) -> Float[Array, "M"]:
    """Radius of each tube, for display: conductance^(1/4), 0 where there is none."""
    there = s.tube_mask & (s.conductance > 0.0)
    return jnp.where(there, jnp.where(there, s.conductance, 1.0) ** 0.25, 0.0)


def degree(s: Organism) -> Int32[Array, "N"]:
    """Tubes at each cell."""
    used = s.tube_mask.astype(jnp.int32)
    return jnp.zeros(s.cell_mask.shape, jnp.int32).at[s.tail].add(used).at[s.head].add(used)


def as_complex(s: Organism) -> SimplicialComplex:
    """The body as a graph; triangles play no part in a flow."""
    none = jnp.zeros((0, 3), jnp.int32)
    component = component_labels(s.tail, s.head, s.tube_mask, s.cell_mask.shape[0])
    return SimplicialComplex(
        s.tail,
        s.head,
        s.tube_mask,
        none,
        none,
        none.astype(jnp.int8),
        jnp.zeros(0, bool),
        s.cell_mask,
        component,
    )
