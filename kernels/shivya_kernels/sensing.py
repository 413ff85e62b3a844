"""What the layers take from an observation: only sound numbers, and the senses of each vertex's agent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from shivya_kernels.flow import waiting_time
from shivya_kernels.observation import Observation
from shivya_kernels.status import Status, flag

SENSES = 4
"""What an agent observes of a vertex: log1p(waiting seconds), utilisation, cpu, memory. The dimensions beyond
these are for growth: one that is not grown has the prior N(0, 1), and adds exactly zero to F."""

LEAST_RATE = 1e-9
"""A slower vertex does not offer the service. Where this node does not, it is taken to serve at this rate:
a job here then waits for ever, in finite numbers."""

_LARGEST = 1e12
"""Largest number taken from an observation: beyond it squares overflow in float32."""

_SATURATION = 1e3
"""Largest utilisation sensed: beyond a thousandfold overload there is nothing more to learn."""

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
    "overrun",
    "age",
    "own_rate",
)
_OR_UNKNOWN = ("net_arrivals",)
"""Per vertex, and -1 where it is not known."""
_PER_EDGE = ("rtt", "bandwidth", "remote_conductance", "traffic")


def admit(observation: Observation) -> tuple[Observation, UInt32[Array, ""]]:
    """The observation with nothing in it that could poison the state, and NON_FINITE_INPUT if there was.

    Numbers that are not finite, or beyond 1e12, become zero; a vertex that had one is not sensed this
    tick and takes no part in repair, and a link's conductance is unknown. Negative amounts become zero and
    a vertex has at least one server.
    """
    sound = {
        name: jnp.abs(getattr(observation, name)) <= _LARGEST
        for name in (*_PER_VERTEX, *_OR_UNKNOWN, *_PER_EDGE, "network")
    }
    clean: dict[str, Any] = {
        name: jnp.where(ok, getattr(observation, name), 0.0) for name, ok in sound.items()
    }
    for name in (*_PER_VERTEX, "rtt", "bandwidth", "network"):
        clean[name] = jnp.maximum(clean[name], 0.0)
    clean["service_rate"] = jnp.where(clean["service_rate"] >= LEAST_RATE, clean["service_rate"], 0.0)
    clean["servers"] = jnp.maximum(clean["servers"], 1.0)
    for name in (*_OR_UNKNOWN, "remote_conductance"):
        clean[name] = jnp.where(sound[name], clean[name], -1.0)
    whole = jnp.stack([sound[name] for name in (*_PER_VERTEX, *_OR_UNKNOWN)]).all(axis=0)
    joined = jnp.stack([sound[name] for name in _PER_EDGE]).all(axis=0)
    for name in ("own", "live", "sensed"):
        clean[name] = getattr(observation, name) & whole
    c = observation.complex
    refused = (~whole & c.vertex_mask).any() | (~joined & c.edge_mask).any() | ~sound["network"]
    return replace(observation, **clean), flag(refused, Status.NON_FINITE_INPUT)


def offering(observation: Observation) -> Bool[Array, "V"]:
    """The vertices that offer the service and were heard from, this node's own among them."""
    return (observation.live | observation.own) & (observation.service_rate > 0.0)


def expected_waiting(observation: Observation, rate: Float[Array, "V"]) -> Float[Array, "V"]:
    """A of every vertex in seconds, served at `rate`; an overrun counts where all servers are busy."""
    late = jnp.where(observation.queue >= observation.servers, observation.overrun, 0.0)
    waiting: Array = waiting_time(observation.queue, observation.servers, rate) + late
    return waiting


def sense(observation: Observation) -> tuple[Float[Array, "V"], Float[Array, "V S"]]:
    """A of every vertex in seconds, 0 where the service is not offered, and what its agent observes."""
    offered = observation.service_rate > 0.0
    rate = jnp.where(offered, observation.service_rate, 1.0)
    waiting = jnp.where(offered, expected_waiting(observation, rate), 0.0)
    utilisation = jnp.where(offered, jnp.minimum(observation.arrival_rate / rate, _SATURATION), 0.0)
    return waiting, jnp.stack([jnp.log1p(waiting), utilisation, observation.cpu, observation.memory], axis=1)
