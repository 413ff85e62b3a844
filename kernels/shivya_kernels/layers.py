"""The four layers of a tick, each a pure function of parameters, state and observation.

    believe (L1)   what each vertex is like, and how surprising that is
    couple  (L3)   how readily each link carries work
    flow    (L0)   where work should go: a job that arrives, and the jobs that wait
    form    (L4)   which cells are under stress

A layer returns the state it changed and what it found; ``step.step`` composes them. Observations have been
admitted (``admit``), so every number here is finite.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from shivya_kernels import beliefs, conductance, hodge, morphogen, onsager
from shivya_kernels.cg import SolveInfo
from shivya_kernels.complex import restrict
from shivya_kernels.flow import Placement, balancing_flow, placement, release, waiting_time
from shivya_kernels.state import Observation, Params, State
from shivya_kernels.status import Status, flag

SENSES = 4
"""What an agent observes of a vertex: log1p(waiting seconds), utilisation, cpu, memory. The dimensions beyond
these are unused: their prior is N(0, 1), nothing is sensed of them, and they add exactly zero to F."""

_LARGEST = 1e12
"""Largest number taken from an observation: beyond it squares overflow in float32."""

_LEAST_RATE = 1e-9
"""A slower vertex does not offer the service. Where this node does not, it is taken to serve at this rate:
a job here then waits for ever, in finite numbers."""

_SATURATION = 1e3
"""Largest utilisation sensed: beyond a thousandfold overload there is nothing more to learn."""

_SUBSTEPS = 32

_PER_VERTEX = (
    "queue",
    "servers",
    "service_rate",
    "arrival_rate",
    "cpu",
    "memory",
    "potential",
    "slope",
    "own_sent",
    "hop",
)
_PER_EDGE = ("rtt", "bandwidth", "remote_conductance", "traffic")


class Believed(NamedTuple):
    """What L1 found. Fields as in ``Info``."""

    free_energy: Float[Array, ""]
    vertex_free_energy: Float[Array, "V"]
    waiting: Float[Array, "V"]
    status: UInt32[Array, ""]


class Coupled(NamedTuple):
    """What L3 found. Fields as in ``Info``."""

    conductance: Float[Array, "E"]
    entropy_production: Float[Array, ""]


class Flowing(NamedTuple):
    """What L0 found. Fields as in ``Info``."""

    placement: Placement
    flow: Float[Array, "E"]
    release: Int[Array, "V"]
    parts: hodge.HodgeParts


class Formed(NamedTuple):
    """What L4 found. Fields as in ``Info``."""

    stress: Float[Array, "V"]
    status: UInt32[Array, ""]


def admit(observation: Observation) -> tuple[Observation, UInt32[Array, ""]]:
    """The observation with nothing in it that could poison the state, and NON_FINITE_INPUT if there was.

    Numbers that are not finite, or beyond 1e12, become zero; a vertex that had one is not sensed this
    tick and takes no part in repair, and a link's conductance is unknown. Negative amounts become zero and
    a vertex has at least one server.
    """
    sound = {
        name: jnp.abs(getattr(observation, name)) <= _LARGEST
        for name in (*_PER_VERTEX, *_PER_EDGE, "network")
    }
    clean: dict[str, Any] = {
        name: jnp.where(ok, getattr(observation, name), 0.0) for name, ok in sound.items()
    }
    for name in (*_PER_VERTEX, "rtt", "bandwidth", "network"):
        clean[name] = jnp.maximum(clean[name], 0.0)
    clean["service_rate"] = jnp.where(clean["service_rate"] >= _LEAST_RATE, clean["service_rate"], 0.0)
    clean["servers"] = jnp.maximum(clean["servers"], 1.0)
    clean["remote_conductance"] = jnp.where(sound["remote_conductance"], clean["remote_conductance"], -1.0)
    whole = jnp.stack([sound[name] for name in _PER_VERTEX]).all(axis=0)
    joined = jnp.stack([sound[name] for name in _PER_EDGE]).all(axis=0)
    for name in ("own", "live", "sensed"):
        clean[name] = getattr(observation, name) & whole
    c = observation.complex
    refused = (~whole & c.vertex_mask).any() | (~joined & c.edge_mask).any() | ~sound["network"]
    return replace(observation, **clean), flag(refused, Status.NON_FINITE_INPUT)


def believe(params: Params, state: State, observation: Observation) -> tuple[State, Believed]:
    """L1: the exact posterior of every vertex sensed this tick; the others keep their prior.

    The prior is the last posterior, with a share ``forgetting`` of the way back to the broad prior added to
    its covariance, so that a silent vertex grows uncertain and never unboundedly so. A new vertex starts
    broad.
    """
    present = observation.complex.vertex_mask
    seen, held = observation.sensed & present, state.known & present
    waiting, senses = _senses(observation)
    broad = _broad_covariance(params, state)
    mean = jnp.where(held[:, None], state.mean, 0.0)
    spread = state.covariance + params.forgetting * (broad - state.covariance)
    covariance = jnp.where(held[:, None, None], spread, broad)
    found = _infer(params, mean, covariance, senses)
    known = held | seen
    energy = jnp.where(seen, found.free_energy, jnp.where(held, state.free_energy, 0.0))
    after = replace(
        state,
        mean=jnp.where(seen[:, None], found.mean, mean),
        covariance=jnp.where(seen[:, None, None], found.covariance, covariance),
        known=known,
        free_energy=energy,
    )
    bits = jnp.bitwise_or.reduce(jnp.where(seen, found.status, 0))
    return after, Believed(energy.sum(), energy, waiting, bits)


def couple(params: Params, state: State, observation: Observation) -> tuple[State, Coupled]:
    """L3: conductances both ends agree on, and the entropy that differing beliefs produce along them.

    Thickness follows use between 1 (idle) and 2: a bounded stand-in for Physarum's growth by flux.
    """
    c = observation.complex
    own = conductance.advertised(state.thickness, observation.bandwidth, observation.rtt)
    remote = observation.remote_conductance
    k = jnp.where(c.edge_mask, conductance.symmetric(own, remote, remote >= 0.0), 0.0)
    base = onsager.base_coupling(observation.network, observation.memory[observation.self_vertex])
    use = jnp.abs(observation.traffic)
    followed = params.thickness_rate * params.tick_seconds * (1.0 + use / (1.0 + use) - state.thickness)
    thickness = jnp.where(c.edge_mask, state.thickness + followed, 1.0)
    acquainted = state.known[c.tail] & state.known[c.head]
    production = onsager.entropy_production(c, jnp.where(acquainted, base * k, 0.0), state.mean)
    return replace(state, thickness=thickness), Coupled(k, production)


def flow(params: Params, state: State, observation: Observation) -> tuple[State, Flowing]:
    """L0: what the reported traffic does, where the next job goes, and how many waiting jobs to hand over.

    Repair levels waiting over the vertices that offer the service and were heard from, with unit weights and
    jobs under way counted at their destination.
    """
    me = observation.self_vertex
    offered = (observation.live | observation.own) & (observation.service_rate > 0.0)
    near = restrict(observation.complex, vertices=offered)
    parts = hodge.decompose(observation.complex, observation.traffic, warm=_warm(state))
    balancing = balancing_flow(
        near, observation.queue + observation.own_sent, jnp.where(offered, observation.service_rate, 0.0)
    )
    forward = jnp.where(near.tail == me, balancing, 0.0)
    backward = jnp.where(near.head == me, -balancing, 0.0)
    outflow = jnp.zeros_like(observation.queue).at[near.head].add(forward).at[near.tail].add(backward)
    waiting_jobs = jnp.maximum(observation.queue[me] - observation.servers[me], 0.0).astype(jnp.int32)
    key, draw = jax.random.split(state.key)
    counts = release(outflow, waiting_jobs, jax.random.uniform(draw, dtype=outflow.dtype))
    found = Flowing(_place(params, observation), balancing, counts, parts)
    return replace(state, key=key, circulation=parts.circulation), found


def form(params: Params, state: State, observation: Observation, believed: Believed) -> tuple[State, Formed]:
    """L4: the form advances by one tick, fed by stress: time spent queueing, and surprise.

    Stress lies in [0, 1). At rest (u = 1.1) a mesh stays at rest whatever its graph; only lasting stress
    lifts u above 2.
    """
    c = observation.complex
    offered = observation.service_rate > 0.0
    alone = observation.servers / jnp.where(offered, observation.service_rate, 1.0)
    queueing = jnp.where(offered, believed.waiting - alone, 0.0) / params.stress_wait
    surprise = jnp.maximum(believed.vertex_free_energy - params.novelty, 0.0) / params.surprise_scale
    stress = jnp.where(c.vertex_mask, 1.0 - 1.0 / (1.0 + queueing + surprise), 0.0)
    kinetics = (params.production, params.activator_decay, params.inhibitor_growth, params.inhibitor_decay)
    u, v, integration = morphogen.advance(
        state.activator,
        state.inhibitor,
        morphogen.metropolis_weights(c).astype(state.activator.dtype),
        params.diffusion_u,
        params.diffusion_v,
        params.tick_seconds,
        *kinetics,
        source=params.stress_gain * stress,
        complex=c,
        max_substeps=_SUBSTEPS,
    )
    still_u, still_v = morphogen.rest(*kinetics)
    after = replace(
        state,
        activator=jnp.where(c.vertex_mask, u, still_u),
        inhibitor=jnp.where(c.vertex_mask, v, still_v),
    )
    return after, Formed(stress, integration.status)


def _senses(observation: Observation) -> tuple[Float[Array, "V"], Float[Array, "V 4"]]:
    """A of every vertex, and what its agent observes."""
    offered = observation.service_rate > 0.0
    rate = jnp.where(offered, observation.service_rate, 1.0)
    waiting = jnp.where(offered, waiting_time(observation.queue, observation.servers, rate), 0.0)
    utilisation = jnp.where(offered, jnp.minimum(observation.arrival_rate / rate, _SATURATION), 0.0)
    return waiting, jnp.stack([jnp.log1p(waiting), utilisation, observation.cpu, observation.memory], axis=1)


def _broad_covariance(params: Params, state: State) -> Float[Array, "D D"]:
    size = state.mean.shape[1]
    return jnp.diag(jnp.where(jnp.arange(size) < SENSES, params.prior_variance, 1.0))


def _infer(
    params: Params, mean: Float[Array, "V D"], covariance: Float[Array, "V D D"], senses: Float[Array, "V 4"]
) -> beliefs.Inference:
    """The exact posterior of each vertex's agent."""
    dtype, size = mean.dtype, mean.shape[1]
    full_attention = jnp.ones(1, dtype)

    def infer_one(mu: Array, sigma: Array, seen: Array) -> beliefs.Inference:
        agent = beliefs.Agent(
            mu_prior=mu,
            sigma_prior=sigma,
            G=jnp.eye(SENSES, size, dtype=dtype),
            sigma_s0=params.sensor_variance * jnp.eye(SENSES, dtype=dtype),
            W=params.attention * jnp.ones((SENSES, 1), dtype),
            m=jnp.zeros((size, 1), dtype),
            mu_pref=jnp.zeros(SENSES, dtype),
            sigma_pref=jnp.eye(SENSES, dtype=dtype),
        )
        inference: beliefs.Inference = beliefs.infer(agent, seen, full_attention)
        return inference

    found: beliefs.Inference = jax.vmap(infer_one)(mean, covariance, senses)
    return found


def _warm(state: State) -> hodge.HodgeParts:
    """The last circulation as a starting point; the potential is solved for directly."""
    edges, vertices = jnp.zeros_like(state.thickness), jnp.zeros_like(state.activator)
    unsolved = SolveInfo(jnp.int32(0), jnp.zeros((), edges.dtype), jnp.uint32(0))
    return hodge.HodgeParts(edges, edges, edges, vertices, state.circulation, unsolved)


def _place(params: Params, observation: Observation) -> Placement:
    c, me = observation.complex, observation.self_vertex
    adjacent = jnp.zeros_like(c.vertex_mask).at[c.head].max(c.edge_mask & (c.tail == me))
    adjacent = adjacent.at[c.tail].max(c.edge_mask & (c.head == me))
    rate = jnp.maximum(observation.service_rate[me], _LEAST_RATE)
    queue, servers = observation.queue[me], observation.servers[me]
    chosen: Placement = placement(
        waiting_time(queue, servers, rate),
        rate,
        queue,
        servers,
        observation.potential,
        observation.slope,
        observation.own_sent,
        jnp.maximum(observation.service_rate, _LEAST_RATE),
        observation.hop,
        adjacent & observation.live & (observation.service_rate > 0.0),
        gap=params.gap,
        slope_window=params.slope_window,
    )
    return chosen
