"""What can be worked out once per complex, so that decomposing flows is cheap for as long as it stands.

Up to 512 edges of capacity that is Green's operator G of the edge Laplacian L = d0 d0^T + d1^T d1: its
inverse off the harmonic flows. Potential d0^T G f, circulation d1 G f, and no iterations (Lim, "Hodge
Laplacians on Graphs", SIAM Review 2020). Beyond, it is a hierarchy of coarser graphs that preconditions the
vertex Laplacian.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
from numpy.typing import NDArray

from shivya_kernels import multigrid
from shivya_kernels.complex import SimplicialComplex

GREEN_EDGES = 512
"""Largest edge capacity for which Green's operator is kept: 2 MiB in float64."""

_DIRECT = 32
"""Largest matrix that is not inverted by halves."""

_HARMONIC = 1e-7
"""How near 1 an eigenvalue is that is 1; the others stay away by about the least eigenvalue of L or more."""


def prefactor(c: SimplicialComplex) -> SimplicialComplex:
    """The same complex with `green` or `hierarchy` filled in, which `hodge` and `laplacian` then use.

    `c` may be a stack of complexes [k, ...] as long as it has at most 512 edges of capacity; hierarchies have
    shapes of their own and do not stack. Float type: the default one in force. Work on the host of order
    e^3 per complex, 1 ms at 256 edges, or for hierarchies of order e.

    Raises ValueError for a stack of larger complexes.
    """
    stacked = c.edge_mask.ndim == 2
    if c.edge_mask.shape[-1] <= GREEN_EDGES:
        lanes = [jax.tree.map(np.asarray, replace(c, green=None, hierarchy=None))]
        if stacked:
            lanes = [jax.tree.map(lambda leaf, k=k: leaf[k], lanes[0]) for k in range(len(c.edge_mask))]
        size = c.edge_mask.shape[-1]
        green = np.empty((len(lanes), size, size), jax.dtypes.canonicalize_dtype(np.float64))
        for place, lane in zip(green, lanes, strict=True):
            used = np.flatnonzero(lane.edge_mask)
            place[:] = 0
            place[np.ix_(used, used)] = _green(lane, used)
        return replace(c, green=jax.device_put(green if stacked else green[0]), hierarchy=None)
    if stacked:
        raise ValueError(
            f"only complexes of at most {GREEN_EDGES} edges of capacity are prefactored in stacks"
        )
    ends = (np.asarray(c.tail), np.asarray(c.head), np.asarray(c.edge_mask).astype(np.float64))
    return replace(c, green=None, hierarchy=multigrid.build(c.vertex_mask.shape[0], *ends))


def _green(c: SimplicialComplex, used: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pseudo-inverse of the edge Laplacian over the edges in use [e, e], in float64.

    The kernel, the harmonic flows, has as many dimensions as the complex has holes. Filled with Z Z^T, Z
    random with more columns than holes, L becomes positive definite: A. A h = Z (Z^T h) for harmonic h, hence
    h = A^-1 Z y where y is an eigenvector of Z^T A^-1 Z of eigenvalue 1, which all others stay below.
    """
    e, n = len(used), len(c.vertex_mask)
    if e == 0:
        return np.zeros((0, 0))
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
    if holes == 0:
        return _inverse(matrix)
    columns = min(e, holes + holes // 4 + 4)
    fill = np.random.default_rng(0).standard_normal((e, columns)) * (np.trace(matrix) / e / e) ** 0.5
    inverse = _inverse(matrix + fill @ fill.T)
    image = inverse @ fill
    values, vectors = np.linalg.eigh(fill.T @ image)
    harmonic = values > 1 - _HARMONIC
    # What filled more than the kernel is taken out again (Woodbury, the inner matrix being diagonal).
    excess = image @ vectors[:, ~harmonic]
    inverse += (excess / (1 - values[~harmonic])) @ excess.T
    basis = np.asarray(np.linalg.qr(image @ vectors[:, harmonic]).Q, np.float64)
    inverse -= (inverse @ basis) @ basis.T
    inverse -= basis @ (basis.T @ inverse)
    return inverse


def _inverse(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of a symmetric positive definite matrix by halves: nearly all the work is matrix products."""
    n = len(a)
    if n <= _DIRECT:
        return np.asarray(np.linalg.inv(a), np.float64)
    k = n // 2
    inverse: NDArray[np.float64] = np.empty_like(a)
    first = _inverse(a[:k, :k])
    across = first @ a[:k, k:]
    second = _inverse(a[k:, k:] - a[k:, :k] @ across)
    corner = across @ second
    inverse[:k, :k] = first + corner @ across.T
    inverse[:k, k:], inverse[k:, :k], inverse[k:, k:] = -corner, -corner.T, second
    return inverse
