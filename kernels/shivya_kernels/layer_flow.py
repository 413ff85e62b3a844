"""L0 of a tick: where work should go, a job that arrives and the jobs that wait."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from shivya_kernels import hodge
from shivya_kernels.complex import restrict
from shivya_kernels.flow import Placement, balancing_flow, forecast, placement, release, slope_window
from shivya_kernels.observation import Observation
from shivya_kernels.params import Params
from shivya_kernels.sensing import LEAST_RATE, expected_waiting, offering
from shivya_kernels.state import Memory


class Flowing(NamedTuple):
    """What L0 found. Fields as in ``Info``."""

    placement: Placement
    flow: Float[Array, "E"]
    release: Int[Array, "V"]
    parts: hodge.HodgeParts


def flow(
    params: Params, state: Memory, observation: Observation, uniform: Float[Array, ""]
) -> tuple[Memory, Flowing]:
    """What the reported traffic does, where the next job goes, and how many waiting jobs to hand over.

    Repair levels waiting over the vertices that offer the service and were heard from, with unit weights and
    jobs under way counted at their destination. A cell that drains takes no part. `uniform` in [0, 1) rounds
    to whole jobs.
    """
    me = observation.self_vertex
    offered = offering(observation) & ~state.cells.draining
    near = restrict(observation.complex, vertices=offered)
    parts = hodge.decompose(observation.complex, observation.traffic, warm=(None, state.circulation))
    balancing = balancing_flow(
        near, observation.queue + observation.own_sent, jnp.where(offered, observation.service_rate, 0.0)
    )
    forward = jnp.where(near.tail == me, balancing, 0.0)
    backward = jnp.where(near.head == me, -balancing, 0.0)
    outflow = jnp.zeros_like(observation.queue).at[near.head].add(forward).at[near.tail].add(backward)
    waiting_jobs = jnp.maximum(observation.queue[me] - observation.servers[me], 0.0).astype(jnp.int32)
    counts = release(outflow, waiting_jobs, uniform)
    found = Flowing(_place(params, observation, offered), balancing, counts, parts)
    return replace(state, circulation=parts.circulation), found


def _place(params: Params, observation: Observation, offered: Bool[Array, "V"]) -> Placement:
    c, me = observation.complex, observation.self_vertex
    adjacent = jnp.zeros_like(c.vertex_mask).at[c.head].max(c.edge_mask & (c.tail == me))
    adjacent = adjacent.at[c.tail].max(c.edge_mask & (c.head == me))
    rates = jnp.maximum(observation.service_rate, LEAST_RATE)
    drift = forecast(
        observation.age,
        observation.net_arrivals,
        observation.own_rate,
        rates,
        observation.hop + params.gap,
        params.drift,
        params.drift_fade,
        params.drift_share,
    )
    candidate = adjacent & observation.live & offered
    chosen: Placement = placement(
        expected_waiting(observation, rates)[me],
        rates[me],
        # The next job raises the wait unless a server stays free beside it.
        observation.queue[me] + 1,
        observation.servers[me],
        observation.potential,
        observation.slope,
        observation.own_sent,
        rates,
        observation.hop,
        candidate,
        gap=params.gap,
        slope_window=slope_window(params.slope_share, params.gap, observation.hop, candidate),
        drift=jnp.where(observation.net_arrivals >= 0, drift, 0.0),
    )
    return chosen
