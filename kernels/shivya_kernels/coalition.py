"""Coalitions of neighbours: what each adds to the whole, and who is owed what (the seeds'
LocalCoalitionSolver).

A game gives every coalition C of n players a value v(C); it is an array [2^n] whose index is C's bit mask.
Its Harsanyi dividends are its Moebius transform, ``v(C) = sum over T within C of dividend(T)``: what T makes
beyond its own parts. The Shapley value shares each dividend equally among its members.

Which coalitions a graph has: those that share a term of the game. In the seeds' synergy that is a pair of
neighbours and nothing else, so the sum of dividends over all coalitions of two or more is a sum over edges,
each edge once; summed over neighbourhoods, as the seeds do, a triangle counts its edges three times over. In
the pooling gain all vertices of a pool share a term; there a node plays with its heaviest links only
(``neighbourhood``), which is the one place where a game is cut down.

Sources: Harsanyi 1963 (dividends), Shapley 1953, Myerson 1977 (games restricted to a graph).
"""

from __future__ import annotations

from functools import partial
from math import comb
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32
from numpy.typing import NDArray

from shivya_kernels.complex import DimensionMismatch, SimplicialComplex
from shivya_kernels.onsager import active_vertices
from shivya_kernels.padding import lengths
from shivya_kernels.shapes import as_float, resize

MAX_PLAYERS = 16
"""Largest game: 65,536 coalitions."""

LOCAL_PLAYERS = 8
"""A node and its seven heaviest links; also the largest game whose shares are one matrix product."""


class Neighbourhood(NamedTuple):
    """The players of a local game: slot 0 is the centre, then its neighbours, heaviest link first."""

    vertices: Int32[Array, "P"]
    """Vertex of each player, 0 on padding."""
    mask: Bool[Array, "P"]


@jax.jit
def harsanyi_dividends(values: Float[ArrayLike, "*B C"]) -> Float[Array, "*B C"]:
    """Dividends of every coalition, ``sum over T within C of (-1)^(|C| - |T|) v(T)``, indexed by bit mask.

    `values` [2^n], n <= 16, leading axes are batch. A value that is not finite spoils its whole game. Raises
    DimensionMismatch.
    """
    v = as_float(values)
    # One pass per player: n 2^(n-1) subtractions that XLA fuses, a third of the time of one product with the
    # 256 x 256 sign matrix even for a batch of games of eight.
    for bit in range(_count_players(v)):
        without, having = _halves(v, bit)
        v = jnp.stack([without, having - without], axis=-2).reshape(v.shape)
    return v


@jax.jit
def shapley_values(values: Float[ArrayLike, "*B C"]) -> Float[Array, "*B P"]:
    """Each player's share: the dividends it has a part in, each divided by its size.

    Computed as the mean marginal contribution over all orders, which is the same number and needs no
    dividends, whose size grows with every alternation of sign. Shares sum to v(all) - v(nobody). `values` as
    for ``harsanyi_dividends``. Raises DimensionMismatch.
    """
    v = as_float(values)
    players = _count_players(v)
    joining, staying = _marginal_weights(players)
    if players <= LOCAL_PLAYERS:
        bits = _members(players)
        weights = jnp.asarray(np.where(bits, joining[:, None], -staying[:, None]), v.dtype)
        return jnp.matmul(v, weights, precision=jax.lax.Precision.HIGHEST)
    lost = (v * jnp.asarray(staying, v.dtype)).sum(-1)
    weighted = v * jnp.asarray(joining + staying, v.dtype)
    return jnp.stack([_halves(weighted, i)[1].sum((-2, -1)) - lost for i in range(players)], axis=-1)


@jax.jit
def pairwise_synergy(
    means: Float[ArrayLike, "*B P D"],
    players: Bool[ArrayLike, "*B P"] | None = None,
    dimensions: Bool[ArrayLike, "*B P D"] | None = None,
) -> Float[Array, "*B C"]:
    """The seeds' game: v(C) sums over pairs in C how well two beliefs agree, 2 (1 - d^2) where their distance
    d is below 1 and 4 (1 - d^2) beyond.

    Dividends of three or more are zero. Distances are over the `dimensions` that both use (None: all).
    Whoever is not among `players` (None: all are) adds nothing to any coalition. Raises DimensionMismatch.
    """
    mu = as_float(means)
    used = jnp.ones(mu.shape, bool) if dimensions is None else jnp.asarray(dimensions, bool)
    pairs = _agreement(
        mu[..., :, None, :], mu[..., None, :, :], used[..., :, None, :] & used[..., None, :, :]
    )
    return _pair_sums(pairs, _present(players, mu.shape[:-1]))


@jax.jit
def pooling_gain(
    backlog: Float[ArrayLike, "*B P"],
    service_rate: Float[ArrayLike, "*B P"],
    players: Bool[ArrayLike, "*B P"] | None = None,
) -> Float[Array, "*B C"]:
    """What levelling the waits inside C saves: ``sum x_i^2 / c_i - (sum x_i)^2 / sum c_i``, in job seconds.

    Half of it is the waiting that the backlog x (jobs) is spared when it is served at rates c (jobs/s) from
    one pool. By Lagrange's identity it is ``sum over pairs of c_i c_j (x_i / c_i - x_j / c_j)^2 / sum c_i``,
    which cannot be negative and is exactly zero for one player alone. The game is superadditive, so all
    Shapley shares are >= 0. Whoever is not among `players` (None: all are) or serves nothing adds nothing.
    Raises DimensionMismatch.
    """
    x, c = jnp.broadcast_arrays(as_float(backlog), as_float(service_rate))
    present = _present(players, c.shape) & (c > 0)
    c = jnp.where(present, c, 0)
    wait = jnp.where(present, x, 0) / jnp.where(present, c, 1)
    pairs = c[..., :, None] * c[..., None, :] * (wait[..., :, None] - wait[..., None, :]) ** 2
    bits = jnp.asarray(_members(c.shape[-1]), c.dtype)
    rate = jnp.matmul(c, bits.T, precision=jax.lax.Precision.HIGHEST)
    return _pair_sums(pairs, present) / jnp.where(rate > 0, rate, 1)


def neighbourhood(
    c: SimplicialComplex,
    weights: Float[ArrayLike, "E"],
    centre: ArrayLike,
    *,
    active: Bool[ArrayLike, "V"] | None = None,
    players: int = LOCAL_PLAYERS,
) -> Neighbourhood:
    """The centre and its neighbours over the heaviest links, `players` together at most; ties by index.

    Only `active` vertices play (None: all that exist). A link whose weight is not a number is passed over.
    Raises DimensionMismatch.
    """
    if not 1 <= players <= MAX_PLAYERS:
        raise DimensionMismatch(f"a neighbourhood has 1 to {MAX_PLAYERS} players, asked for {players}")
    k = as_float(weights)
    lengths(c, edges=[k])
    found: Neighbourhood = _neighbourhood(c, k, jnp.asarray(centre), active_vertices(c, active), players)
    return found


def pair_dividends(
    c: SimplicialComplex,
    means: Float[ArrayLike, "V D"],
    *,
    active: Bool[ArrayLike, "V"] | None = None,
    dimensions: Bool[ArrayLike, "V D"] | None = None,
) -> Float[Array, "E"]:
    """The dividend of each edge in the seeds' synergy game, zero unless both ends are `active`. At capacity.

    `dimensions` as for ``pairwise_synergy``. Raises DimensionMismatch.
    """
    mu = as_float(means)
    lengths(c, vertices=[mu[:, 0]])
    used = jnp.ones(mu.shape, bool) if dimensions is None else jnp.asarray(dimensions, bool)
    found: Array = _pair_dividends(c, mu, active_vertices(c, active), used)
    return found


def collective_free_energy(
    c: SimplicialComplex,
    free_energy: Float[ArrayLike, "V"],
    means: Float[ArrayLike, "V D"],
    *,
    active: Bool[ArrayLike, "V"] | None = None,
    dimensions: Bool[ArrayLike, "V D"] | None = None,
) -> Float[Array, ""]:
    """Sum of F over `active` vertices less the dividends of all coalitions of two or more, in nats.

    Each coalition counts once; in the seeds' synergy game between neighbours only edges have a dividend. A
    vertex that is not `active` (None: all that exist are) contributes nothing, whatever its slot holds.
    Raises DimensionMismatch.
    """
    energy = as_float(free_energy)
    lengths(c, vertices=[energy])
    dividends = pair_dividends(c, means, active=active, dimensions=dimensions)
    total: Array = _collective(energy, active_vertices(c, active), dividends)
    return total


@partial(jax.jit, static_argnames="players")
def _neighbourhood(
    c: SimplicialComplex, weights: Array, centre: Array, active: Array, players: int
) -> Neighbourhood:
    vertices = c.vertex_mask.shape[0]
    k = resize(weights, c.edge_mask.shape[0])
    usable = c.edge_mask & ~jnp.isnan(k) & active[c.tail] & active[c.head]
    nearness = jnp.full(max(vertices, players), -jnp.inf, k.dtype)
    nearness = nearness.at[c.head].max(jnp.where(usable & (c.tail == centre), k, -jnp.inf))
    nearness = nearness.at[c.tail].max(jnp.where(usable & (c.head == centre), k, -jnp.inf))
    nearness = nearness.at[centre].set(jnp.where(active[centre], jnp.inf, -jnp.inf))
    heaviest, found = jax.lax.top_k(nearness, players)
    mask = heaviest > -jnp.inf
    return Neighbourhood(jnp.where(mask, found, 0).astype(jnp.int32), mask)


@jax.jit
def _pair_dividends(c: SimplicialComplex, means: Array, active: Array, used: Array) -> Array:
    both = c.edge_mask & active[c.tail] & active[c.head]
    agreement = _agreement(means[c.tail], means[c.head], both[:, None] & used[c.tail] & used[c.head])
    return jnp.where(both, agreement, 0)


@jax.jit
def _collective(free_energy: Array, active: Array, dividends: Array) -> Array:
    present = active[: free_energy.shape[0]]
    return jnp.where(present, free_energy, 0).sum() - dividends.sum()


def _agreement(one: Array, other: Array, common: Array) -> Array:
    """2 (1 - d^2) within distance 1, falling twice as fast beyond; over the common dimensions."""
    square = jnp.where(common, one - other, 0)
    room = 1 - (square**2).sum(-1)
    return jnp.where(room > 0, 2 * room, 4 * room)


def _pair_sums(pairs: Float[Array, "*B P P"], present: Bool[Array, "*B P"]) -> Float[Array, "*B C"]:
    """For each coalition, the sum of a symmetric term over the pairs of present players within it."""
    players = pairs.shape[-1]
    both = present[..., :, None] & present[..., None, :] & ~np.eye(players, dtype=bool)
    bits = jnp.asarray(_members(players), pairs.dtype)
    to_each = jnp.matmul(bits, jnp.where(both, pairs, 0), precision=jax.lax.Precision.HIGHEST)
    return 0.5 * (to_each * bits).sum(-1)


def _present(players: ArrayLike | None, shape: tuple[int, ...]) -> Bool[Array, "*B P"]:
    if shape[-1] > MAX_PLAYERS:
        raise DimensionMismatch(f"a game has at most {MAX_PLAYERS} players, got {shape[-1]}")
    return jnp.ones(shape, bool) if players is None else jnp.broadcast_to(jnp.asarray(players, bool), shape)


def _count_players(values: Array) -> int:
    coalitions = values.shape[-1] if values.ndim else 0
    players = coalitions.bit_length() - 1
    if coalitions < 1 or coalitions != 1 << players or players > MAX_PLAYERS:
        raise DimensionMismatch(
            f"a game of n players has 2^n values with n at most {MAX_PLAYERS}, got shape {list(values.shape)}"
        )
    return players


def _halves(values: Float[Array, "*B C"], bit: int) -> tuple[Array, Array]:
    """Coalitions without and with a player, aligned."""
    split = values.reshape(*values.shape[:-1], -1, 2, 1 << bit)
    return split[..., 0, :], split[..., 1, :]


def _members(players: int) -> NDArray[np.bool_]:
    """[2^n, n]: is player i in coalition C."""
    membership: NDArray[np.bool_] = (np.arange(1 << players)[:, None] >> np.arange(players)) & 1 > 0
    return membership


def _marginal_weights(players: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of v(C) in the share of each member, and of -v(C) in that of everybody else, per coalition.

    Of all orders of arrival, (s - 1)! (n - s)! / n! complete a coalition of s with a given member, and
    s! (n - s - 1)! / n! are about to add somebody to it.
    """
    joining = [0.0] + [1 / (players * comb(players - 1, s - 1)) for s in range(1, players + 1)]
    staying = [1 / (players * comb(players - 1, s)) for s in range(players)] + [0.0]
    size = _members(players).sum(1)
    return np.array(joining)[size], np.array(staying)[size]
