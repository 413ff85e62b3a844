"""What changes while a fluid fleet runs, and what each time step leaves on record."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from shivya_kernels.fleet.fluid_feed import Feed
from shivya_kernels.fleet.state import NEVER_HEARD
from shivya_kernels.fleet.world import World

POTENTIAL, SLOPE, COUNTED, RATE, NET, QUEUE = range(6)
"""Columns of what is heard of a neighbour."""
JOBS, WORK, SPENT = range(3)
"""Columns of what moves: jobs, their work, and their time in system summed over them."""


class Heard(NamedTuple):
    """Rings of what was published, newest first, and what each place has heard."""

    published: Float[Array, "H M D 6"]
    relayed: Float[Array, "H M D 2"]
    """Queue and rate of neighbours as known to the publisher."""
    table: Float[Array, "M D 6"]
    stamp: Float[Array, "M D"]
    """The time step in which it was published."""


class Fluid(NamedTuple):
    """The state between two time steps."""

    jobs: Float[Array, "M"]
    work: Float[Array, "M"]
    flight: Float[Array, "H M D 3"]
    """What will land, by its link at the sender; in the next step the first row."""
    returned: Float[Array, "M 3"]
    """What has come back from cut links."""
    sent: Float[Array, "M D"]
    received: Float[Array, "M D"]
    pace: Float[Array, "M D"]
    """Rate of jobs sent."""
    net: Float[Array, "M"]
    """Rate of jobs kept less jobs handed over."""
    finished: Float[Array, "M"]
    busy: Float[Array, "M"]
    running: Float[Array, "M"]
    """Seconds that what is in service has been served."""
    heard: Heard


class Record(NamedTuple):
    """What one time step adds to the figures, per place."""

    wait: Float[Array, "*T M"]
    """Seconds until what was queued here will be in service."""
    fresh: Float[Array, "*T M"]
    """Jobs queued here where they arrived."""
    moved: Float[Array, "*T M"]
    """Jobs queued here after a move."""
    spent: Float[Array, "*T M"]
    """Their time in system until then, summed over them."""
    handed: Float[Array, "*T M"]
    """Jobs queued here before that were handed over."""
    sent: Float[Array, "*T M"]
    done: Float[Array, "*T M"]
    refused: Float[Array, "*T M"]
    lost: Float[Array, "*T M"]


def start(fed: Feed) -> Fluid:
    """Nothing has been heard, and nothing waits."""
    m, d = fed.world.shape.places, fed.world.shape.degree
    kind = jnp.result_type(float)

    def zeros(*sizes: int) -> Array:
        return jnp.zeros(sizes, kind)

    heard = Heard(
        zeros(fed.lag + 1, m, d, 6),
        zeros(fed.lag + 1, m, d, 2),
        zeros(m, d, 6).at[:, :, RATE].set(1),
        jnp.full((m, d), NEVER_HEARD, kind),
    )
    whole, _ = flight_steps(fed)
    links = (zeros(m, d), zeros(m, d), zeros(m, d))
    meters = (zeros(m), zeros(m), zeros(m), zeros(m))
    return Fluid(zeros(m), zeros(m), zeros(whole + 1, m, d, 3), zeros(m, 3), *links, *meters, heard)


def flight_steps(fed: Feed) -> tuple[int, float]:
    """Time steps that a move takes, at least one, and the share of what moves that takes one more."""
    steps = fed.hop / fed.seconds
    return (int(steps), steps - int(steps)) if steps >= 1 else (1, 0.0)


def across(world: World, values: Float[Array, "M D *F"]) -> Float[Array, "M D *F"]:
    """What the other end of each link has in its slot for this one; 0 where there is no link."""
    return _across(values, world.back, world.linked)


@jax.custom_vjp
def _across(values: Array, back: Array, linked: Array) -> Array:
    other = values.reshape(-1, *values.shape[2:])[back].reshape(values.shape)
    return jnp.where(linked.reshape(linked.shape + (1,) * (values.ndim - 2)), other, 0)


def _forth(values: Array, back: Array, linked: Array) -> tuple[Array, tuple[Array, Array]]:
    return _across(values, back, linked), (back, linked)


def _back(links: tuple[Array, Array], cotangent: Array) -> tuple[Array, None, None]:
    # Its own transpose, as links lead both ways; XLA would scatter, one link after the other.
    return _across(cotangent, *links), None, None


_across.defvjp(_forth, _back)
