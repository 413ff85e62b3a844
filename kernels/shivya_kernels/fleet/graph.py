"""Fleets as graphs, on the host: random geometric links, neighbour tables, and least-squares operators."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Links(NamedTuple):
    """The links of one graph as padded rows, slot d of node i leading to its d-th neighbour."""

    neighbour: Ints
    """[N, D]; -1 where there is none."""
    back: Ints
    """[N, D]: the slot at that neighbour that leads back."""


class Near(NamedTuple):
    """What each node can learn about beyond its links."""

    member: Ints
    """[N, R]: nodes exactly two hops away; -1 pads."""
    slot: Ints
    """[N, R]: the slot of the neighbour that tells of them, the one with the freshest word."""
    there: Ints
    """[N, R]: their slot at that neighbour."""


def random_geometric(
    rng: np.random.Generator, nodes: int, mean_degree: float
) -> tuple[Floats, list[tuple[int, int]]]:
    """Points in the unit square and their shortest links, as many as the mean degree asks; connected."""
    points = rng.random((nodes, 2))
    wanted = min(round(nodes * mean_degree / 2), nodes * (nodes - 1) // 2)
    radius = np.sqrt(mean_degree / (np.pi * nodes))
    order = np.argsort(points[:, 0], kind="stable")
    while True:
        pairs, lengths = _pairs_within(points[order], radius)
        if len(lengths) >= wanted:
            break
        radius *= 1.3
    shortest = np.argsort(lengths, kind="stable")[:wanted]
    edges = [(int(a), int(b)) for a, b in np.sort(order[pairs[shortest]], axis=1)]
    return points, edges + _joining(points, edges)


def _pairs_within(points: Floats, radius: float) -> tuple[NDArray[np.int64], Floats]:
    """All pairs of points, sorted by abscissa, no further apart than the radius."""
    found, lengths = [], []
    for shift in range(1, len(points)):
        gap = points[shift:] - points[:-shift]
        if not (gap[:, 0] <= radius).any():
            break
        distance = np.hypot(gap[:, 0], gap[:, 1])
        (left,) = np.nonzero(distance <= radius)
        found.append(np.stack([left, left + shift], axis=1))
        lengths.append(distance[left])
    if not found:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    return np.concatenate(found), np.concatenate(lengths)


def _joining(points: Floats, edges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The shortest links that join each component in turn to the rest."""
    label = np.arange(len(points))

    def root(i: int) -> int:
        while label[i] != i:
            label[i] = label[label[i]]
            i = int(label[i])
        return i

    for a, b in edges:
        label[root(a)] = root(b)
    added: list[tuple[int, int]] = []
    while True:
        roots = np.array([root(i) for i in range(len(points))])
        names, counts = np.unique(roots, return_counts=True)
        if len(names) == 1:
            return added
        inside = roots == names[np.argmin(counts)]
        ours, others = np.nonzero(inside)[0], np.nonzero(~inside)[0]
        distance = np.linalg.norm(points[ours, None] - points[None, others], axis=2)
        i, j = np.unravel_index(np.argmin(distance), distance.shape)
        a, b = int(ours[i]), int(others[j])
        label[root(a)] = root(b)
        added.append((min(a, b), max(a, b)))


def links(nodes: int, edges: list[tuple[int, int]]) -> Links:
    """Neighbour tables of an undirected simple graph. Raises ValueError for anything else."""
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= nodes):
        raise ValueError(f"edges name nodes outside 0..{nodes - 1}")
    if (pairs[:, 0] == pairs[:, 1]).any() or len(np.unique(np.sort(pairs, axis=1), axis=0)) != len(pairs):
        raise ValueError("edges must be without self loops and duplicates")
    count = len(pairs)
    tail = np.concatenate([pairs[:, 0], pairs[:, 1]])
    head = np.concatenate([pairs[:, 1], pairs[:, 0]])
    order = np.lexsort((head, tail))
    degree = np.bincount(tail, minlength=nodes)
    slot = np.empty(2 * count, np.int64)
    slot[order] = np.arange(2 * count) - np.repeat(np.cumsum(degree) - degree, degree)
    width = max(int(degree.max(initial=0)), 1)
    neighbour = np.full((nodes, width), -1, np.int32)
    back = np.zeros((nodes, width), np.int32)
    neighbour[tail, slot] = head
    back[tail, slot] = np.concatenate([slot[count:], slot[:count]])
    return Links(neighbour, back)


def per_slot(graph: Links, edges: list[tuple[int, int]], values: Ints) -> Ints:
    """[N, D]: what each edge has, at both of its slots; 1 where a slot leads nowhere."""
    nodes = len(graph.neighbour)
    pairs = np.sort(np.array(edges, np.int64).reshape(-1, 2), axis=1)
    names = pairs[:, 0] * nodes + pairs[:, 1]
    order = np.argsort(names)
    here, slot = np.nonzero(graph.neighbour >= 0)
    there = graph.neighbour[here, slot]
    name = np.minimum(here, there) * nodes + np.maximum(here, there)
    result = np.ones_like(graph.neighbour)
    result[here, slot] = values[order[np.searchsorted(names[order], name)]]
    return result


def near(graph: Links, phase: Ints, period: int, latency: int) -> Near:
    """Who is two hops away, and which neighbour's word of them is the freshest at one's own phase.

    Phases, the period and the latency of heartbeats are in steps.
    """
    nodes, width = graph.neighbour.shape
    rows: list[list[tuple[int, int, int]]] = []
    for i in range(nodes):
        direct = graph.neighbour[i]
        best: dict[int, tuple[int, int, int]] = {}
        for d in range(width):
            k = int(direct[d])
            if k < 0:
                break
            age = (phase[i] - phase[k] - latency) % period
            for there, m in enumerate(graph.neighbour[k].tolist()):
                if m < 0:
                    break
                total = int(age + (phase[k] - phase[m] - latency) % period)
                if m != i and (m not in best or total < best[m][0]):
                    best[m] = (total, d, there)
        known = set(direct.tolist())
        rows.append([(m, d, there) for m, (_, d, there) in sorted(best.items()) if m not in known])
    size = max((len(row) for row in rows), default=0)
    table = np.zeros((3, nodes, size), np.int32)
    table[0] = -1
    for i, row in enumerate(rows):
        if row:
            table[:, i, : len(row)] = np.array(row).T
    return Near(table[0], table[1], table[2])


def flow_operator(graph: Links, members: Ints, alive: Bools, open_link: Bools) -> NDArray[np.float32]:
    """The least-squares flow out of each node, linear in the surplus of the nodes it knows.

    `members` [N, R] are the nodes that each knows, itself first; `alive` [N, R] those that it counts;
    `open_link` [N, D] the links that carry. With b the surplus per member, L x = b on the graph that they
    span and x = 0 at the node itself, slot d of the result [N, D, R] @ b is x_self - x_neighbour.
    """
    nodes, size = members.shape
    width = graph.neighbour.shape[1]
    result = np.zeros((nodes, width, size), np.float32)
    for start in range(0, nodes, 256):
        part = slice(start, min(start + 256, nodes))
        result[part] = _operator_block(graph, members[part], alive[part], open_link)
    return result


def _operator_block(graph: Links, members: Ints, alive: Bools, open_link: Bools) -> Floats:
    neighbour = np.where(open_link, graph.neighbour, -2)
    joined = np.zeros((*members.shape, members.shape[1]), bool)
    for d in range(neighbour.shape[1]):
        joined |= neighbour[members, d][:, :, None] == members[:, None, :]
    joined &= alive[:, :, None] & alive[:, None, :]
    laplacian = -joined.astype(float)
    diagonal = np.arange(members.shape[1])
    degree = joined.sum(axis=2).astype(float)
    laplacian[:, diagonal, diagonal] = np.where(degree > 0, degree, 1)
    laplacian[:, 0, :] = 0
    laplacian[:, :, 0] = 0
    laplacian[:, 0, 0] = 1
    # What is not connected with the node itself would make the matrix singular; it takes no part.
    reached = np.zeros(members.shape, bool)
    reached[:, 0] = True
    for _ in range(2):
        reached |= (joined & reached[:, :, None]).any(axis=1)
    off = ~reached
    laplacian[off[:, :, None] | off[:, None, :]] = 0
    laplacian[:, diagonal, diagonal] += off
    inverse = np.linalg.inv(laplacian)
    inverse[:, 0, :] = 0
    inverse[off] = 0
    width = neighbour.shape[1]
    return -inverse[:, 1 : 1 + width, :]
