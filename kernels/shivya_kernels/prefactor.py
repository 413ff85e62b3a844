"""What can be worked out once per complex, so that decomposing flows is cheap for as long as it stands.

Up to 512 edges of capacity that is Green's operator G of the edge Laplacian L = d0 d0^T + d1^T d1: its
inverse off the harmonic flows. Potential d0^T G f, circulation d1 G f, and no iterations (Lim, "Hodge
Laplacians on Graphs", SIAM Review 2020). Beyond, it is a hierarchy of coarser graphs that preconditions the
vertex Laplacian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from shivya_kernels import multigrid
from shivya_kernels.complex import SimplicialComplex

GREEN_EDGES = 512
"""Largest edge capacity for which Green's operator is kept: 2 MiB in float64."""

_DIRECT = 32
"""Largest matrix that is not inverted by halves."""

_ALIGNMENT = 64
"""Bytes. What starts at a multiple is taken over by JAX's CPU back end; the rest is copied."""

_TOGETHER = 4
"""Matrices inverted together: a third less time than one by one, and they stay in the cache."""

_HARMONIC = 1e-7
"""How near 1 an eigenvalue is that is 1; the others stay away by about the least eigenvalue of L or more."""


def prefactor(c: SimplicialComplex, largest: int = GREEN_EDGES) -> SimplicialComplex:
    """The same complex with `green` or `hierarchy` filled in, which `hodge` and `laplacian` then use.

    `largest` is the edge capacity up to which it is `green`: more than the default pays where very many flows
    are decomposed together, as one matrix product. `c` may be a stack of complexes [k, ...] of at most so
    many edges; hierarchies have shapes of their own and do not stack. Float type: the default one in force.
    Work on the host of order e^3 per complex, 1 ms at 256 edges, or for hierarchies of order e.

    Raises ValueError for a stack of larger complexes.
    """
    stacked = c.edge_mask.ndim == 2
    if c.edge_mask.shape[-1] <= largest:
        host = jax.tree.map(np.asarray, replace(c, green=None, hierarchy=None))
        members = [host]
        if stacked:
            members = [jax.tree.map(lambda leaf, k=k: leaf[k], host) for k in range(len(host.edge_mask))]
        green = _greens(members)
        return replace(c, green=jax.device_put(green if stacked else green[0]), hierarchy=None)
    if stacked:
        raise ValueError(f"only complexes of at most {largest} edges of capacity are prefactored in stacks")
    ends = (np.asarray(c.tail), np.asarray(c.head), np.asarray(c.edge_mask).astype(np.float64))
    return replace(c, green=None, hierarchy=multigrid.build(c.vertex_mask.shape[0], *ends))


def _aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros that JAX's CPU back end takes over: the caller must not write to them afterwards."""
    count = prod(shape)
    spare = _ALIGNMENT // dtype.itemsize
    buffer = np.zeros(count + spare, dtype)
    start = -buffer.ctypes.data % _ALIGNMENT // dtype.itemsize
    return buffer[start : start + count].reshape(shape)


def _greens(members: Sequence[SimplicialComplex]) -> NDArray[np.floating]:
    """Green's operators [k, E, E], at capacity. Those of nearly the same size are inverted together."""
    size = len(members[0].edge_mask)
    green = _aligned_zeros((len(members), size, size), jax.dtypes.canonicalize_dtype(np.float64))
    order = np.argsort([np.count_nonzero(member.edge_mask) for member in members], kind="stable")
    for start in range(0, len(order), _TOGETHER):
        group = order[start : start + _TOGETHER]
        used = [np.flatnonzero(members[k].edge_mask) for k in group]
        systems = [_filled(members[k], edges) for k, edges in zip(group, used, strict=True)]
        widest = len(used[-1])
        stack = np.tile(np.eye(widest), (len(group), 1, 1))
        for whole, (matrix, _) in zip(stack, systems, strict=True):
            whole[: len(matrix), : len(matrix)] = matrix
        inverses = _inverse(stack)
        for k, edges, inverse, (_, fill) in zip(group, used, inverses, systems, strict=True):
            found = _off_kernel(inverse[: len(edges), : len(edges)], fill)
            green[k][np.ix_(edges, edges)] = found
    return green


def _filled(c: SimplicialComplex, used: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The edge Laplacian L over the edges in use plus Z Z^T [e, e], positive definite, and Z [e, k].

    The kernel of L, the harmonic flows, has as many dimensions as the complex has holes. Z is random and has
    more columns than there are holes, or none.
    """
    e, n = len(used), len(c.vertex_mask)
    place = np.zeros(len(c.edge_mask), np.int64)
    place[used] = np.arange(e)
    tail, head = c.tail[used], c.head[used]
    rows, signs = place[c.triangle_edges[c.triangle_mask]], c.triangle_signs[c.triangle_mask]
    d0 = np.zeros((e, n))
    d0[np.arange(e), tail], d0[np.arange(e), head] = -1, 1
    pairs = (rows[:, :, None] * e + rows[:, None, :]).ravel()
    products = (signs[:, :, None] * signs[:, None, :]).ravel()
    matrix: NDArray[np.float64] = np.bincount(pairs, products, e * e).reshape(e, e) + d0 @ d0.T

    independent = e - n + len(np.unique(c.component))
    # Triangles whose last edges differ are independent, and nearly as many as can be: a bound, cheaply had.
    holes = independent - len(np.unique(rows.max(axis=1, initial=-1)))
    columns = min(e, holes + holes // 4 + 4) if holes else 0
    if not columns:
        return matrix, np.zeros((e, 0))
    fill = np.random.default_rng(0).standard_normal((e, columns)) * (np.trace(matrix) / e / e) ** 0.5
    return matrix + fill @ fill.T, fill


def _off_kernel(inverse: NDArray[np.float64], fill: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pseudo-inverse of L from A^-1, A = L + Z Z^T.

    A h = Z (Z^T h) for harmonic h, hence h = A^-1 Z y where y is an eigenvector of Z^T A^-1 Z of eigenvalue
    1, which all others stay below.
    """
    if fill.shape[1] == 0:
        return inverse
    image = inverse @ fill
    values, vectors = np.linalg.eigh(fill.T @ image)
    harmonic = values > 1 - _HARMONIC
    # What filled more than the kernel is taken out again (Woodbury, the inner matrix being diagonal).
    excess = image @ vectors[:, ~harmonic]
    inverse = inverse + (excess / (1 - values[~harmonic])) @ excess.T
    basis = np.asarray(np.linalg.qr(image @ vectors[:, harmonic]).Q, np.float64)
    inverse -= (inverse @ basis) @ basis.T
    inverse -= basis @ (basis.T @ inverse)
    return inverse


def _inverse(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverses of positive definite matrices [k, n, n] by halves: nearly all is matrix products."""
    n = a.shape[-1]
    if n <= _DIRECT:
        return np.asarray(np.linalg.inv(a), np.float64)
    k = n // 2
    inverse: NDArray[np.float64] = np.empty_like(a)
    first = _inverse(a[:, :k, :k])
    across = first @ a[:, :k, k:]
    second = _inverse(a[:, k:, k:] - a[:, k:, :k] @ across)
    corner = across @ second
    inverse[:, :k, :k] = first + corner @ across.swapaxes(1, 2)
    inverse[:, :k, k:], inverse[:, k:, :k], inverse[:, k:, k:] = -corner, -corner.swapaxes(1, 2), second
    return inverse
