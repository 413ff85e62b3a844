"""One look at the neighbourhood, made on the host and handed to the step."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from shivya_kernels.complex import Capacity, SimplicialComplex
from shivya_kernels.params import float_dtype


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
    slots: Bool[Array, "V"]
    """Slots in which this node may start another cell. None: form is advice that nobody takes."""
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
    overrun: Float[Array, "V"]
    """Own cells: seconds by which the next server to be free takes longer for it than usual."""
    age: Float[Array, "V"]
    """Seconds since the vertex was as it says."""
    net_arrivals: Float[Array, "V"]
    """Jobs per second that it takes and does not pass on, as advertised; negative = not told."""
    own_rate: Float[Array, "V"]
    """Jobs per second sent there from here, of late."""
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
            slots=nobody,
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
            overrun=vertex,
            age=vertex,
            net_arrivals=vertex - 1,
            own_rate=vertex,
            rtt=edge,
            bandwidth=edge + 1,
            remote_conductance=edge - 1,
            traffic=edge,
            sensed=nobody,
        )
