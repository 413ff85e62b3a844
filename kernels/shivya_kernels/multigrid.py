"""Coarser and coarser graphs that precondition the Laplacian of a large one: algebraic multigrid.

Vertices are gathered greedily into a root and its neighbours (Vanek, Mandel, Brezina, "Algebraic multigrid by
smoothed aggregation", Computing 1996), and the graph is contracted; corrections are constant on an aggregate
and enlarged, as they underestimate smooth errors (Braess, "Towards algebraic multigrid for elliptic problems
of second order", Computing 1995). Built on the host, applied in compiled code.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32
from numpy.typing import NDArray

COARSEST = 256
"""Graphs of at most so many vertices are solved by one product with a dense pseudo-inverse."""

_DAMPING = 0.8
_ENLARGEMENT = 1.5
_IN_BOUNDS = "promise_in_bounds"


class Level(NamedTuple):
    """A weighted graph and the aggregate, a vertex of the next level, that each vertex belongs to."""

    tail: Int32[Array, "E"]
    head: Int32[Array, "E"]
    weight: Float[Array, "E"]
    relaxation: Float[Array, "V"]
    """Damped inverse of the degree; zero for a vertex without edges."""
    aggregate: Int32[Array, "V"]


class Hierarchy(NamedTuple):
    """The levels from fine to coarse, and the pseudo-inverse of the Laplacian of the last graph."""

    levels: tuple[Level, ...]
    coarsest: Float[Array, "V V"]


def build(n: int, tail: NDArray[np.int32], head: NDArray[np.int32], weight: NDArray[np.float64]) -> Hierarchy:
    """The hierarchy of a graph of n vertices. An edge of weight zero does not exist. Host side."""
    levels = []
    while n > COARSEST:
        real = weight > 0
        aggregate, count = _aggregate(n, tail[real], head[real])
        degree = np.bincount(tail, weight, n) + np.bincount(head, weight, n)
        relaxation = np.where(degree > 0, _DAMPING / np.where(degree > 0, degree, 1), 0)
        levels.append(Level(*jax.device_put((tail, head, weight, relaxation, aggregate))))
        n, (tail, head, weight) = count, _contract(count, aggregate[tail], aggregate[head], weight)
    laplacian = np.zeros((n, n))
    np.add.at(laplacian, (tail, head), -weight)
    laplacian += laplacian.T
    laplacian -= np.diag(laplacian.sum(axis=1))
    return Hierarchy(tuple(levels), jax.device_put(np.linalg.pinv(laplacian, rcond=1e-12, hermitian=True)))


def apply(hierarchy: Hierarchy, residual: Float[Array, "V"]) -> Float[Array, "V"]:
    """One symmetric V-cycle: roughly the residual divided by the Laplacian, up to constants on components."""
    if not hierarchy.levels:
        return (hierarchy.coarsest @ residual).astype(residual.dtype)
    level, *rest = hierarchy.levels
    relaxation = level.relaxation.astype(residual.dtype)
    x = relaxation * residual
    left = residual - _product(level, x)
    size = rest[0].relaxation.shape[0] if rest else hierarchy.coarsest.shape[0]
    coarse = jnp.zeros(size, left.dtype).at[level.aggregate].add(left, mode=_IN_BOUNDS)
    correction = apply(Hierarchy(tuple(rest), hierarchy.coarsest), coarse)
    x = x + _ENLARGEMENT * correction.at[level.aggregate].get(mode=_IN_BOUNDS)
    return x + relaxation * (residual - _product(level, x))


def _product(level: Level, x: Array) -> Array:
    """The graph's Laplacian times x."""
    flow = x.at[level.head].get(mode=_IN_BOUNDS) - x.at[level.tail].get(mode=_IN_BOUNDS)
    flow = level.weight.astype(x.dtype) * flow
    nothing = jnp.zeros_like(x)
    into, out_of = (nothing.at[end].add(flow, mode=_IN_BOUNDS) for end in (level.head, level.tail))
    return into - out_of


def _aggregate(n: int, tail: NDArray[np.int32], head: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]:
    """The aggregate of each vertex, and how many there are: at most half as many as vertices.

    A vertex without edges joins aggregate 0: its residual is zero, and the constant it receives is taken off
    with its component's mean.
    """
    ends = np.concatenate([tail, head])
    others = np.concatenate([head, tail])[np.argsort(ends, kind="stable")].tolist()
    limits = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=n))]).tolist()
    label = [-1] * n
    count = 0
    for v in range(n):
        near = others[limits[v] : limits[v + 1]]
        if near and label[v] < 0 and all(label[w] < 0 for w in near):
            label[v] = count
            for w in near:
                label[w] = count
            count += 1
    joined = label.copy()
    for v in range(n):
        if label[v] < 0:
            joined[v] = next((label[w] for w in others[limits[v] : limits[v + 1]] if label[w] >= 0), 0)
    return np.array(joined, np.int32), max(count, 1)


def _contract(
    n: int, tail: NDArray[np.int32], head: NDArray[np.int32], weight: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """The graph between aggregates: parallel edges joined, their weights summed."""
    apart = (tail != head) & (weight > 0)
    low, high = np.minimum(tail, head)[apart].astype(np.int64), np.maximum(tail, head)[apart]
    keys, which = np.unique(low * n + high, return_inverse=True)
    total: NDArray[np.float64] = np.zeros(len(keys))
    np.add.at(total, which, weight[apart])
    return (keys // n).astype(np.int32), (keys % n).astype(np.int32), total
