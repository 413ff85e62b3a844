"""Phase of each node's tick, drawn together or apart by its peers: Kuramoto oscillators (The Chorus).

    theta_i' = omega_i + K / N_i sum_j w_j sin(theta_j - theta_i),

N_i being the node itself and every peer of positive weight. A peer that was not heard of for longer than its
TTL has weight 0 (``fresh_weights``): it leaves the sum and the count, so that no ghost pulls. Above K_c =
2 / (pi g(0)), g the density of natural frequencies at their centre, phases lock (Kuramoto 1984, Strogatz
2000); coupling below zero spreads them. Phases are in radians, results in [-pi, pi].
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from shivya_kernels.shapes import as_float

PEER_TTL = 5.0
"""Seconds for which a peer's last phase counts."""


@jax.jit
def kuramoto_step(
    theta: Float[ArrayLike, "N"],
    omega: Float[ArrayLike, "*N"],
    coupling: ArrayLike,
    dt: ArrayLike,
    weights: Float[ArrayLike, "N"] | Float[ArrayLike, "N N"] | None = None,
) -> Float[Array, "N"]:
    """One classical Runge-Kutta step of `dt` seconds; `omega` in rad/s, `coupling` K in 1/s.

    `weights` >= 0: none (all 1), one per peer [N], or row i what i gives to each peer [N, N]. Without a
    matrix the cost is linear in N: the sum is that of the mean field.
    """
    phase, frequency = as_float(theta), as_float(omega)
    w = jnp.ones_like(phase) if weights is None else as_float(weights)
    pull = as_float(coupling) / _audience(w)
    h = as_float(dt)

    def rate(at: Array) -> Array:
        # sum_j w_j sin(theta_j - theta_i), by the addition theorem.
        return frequency + pull * (jnp.cos(at) * (w @ jnp.sin(at)) - jnp.sin(at) * (w @ jnp.cos(at)))

    k1 = rate(phase)
    k2 = rate(phase + 0.5 * h * k1)
    k3 = rate(phase + 0.5 * h * k2)
    k4 = rate(phase + h * k3)
    after: Array = wrap(phase + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4))
    return after.astype(phase.dtype)


@jax.jit
def chorus_step(
    theta: Float[ArrayLike, "N"], coupling: ArrayLike = 2.5, clamp: ArrayLike = 0.05
) -> Float[Array, "N"]:
    """The seed's simultaneous step: theta += clip(K/N sum_j sin(theta_j - theta_i), +-clamp), wrapped.

    No frequency and no time: K is per step, at most `clamp` radians each. Above K = 2 it overshoots, and the
    phases end in a jitter of up to `clamp`. Prefer ``kuramoto_step``.
    """
    phase = as_float(theta)
    pull = jnp.sin(phase[None, :] - phase[:, None]).sum(axis=1) * (as_float(coupling) / phase.shape[0])
    after: Array = wrap(phase + jnp.clip(pull, -as_float(clamp), as_float(clamp)))
    return after.astype(phase.dtype)


@jax.jit
def order_parameter(
    theta: Float[ArrayLike, "N"], weights: Float[ArrayLike, "N"] | None = None
) -> Float[Array, ""]:
    """r = |weighted mean of exp(i theta)|: 1 when all phases agree, about N^-1/2 when they are random.

    `weights` >= 0 (none: all 1); if all are 0, r is 0. The gradient at r = 0 is taken as zero.
    """
    phase = as_float(theta)
    w = jnp.ones_like(phase) if weights is None else as_float(weights)
    total = w.sum()
    mean = jnp.stack([w @ jnp.cos(phase), w @ jnp.sin(phase)]) / jnp.where(total > 0, total, 1.0)
    square = mean @ mean
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


@jax.jit
def fresh_weights(
    age: Float[ArrayLike, "*N"], ttl: ArrayLike = PEER_TTL, weight: Float[ArrayLike, "*N"] = 1.0
) -> Float[Array, "*N"]:
    """`weight` where a phase arrived no longer ago than `ttl`, else 0; `age` in seconds on the receiver's
    own monotonic clock, NaN or infinity for a peer never heard of."""
    age = as_float(age)
    return jnp.where(age <= as_float(ttl), as_float(weight), 0.0).astype(age.dtype)


@jax.jit
def wrap(theta: Float[ArrayLike, "*N"]) -> Float[Array, "*N"]:
    """The same angle in [-pi, pi]."""
    angle = as_float(theta)
    return angle - 2.0 * jnp.pi * jnp.round(angle / (2.0 * jnp.pi))


def _audience(w: Float[Array, "N"] | Float[Array, "N N"]) -> Float[Array, "N"]:
    """How many each node counts: itself, whatever its own weight, and its peers of positive weight."""
    size = w.shape[-1]
    heard = jnp.broadcast_to(w > 0, (size, size))
    return jnp.where(jnp.eye(size, dtype=bool), True, heard).sum(axis=1).astype(w.dtype)
