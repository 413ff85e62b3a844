"""Fleets as a fluid: queues are real numbers, choices are smooth, and all has derivatives by the parameters.

The same worlds, the same jobs and the same information as the discrete fleets, in longer time steps, under a
relaxation of law W2. What it is for is the direction in which parameters should go: `delay_quantile` of a
trace ranks parameters much as the p99 of whole jobs does, and `jax.grad` goes through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from shivya_kernels.fleet import fluid_law as law
from shivya_kernels.fleet.fluid_feed import Feed, device
from shivya_kernels.fleet.fluid_state import JOBS, Fluid, Record, start
from shivya_kernels.fleet.fluid_step import advance
from shivya_kernels.fleet.laws import Params

WIDTH = 0.01
"""Seconds of cost within which choices are smooth."""
_SEGMENT = 32
"""Time steps between two states that are kept for the backward pass; those between are computed again."""
_BISECTIONS = 24
_LONGEST = 30
"""Mean service times beyond which no job is served."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FluidTrace:
    """What became of the fluid: per time step and place [T, M], and per fleet [B]; jobs and seconds."""

    feed: Feed
    record: Record
    arrived: Float[Array, "B"]
    """Jobs, = done + refused + lost + held + flying."""
    done: Float[Array, "B"]
    refused: Float[Array, "B"]
    lost: Float[Array, "B"]
    held: Float[Array, "B"]
    """In the nodes at the end, when arrivals end."""
    flying: Float[Array, "B"]
    """Between nodes at the end."""
    moves: Float[Array, "B"]


@jax.jit
def fluid(fed: Feed, params: Params, width: Float[Array, ""] | float = WIDTH) -> FluidTrace:
    """Run a batch of fleets, as ``fluid_feed.feed`` made it, until arrivals end.

    Choices between costs are smooth within `width` seconds. Differentiable by `params` and `width`, and
    ``jax.vmap`` runs many parameters at once. Memory for derivatives grows with the states of a 32nd of the
    time steps.
    """
    fed = device(fed)
    kind = jnp.result_type(float)
    params = jax.tree.map(lambda x: _at_places(fed, jnp.asarray(x, kind)), params)
    soft = jnp.asarray(width, kind)
    steps = fed.jobs.shape[0]
    segments = -(-steps // _SEGMENT)
    arriving = jnp.stack([fed.jobs, fed.work], axis=1)
    arriving = jnp.pad(arriving, ((0, segments * _SEGMENT - steps), (0, 0), (0, 0)))
    arriving = arriving.reshape(segments, _SEGMENT, *arriving.shape[1:])
    number = jnp.arange(segments * _SEGMENT, dtype=jnp.int32).reshape(segments, _SEGMENT)

    @partial(jax.checkpoint, prevent_cse=False)
    def one(now: Fluid, given: tuple[Array, Array]) -> tuple[Fluid, Record]:
        return advance(fed, params, soft, now, *given)

    @partial(jax.checkpoint, prevent_cse=False)
    def some(now: Fluid, given: tuple[Array, Array]) -> tuple[Fluid, Record]:
        return jax.lax.scan(one, now, given)

    last, record = jax.lax.scan(some, start(fed), (number, arriving))
    record = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), record)
    flying = last.flight[..., JOBS].sum(axis=(0, 2)) + last.returned[:, JOBS]
    per_fleet = partial(_per_fleet, fed)
    return FluidTrace(
        feed=fed,
        record=record,
        arrived=per_fleet(fed.jobs.sum(axis=0)),
        done=per_fleet(record.done.sum(axis=0)),
        refused=per_fleet(record.refused.sum(axis=0)),
        lost=per_fleet(record.lost.sum(axis=0)),
        held=per_fleet(last.jobs),
        flying=per_fleet(flying),
        moves=per_fleet(record.sent.sum(axis=0)),
    )


def _at_places(fed: Feed, values: Float[Array, "*B"]) -> Float[Array, "M"]:
    """One value for all, or one per fleet, for each place; padding has those of the first fleet."""
    if values.ndim == 0:
        return jnp.broadcast_to(values, fed.world.fleet.shape)
    padded: Array = jnp.concatenate([values, values[:1]])[fed.world.fleet]
    return padded


def _per_fleet(fed: Feed, values: Float[Array, "M"]) -> Float[Array, "B"]:
    total = jnp.zeros(fed.world.shape.fleets + 1, values.dtype).at[fed.world.fleet].add(values)
    return total[:-1]


@partial(jax.jit, static_argnames="share")
def delay_quantile(trace: FluidTrace, share: float = 0.99) -> Float[Array, "B"]:
    """The time in system within which that share of each fleet's jobs would be done, seconds; smooth.

    A job waits for what is ahead of it where it is queued, and its own service time is drawn from the sizes
    of the fleet's jobs; one that has moved takes its place by birth, so its time is the longer one of that
    spent and that of those already there. Jobs queued before the warm-up is over do not count.
    """
    fed, record = trace.feed, trace.record
    world, slots = fed.world, fed.world.servers
    when = (jnp.arange(record.wait.shape[0]) + 0.5) * fed.seconds
    measured = (when > fed.warm_up)[:, None]
    late = record.wait + law.hinge(record.spent / (record.moved + law.TINY) - record.wait, WIDTH)
    times = jnp.stack([record.wait, late])
    # What is handed over would have waited about as long as what is queued then, and counts elsewhere.
    stays = 1 - law.share_within(record.fresh + record.moved, record.handed)
    counts = jnp.where(measured, jnp.stack([record.fresh, record.moved]) * stays, 0)

    at_place = partial(_at_places, fed)

    # What stays the same whatever the quantile goes inside, beside the smallest service time.
    times = times + at_place(fed.shifted) * slots / world.rate
    scales = at_place(fed.long) * (slots / world.rate)[:, None]
    often = at_place(fed.often)
    total = _per_fleet(fed, counts.sum(axis=(0, 1)))

    def beyond(quantile: Array) -> tuple[Array, Array]:
        """Jobs that take longer, and how that falls with the quantile."""
        rest = jnp.maximum(at_place(quantile) - times, 0)
        tails = [often[:, j] * jnp.exp(-rest / scales[:, j]) for j in range(2)]
        steep = sum(jnp.where(rest > 0, tails[j] / scales[:, j], 0) for j in range(2))
        number = (counts * sum(tails)).sum(axis=(0, 1))
        return _per_fleet(fed, number), _per_fleet(fed, (counts * steep).sum(axis=(0, 1)))

    wanted = (1 - share) * total
    fixed = jax.lax.stop_gradient
    most = fixed(jnp.broadcast_to(times.max() + _LONGEST * scales.max(), total.shape))

    def nearer(_: int, between: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = between
        middle = (low + high) / 2
        beneath = fixed(beyond(middle)[0]) > wanted
        return jnp.where(beneath, middle, low), jnp.where(beneath, high, middle)

    # The tail has plateaus, on which Newton's method would go astray; it only adds the last digits, and the
    # derivative by the implicit function theorem.
    low, high = jax.lax.fori_loop(0, _BISECTIONS, nearer, (jnp.zeros_like(most), most))
    quantile = (low + high) / 2
    number, steep = beyond(quantile)
    found: Array = quantile + (number - wanted) / fixed(jnp.maximum(steep, law.TINY))
    return found
