"""What laws outside the information model know of the whole fleet, computed on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shivya_kernels.fleet.handover import Omniscience
from shivya_kernels.fleet.laws import Law
from shivya_kernels.fleet.scenario import MICROSECONDS
from shivya_kernels.fleet.world import NEVER, World

_FAR = np.int64(2**40)
"""Steps to a node that no path leads to."""
UNREACHABLE = 1e6
"""Seconds to a node that no path leads to."""


def omniscience(world: World, law: Law) -> Omniscience:
    """Shortest paths for an omniscient law, least-squares flows for one that knows all queues."""
    shape = world.shape
    m, d, n = shape.places, shape.degree, shape.nodes
    paths, flows = law.sight == "omniscient", law.handover == "global"
    if not paths and not flows:
        none = np.zeros((1, 1), np.int32)
        empty = np.zeros((1, 1, 1), np.float32)
        return Omniscience(none, empty[None], empty, empty, empty)
    member = np.zeros((m, n), np.int32)
    operator = np.zeros((2, m, d, n) if flows else (1, 1, 1, 1), np.float32)
    known = np.zeros((2, m, n), bool)
    distance = np.zeros((2, m, n) if paths else (1, 1, 1), np.float32)
    route = np.full((2, m, n) if paths else (1, 1, 1), -1, np.int32)
    for b in range(int(world.fleet[world.fleet < shape.fleets].max(initial=-1)) + 1):
        (places,) = np.nonzero(world.fleet == b)
        at = places[np.argsort(world.name[places])]
        member[at] = at
        name = np.where(world.linked[at], world.name[world.neighbour[at]], -1)
        dead, side = world.down[0][at] != NEVER, world.side[at]
        for broken in (0, 1):
            carries = world.linked[at]
            if broken:
                carries = carries & ~dead[name] & ~dead[:, None]
                if shape.cut:
                    carries &= side[name] == side[:, None]
            known[broken, at] = True if not broken else ~dead[None] & _same(side, shape.cut)
            if paths:
                step = shape.step / MICROSECONDS
                hop = np.rint(world.hop[at] / step) if shape.unlike else np.full(name.shape, shape.hop)
                steps, route[broken, at] = _paths(name, carries, hop.astype(np.int64))
                distance[broken, at] = np.where(steps < _FAR, steps * step, UNREACHABLE)
            if flows:
                operator[broken, at] = _flows(name, carries, known[broken, at])
    return Omniscience(member, operator, known, distance, route)


def _same(side: NDArray[np.bool_], cut: bool) -> Any:
    return np.logical_or(side[:, None] == side[None], not cut)


def _paths(
    name: NDArray[np.int32], carries: NDArray[np.bool_], hop: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Steps between all nodes, and the lowest slot on a shortest path."""
    n, width = name.shape
    steps = np.full((n, n), _FAR)
    np.fill_diagonal(steps, 0)
    ends = np.where(carries, name, -1)

    def by(d: int) -> NDArray[np.int64]:
        further: NDArray[np.int64] = np.minimum(steps[ends[:, d]] + hop[:, d, None], _FAR)
        return np.where((ends[:, d] >= 0)[:, None], further, _FAR)

    while True:
        nearer = np.minimum(steps, np.min([by(d) for d in range(width)], axis=0))
        if (nearer == steps).all():
            break
        steps = nearer
    route = np.full((n, n), -1, np.int32)
    for d in reversed(range(width)):
        route = np.where((by(d) == steps) & (steps < _FAR), d, route)
    return steps, route.astype(np.int32)


def _flows(
    name: NDArray[np.int32], carries: NDArray[np.bool_], known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """[N, D, N]: flow over each link per surplus of each node."""
    n = name.shape[0]
    laplacian = np.zeros((n, n))
    i, d = np.nonzero(carries)
    laplacian[i, name[i, d]] = -1
    np.fill_diagonal(laplacian, -laplacian.sum(axis=1))
    inverse = np.linalg.pinv(laplacian, hermitian=True)
    flow = np.where(carries[:, :, None], inverse[:, None, :] - inverse[name], 0)
    return (flow * known[:, None, :]).astype(np.float32)
