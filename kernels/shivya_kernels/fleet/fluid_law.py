"""Law W2 for real-valued queues: its formulas with every choice made smooth, so that they have derivatives.

A choice of the least cost becomes a Boltzmann mean, "job by job as long as it gains" becomes water-filling,
and a limit a hyperbola that stays below both of what it is the lesser of. Rows are places, columns their
links, as in ``world``; costs are in seconds.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from shivya_kernels import flow

_SHARPNESS = 0.98
"""Of the hyperbola; 1 would be the minimum itself."""
_NEWTON_STEPS = 6
_LEAST_AMOUNT = 1e-2
"""Jobs below which shares no longer depend on how many there are."""
TINY = 1e-12


class Advert(NamedTuple):
    """What a node says of itself: to each neighbour, leaving out the way back through it."""

    potential: Float[Array, "M D"]
    slope: Float[Array, "M D"]


def hinge(x: Float[Array, "*X"], width: Float[Array, ""] | float) -> Float[Array, "*X"]:
    """max(x, 0), with a parabola in place of the corner from -width to width; 0 below it."""
    corner = jnp.clip(x, -width, width)
    return (corner + width) ** 2 / (4 * width) + jnp.maximum(x - width, 0)


def step_up(x: Float[Array, "*X"], width: Float[Array, ""] | float) -> Float[Array, "*X"]:
    """From 0 to 1 as x rises from -width to width."""
    return jnp.clip((x + width) / (2 * width), 0, 1)


def share_within(amount: Float[Array, "*X"], limit: Float[Array, "*X"]) -> Float[Array, "*X"]:
    """The share of an amount >= 0 that passes a limit >= 0: smooth, and share * amount exceeds neither.

    The amount passed is the lesser root y of s y^2 - (amount + limit) y + amount * limit = 0, the
    non-rectangular hyperbola of sharpness s.
    """
    total = amount + limit
    root = jnp.sqrt(total**2 - 4 * _SHARPNESS * amount * limit + TINY)
    return 2 * limit / (total + root + TINY)


def soft_least(
    own: Float[Array, "M"],
    ways: Float[Array, "M D"],
    live: Bool[Array, "M D"],
    temperature: Float[Array, ""] | float,
) -> tuple[Float[Array, "M"], Float[Array, "M D"], Float[Array, "M D"]]:
    """The least of a node's own cost and those of its live ways, smooth: a Boltzmann mean of all.

    Returns it, the same without each of the ways, and the weight of each way.
    """
    costs = jnp.concatenate([own[:, None], jnp.where(live, ways, jnp.inf)], axis=1)

    def mean(costs: Array) -> tuple[Array, Array, Array]:
        """Above which level, what of each cost counts by how much."""
        base = jax.lax.stop_gradient(costs.min(axis=1))
        there = costs < jnp.inf
        above = jnp.where(there, costs - base[:, None], 0)
        return base, above, jnp.where(there, jnp.exp(-above / temperature), 0)

    base, above, weight = mean(costs)
    least = base + (weight * above).sum(axis=1) / weight.sum(axis=1)
    # Sums over the others directly: subtracting one's own term from the total would leave rounding errors.
    others = 1 - jnp.eye(ways.shape[1] + 1, dtype=ways.dtype)[:, 1:]
    rest = jnp.maximum(weight @ others, TINY)
    without = base[:, None] + (weight * above) @ others / rest
    # Without the least itself the weights of the others may have vanished, so they start from the second.
    first = jnp.argmin(costs, axis=1)[:, None] == jnp.arange(costs.shape[1])
    onward = first & (jnp.arange(costs.shape[1]) > 0)
    base, above, second = mean(jnp.where(onward, jnp.inf, costs))
    least_but_one = base + (second * above).sum(axis=1) / second.sum(axis=1)
    without = jnp.where(onward[:, 1:], least_but_one[:, None], without)
    return least, without, weight[:, 1:] / weight.sum(axis=1)[:, None]


def advertise(
    own: Float[Array, "M"],
    rate: Float[Array, "M"],
    idle: Float[Array, "M"],
    ways: Float[Array, "M D"],
    slopes: Float[Array, "M D"],
    live: Bool[Array, "M D"],
    window: Float[Array, "M"],
    temperature: Float[Array, ""] | float,
) -> Advert:
    """``flow.placement``'s potential and slope as each neighbour is told them (split horizon)."""
    least, without, weight = soft_least(own, ways, live, temperature)
    per_second = jnp.where(live, 1 / jnp.maximum(slopes, flow.LEAST_SLOPE), 0)
    reach = jnp.where(live, ways, 0)

    def rise(top: Array, own: Array, rate: Array, idle: Array, window: Array, others: Array) -> Array:
        above = jnp.maximum(top - own, 0)
        here = above * rate + idle * jnp.minimum(above / window, 1)
        slope: Array = 1 / jnp.maximum(rate, (here + others) / window)
        return slope

    top = least + window
    depth = jnp.maximum(top[:, None] - reach, 0) * per_second
    whole = rise(top, own, rate, idle, window, depth.sum(axis=1))
    top = without + window[:, None]
    others = (1 - jnp.eye(ways.shape[1], dtype=ways.dtype)) * per_second[:, None, :]
    depth = jnp.maximum(top[:, :, None] - reach[:, None, :], 0) * others
    part = rise(top, own[:, None], rate[:, None], idle[:, None], window[:, None], depth.sum(axis=2))
    return Advert(
        (1 - weight) * least[:, None] + weight * without, (1 - weight) * whole[:, None] + weight * part
    )


def fill(
    own: Float[Array, "M"],
    rate: Float[Array, "M"],
    ways: Float[Array, "M D"],
    slopes: Float[Array, "M D"],
    live: Bool[Array, "M D"],
    amount: Float[Array, "M"],
    width: Float[Array, ""] | float,
) -> tuple[Float[Array, "M"], Float[Array, "M D"]]:
    """Shares of an amount of jobs that stay and that go each way, placed one by one at the least cost.

    Each job raises the cost of the way it takes, by 1 / rate here and by its slope elsewhere, so that all
    ways taken end at one level (water-filling): sum over ways of (level - cost)^+ / slope = amount.
    """
    cost = jnp.concatenate([own[:, None], jnp.where(live, ways, own[:, None])], axis=1)
    room = jnp.where(live, 1 / jnp.maximum(slopes, flow.LEAST_SLOPE), 0)
    room = jnp.concatenate([rate[:, None], room], axis=1)
    amount = jnp.maximum(amount, _LEAST_AMOUNT)

    def excess(level: Array) -> tuple[Array, Array]:
        below = level[:, None] - cost
        steep = (room * jnp.clip((below + width) / (2 * width), 0, 1)).sum(axis=1)
        return (room * hinge(below, width)).sum(axis=1) - amount, steep

    def nearer(level: Array) -> Array:
        over, steep = (fixed(x) for x in excess(level))
        return level - over / jnp.maximum(steep, TINY)

    # From above, Newton's method on an increasing convex function never oversteps. One last turn carries the
    # derivative of the level, by the implicit function theorem.
    taken = jnp.where(room > 0, cost + amount[:, None] / jnp.where(room > 0, room, 1), jnp.inf)
    fixed = jax.lax.stop_gradient
    level = jax.lax.fori_loop(0, _NEWTON_STEPS, lambda _, level: nearer(level), fixed(taken.min(axis=1)))
    over, steep = excess(level)
    level = level - over / jax.lax.stop_gradient(jnp.maximum(steep, TINY))
    parts = room * hinge(level[:, None] - cost, width)
    shares = parts / (parts.sum(axis=1)[:, None] + TINY)
    sent = shares[:, 1:]
    return 1 - sent.sum(axis=1), sent


def hand_over(
    outflow: Float[Array, "M D"],
    tail: Float[Array, "M"],
    rate: Float[Array, "M"],
    there: Float[Array, "M D"],
    slopes: Float[Array, "M D"],
    waiting: Float[Array, "M"],
    width: Float[Array, ""] | float,
) -> Float[Array, "M D"]:
    """How much of an outflow goes while each job gains by it, `there` (hop included) against the own tail.

    A job sent makes its way dearer by the slope and the own tail shorter by 1 / rate; that leaves room for so
    many. All together they are no more than wait.
    """
    gain = hinge(tail[:, None] - there, width)
    room = gain / (slopes + 1 / rate[:, None])
    wanted = jnp.maximum(outflow, 0)
    wanted = wanted * share_within(wanted, room)
    total = wanted.sum(axis=1)
    handed: Array = wanted * share_within(total, waiting)[:, None]
    return handed
