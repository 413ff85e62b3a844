"""What a person, a metric or the daemon reads from one tick."""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jaxtyping import Array, Bool, Float, Int, UInt32

from shivya_kernels.flow import Placement


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Info:
    """What one tick found; nothing here is needed by the next."""

    # L1
    free_energy: Float[Array, ""]
    """Collective free energy in nats: the sum over known vertices less what each pair of neighbours adds."""
    vertex_free_energy: Float[Array, "V"]
    """Free energy of each active vertex at its latest observation, 0 elsewhere."""
    beliefs: Float[Array, "V D"]
    """Posterior means: log1p of the waiting seconds, utilisation, cpu, memory, then grown dimensions."""
    senses: Float[Array, "V S"]
    """What the agent of each vertex was given to observe, whether or not it was sensed this tick."""
    action: Int[Array, "V"]
    """``policy.Action`` that each own cell chose, in force from the next tick; HOLD elsewhere."""
    dimensions: Int[Array, "V"]
    """Belief dimensions in use, permanent and grown; 0 where there is no vertex."""
    novel: Bool[Array, "V"]
    """Surprised and rested: a search for a better law is worth its while."""
    waiting: Float[Array, "V"]
    """A: expected seconds in the system of a job arriving now; 0 where the service is not offered."""
    # L3
    conductance: Float[Array, "E"]
    """Symmetric conductance of each link."""
    advertised: Float[Array, "E"]
    """This end's own value of it, before it is averaged with the other end's."""
    entropy_production: Float[Array, ""]
    """Onsager entropy production of the belief differences, >= 0."""
    shares: Float[Array, "V"]
    """Shapley share of each player of this node's neighbourhood in what pooling saves, job seconds."""
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
    stage: Int[Array, "V"]
    """``cells.Stage`` of each own slot, FREE elsewhere."""
    parent: Int[Array, ""]
    """Cell that split, NO_VERTEX if none did."""
    child: Int[Array, ""]
    """Free slot it split into: advice until the host starts a cell there."""
    drained: Int[Array, ""]
    """Cell that began to hand over what it holds, NO_VERTEX if none did."""
    culled: Bool[Array, "V"]
    """Cells that hold nothing any more and may stop."""
    drain: Int[Array, "V"]
    """Whole jobs each own cell gains (positive) or hands over (negative) because some drain; sums to zero."""
    # all
    status: UInt32[Array, ""]
    """Status bits of all layers; ``status.describe`` names the remedies."""
