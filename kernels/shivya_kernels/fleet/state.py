"""What changes while fleets run: jobs, queues, servers, links, and what was published."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from shivya_kernels.fleet import queues
from shivya_kernels.fleet.queues import Queues
from shivya_kernels.fleet.world import NEVER as _NEVER
from shivya_kernels.fleet.world import World

NEVER = int(_NEVER)
"""A time, in microseconds, that does not come."""

T = TypeVar("T")

REFUSED, LOST = -1, -2
"""Codes in place of the time at which a job is done."""

POTENTIAL, SLOPE, RATE, NET, QUEUE, COUNTED, STAMP, WIDTH = range(8)
"""Columns of a neighbour's record: W, slope, measured rate, net arrivals, jobs held, jobs counted from us,
the step in which it was published, and one to spare."""

SECOND, SECOND_SLOPE, NEXT_HOP = COUNTED, STAMP, WIDTH
"""Columns of what is published in place of those that are the receiver's."""
PUBLISHED = 8

NEVER_HEARD = -1e9


class Jobs(NamedTuple):
    """Per job."""

    ready: Int32[Array, "J"]
    """When it came to the node where it is, us."""
    done: Int32[Array, "J"]
    """When it was done, us; 0 while it is not; REFUSED, LOST."""
    tally: Int32[Array, "J"]
    """Moves * 256 + moves by placement."""
    target: Int32[Array, "*J"]
    """Where an omniscient law sends it: place + 1; 0 while undecided."""


class Servers(NamedTuple):
    """Per server: the job in service (J: none), since when, and when it is or became free, us."""

    job: Int32[Array, "M C"]
    begun: Int32[Array, "M C"]
    free: Int32[Array, "M C"]


class Wire(NamedTuple):
    """What is under way, by the step in which it lands; a ring.

    Job and link of a job; J and the asker's link of a request for a job; a job that comes back from a cut
    link has -2 - link.
    """

    job: Int32[Array, "H W"]
    link: Int32[Array, "H W"]
    filled: Int32[Array, "H"]


class Traffic(NamedTuple):
    """Per link, at its sender or, `received`, at its receiver."""

    sent: Float[Array, "L"]
    pace: Float[Array, "L"]
    """Rate of jobs sent, scaled up as if no time had passed since the own heartbeat."""
    received: Float[Array, "L"]


class Meters(NamedTuple):
    """What nodes measure about themselves."""

    net: Float[Array, "M"]
    """Jobs kept less jobs handed over, per second, scaled like ``Traffic.pace``."""
    finished: Float[Array, "M"]
    busy: Float[Array, "M"]
    """Server-seconds."""
    rate: Float[Array, "M"]
    """Service rate as measured at the last heartbeat."""


class Heard(NamedTuple):
    """Heartbeats: what was published, in a ring over the last ones, and what arrived."""

    published: Float[Array, "P M 8"]
    counted: Float[Array, "P L"]
    relayed: Float[Array, "P L 2"]
    """Queue and rate of neighbours as known to the publisher."""
    table: Float[Array, "M 8 D"]
    """Per place and slot the record of the neighbour there; a column is contiguous, for the vector units."""


class Spoken(NamedTuple):
    """Heartbeats on change: which were sent at all. Single entries where all are."""

    sent: Bool[Array, "P *M"]
    """In a ring like ``Heard.published``."""
    wait: Float[Array, "*M"]
    """Own wait in the last one, seconds."""
    price: Float[Array, "*M"]
    """Potential and slope in the last one: what the next job sent would count, seconds."""
    last: Int32[Array, "*M"]
    """The period in which that was sent."""


class State(NamedTuple):
    """All of it."""

    jobs: Jobs
    queues: Queues
    servers: Servers
    wire: Wire
    traffic: Traffic
    meters: Meters
    heard: Heard
    spoken: Spoken
    beats: Int32[Array, "M"]
    """Heartbeats sent."""
    ask_at: Int32[Array, "M"]
    """The first step in which an idle node may ask for a job."""
    asks: Int32[Array, "M"]
    """Requests made."""
    previous: Float[Array, "M D"]
    """The last flow, for second-order diffusion; one entry for other laws."""
    inbound: Int32[Array, "*M"]
    """Jobs that an omniscient law has under way to a place; one entry for other laws."""


def over_hearing(
    going: Callable[[State, T], Array], body: Callable[[State, T], tuple[State, T]], state: State, rest: T
) -> tuple[State, T]:
    """A while loop over the state that leaves alone what was heard, lest XLA copy it from turn to turn."""
    heard = state.heard
    none = Heard(*(jnp.zeros(()) for _ in heard))

    def turn(carry: tuple[State, T]) -> tuple[State, T]:
        new, rest = body(carry[0]._replace(heard=heard), carry[1])
        return new._replace(heard=none), rest

    bare, rest = jax.lax.while_loop(lambda carry: going(*carry), turn, (state._replace(heard=none), rest))
    return bare._replace(heard=heard), rest


def initial(world: World, chunk: int, second_order: bool, omniscient: bool) -> State:
    """Before the first step: nothing has been heard, and nothing waits."""
    shape = world.shape
    m, j, links, c = shape.places, shape.jobs, shape.places * shape.degree, shape.servers
    late = 2 * shape.longest + shape.latency + 2

    def zeros(*sizes: int) -> Array:
        return jnp.zeros(sizes, jnp.float32)

    def whole(value: int, *sizes: int) -> Array:
        return jnp.full(sizes, value, jnp.int32)

    some = m if shape.silence > 1 else 1
    record = jnp.zeros(8, jnp.float32).at[RATE].set(1).at[STAMP].set(NEVER_HEARD)
    return State(
        jobs=Jobs(whole(0, j), whole(0, j), whole(0, j), whole(0, j if omniscient else 1)),
        queues=queues.empty(m, j),
        servers=Servers(whole(j, m, c), whole(0, m, c), whole(0, m, c)),
        wire=Wire(whole(j, late, 4 * m + 2 * chunk), whole(-1, late, 4 * m + 2 * chunk), whole(0, late)),
        traffic=Traffic(zeros(links), zeros(links), zeros(links)),
        # A copy: what fleets change as they run must not be what they were given.
        meters=Meters(zeros(m), zeros(m), zeros(m), jnp.array(world.nominal, copy=True)),
        heard=Heard(
            zeros(shape.history, m, PUBLISHED),
            zeros(shape.history, links),
            zeros(shape.history, links, 2),
            jnp.tile(record[:, None], (m, 1, shape.degree)),
        ),
        spoken=Spoken(
            jnp.zeros((shape.history, some), bool), zeros(some), zeros(some), whole(-shape.silence, some)
        ),
        beats=whole(0, m),
        ask_at=whole(0, m),
        asks=whole(0, m),
        previous=zeros(m, shape.degree) if second_order else zeros(1, 1),
        inbound=whole(0, m if omniscient else 1),
    )
