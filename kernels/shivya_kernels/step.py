"""One tick of the law: believe, couple, flow, form.

The step that the daemon runs ten times a second is the step that an ensemble batches and ``jax.grad``
differentiates. It is compiled once per capacity and float type: joins, departures, partitions, splits, grown
dimensions and other programs change masks and numbers, never shapes. Nothing raises inside; what went wrong
is a bit in ``info.status``.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from shivya_kernels import cells, growth, morphogen, prediction
from shivya_kernels.complex import Capacity, DimensionMismatch
from shivya_kernels.layers import SENSES, admit, believe, couple, flow, form
from shivya_kernels.morphic import Program, compile_expression
from shivya_kernels.policy import Action
from shivya_kernels.state import Info, Memory, Observation, Params, State, pack, unpack

__all__ = ["Info", "Observation", "Params", "State", "init", "install", "step"]


def init(params: Params, capacity: Capacity, key: PRNGKeyArray) -> State:
    """The state before the first tick: nobody is known, the form is at rest, and the law of every sense is
    "as before". Float type as in ``params``.

    Raises DimensionMismatch when the beliefs have fewer dimensions than an agent has senses.
    """
    if capacity.beliefs < SENSES:
        raise DimensionMismatch(f"beliefs need at least {SENSES} dimensions, got {capacity.beliefs}")
    vertices, dims, dtype = capacity.vertices, capacity.beliefs, params.gap.dtype
    u, v = morphogen.rest(
        params.production, params.activator_decay, params.inhibitor_growth, params.inhibitor_decay
    )
    nobody, still = jnp.zeros(vertices, bool), jnp.zeros(vertices, dtype)
    as_before = compile_expression(("var", 0), capacity.program)
    laws: Program = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (SENSES, *leaf.shape)), as_before)
    return pack(
        Memory(
            key=key,
            tick=jnp.zeros((), jnp.int32),
            mean=jnp.zeros((vertices, dims), dtype),
            covariance=jnp.broadcast_to(jnp.eye(dims, dtype=dtype), (vertices, dims, dims)),
            known=nobody,
            free_energy=still,
            activator=jnp.full(vertices, u, dtype),
            inhibitor=jnp.full(vertices, v, dtype),
            action=jnp.full(vertices, Action.HOLD, jnp.int32),
            cells=cells.founded(nobody),
            growth=growth.init(vertices, SENSES, dims, dtype=dtype),
            history=prediction.forget(vertices, SENSES, dtype),
            thickness=jnp.ones(capacity.edges, dtype),
            circulation=jnp.zeros(capacity.triangles, dtype),
            laws=replace(laws, constants=laws.constants.astype(dtype)),
        )
    )


def install(state: State, laws: Program) -> State:
    """The state with other laws: `laws` stacked [S], one for each sense, of the state's program capacity.

    The next tick predicts with them; nothing is compiled anew. What a law foretells is the next observation
    of its sense, from the variables of ``prediction``; where it gives nothing finite the last one stands.

    Raises DimensionMismatch for another number of laws or of instructions.
    """
    memory = unpack(state)
    expected, given = memory.laws.code.shape, laws.code.shape
    if given != expected:
        raise DimensionMismatch(f"laws must have the shape {list(expected)}, got {list(given)}")
    cast: Program = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), laws, memory.laws)
    return pack(replace(memory, laws=cast))


@jax.jit
def step(params: Params, state: State, observation: Observation) -> tuple[State, Info]:
    """One tick of L0 to L4: what the next tick needs, and what this one found. All arrays at capacity."""
    observation, refused = admit(observation)
    memory = unpack(state)
    key, draw = jax.random.split(memory.key)
    uniforms = jax.random.uniform(draw, (3,), memory.mean.dtype)
    memory, believed = believe(params, replace(memory, key=key), observation)
    memory, coupled = couple(params, memory, observation, believed)
    memory, flowing = flow(params, memory, observation, uniforms[0])
    beliefs = memory.mean
    memory, formed = form(params, memory, observation, believed, uniforms[1:])
    present = observation.complex.vertex_mask
    return pack(replace(memory, tick=memory.tick + 1)), Info(
        free_energy=coupled.free_energy,
        vertex_free_energy=believed.vertex_free_energy,
        beliefs=beliefs,
        senses=believed.senses,
        action=memory.action,
        dimensions=believed.dimensions,
        novel=believed.novel,
        waiting=believed.waiting,
        conductance=coupled.conductance,
        advertised=coupled.advertised,
        entropy_production=coupled.entropy_production,
        shares=coupled.shares,
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
        activator=jnp.where(present, memory.activator, 0.0),
        inhibitor=jnp.where(present, memory.inhibitor, 0.0),
        stress=formed.stress,
        stage=memory.cells.stage,
        parent=formed.development.division.parent,
        child=formed.development.division.child,
        drained=formed.development.drained,
        culled=formed.development.culled,
        drain=formed.drain,
        status=refused | believed.status | coupled.status | flowing.parts.info.status | formed.status,
    )


def _norm(values: Float[Array, "E"]) -> Float[Array, ""]:
    """Euclidean norm whose derivative at zero is zero, not NaN."""
    square = (values**2).sum()
    return jnp.where(square > 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)), 0.0)
