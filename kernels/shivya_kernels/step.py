"""One tick of the law: believe, couple, flow, form.

The step that the daemon runs ten times a second is the step that an ensemble batches and ``jax.grad``
tunes. It is compiled once per capacity and float type: joins, departures and partitions change masks, never
shapes. Nothing raises inside; what went wrong is a bit in ``info.status``.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from shivya_kernels import morphogen
from shivya_kernels.complex import Capacity, DimensionMismatch
from shivya_kernels.layers import SENSES, admit, believe, couple, flow, form
from shivya_kernels.state import Info, Observation, Params, State

__all__ = ["Info", "Observation", "Params", "State", "init", "step"]


def init(params: Params, capacity: Capacity, key: PRNGKeyArray) -> State:
    """The state before the first tick: nobody is known and the form is at rest. Float type as in ``params``.

    Raises DimensionMismatch when the beliefs have fewer dimensions than an agent has senses.
    """
    if capacity.beliefs < SENSES:
        raise DimensionMismatch(f"beliefs need at least {SENSES} dimensions, got {capacity.beliefs}")
    vertices, dims, dtype = capacity.vertices, capacity.beliefs, params.gap.dtype
    u, v = morphogen.rest(
        params.production, params.activator_decay, params.inhibitor_growth, params.inhibitor_decay
    )
    return State(
        key=key,
        tick=jnp.zeros((), jnp.int32),
        mean=jnp.zeros((vertices, dims), dtype),
        covariance=jnp.broadcast_to(jnp.eye(dims, dtype=dtype), (vertices, dims, dims)),
        known=jnp.zeros(vertices, bool),
        free_energy=jnp.zeros(vertices, dtype),
        activator=jnp.full(vertices, u, dtype),
        inhibitor=jnp.full(vertices, v, dtype),
        thickness=jnp.ones(capacity.edges, dtype),
        circulation=jnp.zeros(capacity.triangles, dtype),
    )


@jax.jit
def step(params: Params, state: State, observation: Observation) -> tuple[State, Info]:
    """One tick of L0 to L4: what the next tick needs, and what this one found. All arrays at capacity."""
    observation, refused = admit(observation)
    state, believed = believe(params, state, observation)
    state, coupled = couple(params, state, observation)
    state, flowing = flow(params, state, observation)
    state, formed = form(params, state, observation, believed)
    present = observation.complex.vertex_mask
    return replace(state, tick=state.tick + 1), Info(
        free_energy=believed.free_energy,
        vertex_free_energy=believed.vertex_free_energy,
        beliefs=state.mean,
        waiting=believed.waiting,
        conductance=coupled.conductance,
        entropy_production=coupled.entropy_production,
        placement=flowing.placement,
        flow=flowing.flow,
        recommended=flowing.flow / params.horizon,
        release=flowing.release,
        gradient=flowing.parts.gradient,
        curl=flowing.parts.curl,
        harmonic=flowing.parts.harmonic,
        curl_norm=_norm(flowing.parts.curl),
        harmonic_norm=_norm(flowing.parts.harmonic),
        iterations=flowing.parts.info.iterations,
        activator=jnp.where(present, state.activator, 0.0),
        inhibitor=jnp.where(present, state.inhibitor, 0.0),
        stress=formed.stress,
        status=refused | believed.status | flowing.parts.info.status | formed.status,
    )


def _norm(values: Float[Array, "E"]) -> Float[Array, ""]:
    """Euclidean norm whose derivative at zero is zero, not NaN."""
    square = (values**2).sum()
    return jnp.where(square > 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)), 0.0)
