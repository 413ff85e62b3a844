"""Combinatorics of graphs on the host, in numpy: 3-cliques, components, the rank of the boundary.

Index arrays in, index arrays out; what is malformed has been refused before. No loop of `cliques` and
`components` runs over vertices or edges, so that a complex is rebuilt in milliseconds when a mesh changes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_PRIME = 2_147_483_647
_BOUNDARY = np.array([1, -1, 1], np.int8)


class Cliques(NamedTuple):
    """Triangles u < v < w in lexicographic order, with their boundaries (v,w) - (u,w) + (u,v)."""

    vertices: NDArray[np.int32]
    edges: NDArray[np.int32]
    """[t, 3] indices of the edges vw, uw, uv."""
    signs: NDArray[np.int8]
    """[t, 3] signs of the boundary, each times the orientation of its own edge."""


def cliques(pairs: NDArray[np.int64], beginning: int = 0) -> Cliques:
    """The 3-cliques of a graph `pairs` [e, 2] with an edge at or after index `beginning`.

    Every edge is extended by the neighbours of its end with fewer, and the third side looked up. With
    `beginning` only new edges are, which is what adding edges to a complex takes.
    """
    count = len(pairs)
    n = int(pairs.max(initial=-1)) + 1
    keys = pairs.min(axis=1) * n + pairs.max(axis=1)
    order = np.argsort(keys)
    ends = np.concatenate([pairs[:, 0], pairs[:, 1]])
    by_end = np.argsort(ends, kind="stable")
    others = np.concatenate([pairs[:, 1], pairs[:, 0]])[by_end]
    degree = np.bincount(ends, minlength=n)
    first = np.cumsum(degree) - degree

    new = pairs[beginning:]
    swap = degree[new[:, 0]] > degree[new[:, 1]]
    near, far = np.where(swap, new[:, 1], new[:, 0]), np.where(swap, new[:, 0], new[:, 1])
    width = degree[near]
    owner = np.repeat(np.arange(len(new)), width)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(width) - width, width)
    third = others[first[near][owner] + within]
    far = far[owner]
    asked = np.minimum(third, far) * n + np.maximum(third, far)
    found = np.searchsorted(keys, asked, sorter=order)
    closed = (third != far) & (found < count)
    closed[closed] = keys[order[found[closed]]] == asked[closed]
    corners = np.stack([near[owner], far, third], axis=1)[closed]
    corners.sort(axis=1)
    # Each clique was met once from every new side it has.
    rank = np.unique((corners[:, 0] * n + corners[:, 1]) * n + corners[:, 2])
    u, v, w = rank // (n * n or 1), rank // (n or 1) % (n or 1), rank % (n or 1)
    sides = np.stack([v * n + w, u * n + w, u * n + v], axis=1)
    edges = order[np.searchsorted(keys, sides, sorter=order)].reshape(-1, 3)
    upward = pairs[:, 0] < pairs[:, 1]
    signs = np.where(upward[edges], _BOUNDARY, -_BOUNDARY).astype(np.int8)
    return Cliques(np.stack([u, v, w], axis=1).astype(np.int32), edges.astype(np.int32), signs)


def components(size: int, pairs: NDArray[np.int64]) -> NDArray[np.int32]:
    """The smallest vertex of each vertex's component: labels hooked along edges (Shiloach, Vishkin 1982)."""
    labels = np.arange(size)
    tail, head = pairs[:, 0], pairs[:, 1]
    while True:
        low = np.minimum(labels[tail], labels[head])
        better = labels.copy()
        # Roots are hooked too, so that a long path takes a logarithmic number of rounds, not a linear one.
        for end in (tail, head):
            np.minimum.at(better, labels[end], low)
            np.minimum.at(better, end, low)
        while not np.array_equal(shorter := better[better], better):
            better = shorter
        if np.array_equal(better, labels):
            return labels.astype(np.int32)
        labels = better


def boundary_rank(edges: NDArray[np.int32], signs: NDArray[np.int8]) -> int:
    """Rank of the triangle boundary by sparse column reduction (Zomorodian and Carlsson 2005).

    Modulo a large prime, so exact unless the complex has torsion of that very order.
    """
    pivots: dict[int, dict[int, int]] = {}
    for row, sign in zip(edges.tolist(), signs.tolist(), strict=True):
        column = dict(zip(row, sign, strict=True))
        while column:
            low = max(column)
            pivot = pivots.get(low)
            if pivot is None:
                inverse = pow(column[low], -1, _PRIME)
                pivots[low] = {e: value * inverse % _PRIME for e, value in column.items()}
                break
            factor = column[low]
            for e, value in pivot.items():
                rest = (column.get(e, 0) - factor * value) % _PRIME
                if rest:
                    column[e] = rest
                else:
                    column.pop(e, None)
    return len(pivots)
