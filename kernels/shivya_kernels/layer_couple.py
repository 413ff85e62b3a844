"""L3 of a tick: how links carry work, what silent neighbours are taken to be, who gains by pooling."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from shivya_kernels import coalition, conductance, onsager
from shivya_kernels.layer_believe import Believed
from shivya_kernels.observation import Observation
from shivya_kernels.params import Params
from shivya_kernels.sensing import SENSES, offering
from shivya_kernels.state import Memory

_LONGEST_WAIT = 1e6
"""Seconds of waiting beyond which pooling saves no more: its square would overflow float32."""


class Coupled(NamedTuple):
    """What L3 found. Fields as in ``Info``."""

    free_energy: Float[Array, ""]
    conductance: Float[Array, "E"]
    advertised: Float[Array, "E"]
    entropy_production: Float[Array, ""]
    shares: Float[Array, "V"]
    status: UInt32[Array, ""]


def couple(
    params: Params, state: Memory, observation: Observation, believed: Believed
) -> tuple[Memory, Coupled]:
    """Conductances both ends agree on; the entropy that differing beliefs produce along them; fusion.

    Thickness follows use between 1 (idle) and 2: a bounded stand-in for Physarum's growth by flux. A vertex
    that was not sensed this tick has no evidence of its own, and its belief follows its neighbours'.
    """
    c = observation.complex
    own = conductance.advertised(state.thickness, observation.bandwidth, observation.rtt)
    own = own * believed.opening[c.tail] * believed.opening[c.head]
    remote = observation.remote_conductance
    k = jnp.where(c.edge_mask, conductance.symmetric(own, remote, remote >= 0.0), 0.0)
    base = onsager.base_coupling(observation.network, observation.memory[observation.self_vertex])
    use = jnp.abs(observation.traffic)
    followed = params.thickness_rate * params.tick_seconds * (1.0 + use / (1.0 + use) - state.thickness)
    thickness = jnp.where(c.edge_mask, state.thickness + followed, 1.0)
    active = state.known & c.vertex_mask
    coupled = jnp.where(active[c.tail] & active[c.head], base * k, 0.0)
    production = onsager.entropy_production(c, coupled, state.mean[:, :SENSES])
    state, bits = _fuse(params, state, observation, coupled)
    collective = coalition.collective_free_energy(
        c, believed.vertex_free_energy, state.mean[:, :SENSES], active=active
    )
    found = Coupled(collective, k, own, production, _shares(observation, k), bits)
    return replace(state, thickness=thickness), found


def _fuse(
    params: Params, state: Memory, observation: Observation, coupled: Float[Array, "E"]
) -> tuple[Memory, UInt32[Array, ""]]:
    """The beliefs about silent vertices, moved towards those about their neighbours by precision."""
    c, size = observation.complex, state.mean.shape[1]
    silent = state.known & c.vertex_mask & ~observation.sensed
    own, block = state.mean[:, :SENSES], state.covariance[:, :SENSES, :SENSES]
    rate = params.fusion * params.tick_seconds

    def exchange(rate: Array, coupled: Array, mean: Array, covariance: Array) -> onsager.Fused:
        fused = onsager.fuse(c, coupled, mean, covariance, rate)
        return onsager.Fused(
            jnp.where(silent[:, None], fused.mean, mean),
            jnp.where(silent[:, None, None], fused.covariance, covariance),
            fused.status,
        )

    def keep(rate: Array, coupled: Array, mean: Array, covariance: Array) -> onsager.Fused:
        return onsager.Fused(mean, covariance, jnp.uint32(0))

    fused: onsager.Fused = jax.lax.cond(silent.any(), exchange, keep, rate, coupled, own, block)
    # What a grown dimension has in common with the others was about an observation now past.
    apart = silent[:, None] & (jnp.arange(size) >= SENSES)
    mixed = apart[:, :, None] != apart[:, None, :]
    covariance = jnp.where(mixed & silent[:, None, None], 0.0, state.covariance)
    return replace(
        state,
        mean=state.mean.at[:, :SENSES].set(fused.mean),
        covariance=covariance.at[:, :SENSES, :SENSES].set(fused.covariance),
    ), fused.status


def _shares(observation: Observation, k: Float[Array, "E"]) -> Float[Array, "V"]:
    """What each player of this node's neighbourhood contributes to what pooling its queues saves."""
    offered: Bool[Array, "V"] = offering(observation)
    near = coalition.neighbourhood(observation.complex, k, observation.self_vertex, active=offered)
    rate = observation.service_rate[near.vertices]
    backlog = jnp.minimum(observation.queue[near.vertices], _LONGEST_WAIT * rate)
    shares = coalition.shapley_values(coalition.pooling_gain(backlog, rate, near.mask))
    return jnp.zeros_like(observation.queue).at[near.vertices].add(jnp.where(near.mask, shares, 0.0))
