"""What crosses one tick of the law: parameters, memory, observation and report.

Four frozen PyTrees with fixed shapes (``Capacity``), so that a join, a departure or a partition changes
masks and numbers but never a shape, and a compiled step is compiled once:

* ``Params``: what tuning may change; scalars, each with its unit.
* ``State``: what the next tick needs, and no more.
* ``Observation``: one consistent look at the neighbourhood, made on the host.
* ``Info``: what a person, a metric or the daemon reads from the tick.

The state crosses as twelve arrays, since each one costs at every call. Inside the step it is ``Memory``, the
same numbers under their names.

Letters: V vertices, E edges, T triangles, D belief dimensions, S senses, I instructions (all padded to the
capacity), N prediction errors remembered.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from shivya_kernels import prediction
from shivya_kernels.cells import Cells
from shivya_kernels.growth import RECENT, GrowthState
from shivya_kernels.info import Info
from shivya_kernels.morphic import Program
from shivya_kernels.observation import Observation
from shivya_kernels.params import Params, float_dtype

__all__ = ["Info", "Memory", "Observation", "Params", "State", "float_dtype", "pack", "unpack"]

_FREE_ENERGY, _ACTIVATOR, _INHIBITOR, _REFRACTORY, _IDLE, _ENERGIES = range(6)
"""Columns of ``State.vertex``; the recent free energies take the rest."""

_KNOWN, _STAGE, _ACTION, _SEEN, _TRIAL, _REST = range(6)
"""Columns of ``State.marks``."""

_ERRORS = prediction.LAGS + 1
"""First row of ``State.memory`` that is a prediction error; recent senses and their slow mean come before."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """What the next tick needs, packed; made by ``step.init``, replaced by ``step.step``."""

    key: PRNGKeyArray
    """Random key, split at each tick."""
    tick: Int[Array, ""]
    """Ticks made so far."""
    mean: Float[Array, "V D"]
    """Posterior mean of each vertex's belief."""
    covariance: Float[Array, "V D D"]
    """Its covariance."""
    vertex: Float[Array, "V 8"]
    """Free energy, activator, inhibitor, refractory and idle seconds, the last three free energies."""
    marks: Int[Array, "V 6"]
    """Known, stage of the cell, action, errors seen, dimension on trial, rest."""
    memory: Float[Array, "V M S"]
    """The last four senses, their slow mean, and a ring of prediction errors."""
    coupling: Float[Array, "V S D"]
    """Columns of the grown dimensions."""
    thickness: Float[Array, "E"]
    """Thickness of each link, in [1, 2)."""
    circulation: Float[Array, "T"]
    """Last curl potential: the warm start of the next curl solve."""
    code: Int[Array, "S I+1 3"]
    """Program that predicts each sense; its length stands in the row after the last instruction."""
    constants: Float[Array, "S I"]
    """Constants of the programs."""

    @property
    def known(self) -> Bool[Array, "V"]:
        """The slot held a belief at the end of the last tick."""
        return self.marks[..., _KNOWN] != 0

    @property
    def laws(self) -> Program:
        """The program of each sense, stacked [S]."""
        return Program(self.code[..., :-1, :], self.constants, self.code[..., -1, 0])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Memory:
    """A ``State`` unpacked. Fields of the same name are the same."""

    key: PRNGKeyArray
    tick: Int[Array, ""]
    mean: Float[Array, "V D"]
    covariance: Float[Array, "V D D"]
    known: Bool[Array, "V"]
    """The slot held a belief at the end of the last tick."""
    free_energy: Float[Array, "V"]
    """Free energy (nats) of each vertex at its latest observation, 0 before the first."""
    activator: Float[Array, "V"]
    """u of the form."""
    inhibitor: Float[Array, "V"]
    """v of the form."""
    action: Int[Array, "V"]
    """``policy.Action`` in force."""
    cells: Cells
    """Stages and clocks of this node's cells."""
    growth: GrowthState
    """Grown dimensions, and what decides about them."""
    history: prediction.Memory
    """What was sensed of late."""
    thickness: Float[Array, "E"]
    circulation: Float[Array, "T"]
    laws: Program
    """Program that predicts each sense, stacked [S]."""


def unpack(state: State) -> Memory:
    """The numbers of a state under their names."""
    vertex, marks, memory = state.vertex, state.marks, state.memory
    return Memory(
        key=state.key,
        tick=state.tick,
        mean=state.mean,
        covariance=state.covariance,
        known=state.known,
        free_energy=vertex[:, _FREE_ENERGY],
        activator=vertex[:, _ACTIVATOR],
        inhibitor=vertex[:, _INHIBITOR],
        action=marks[:, _ACTION],
        cells=Cells(marks[:, _STAGE].astype(jnp.int8), vertex[:, _REFRACTORY], vertex[:, _IDLE]),
        growth=GrowthState(
            errors=memory[:, _ERRORS:],
            energies=vertex[:, _ENERGIES : _ENERGIES + RECENT],
            coupling=state.coupling,
            seen=marks[:, _SEEN],
            trial=marks[:, _TRIAL],
            rest=marks[:, _REST],
        ),
        history=prediction.Memory(
            jnp.moveaxis(memory[:, : prediction.LAGS], 1, 0), memory[:, prediction.LAGS]
        ),
        thickness=state.thickness,
        circulation=state.circulation,
        laws=state.laws,
    )


def pack(memory: Memory) -> State:
    """The inverse of ``unpack``."""
    m, dtype = memory, memory.mean.dtype
    singles = (m.free_energy, m.activator, m.inhibitor, m.cells.refractory, m.cells.idle)
    marks = (m.known, m.cells.stage, m.action, m.growth.seen, m.growth.trial, m.growth.rest)
    ends = jnp.zeros((m.laws.code.shape[0], 1, 3), jnp.int32).at[:, 0, 0].set(m.laws.length)
    return State(
        key=m.key,
        tick=m.tick,
        mean=m.mean,
        covariance=m.covariance,
        vertex=jnp.concatenate([jnp.stack(singles, axis=1), m.growth.energies], axis=1).astype(dtype),
        marks=jnp.stack([mark.astype(jnp.int32) for mark in marks], axis=1),
        memory=jnp.concatenate(
            [jnp.moveaxis(m.history.recent, 0, 1), m.history.slow[:, None], m.growth.errors], axis=1
        ),
        coupling=m.growth.coupling,
        thickness=m.thickness,
        circulation=m.circulation,
        code=jnp.concatenate([m.laws.code, ends], axis=1),
        constants=m.laws.constants,
    )
