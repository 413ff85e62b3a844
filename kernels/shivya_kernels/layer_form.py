"""L4 of a tick: which cells are under stress, and so split, and which are not needed, and so go."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from shivya_kernels import cells, morphogen
from shivya_kernels.cells import Cells, Development, Stage
from shivya_kernels.layer_believe import Believed
from shivya_kernels.observation import Observation
from shivya_kernels.params import Params
from shivya_kernels.state import Memory

_SUBSTEPS = 32

Tree = TypeVar("Tree")


class Formed(NamedTuple):
    """What L4 found. Fields as in ``Info``."""

    stress: Float[Array, "V"]
    development: Development
    drain: Int[Array, "V"]
    status: UInt32[Array, ""]


def form(
    params: Params,
    state: Memory,
    observation: Observation,
    believed: Believed,
    uniforms: Float[Array, "2"],
) -> tuple[Memory, Formed]:
    """The form advances by one tick, fed by stress: time spent queueing, and surprise. Own cells live by it.

    Stress lies in [0, 1). At rest (u = 1.1) a mesh stays at rest whatever its graph; only lasting stress
    lifts u above the threshold for a split. The child inherits belief, history and dimensions of its parent,
    and waits in its slot for the host to start it: a split that nobody acts on is forgotten when the child
    is no longer refractory. `uniforms` in [0, 1) decide the larger half, and round drained jobs.
    """
    c = observation.complex
    mine = observation.own & c.vertex_mask
    places = mine | (observation.slots & ~c.vertex_mask)
    first = jnp.arange(mine.shape[0]) == observation.self_vertex
    rules = cells.Rules(
        split_above=params.split_above,
        cull_below=params.cull_below,
        refractory_seconds=params.refractory_seconds,
        patience_seconds=params.patience_seconds,
    )
    lived = _reconcile(state.cells, mine, places, params.tick_seconds)
    stress = _stress(params, observation, believed)
    u, v, status = _react(params, state, observation, stress, lived, places, first, rules)
    after, found = cells.develop(
        rules,
        lived,
        u,
        v,
        state.free_energy,
        observation.queue + observation.own_sent,
        places,
        first,
        params.tick_seconds,
        uniforms[0],
    )
    waiting = jnp.maximum(observation.queue - observation.servers, 0.0)
    drain = cells.drain(after, waiting, observation.service_rate, mine, uniforms[1])
    state = _inherit(state, found.division.source)
    division = found.division
    state = replace(state, activator=division.activator, inhibitor=division.inhibitor, cells=after)
    return state, Formed(stress, found, drain, status)


def _reconcile(
    known: Cells, mine: Bool[Array, "V"], places: Bool[Array, "V"], tick: Float[Array, ""]
) -> Cells:
    """The stages, as far as the host's cells bear them out.

    A cell that the host has started is active. One that it does not have is the child of a split, for as long
    as it is refractory, or gone. `tick` is seconds.
    """
    born = mine & (known.stage == Stage.FREE)
    child = places & ~mine & known.active & (known.refractory > tick)
    stage = jnp.where(born, Stage.ACTIVE, jnp.where(mine | child, known.stage, Stage.FREE))
    return replace(
        known,
        stage=stage.astype(known.stage.dtype),
        refractory=jnp.where(mine | child, known.refractory, 0.0),
        idle=jnp.where(mine | child, known.idle, 0.0),
    )


def _stress(params: Params, observation: Observation, believed: Believed) -> Float[Array, "V"]:
    offered = observation.service_rate > 0.0
    alone = observation.servers / jnp.where(offered, observation.service_rate, 1.0)
    queueing = jnp.where(offered, believed.waiting - alone, 0.0) / params.stress_wait
    surprise = jnp.maximum(believed.vertex_free_energy - params.novelty, 0.0) / params.surprise_scale
    return jnp.where(observation.complex.vertex_mask, 1.0 - 1.0 / (1.0 + queueing + surprise), 0.0)


def _react(
    params: Params,
    state: Memory,
    observation: Observation,
    stress: Float[Array, "V"],
    lived: Cells,
    places: Bool[Array, "V"],
    first: Bool[Array, "V"],
    rules: cells.Rules,
) -> tuple[Float[Array, "V"], Float[Array, "V"], UInt32[Array, ""]]:
    """Activator and inhibitor after a tick: a child not yet started keeps its own, empty slots rest."""
    c, dtype = observation.complex, state.activator.dtype
    growth, decay = params.production, params.activator_decay
    u, v, integration = morphogen.advance(
        state.activator,
        state.inhibitor,
        morphogen.metropolis_weights(c).astype(dtype),
        params.diffusion_u,
        params.diffusion_v,
        params.tick_seconds,
        growth,
        cells.activator_decay(rules, lived, places, first, decay).astype(dtype),
        params.inhibitor_growth,
        params.inhibitor_decay,
        source=params.stress_gain * stress,
        complex=c,
        max_substeps=_SUBSTEPS,
    )
    still_u, still_v = morphogen.rest(growth, decay, params.inhibitor_growth, params.inhibitor_decay)
    child = lived.active & ~c.vertex_mask
    u = jnp.where(c.vertex_mask, u, jnp.where(child, state.activator, still_u))
    v = jnp.where(c.vertex_mask, v, jnp.where(child, state.inhibitor, still_v))
    return u, v, integration.status


def _inherit(state: Memory, source: Int[Array, "V"]) -> Memory:
    """What each slot takes over from the cell it came from; all but a new child from itself."""

    def take(tree: Tree) -> Tree:
        taken: Tree = jax.tree.map(lambda leaf: leaf[source], tree)
        return taken

    history = replace(state.history, recent=state.history.recent[:, source], slow=state.history.slow[source])
    return replace(
        state,
        mean=take(state.mean),
        covariance=take(state.covariance),
        known=take(state.known),
        free_energy=take(state.free_energy),
        action=take(state.action),
        growth=take(state.growth),
        history=history,
    )
