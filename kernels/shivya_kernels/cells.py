"""The life of a node's cells: the hot split, the idle go, and no job is lost (the seeds' MitosisEngine and
ApoptosisEngine).

Cells live in slots of fixed number: a split fills a free slot and a cull empties one, so masks change and
shapes never do. A slot is FREE, ACTIVE (takes work) or DRAINING (takes none, hands over what it holds, and is
free once it holds nothing). Each tick at most one cell splits and at most one starts to drain.

Three departures from the seeds, whose idle mesh splits until its pool is full and never culls: a split shares
the activator between both cells in place of copying it; who has split waits before it may again; and as the
kinetics never take an activator below a/b, which with the default parameters is above the threshold for
culling, the one cell that has been idle longest *withers*: its activator decays faster until it is culled.

All arrays have one length N, the slots; `own` says which of them are this node's cells to grow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Int8, Int32

from shivya_kernels.complex import NO_VERTEX
from shivya_kernels.shapes import as_float

LEAST_ACTIVE = 3
"""A node that has reached this many active cells never falls below it again."""


class Stage(IntEnum):
    """What a slot holds."""

    FREE = 0
    ACTIVE = 1
    DRAINING = 2


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rules:
    """When cells split and go. Scalars, floats or arrays."""

    split_above: ArrayLike = 2.0
    """Activator above which a cell splits."""
    asymmetry: ArrayLike = 0.01
    """Activator by which the two halves of a split differ from the middle, one up, one down."""
    refractory_seconds: ArrayLike = 10.0
    """Time after a split, or a time of withering, in which a cell does not split."""
    cull_below: ArrayLike = 0.05
    """Activator below which a cell may be culled."""
    utility_below: ArrayLike = 5.0
    """Free-energy utility (nats) below which a cell may be culled: nothing surprises it."""
    patience_seconds: ArrayLike = 60.0
    """Time without work after which a cell may wither."""
    withering: ArrayLike = 10.0
    """Factor on the activator's decay in a withering cell."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cells:
    """What is remembered of the slots from tick to tick."""

    stage: Int8[Array, "N"]
    """A ``Stage`` each."""
    refractory: Float[Array, "N"]
    """Seconds until the cell may split."""
    idle: Float[Array, "N"]
    """Seconds since the cell last held a job."""

    @property
    def active(self) -> Bool[Array, "N"]:
        """The cells that take work."""
        return self.stage == Stage.ACTIVE

    @property
    def draining(self) -> Bool[Array, "N"]:
        """The cells that take none and still hold some."""
        return self.stage == Stage.DRAINING


class Division(NamedTuple):
    """A split, or none."""

    parent: Int32[Array, ""]
    """Slot that split, NO_VERTEX if none did."""
    child: Int32[Array, ""]
    """Slot that was filled, NO_VERTEX if none was."""
    source: Int32[Array, "N"]
    """Where each slot's belief, program and dimensions are to be taken from: ``values[source]``."""
    activator: Float[Array, "N"]
    """Shared between parent and child; the sum is unchanged but for what a free slot held."""
    inhibitor: Float[Array, "N"]
    """The child's is its parent's: both are held back alike."""


class Development(NamedTuple):
    """What one tick did to the slots."""

    division: Division
    drained: Int32[Array, ""]
    """Slot that began to drain, NO_VERTEX if none did."""
    culled: Bool[Array, "N"]
    """Slots that became free: their workers may stop, their belief and program be kept elsewhere."""


def founded(active: Bool[ArrayLike, "N"]) -> Cells:
    """Cells as they are when a node starts: the given slots active, the others free."""
    alive = jnp.asarray(active, bool)
    clock = jnp.zeros(alive.shape, float)
    return Cells(jnp.where(alive, Stage.ACTIVE, Stage.FREE).astype(jnp.int8), clock, clock)


@jax.jit
def develop(
    rules: Rules,
    cells: Cells,
    activator: Float[Array, "N"],
    inhibitor: Float[Array, "N"],
    utility: Float[Array, "N"],
    backlog: Float[Array, "N"],
    own: Bool[Array, "N"],
    protected: Bool[Array, "N"],
    dt: ArrayLike,
    uniform: ArrayLike,
) -> tuple[Cells, Development]:
    """One tick of dt seconds: clocks, then at most one split, one start of draining, and what is empty goes.

    `backlog` is the jobs a slot holds or has been sent, `utility` its free energy in nats, `protected` never
    drain (the node's first cell). `uniform` in [0, 1) decides which half of a split is the larger. A slot
    freed now is filled at the next tick at the earliest, when its worker has been told.
    """
    cells = age(rules, cells, backlog, own, protected, dt)
    cells, division = mitosis(rules, cells, activator, inhibitor, backlog, own, uniform)
    cells, drained, culled = apoptosis(rules, cells, division.activator, utility, backlog, own, protected)
    return cells, Development(division, drained, culled)


@jax.jit
def age(
    rules: Rules,
    cells: Cells,
    backlog: Float[Array, "N"],
    own: Bool[Array, "N"],
    protected: Bool[Array, "N"],
    dt: ArrayLike,
) -> Cells:
    """The clocks after dt seconds.

    A withering cell becomes refractory: should work come back to it, its activator overshoots on recovery.
    """
    passed = cells.refractory - dt
    refractory = jnp.where(withering(rules, cells, own, protected), rules.refractory_seconds, passed)
    idle = jnp.where(cells.active & (backlog <= 0.0), cells.idle + dt, 0.0)
    return replace(cells, refractory=jnp.maximum(refractory, 0.0), idle=idle)


@jax.jit
def withering(
    rules: Rules, cells: Cells, own: Bool[Array, "N"], protected: Bool[Array, "N"]
) -> Bool[Array, "N"]:
    """The one cell that has been idle longest, beyond patience, and can be spared; the first of several.

    One at a time: cells that withered together and were then kept would recover together, and overshoot.
    """
    free_to_go = _expendable(cells, own, protected) & (cells.idle > rules.patience_seconds)
    return _one_hot(cells.idle, free_to_go)


@jax.jit
def activator_decay(
    rules: Rules, cells: Cells, own: Bool[Array, "N"], protected: Bool[Array, "N"], decay: ArrayLike
) -> Float[Array, "N"]:
    """The activator's decay b per slot, for ``morphogen.advance``: faster where a cell withers."""
    return as_float(decay) * jnp.where(withering(rules, cells, own, protected), rules.withering, 1.0)


@jax.jit
def mitosis(
    rules: Rules,
    cells: Cells,
    activator: Float[Array, "N"],
    inhibitor: Float[Array, "N"],
    backlog: Float[Array, "N"],
    own: Bool[Array, "N"],
    uniform: ArrayLike,
) -> tuple[Cells, Division]:
    """The hottest active cell above the threshold splits into the first free slot, if there is one.

    Both halves are refractory afterwards. The child starts without jobs: the flow shares them out.
    """
    u, v = as_float(activator), as_float(inhibitor)
    hot = own & cells.active & (u > rules.split_above) & (cells.refractory <= 0.0)
    # A slot that is free and yet holds jobs is the host's mistake; filling it would hide them.
    room = own & (cells.stage == Stage.FREE) & (backlog <= 0.0)
    happens = hot.any() & room.any()
    splits = _one_hot(u, hot) & happens
    born = _one_hot(jnp.zeros_like(u), room) & happens
    both = splits | born
    parent, child = jnp.argmax(splits).astype(jnp.int32), jnp.argmax(born).astype(jnp.int32)
    half = 0.5 * u[parent] + jnp.where(jnp.asarray(uniform) < 0.5, -1.0, 1.0) * rules.asymmetry
    # The rest, not the other half: the two sum to what there was.
    shared = jnp.where(born, half, jnp.where(splits, u - half, u))
    division = Division(
        jnp.where(happens, parent, NO_VERTEX),
        jnp.where(happens, child, NO_VERTEX),
        jnp.where(born, parent, jnp.arange(u.shape[0], dtype=jnp.int32)),
        shared,
        jnp.where(born, v[parent], v),
    )
    after = Cells(
        jnp.where(born, jnp.int8(Stage.ACTIVE), cells.stage),
        jnp.where(both, rules.refractory_seconds, cells.refractory),
        jnp.where(both, 0.0, cells.idle),
    )
    return after, division


@jax.jit
def apoptosis(
    rules: Rules,
    cells: Cells,
    activator: Float[Array, "N"],
    utility: Float[Array, "N"],
    backlog: Float[Array, "N"],
    own: Bool[Array, "N"],
    protected: Bool[Array, "N"],
) -> tuple[Cells, Int32[Array, ""], Bool[Array, "N"]]:
    """The quietest cell below both thresholds starts to drain, and draining cells that hold nothing go.

    Returns the cells, the slot that began to drain (NO_VERTEX if none did), and the slots that became free.
    A cell drains for at least one tick, so that a job sent before its neighbours knew is still seen.
    """
    u = as_float(activator)
    quiet = (u < rules.cull_below) & (utility < rules.utility_below)
    leaving = _one_hot(-u, _expendable(cells, own, protected) & quiet)
    culled = own & cells.draining & (backlog <= 0.0)
    stage = jnp.where(leaving, jnp.int8(Stage.DRAINING), cells.stage)
    after = replace(cells, stage=jnp.where(culled, jnp.int8(Stage.FREE), stage))
    drained = jnp.where(leaving.any(), jnp.argmax(leaving), NO_VERTEX).astype(jnp.int32)
    return after, drained, culled


@jax.jit
def drain(
    cells: Cells,
    waiting: Float[Array, "N"],
    service_rate: Float[Array, "N"],
    own: Bool[Array, "N"],
    uniform: ArrayLike,
    *,
    limit: ArrayLike = 64,
) -> Int[Array, "N"]:
    """How many whole jobs each slot gains (positive) or hands over (negative); the sum is zero.

    Draining cells give away what waits there (jobs), `limit` each at most. The node's active cells get it in
    proportion to their service rates (jobs/s), rounded jointly by systematic sampling with one `uniform` in
    [0, 1) (Madow, Madow 1944). Where no active cell serves, nothing moves and the jobs stay safe.
    """
    given = jnp.where(own & cells.draining, jnp.minimum(jnp.floor(as_float(waiting)), limit), 0.0)
    offer = jnp.where(own & cells.active & (service_rate > 0.0), service_rate, 0.0)
    reached = jnp.cumsum(offer)
    given = jnp.where(reached[-1] > 0.0, jnp.maximum(given, 0.0), 0.0)
    total = given.sum()
    running = total * (reached / jnp.where(reached[-1] > 0.0, reached[-1], 1.0))
    marks = jnp.minimum(jnp.floor(running + uniform), total)
    # Both ends are set: a quotient or a uniform rounded up or down would make or lose a job there.
    marks = jnp.where(reached <= 0.0, 0.0, jnp.where(reached >= reached[-1], total, marks))
    return (jnp.diff(marks, prepend=0.0) - given).astype(jnp.int32)


@jax.jit
def inherited_links(
    weights: Float[Array, "N N"], division: Division, active: Bool[Array, "N"], kinship: ArrayLike = 1.0
) -> Float[Array, "N N"]:
    """A symmetric matrix of link weights after a split: the child has its parent's links and one to it.

    `active` are the slots that have links at all; the rows and columns of others are zero. `kinship` is the
    weight of the link between parent and child.
    """
    n = weights.shape[0]
    copied = as_float(weights)[division.source][:, division.source]
    slot = jnp.arange(n)
    parent, child = slot == division.parent, slot == division.child
    kin = (parent[:, None] & child[None, :]) | (child[:, None] & parent[None, :])
    joined = jnp.where(kin, kinship, copied)
    return jnp.where(active[:, None] & active[None, :] & ~jnp.eye(n, dtype=bool), joined, 0.0)


def _expendable(cells: Cells, own: Array, protected: Array) -> Bool[Array, "N"]:
    """Active cells that may go: never so many that fewer than LEAST_ACTIVE stay."""
    active = own & cells.active
    return active & ~protected & (active.sum() > LEAST_ACTIVE)


def _one_hot(score: Float[Array, "N"], eligible: Bool[Array, "N"]) -> Bool[Array, "N"]:
    """The eligible slot with the highest score, the first of several; nobody where nobody is eligible."""
    best = jnp.argmax(jnp.where(eligible, score, -jnp.inf))
    return eligible & (jnp.arange(score.shape[0]) == best)
