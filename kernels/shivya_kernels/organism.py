"""The organism: a slime mould that grows towards food and keeps the tubes that carry something (Physarum).

Cells and tubes live in a padded pool with positions in space. ``explore`` lets tips grow, branch and fuse;
``step`` moves nutrient, adapts tubes, prunes and pulses. Flow is that of Tero et al. 2010: each step one
food, drawn at random, is pushed towards another, while every cell shares its surplus; conductance follows by
``conductance.Sigmoid`` with the exponent, and the flux, that gave them the railways of Tokyo.

Nutrient is a quantity, not a pressure: pressure is what the Laplacian solve returns. Nutrient moves by the
solve's sources, which sum to zero over a body, so that

    total after = total before + intake - upkeep - dissolved

holds to rounding whatever the solver's tolerance, and no cell goes negative. A cell that grows gives half of
what it holds to its child; a tip that withdraws gives all of it back.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, UInt32

from shivya_kernels.body import Organism, Params, as_complex, degree
from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.conductance import Sigmoid, potential_flow
from shivya_kernels.laplacian import remove_mean
from shivya_kernels.shapes import as_float
from shivya_kernels.status import Status, flag

MAX_SPROUTS = 64
"""Most tips that grow in one call of ``explore``; the others wait."""

_RESPONSE = Sigmoid(1.15)
_TOLERANCE = 1e-3
"""Of the flow, relative; what adapts to it needs no more, and what conserves does not look at it."""
_SHORTEST = 1e-6


class ExploreInfo(NamedTuple):
    """What grew."""

    cells: Int32[Array, ""]
    """New cells."""
    fusions: Int32[Array, ""]
    """New tubes between cells that were there."""
    deferred: Int32[Array, ""]
    """Sprouts beyond MAX_SPROUTS; they may try again."""
    refused: Int32[Array, ""]
    """Sprouts for which the pool had no cell or tube left; OVERFLOW is set."""
    found: Int32[Array, ""]
    """Foods reached."""
    status: UInt32[Array, ""]


class StepInfo(NamedTuple):
    """Where nutrient came from and went, and what was pruned."""

    intake: Float[Array, ""]
    upkeep: Float[Array, ""]
    dissolved: Float[Array, ""]
    """Nutrient of cells that were left alone and dissolved."""
    pruned: Int32[Array, ""]
    withdrawn: Int32[Array, ""]
    """Cells that are gone, withdrawn or dissolved."""
    iterations: Int32[Array, ""]
    status: UInt32[Array, ""]


@jax.jit
def explore(s: Organism, key: PRNGKeyArray, params: Params | None = None) -> tuple[Organism, ExploreInfo]:
    """Let fed cells sprout, each with a new cell or into an old one: tips, and rarely those of two tubes.

    Growth heads up the scent of foods that the cell's body has not reached, away from where the cell came
    from, and by chance. Nutrient is conserved: a child gets half of its parent's.
    """
    params = params or Params()
    n, m = s.cell_mask.shape[0], s.tube_mask.shape[0]
    drawn, wandering = jax.random.split(key)
    luck = jax.random.uniform(drawn, (n,), s.nutrient.dtype)
    tubes = degree(s)
    # Luck is spread over [0, 1] for a tip and over [0, 1 / branching] for a cell along a tube.
    luck = jnp.where(tubes < 2, luck, luck / params.branching)
    frontier = s.cell_mask & (tubes < 3) & (s.nutrient >= params.least_nutrient)
    willing = frontier & (luck < params.exploration)
    sprouts = min(MAX_SPROUTS, n)
    order, parent = jax.lax.top_k(jnp.where(willing, -luck, -jnp.inf), sprouts)
    tries = jnp.isfinite(order)

    tip = s.position[parent] + params.stride * _direction(s, parent, wandering, params)
    near, gap = _nearest(s, tip, parent)
    fusing = tries & (gap < params.fuse)
    fresh = fusing & ~_joined(s, parent, near) & ~_twice(parent, near, fusing)
    growing = tries & ~fusing
    # The k-th sprout that needs a slot takes the k-th free one; beyond the last, index n or m is out of range
    # and a scatter drops it.
    cell_of = _kth_free(s.cell_mask, growing)
    tube_of = _kth_free(s.tube_mask, growing & (cell_of < n) | fresh)
    growing_now, fresh_now = growing & (cell_of < n) & (tube_of < m), fresh & (tube_of < m)
    cell = jnp.where(growing_now, cell_of, n)
    made = growing_now | fresh_now
    tube = jnp.where(made, tube_of, m)

    half = jnp.where(growing_now, 0.5 * s.nutrient[parent], 0.0)
    grown = s._replace(
        position=s.position.at[cell].set(tip, mode="drop"),
        nutrient=s.nutrient.at[parent].add(-half).at[cell].set(half, mode="drop"),
        phase=s.phase.at[cell].set(s.phase[parent], mode="drop"),
        pressure=s.pressure.at[cell].set(s.pressure[parent], mode="drop"),
        cell_mask=s.cell_mask.at[cell].set(True, mode="drop"),
        tail=s.tail.at[tube].set(parent.astype(jnp.int32), mode="drop"),
        head=s.head.at[tube].set(jnp.where(growing_now, cell, near).astype(jnp.int32), mode="drop"),
        conductance=s.conductance.at[tube].set(1.0, mode="drop"),
        flow=s.flow.at[tube].set(0.0, mode="drop"),
        age=s.age.at[tube].set(0.0, mode="drop"),
        tube_mask=s.tube_mask.at[tube].set(True, mode="drop"),
    )
    grown, found = _claim(grown, params)
    refused = (growing & ~growing_now).sum() + (fresh & ~fresh_now).sum()
    return grown, ExploreInfo(
        growing_now.sum(),
        fresh_now.sum(),
        willing.sum() - tries.sum(),
        refused,
        found,
        flag(refused > 0, Status.OVERFLOW),
    )


@jax.jit
def step(
    s: Organism,
    key: PRNGKeyArray,
    dt: ArrayLike,
    params: Params | None = None,
    max_iterations: ArrayLike = 300,
) -> tuple[Organism, StepInfo]:
    """Feed, flow, adapt, prune and pulse for `dt` seconds (at most 1/sharing, so that nothing overshoots).

    `max_iterations` bounds the solve; NOT_CONVERGED then says that flows are approximate. Nutrient is not.
    """
    params = params or Params()
    h = as_float(dt).astype(s.nutrient.dtype)
    fed, intake = _feed(s, h, params)
    spent = fed.nutrient * jnp.clip(params.upkeep * h, 0.0, 1.0)
    fed = fed._replace(nutrient=fed.nutrient - spent)
    c = as_complex(fed)
    sources = _sources(fed, c, key, h, params)
    far = jnp.linalg.norm(fed.position[fed.head] - fed.position[fed.tail], axis=1)
    weights = jnp.where(fed.tube_mask, fed.conductance / jnp.maximum(far, _SHORTEST), 0.0)
    solved = potential_flow(
        weights, c, sources, start=fed.pressure, tolerance=_TOLERANCE, max_iterations=max_iterations
    )
    ageing = jnp.clip(fed.age / params.maturity, 0.0, 1.0)
    lost = params.decay * (1.0 - 0.5 * ageing) * fed.conductance
    gained = params.growth * _RESPONSE(jnp.abs(solved.flow) / (params.flux * params.saturation))
    adapted = fed._replace(
        nutrient=jnp.where(fed.cell_mask, fed.nutrient - h * sources, 0.0),
        pressure=solved.pressure,
        flow=solved.flow,
        conductance=jnp.where(fed.tube_mask, jnp.maximum(fed.conductance + h * (gained - lost), 0.0), 0.0),
        age=jnp.where(fed.tube_mask, fed.age + h, 0.0),
        phase=_pulse(fed, h, params),
    )
    after, pruned, withdrawn, dissolved = _prune(adapted, params)
    info = solved.info
    return after, StepInfo(intake, spent.sum(), dissolved, pruned, withdrawn, info.iterations, info.status)


def _unit(vectors: Float[Array, "*K 3"]) -> Float[Array, "*K 3"]:
    size = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / jnp.maximum(size, _SHORTEST)


def _direction(
    s: Organism, parent: Int32[Array, "K"], key: PRNGKeyArray, params: Params
) -> Float[Array, "K 3"]:
    """Unit vectors: scent of the foods that its body has not reached, plus momentum, plus chance."""
    here = s.position[parent]
    to_food = s.food_position[None] - here[:, None]
    away = jnp.linalg.norm(to_food, axis=2)
    component = as_complex(s).component
    reached = (s.food_cell >= 0) & (component[s.food_cell] == component[parent][:, None])
    strength = jnp.where(reached, 0.0, s.food_value) * jnp.exp(-away / params.scent)
    # Relative to the strongest, so that a far food draws as straight as a near one.
    strength = strength / jnp.maximum(strength.max(axis=1, keepdims=True, initial=0.0), 1e-30)
    scent = _unit((strength[:, :, None] * _unit(to_food)).sum(axis=1))
    # Momentum: away from the neighbours that the tubes lead to.
    used = jnp.where(s.tube_mask, 1.0, 0.0)[:, None]
    along = used * _unit(s.position[s.head] - s.position[s.tail])
    outward = jnp.zeros_like(s.position).at[s.head].add(along).at[s.tail].add(-along)[parent]
    chance = _unit(jax.random.normal(key, here.shape, here.dtype))
    return _unit(scent + 0.5 * _unit(outward) + params.boldness * chance)


def _nearest(
    s: Organism, points: Float[Array, "K 3"], but: Int32[Array, "K"]
) -> tuple[Int32[Array, "K"], Float[Array, "K"]]:
    """The cell nearest to each point, other than the one named, and its distance."""
    square = ((points[:, None] - s.position[None]) ** 2).sum(axis=2)
    square = jnp.where(s.cell_mask, square, jnp.inf).at[jnp.arange(points.shape[0]), but].set(jnp.inf)
    near = jnp.argmin(square, axis=1).astype(jnp.int32)
    return near, jnp.sqrt(square.min(axis=1))


def _joined(s: Organism, u: Int32[Array, "K"], v: Int32[Array, "K"]) -> Bool[Array, "K"]:
    """Whether a tube joins u and v already."""
    there = (s.tail == u[:, None]) & (s.head == v[:, None]) | (s.tail == v[:, None]) & (s.head == u[:, None])
    return (there & s.tube_mask).any(axis=1)


def _twice(u: Int32[Array, "K"], v: Int32[Array, "K"], valid: Bool[Array, "K"]) -> Bool[Array, "K"]:
    """Whether an earlier sprout joins the same two cells from the other side."""
    same = (u[:, None] == v) & (v[:, None] == u) & valid
    return jnp.tril(same, -1).any(axis=1)


def _kth_free(taken: Bool[Array, "N"], wants: Bool[Array, "K"]) -> Int32[Array, "K"]:
    """A free slot for each that wants one, or N; each slot once."""
    free = jnp.nonzero(~taken, size=wants.shape[0], fill_value=taken.shape[0])[0]
    return free[jnp.maximum(jnp.cumsum(wants) - 1, 0)].astype(jnp.int32)


def _claim(s: Organism, params: Params) -> tuple[Organism, Int32[Array, ""]]:
    """Foods within reach are found by their nearest cell."""
    near, gap = _nearest(s, s.food_position, jnp.full(s.food_cell.shape, s.cell_mask.shape[0]))
    found = (s.food_cell < 0) & (s.food_value > 0.0) & (gap <= params.reach)
    return s._replace(food_cell=jnp.where(found, near, s.food_cell)), found.sum()


def _feed(s: Organism, h: Float[Array, ""], params: Params) -> tuple[Organism, Float[Array, ""]]:
    """Foods fill their cells towards 1, the richer the faster."""
    n = s.cell_mask.shape[0]
    cell = jnp.where(s.food_cell < 0, n, s.food_cell)
    rate = jnp.zeros(n, s.nutrient.dtype).at[cell].add(s.food_value, mode="drop")
    share = jnp.clip(params.feeding * h * rate, 0.0, 1.0)
    eaten = jnp.where(s.cell_mask, share * jnp.maximum(1.0 - s.nutrient, 0.0), 0.0)
    return s._replace(nutrient=s.nutrient + eaten), eaten.sum()


def _sources(
    s: Organism, c: SimplicialComplex, key: PRNGKeyArray, h: Float[Array, ""], params: Params
) -> Float[Array, "N"]:
    """Nutrient per second that leaves each cell: its surplus over the body's mean, and the push from one
    found food to another of the same body, drawn with chances by their values."""
    share = jnp.clip(params.sharing * h, 0.0, 1.0) / jnp.where(h > 0.0, h, 1.0)
    surplus = share * remove_mean(c, s.nutrient)
    left = s.nutrient - h * surplus
    giver, taker = jax.random.split(key)
    value = jnp.where(s.food_cell < 0, 0.0, s.food_value)
    first = jax.random.categorical(giver, jnp.log(value))
    origin = s.food_cell[first]
    others = (s.food_cell != origin) & (c.component[s.food_cell] == c.component[origin])
    second = jax.random.categorical(taker, jnp.log(jnp.where(others, value, 0.0)))
    there = (value > 0.0).any() & (others & (value > 0.0)).any()
    pushed = jnp.where(there, jnp.minimum(params.flux, left[origin] / jnp.where(h > 0.0, h, 1.0)), 0.0)
    return surplus.at[origin].add(pushed).at[s.food_cell[second]].add(-pushed)


def _pulse(s: Organism, h: Float[Array, ""], params: Params) -> Float[Array, "N"]:
    """Kuramoto along tubes: theta' = omega + K / degree sum sin(neighbour - theta), one Euler step."""
    pull = jnp.where(s.tube_mask, jnp.sin(s.phase[s.head] - s.phase[s.tail]), 0.0)
    total = jnp.zeros_like(s.phase).at[s.tail].add(pull).at[s.head].add(-pull)
    theta = s.phase + h * (params.pulse + params.entrainment * total / jnp.maximum(degree(s), 1))
    return jnp.where(s.cell_mask, theta - 2.0 * jnp.pi * jnp.round(theta / (2.0 * jnp.pi)), 0.0)


def _prune(
    s: Organism, params: Params
) -> tuple[Organism, Int32[Array, ""], Int32[Array, ""], Float[Array, ""]]:
    """Thin tubes go. A tip whose tube goes withdraws into the other end; a cell left alone and starved
    dissolves. A cell on a food stays."""
    n = s.cell_mask.shape[0]
    thin = s.tube_mask & (s.conductance < params.prune) & (s.age > params.infancy)
    seated = jnp.zeros(n, bool).at[jnp.where(s.food_cell < 0, n, s.food_cell)].set(True, mode="drop")
    tip = (degree(s) == 1) & ~seated
    from_tail, from_head = thin & tip[s.tail] & ~tip[s.head], thin & tip[s.head] & ~tip[s.tail]
    leaving = jnp.where(from_tail, s.tail, jnp.where(from_head, s.head, n))
    staying = jnp.where(from_tail, s.head, s.tail)
    carried = jnp.where(leaving < n, s.nutrient[jnp.minimum(leaving, n - 1)], 0.0)
    nutrient = s.nutrient.at[staying].add(carried).at[leaving].set(0.0, mode="drop")
    mask = s.cell_mask.at[leaving].set(False, mode="drop")
    trimmed = s._replace(
        nutrient=nutrient,
        cell_mask=mask,
        tube_mask=s.tube_mask & ~thin,
        tail=jnp.where(thin, 0, s.tail),
        head=jnp.where(thin, 0, s.head),
        conductance=jnp.where(thin, 0.0, s.conductance),
        flow=jnp.where(thin, 0.0, s.flow),
        age=jnp.where(thin, 0.0, s.age),
    )
    alone = mask & (degree(trimmed) == 0) & ~seated & (nutrient < params.least_nutrient)
    dissolved = jnp.where(alone, nutrient, 0.0).sum()
    kept = mask & ~alone
    after = trimmed._replace(
        cell_mask=kept,
        nutrient=jnp.where(kept, nutrient, 0.0),
        pressure=jnp.where(kept, s.pressure, 0.0),
        phase=jnp.where(kept, s.phase, 0.0),
    )
    return after, thin.sum(), (s.cell_mask & ~kept).sum(), dissolved
