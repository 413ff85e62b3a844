"""What crosses one tick of the law: parameters, memory, observation and report.

Four frozen PyTrees with fixed shapes (``Capacity``), so that a join, a departure or a partition changes
masks and numbers but never a shape, and a compiled step is compiled once:

* ``Params``: what tuning may change; scalars, each with its unit.
* ``State``: what the next tick needs, and no more.
* ``Observation``: one consistent look at the neighbourhood, made on the host.
* ``Info``: what a person, a metric or the daemon reads from the tick.

Letters: V vertices, E edges, T triangles, D belief dimensions (all padded to the capacity).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from shivya_kernels.complex import Capacity, SimplicialComplex
from shivya_kernels.flow import Placement


def float_dtype() -> jnp.dtype[Any]:
    """The float type in force: float64 where x64 is enabled, else float32."""
    return jnp.dtype(jnp.result_type(float))


def _scalar(value: float) -> Callable[[], Array]:
    return lambda: jnp.asarray(value, float_dtype())


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Params:
    """Everything ``tune`` may change: scalar leaves in the float type in force when built."""

    # L0: placement and repair.
    gap: Float[Array, ""] = field(default_factory=_scalar(0.05))
    """Seconds a move must gain beyond the hop itself."""
    slope_window: Float[Array, ""] = field(default_factory=_scalar(0.05))
    """Width in seconds of the band of waiting times that the advertised slope averages over."""
    horizon: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """Seconds over which a balancing flow is shown as a rate."""

    # L1: beliefs.
    prior_variance: Float[Array, ""] = field(default_factory=_scalar(10.0))
    """Variance of the belief about a vertex never seen."""
    forgetting: Float[Array, ""] = field(default_factory=_scalar(1e-3))
    """Share of the way back to the broad prior that a covariance goes per tick (process noise)."""
    sensor_variance: Float[Array, ""] = field(default_factory=_scalar(0.01))
    """Sigma_s0 = sensor_variance I: the noise no attention removes."""
    attention: Float[Array, ""] = field(default_factory=_scalar(4.6))
    """W at full attention (a = 1): each channel adds variance exp(-attention)."""

    # L3: conductance.
    thickness_rate: Float[Array, ""] = field(default_factory=_scalar(0.05))
    """Per second, how fast a link's thickness follows its use."""

    # L4: form (Gierer-Meinhardt) and the stress that feeds it.
    diffusion_u: Float[Array, ""] = field(default_factory=_scalar(0.01))
    """Diffusion of the activator, per second."""
    diffusion_v: Float[Array, ""] = field(default_factory=_scalar(0.1))
    """Diffusion of the inhibitor, per second."""
    production: Float[Array, ""] = field(default_factory=_scalar(0.1))
    """a: basal production of the activator, per second."""
    activator_decay: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """b: decay of the activator, per second."""
    inhibitor_growth: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """c: production of the inhibitor by the activator, per second."""
    inhibitor_decay: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """d: decay of the inhibitor, per second."""
    stress_gain: Float[Array, ""] = field(default_factory=_scalar(2.0))
    """Source of activator per second at full stress; at rest u rises by stress_gain * stress / b."""
    stress_wait: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """Seconds of queueing that count as half of full stress."""
    novelty: Float[Array, ""] = field(default_factory=_scalar(5.0))
    """Free energy (nats) above which an observation is a surprise."""
    surprise_scale: Float[Array, ""] = field(default_factory=_scalar(20.0))
    """Nats above ``novelty`` that count as half of full stress."""
    tick_seconds: Float[Array, ""] = field(default_factory=_scalar(0.1))
    """Seconds of thickness and form that pass per tick."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """What the next tick needs; made by ``step.init``, replaced by ``step.step``."""

    key: PRNGKeyArray
    """Random key, split at each tick."""
    tick: Int[Array, ""]
    """Ticks made so far."""
    mean: Float[Array, "V D"]
    """Posterior mean of each vertex's belief."""
    covariance: Float[Array, "V D D"]
    """Its covariance."""
    known: Bool[Array, "V"]
    """The slot held a belief at the end of the last tick."""
    free_energy: Float[Array, "V"]
    """Free energy (nats) of each vertex at its latest observation, 0 before the first."""
    activator: Float[Array, "V"]
    """u of the form."""
    inhibitor: Float[Array, "V"]
    """v of the form."""
    thickness: Float[Array, "E"]
    """Thickness of each link, in [1, 2)."""
    circulation: Float[Array, "T"]
    """Last curl potential: the warm start of the next curl solve."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Observation:
    """One look at the neighbourhood of ``self_vertex``. Jobs, seconds and jobs per second throughout.

    A value that is not finite is never used: its vertex counts as unseen this tick, its edge as unknown, and
    ``NON_FINITE_INPUT`` is set.
    """

    complex: SimplicialComplex
    self_vertex: Int[Array, ""]
    """The vertex of this node's own queue."""
    own: Bool[Array, "V"]
    """Cells of this node, ``self_vertex`` among them."""
    queue: Float[Array, "V"]
    """Jobs held (waiting and in service)."""
    servers: Float[Array, "V"]
    """Jobs served at the same time."""
    service_rate: Float[Array, "V"]
    """Jobs per second of all servers together; 0 = the vertex does not offer the service."""
    arrival_rate: Float[Array, "V"]
    """Jobs per second arriving from outside."""
    cpu: Float[Array, "V"]
    """Share of the processor in use, 0 to 1."""
    memory: Float[Array, "V"]
    """Share of the memory in use, 0 to 1."""
    network: Float[Array, ""]
    """Bytes per second on this node's interfaces."""
    potential: Float[Array, "V"]
    """Advertised potential W in seconds, as seen from here (split horizon applied)."""
    slope: Float[Array, "V"]
    """Advertised seconds of waiting that one more job adds, as seen from here."""
    own_sent: Float[Array, "V"]
    """Jobs sent there and not yet acknowledged."""
    live: Bool[Array, "V"]
    """Heard from within the TTL: a candidate for placement and repair."""
    hop: Float[Array, "V"]
    """Seconds a job takes to get there."""
    rtt: Float[Array, "E"]
    """Round trip time of the link, seconds."""
    bandwidth: Float[Array, "E"]
    """Bandwidth score of the link, 0 to 1."""
    remote_conductance: Float[Array, "E"]
    """Conductance that the other end advertises; negative = unknown."""
    traffic: Float[Array, "E"]
    """Reported offload, jobs per second, positive from tail to head."""
    sensed: Bool[Array, "V"]
    """Vertices with fresh data this tick."""

    @classmethod
    def empty(cls, capacity: Capacity) -> Observation:
        """An observation of nobody: every mask false, every number at rest, in the float type in force."""
        dtype = float_dtype()
        vertex, edge = jnp.zeros(capacity.vertices, dtype), jnp.zeros(capacity.edges, dtype)
        nobody = jnp.zeros(capacity.vertices, bool)
        return cls(
            complex=SimplicialComplex.from_edges(
                capacity.vertices, [], capacity, active=[False] * capacity.vertices
            ),
            self_vertex=jnp.zeros((), jnp.int32),
            own=nobody,
            queue=vertex,
            servers=vertex + 1,
            service_rate=vertex,
            arrival_rate=vertex,
            cpu=vertex,
            memory=vertex,
            network=jnp.zeros((), dtype),
            potential=vertex,
            slope=vertex,
            own_sent=vertex,
            live=nobody,
            hop=vertex,
            rtt=edge,
            bandwidth=edge + 1,
            remote_conductance=edge - 1,
            traffic=edge,
            sensed=nobody,
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Info:
    """What one tick found; nothing here is needed by the next."""

    # L1
    free_energy: Float[Array, ""]
    """Collective free energy: the sum over active vertices, nats."""
    vertex_free_energy: Float[Array, "V"]
    """Free energy of each active vertex at its latest observation, 0 elsewhere."""
    beliefs: Float[Array, "V D"]
    """Posterior means: log1p of the waiting seconds, utilisation, cpu, memory, then unused dimensions."""
    waiting: Float[Array, "V"]
    """A: expected seconds in the system of a job arriving now; 0 where the service is not offered."""
    # L3
    conductance: Float[Array, "E"]
    """Symmetric conductance of each link."""
    entropy_production: Float[Array, ""]
    """Onsager entropy production of the belief differences, >= 0."""
    # L0
    placement: Placement
    """Where a job that arrives now should go, and what this node advertises."""
    flow: Float[Array, "E"]
    """Balancing flow in jobs, positive from tail to head."""
    recommended: Float[Array, "E"]
    """The same as a rate over the horizon, jobs per second."""
    release: Int[Array, "V"]
    """Whole jobs this node should hand over to each vertex now."""
    gradient: Float[Array, "E"]
    """Part of the reported traffic that runs from high to low, jobs per second."""
    curl: Float[Array, "E"]
    """Part that goes round filled triangles."""
    harmonic: Float[Array, "E"]
    """Part that goes round holes."""
    curl_norm: Float[Array, ""]
    """Euclidean norm of the curl part."""
    harmonic_norm: Float[Array, ""]
    """Euclidean norm of the harmonic part."""
    iterations: Int[Array, ""]
    """Iterations of the iterative solves of this tick."""
    # L4
    activator: Float[Array, "V"]
    """u of each active vertex; above 2 a cell may split."""
    inhibitor: Float[Array, "V"]
    """v of each active vertex."""
    stress: Float[Array, "V"]
    """What fed the activator, 0 to 1."""
    # all
    status: UInt32[Array, ""]
    """Status bits of all layers; ``status.describe`` names the remedies."""
