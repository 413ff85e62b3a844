"""Conductance of links: what ends agree on, and tubes that learn from flow."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial.distance import pdist, squareform

from shivya_kernels import conductance
from shivya_kernels.complex import Capacity, DimensionMismatch, SimplicialComplex

TWO_ROUTES = SimplicialComplex.from_edges(3, [(0, 1), (0, 2), (2, 1)])
"""From 0 to 1 direct, or by way of 2."""
ONE_IN_ONE_OUT = np.array([1.0, -1.0, 0.0])
RESPONSES = {
    "linear_mu1_L1_2": conductance.linear,
    "sqrt_mu0.5_L1_2": conductance.Power(0.5),
    "sat_q2_L1_2": conductance.Sigmoid(2.0, 1.0),
    "linear_equal_L": conductance.linear,
}


def test_advertised_falls_with_latency_and_rises_with_thickness() -> None:
    thickness, bandwidth = np.array([1.0, 1.0, 2.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.5])
    rtt = np.array([0.0, 0.01, 0.01, 0.03])
    np.testing.assert_allclose(conductance.advertised(thickness, bandwidth, rtt), [1.0, 0.5, 1.0, 0.125])


def test_both_ends_use_the_same_number() -> None:
    here, there = np.array([1.0, 0.2]), np.array([0.5, 0.9])
    known = np.array([True, True])
    np.testing.assert_array_equal(
        conductance.symmetric(here, there, known), conductance.symmetric(there, here, known)
    )
    np.testing.assert_allclose(conductance.symmetric(here, there, known), [0.75, 0.55])


def test_an_unknown_other_end_does_not_count() -> None:
    found = conductance.symmetric([0.4, 0.4], [-1.0, 0.8], [False, True])
    np.testing.assert_allclose(found, [0.4, 0.6])


def test_jit_vmap_grad_and_float32_agree() -> None:
    rtt = np.linspace(0.0, 0.1, 5)
    batch = jax.jit(jax.vmap(conductance.advertised))(np.ones(5), np.ones(5), rtt)
    np.testing.assert_allclose(batch, conductance.advertised(1.0, 1.0, rtt))
    slope = jax.grad(lambda r: conductance.advertised(1.0, 1.0, r))(0.01)
    np.testing.assert_allclose(slope, -25.0)
    narrow = conductance.advertised(np.float32(1.0), np.float32(1.0), rtt.astype(np.float32))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, batch, rtol=1e-6)


def route_lengths(case: dict[str, list[float]]) -> np.ndarray:
    direct, around = case["lengths"]
    return np.array([direct, around / 2, around / 2])


@partial(jax.jit, static_argnames=("response", "steps"))
def march(
    c: SimplicialComplex,
    lengths: jax.Array,
    sources: jax.Array,
    start: jax.Array,
    dt: float,
    steps: int,
    response: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    def once(d: jax.Array, _: None) -> tuple[jax.Array, None]:
        return conductance.tero_step(d, lengths, c, sources, dt, response=response)[0], None

    return jax.lax.scan(once, start, None, length=steps)[0]


@pytest.mark.parametrize("name", RESPONSES)
def test_euler_steps_converge_to_the_golden_solution(golden: Path, name: str) -> None:
    case = json.loads((golden / "physarum.json").read_text())[name]
    lengths, start = route_lengths(case), np.full(3, 0.5)
    at = case["t"].index(2.0)
    expected = np.array(case["D"][at])[[0, 1, 1]]
    errors = [
        np.abs(march(TWO_ROUTES, lengths, ONE_IN_ONE_OUT, start, 2.0 / n, n, RESPONSES[name]) - expected)
        for n in (200, 400)
    ]
    if name == "linear_equal_L":
        assert max(e.max() for e in errors) < 1e-12
    else:
        np.testing.assert_allclose(errors[0] / errors[1], 2.0, rtol=0.05)
        assert errors[1].max() < 2e-3


@pytest.mark.parametrize("name", RESPONSES)
def test_tubes_settle_where_the_golden_solution_does(golden: Path, name: str) -> None:
    case = json.loads((golden / "physarum.json").read_text())[name]
    lengths = route_lengths(case)
    settled = march(TWO_ROUTES, lengths, ONE_IN_ONE_OUT, np.full(3, 0.5), 0.1, 800, RESPONSES[name])
    _, q = conductance.tero_step(settled, lengths, TWO_ROUTES, ONE_IN_ONE_OUT, 0.1, response=RESPONSES[name])
    np.testing.assert_allclose(settled, np.array(case["D"][-1])[[0, 1, 1]], atol=1e-9)
    np.testing.assert_allclose(q, np.array(case["Q_final"])[[0, 1, 1]], atol=1e-9)


def test_flow_is_that_of_the_old_conductance_and_the_step_is_eulers() -> None:
    d, lengths = np.array([1.0, 2.0, 2.0]), np.array([1.0, 1.0, 1.0])
    after, q = conductance.tero_step(
        d, lengths, TWO_ROUTES, 2.0 * ONE_IN_ONE_OUT, 0.1, response=conductance.linear, decay=0.5
    )
    np.testing.assert_allclose(q, [1.0, 1.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(after, d + 0.1 * (1.0 - 0.5 * d), atol=1e-12)


def geometric(seed: int, n: int = 48) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    points = rng.uniform(size=(n, 2))
    distance = squareform(pdist(points))
    tails, heads = np.nonzero(np.triu(distance < 0.28, 1))
    return list(zip(tails.tolist(), heads.tolist(), strict=True)), distance[tails, heads], points


@pytest.mark.parametrize("seed", range(4))
def test_linear_response_finds_the_shortest_path(seed: int) -> None:
    edges, lengths, points = geometric(seed)
    n = len(points)
    tails, heads = np.array(edges).T
    graph = coo_matrix((lengths, (tails, heads)), shape=(n, n))
    source = int(np.argmin(points.sum(axis=1)))
    away, before = dijkstra(graph, directed=False, indices=source, return_predecessors=True)
    sink = int(np.argmax(np.where(np.isfinite(away), away, -1.0)))
    path, v = set(), sink
    while v != source:
        path.add((min(v, before[v]), max(v, before[v])))
        v = before[v]
    sources = np.zeros(n)
    sources[[source, sink]] = [1.0, -1.0]
    c = SimplicialComplex.from_edges(n, edges)
    d = march(c, lengths, sources, np.full(len(edges), 0.5), 0.5, 1500, conductance.linear)
    survivors = {edge for edge, thick in zip(edges, np.asarray(d), strict=True) if thick > 0.5}
    assert survivors == path
    np.testing.assert_allclose(sum(np.asarray(d) * lengths), away[sink], rtol=1e-2)


def test_dead_tubes_and_lonely_vertices_give_no_nan() -> None:
    c = SimplicialComplex.from_edges(6, [(0, 1), (1, 2), (3, 4)], Capacity(8, 6, 2))
    sources = np.array([1.0, 0.0, -1.0, 0.0, 0.0, 0.0])
    d, q = conductance.tero_step(
        np.array([1.0, 1.0, 0.0]), np.ones(3), c, sources, 0.5, response=conductance.Power(0.5)
    )
    np.testing.assert_allclose(q, [1.0, 1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(d, [1.0, 1.0, 0.0], atol=1e-12)
    d, q = conductance.tero_step(
        np.zeros(3), np.ones(3), c, sources, 5.0, response=conductance.linear, decay=1.0
    )
    assert not np.asarray(d).any() and not np.asarray(q).any()


def test_padding_batching_gradient_and_precision_of_a_step() -> None:
    edges = [(0, 1), (0, 2), (2, 1), (1, 3)]
    tight = SimplicialComplex.from_edges(4, edges)
    padded = SimplicialComplex.from_edges(4, edges, Capacity(9, 12, 4))
    rng = np.random.default_rng(5)
    d, lengths = rng.uniform(0.5, 1.0, (3, 4)), rng.uniform(0.5, 1.0, 4)
    sources = np.array([1.0, -0.4, 0.2, -0.8])
    step = partial(conductance.tero_step, response=conductance.Power(1.5))
    alone = [step(row, lengths, tight, sources, 0.1) for row in d]
    for one, row in zip(alone, d, strict=True):
        for a, b in zip(one, step(row, lengths, padded, sources, 0.1), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-13)
    batch = jax.jit(jax.vmap(lambda row: step(row, lengths, padded, sources, 0.1)))(d)
    np.testing.assert_allclose(batch[1], [q for _, q in alone], atol=1e-13)

    def thick(d0: float) -> jax.Array:
        return step(jnp.asarray(d[0]).at[0].set(d0), lengths, tight, sources, 0.1)[0].sum()

    found = jax.grad(thick)(0.7)
    np.testing.assert_allclose(found, (thick(0.7 + 1e-6) - thick(0.7 - 1e-6)) / 2e-6, rtol=1e-6)
    narrow = step(d[0].astype(np.float32), lengths.astype(np.float32), tight, sources.astype(np.float32), 0.1)
    assert narrow[0].dtype == narrow[1].dtype == np.float32
    np.testing.assert_allclose(narrow[0], alone[0][0], rtol=1e-5)
    with pytest.raises(DimensionMismatch):
        step(d[0][:3], lengths[:3], tight, sources, 0.1)


def test_a_second_step_compiles_nothing() -> None:
    c = SimplicialComplex.from_edges(3, [(0, 1), (1, 2)])
    counts = []
    for dt in (0.1, 0.2):
        conductance.tero_step(np.ones(2), np.ones(2), c, np.zeros(3), dt, response=conductance.Sigmoid(1.7))
        counts.append(conductance._tero_step._cache_size())
    assert counts[0] == counts[1]


@settings(deadline=None)
@given(st.floats(0.0, 1e6), st.floats(0.1, 4.0), st.floats(0.1, 10.0))
def test_responses_are_bounded_as_said(q: float, exponent: float, a: float) -> None:
    flow = jnp.asarray([0.0, q, 2 * q, 1.0])
    f = np.asarray(conductance.Sigmoid(exponent, a)(flow))
    assert f[0] == 0.0 and f[1] <= f[2] + 1e-12 and f[2] <= (1.0 + 1.0 / a) * (1.0 + 1e-12)
    np.testing.assert_allclose(f[3], 1.0)
    slope = jax.grad(lambda x: conductance.Power(exponent)(x))(0.0)
    assert np.isfinite(slope)


def test_seed_rule_runs_to_either_bound_by_where_it_started(golden: Path) -> None:
    case = json.loads((golden / "physarum.json").read_text())["seed_rule_growth0.1_decay0.1"]
    thick = jnp.array([0.5, 1.1])
    for _ in range(200):
        thick, info = conductance.seed_step(thick, np.array([1.0, -1.0]))
    np.testing.assert_allclose(thick, [case["start0.5"][-1][0], case["start1.1_final"]])
    np.testing.assert_allclose(info.flow, [0.01**4, -16.0])
    np.testing.assert_array_equal(info.kept, [False, True])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_pruning_thins_crowded_vertices_and_cuts_no_component(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 12
    pairs = np.array([(u, v) for u in range(n) for v in range(u + 1, n)])
    edges = pairs[rng.uniform(size=len(pairs)) < rng.uniform(0.1, 0.9)]
    c = SimplicialComplex.from_edges(n, edges, Capacity(n, 66, 220))
    k = np.zeros(66)
    k[: len(edges)] = rng.integers(1, 6, len(edges)) / 5.0
    kept = np.asarray(conductance.prune_links(c, k, 4, 0.7))[: len(edges)]

    def parts(chosen: np.ndarray) -> int:
        tails, heads = chosen.reshape(-1, 2).T
        graph = coo_matrix((np.ones(len(chosen)), (tails, heads)), shape=(n, n))
        return int(connected_components(graph, directed=False)[0])

    assert parts(edges) == parts(edges[kept])
    degree = np.bincount(edges.ravel(), minlength=n) if len(edges) else np.zeros(n, int)
    left = np.bincount(edges[kept].ravel(), minlength=n) if kept.any() else np.zeros(n, int)
    gone = edges[~kept]
    assert (k[: len(edges)][~kept] < 0.7).all()
    assert all(degree[u] > 6 or degree[v] > 6 for u, v in gone)
    assert (left[np.unique(gone)] >= 4).all() if len(gone) else True


def test_a_full_mesh_is_pruned_to_its_target_degree_weakest_first() -> None:
    n = 8
    edges = [(u, v) for u in range(n) for v in range(u + 1, n)]
    c = SimplicialComplex.from_edges(n, edges)
    ring = np.array([(v - u) in (1, n - 1) for u, v in edges])
    k = np.where(ring, 1.0, 0.1 + 0.001 * np.arange(len(edges)))
    kept = np.asarray(conductance.prune_links(c, k, 2, 0.5))
    np.testing.assert_array_equal(kept, ring)
