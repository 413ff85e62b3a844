"""What the slime mould is known for: the shortest way through a maze, and networks as good as railways."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree
from scipy.spatial import Delaunay

from shivya_kernels import conductance
from shivya_kernels.complex import SimplicialComplex

Edges = np.ndarray
SIDE = 10
CITIES = 36


class Land(NamedTuple):
    """Places where tubes may go, and which of them are cities."""

    complex: SimplicialComplex
    edges: Edges
    lengths: np.ndarray
    cities: np.ndarray


class Network(NamedTuple):
    """What Tero et al. measured of railways and of Physarum, the spanning tree being 1."""

    cost: float
    """Length of all tubes over that of the tree."""
    distance: float
    """Mean way between two cities over that along the tree."""
    risk: float
    """Chance that a fault, as likely everywhere, cuts off a city."""


def graph(edges: Edges, lengths: np.ndarray, size: int) -> csr_matrix:
    return coo_matrix((lengths, (edges[:, 0], edges[:, 1])), (size, size)).tocsr()


def maze(seed: int) -> tuple[Edges, np.ndarray]:
    """Corridors of a square maze: a random spanning tree, and some more openings, so that ways compete."""
    rng = np.random.default_rng(seed)
    cells = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    across = np.stack([cells[:, :-1].ravel(), cells[:, 1:].ravel()], 1)
    down = np.stack([cells[:-1].ravel(), cells[1:].ravel()], 1)
    walls = np.concatenate([across, down])
    tree = minimum_spanning_tree(graph(walls, rng.uniform(1, 2, len(walls)), SIDE * SIDE)).tocoo()
    kept = {(int(u), int(v)) for u, v in zip(tree.row, tree.col, strict=True)}
    others = [wall for wall in map(tuple, walls.tolist()) if wall not in kept]
    kept |= {others[k] for k in rng.choice(len(others), 12, replace=False)}
    return np.array(sorted(kept)), rng.uniform(0.8, 1.2, len(kept))


@pytest.mark.parametrize("seed", range(4))
def test_of_a_maze_the_shortest_way_is_left(seed: int) -> None:
    """Nakagaki et al. 2000; Tero et al. 2007, f = |Q|."""
    edges, lengths = maze(seed)
    c = SimplicialComplex.from_edges(SIDE * SIDE, edges.tolist())
    start, end = 0, SIDE * SIDE - 1
    flow = jnp.zeros(SIDE * SIDE).at[start].set(1.0).at[end].set(-1.0)

    @jax.jit
    def solve(tubes: Array) -> Array:
        step = partial(conductance.tero_step, response=conductance.linear)
        return jax.lax.fori_loop(0, 3000, lambda _, d: step(d, lengths, c, flow, 0.2)[0], tubes)

    left = np.asarray(solve(jnp.ones(len(edges)))) > 0.5
    _, before = dijkstra(graph(edges, lengths, SIDE * SIDE), False, start, return_predecessors=True)
    way, place = set(), end
    while place != start:
        way.add((min(place, before[place]), max(place, before[place])))
        place = before[place]
    assert {tuple(edge) for edge in edges[left].tolist()} == way
    assert len(way) < len(edges) / 2


def land(seed: int) -> Land:
    """A hub, and cities around it that lie the closer the nearer to it, on a fine net of possible ways."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(size=(240, 2))
    corners = np.sort(Delaunay(place).simplices, axis=1)
    edges = np.unique(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [0, 2]]]), axis=0)
    lengths = np.linalg.norm(place[edges[:, 0]] - place[edges[:, 1]], axis=1)
    edges, lengths = edges[lengths < 0.2], lengths[lengths < 0.2]
    away = np.linalg.norm(place - 0.5, axis=1)
    hub = int(away.argmin())
    drawn = 1 / np.maximum(away, 0.05)
    drawn[hub] = 0.0
    cities = np.append(rng.choice(len(place), CITIES - 1, replace=False, p=drawn / drawn.sum()), hub)
    return Land(SimplicialComplex.from_edges(len(place), edges.tolist()), edges, lengths, cities)


# Runs long and compiles soon: other than most tests, worth what LLVM can do (tests/conftest.py).
@partial(
    jax.jit,
    static_argnames=("response", "steps"),
    compiler_options={"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True},
)
def grow(
    c: SimplicialComplex, lengths: Array, cities: Array, flux: float, response: object, steps: int
) -> Array:
    """One pair of cities at a time, drawn at random, passes `flux` (Tero et al. 2010)."""

    def one(tubes: Array, key: Array) -> tuple[Array, None]:
        first, second = jax.random.choice(key, cities, (2,), replace=False)
        flow = jnp.zeros(c.vertex_mask.shape).at[first].add(flux).at[second].add(-flux)
        return conductance.tero_step(tubes, lengths, c, flow, 0.01, response=response)[0], None

    keys = jax.random.split(jax.random.PRNGKey(7), steps)
    return jax.lax.scan(one, jnp.ones(lengths.shape), keys)[0]


def measured(found: Land, left: np.ndarray) -> Network:
    size, pairs = found.complex.vertex_mask.shape[0], np.triu_indices(CITIES, 1)

    def ways(which: np.ndarray) -> np.ndarray:
        net = graph(found.edges[which], found.lengths[which], size)
        return dijkstra(net, False, found.cities)[:, found.cities]

    tree = minimum_spanning_tree(ways(np.ones(len(left), bool)))
    along = dijkstra(tree, False)[pairs].mean()
    cut = 0.0
    for tube in np.flatnonzero(left):
        rest = left.copy()
        rest[tube] = False
        net = graph(found.edges[rest], found.lengths[rest], size)
        _, label = connected_components(net, False)
        cut += found.lengths[tube] * (len(set(label[found.cities])) > 1)
    length = found.lengths[left].sum()
    return Network(length / tree.sum(), ways(left)[pairs].mean() / along, cut / length)


@pytest.mark.parametrize("seed", [2])
def test_networks_trade_cost_for_ways_and_safety_as_physarum_and_railways_do(seed: int) -> None:
    """Tero et al., Science 327 (2010): cost 1.75 +- .30 (Tokyo: 1.80), a way of .85 +- .04 (.85), and
    a fault that cuts off a city in 14 +- 4 % of cases (4 %), with the exponent of the organism. More flux per
    pair of a steeper response leaves hardly more than the tree: cheaper, longer, and easily cut.
    """
    found = land(seed)
    loops = grow(found.complex, found.lengths, found.cities, 0.2, conductance.Sigmoid(1.15), 5000)
    like_tokyo = measured(found, np.asarray(loops) > 0.003)
    tree = grow(found.complex, found.lengths, found.cities, 1.0, conductance.Sigmoid(1.8), 5000)
    thrifty = measured(found, np.asarray(tree) > 0.003)
    assert 1.45 <= like_tokyo.cost <= 2.05
    assert like_tokyo.distance <= 0.89
    assert like_tokyo.risk <= 0.18
    assert thrifty.cost < 1.3 and thrifty.cost < like_tokyo.cost
    assert thrifty.distance > like_tokyo.distance
    assert thrifty.risk > 2 * like_tokyo.risk
