"""Flows and placement: golden values, the docstrings' promises, and each rule restated independently."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from shivya_kernels import flow, hodge
from shivya_kernels.complex import NO_VERTEX, Capacity, DimensionMismatch, SimplicialComplex

SIZE = Capacity(9, 36, 84)
TRIANGLE = [(0, 1), (1, 2), (0, 2)]

Loaded = tuple[SimplicialComplex, np.ndarray, np.ndarray, np.ndarray]


@st.composite
def loaded(draw: st.DrawFn) -> Loaded:
    n = draw(st.integers(2, SIZE.vertices))
    chosen = draw(st.lists(st.sampled_from(list(combinations(range(n), 2))), unique=True, min_size=1))
    edges = [(v, u) if draw(st.booleans()) else (u, v) for u, v in chosen]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    c = SimplicialComplex.from_edges(n, edges, SIZE)
    # At capacity length, so that all examples share one compilation; entries beyond n and e must not matter.
    backlog = rng.integers(0, 300, SIZE.vertices) * rng.integers(0, 2, SIZE.vertices).astype(float)
    return (
        c,
        backlog,
        rng.choice([0.5, 10.0, 20.0, 40.0], SIZE.vertices),
        10 ** rng.uniform(-2, 2, SIZE.edges),
    )


def apply(c: SimplicialComplex, backlog: np.ndarray, f: jax.Array) -> np.ndarray:
    return backlog + np.asarray(hodge.divergence(c, f))[: len(backlog)]


def acyclic(c: SimplicialComplex, f: np.ndarray) -> bool:
    arrows = {
        (u, v) if x > 0 else (v, u) for (u, v), x in zip(c.edges.tolist(), f, strict=True) if abs(x) > 1e-9
    }
    alive = {v for arrow in arrows for v in arrow}
    while True:
        sources = alive - {v for u, v in arrows if u in alive}
        if not sources:
            return not alive
        alive -= sources


def test_golden_triangle(golden: Path) -> None:
    case = json.loads((golden / "load_flow_triangle.json").read_text())
    for capacity in (None, SIZE, Capacity(140, 9, 3)):
        c = SimplicialComplex.from_edges(3, case["edges"], capacity)
        assert_allclose(flow.balancing_flow(c, case["queues"], [1, 1, 1]), case["flow"], atol=1e-9)


@given(loaded())
@settings(deadline=None, max_examples=60)
def test_one_balancing_flow_levels_waiting_and_nothing_goes_in_circles(drawn: Loaded) -> None:
    c, backlog, capacity, k = drawn
    e = c.num_edges
    component = np.asarray(c.component)[: c.num_vertices]
    for conductance in (None, k):
        f = flow.balancing_flow(c, backlog, capacity, conductance)
        after = apply(c, backlog, f)
        for label in np.unique(component):
            here = np.flatnonzero(component == label)
            level = backlog[here].sum() / capacity[here].sum()
            assert_allclose(after[here] / capacity[here], level, atol=1e-8 * (1 + level))
        assert acyclic(c, np.asarray(f)[:e])
        assert_allclose(f[e:], 0, atol=0)
        drop = np.asarray(f) if conductance is None else np.asarray(f) / k
        parts = hodge.decompose(c, drop)
        assert_allclose(parts.curl, 0, atol=1e-8 * (1 + np.abs(drop).max()))
        assert_allclose(parts.harmonic, 0, atol=1e-8 * (1 + np.abs(drop).max()))


@given(loaded())
@settings(deadline=None, max_examples=20)
def test_balancing_flow_has_the_least_energy(drawn: Loaded) -> None:
    c, backlog, capacity, k = drawn
    f = np.asarray(flow.balancing_flow(c, backlog, capacity, k))[: c.num_edges]
    k = k[: c.num_edges]
    d0 = np.zeros((c.num_edges, SIZE.vertices))
    for row, (u, v) in zip(d0, c.edges, strict=True):
        row[[u, v]] = -1, 1
    surplus = -d0.T @ f
    root = np.sqrt(k)
    best = root * np.linalg.lstsq(-d0.T * root, surplus)[0]
    assert_allclose(f, best, atol=1e-8 * (1 + np.abs(f).max()))


def test_vertices_without_capacity_hand_on_what_they_hold() -> None:
    c = SimplicialComplex.from_edges(5, [(0, 1), (1, 2), (3, 4)], SIZE)
    backlog = np.array([30.0, 0, 0, 8, 2])
    f = flow.balancing_flow(c, backlog, [0, 1, 2, 0, 0])
    assert_allclose(apply(c, backlog, f), [0, 10, 20, 8, 2], atol=1e-9)


def test_missing_vertices_and_closed_edges_take_no_part() -> None:
    active = [True, True, False, True]
    c = SimplicialComplex.from_edges(4, [(0, 1), (1, 3), (0, 3)], SIZE, active)
    backlog = np.zeros(9)
    backlog[:4] = 12, 0, np.nan, 0
    f = flow.balancing_flow(c, backlog, np.where(np.arange(9) < 4, 1.0, np.nan))
    assert_allclose(f[:3], [4, 0, 4], atol=1e-9)
    closed = flow.balancing_flow(c, backlog, np.ones(9), np.where(np.arange(36) == 0, 1.0, 0.0))
    assert_allclose(closed[:3], [6, 0, 0], atol=1e-9)
    bad = flow.balancing_flow(c, np.full(9, np.inf), np.ones(9))
    assert_allclose(bad, 0)


def test_lengths_are_checked() -> None:
    c = SimplicialComplex.from_edges(3, TRIANGLE)
    with pytest.raises(DimensionMismatch, match="vertices"):
        flow.balancing_flow(c, [1, 2], [1, 1, 1])
    with pytest.raises(DimensionMismatch, match="edges"):
        flow.balancing_flow(c, [1, 2, 3], [1, 1, 1], [1, 1, 1, 1])


def test_balancing_flow_under_jit_vmap_grad_and_float32() -> None:
    c = SimplicialComplex.from_edges(5, [(0, 1), (1, 2), (2, 0), (3, 4)])
    rng = np.random.default_rng(0)
    backlog, capacity = rng.uniform(0, 50, (3, 5)), rng.uniform(1, 9, 5)
    batch = jax.jit(jax.vmap(flow.balancing_flow, in_axes=(None, 0, None)))(c, backlog, capacity)
    for row, x in zip(batch, backlog, strict=True):
        assert_allclose(row, flow.balancing_flow(c, x, capacity), atol=1e-10)
    low = flow.balancing_flow(c, backlog[0].astype(np.float32), capacity.astype(np.float32))
    assert low.dtype == jnp.float32
    assert_allclose(low, batch[0], atol=1e-4)

    def energy(x: jax.Array, rate: jax.Array, k: jax.Array) -> jax.Array:
        return jnp.sum(flow.balancing_flow(c, x, rate, k) ** 2 * jnp.arange(1, 5))

    point = (jnp.asarray(backlog[0]), jnp.asarray(capacity), jnp.array([0.5, 1.0, 2.0, 3.0]))
    grads = jax.grad(energy, argnums=(0, 1, 2))(*point)
    for i, grad in enumerate(grads):
        for j in range(len(grad)):
            up, down = (
                energy(*(p.at[j].add(h) if i == k else p for k, p in enumerate(point))) for h in (1e-5, -1e-5)
            )
            assert_allclose(grad[j], (up - down) / 2e-5, rtol=1e-5, atol=1e-5)


@given(loaded(), st.booleans())
@settings(deadline=None, max_examples=40)
def test_waiting_potential_is_the_shortest_path_fixed_point(drawn: Loaded, free: bool) -> None:
    c, _, waiting, k = drawn
    hop = np.where(k > 1, 0.0, k) if free else k
    n = len(waiting)
    best = np.full((n, n), np.inf)
    np.fill_diagonal(best, 0)
    for (u, v), cost in zip(c.edges.tolist(), hop, strict=False):
        best[u, v] = best[v, u] = cost
    for m in range(n):
        best = np.minimum(best, best[:, m : m + 1] + best[m])
    exact = (waiting + best).min(axis=1)
    w = flow.waiting_potential(c, waiting, hop)
    assert_allclose(w, exact, rtol=1e-12)
    assert_allclose(flow.waiting_potential(c, waiting, hop, iterations=SIZE.vertices), exact, rtol=1e-12)
    assert_allclose(flow.waiting_potential(c, w, hop), w, rtol=1e-12)


def test_waiting_potential_derivatives_follow_the_best_path() -> None:
    c = SimplicialComplex.from_edges(5, [(1, 0), (1, 2), (2, 3), (0, 4)])
    waiting = jnp.array([9.0, 8, 7, 1, 0.5])
    hop = jnp.array([0.1, 0.2, 0.3, 100])
    for iterations in (None, 5):
        by_waiting, by_hop = jax.jacobian(
            lambda w, h, i=iterations: flow.waiting_potential(c, w, h, i), argnums=(0, 1)
        )(waiting, hop)
        assert_array_equal(by_waiting, np.eye(5)[[3, 3, 3, 3, 4]])
        assert_array_equal(by_hop, [[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0] * 4, [0] * 4])
    assert_allclose(flow.waiting_potential(c, waiting, hop, iterations=1), [8.1, 7.2, 1.3, 1, 0.5])
    assert_allclose(jax.jit(flow.waiting_potential)(c, waiting, 0.25), [0.75, 1, 1.25, 1, 0.5])


def test_waiting_and_tail_time() -> None:
    # Two servers of 5 jobs per second each: a job takes .2 s once it is being served.
    assert_allclose(flow.waiting_time(jnp.array([0, 1, 2, 3]), 2, 10.0), [0.2, 0.2, 0.3, 0.4])
    assert_allclose(flow.tail_time(jnp.array([0, 1, 2, 3]), 2, 10.0), [0.0, 0.2, 0.2, 0.3])


Node = dict[str, float | np.ndarray]


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = 6
    # Coarse values, so that ties come up often.
    coarse = draw(st.booleans())
    value = (
        (lambda size=None: rng.integers(1, 6, size) * 0.0625)
        if coarse
        else (lambda size=None: rng.uniform(0.01, 1, size))
    )
    return {
        "waiting": float(value()),
        "own_service_rate": float(rng.choice([10.0, 20.0, 40.0])),
        "queue": float(rng.integers(0, 9)),
        "servers": float(rng.integers(1, 4)),
        "potential": value(n),
        "slope": value(n) * 0.1,
        "own_sent": rng.integers(0, 4, n).astype(float) * draw(st.integers(0, 1)),
        "service_rate": rng.choice([10.0, 20.0], n),
        "hop": np.full(n, 0.03125),
        "candidate": rng.random(n) < draw(st.sampled_from([0.0, 0.5, 1.0])),
    }


def restated(node: Node, gap: float, window: float) -> tuple[float, float, int, float, float]:
    """The placement rule once more, in plain Python."""
    mu, own = node["own_service_rate"], node["waiting"]
    reach = {
        k: node["potential"][k] + node["own_sent"][k] * node["slope"][k] + node["hop"][k] + gap
        for k in range(6)
        if node["candidate"][k]
    }

    def slope(level: float, ways: dict[int, float]) -> float:
        room = 0.0
        for k, e in ways.items():
            if k == NO_VERTEX:
                if e < level + window:
                    room += (level + window - e) * mu + max(0.0, node["servers"] - node["queue"])
            else:
                room += max(0.0, level + window - e) / max(node["slope"][k], 1e-4)
        return min(1 / mu, window / room) if room > 0 else 1 / mu

    ways = {NO_VERTEX: own, **reach}
    best = min(ways, key=lambda k: (ways[k], k))
    rest = {k: e for k, e in ways.items() if k != best} or {NO_VERTEX: own}
    return ways[best], slope(ways[best], ways), best, min(rest.values()), slope(min(rest.values()), rest)


@given(nodes())
@settings(deadline=None, max_examples=200)
def test_placement_agrees_with_the_rule_restated(node: Node) -> None:
    p = flow.placement(**node, gap=0.0625, slope_window=0.0625)
    level, slope, hop, second, second_slope = restated(node, 0.0625, 0.0625)
    assert int(p.next_hop) == hop
    assert_allclose([p.potential, p.slope], [level, slope], rtol=1e-9)
    assert_allclose([p.second_potential, p.second_slope], [second, second_slope], rtol=1e-9)
    assert 0 < float(p.potential) <= node["waiting"] and p.potential <= p.second_potential
    assert 0 < float(p.slope) <= 1 / node["own_service_rate"]
    assert_allclose(p.view, node["potential"] + node["own_sent"] * node["slope"])


def test_the_slope_is_taken_over_gap_and_the_shortest_hop_to_a_candidate() -> None:
    hop, candidate = jnp.array([0.001, 0.02, 0.5]), jnp.array([False, True, True])
    assert_allclose(flow.slope_window(0.5, 0.05, hop, candidate), 0.035)
    assert_allclose(flow.slope_window(1.0, 0.05, hop, jnp.zeros(3, bool)), 0.05)
    assert_allclose(flow.slope_window(1.0, 0.05, hop[:0], candidate[:0]), 0.05)


def placement_at(potential: jax.Array, slope: jax.Array, **changes: object) -> flow.Placement:
    n = potential.shape[0]
    node = {"waiting": 1.0, "own_service_rate": 10.0, "queue": 12.0, "servers": 2.0}
    arrays = (jnp.zeros(n), jnp.full(n, 10.0), jnp.full(n, 0.02), jnp.arange(n) < 3)
    return flow.placement(*node.values(), potential, slope, *arrays, **changes)


def test_placement_is_differentiable_also_beside_what_it_does_not_read() -> None:
    v = jnp.array([0.4, 0.41, 0.9, jnp.nan])
    s = jnp.array([0.1, 0.2, 0.1, jnp.inf])

    def loss(v: jax.Array, s: jax.Array) -> jax.Array:
        p = placement_at(v, s)
        return p.potential + 3 * p.slope + 5 * p.second_potential + 7 * p.second_slope

    grads = jax.grad(loss, argnums=(0, 1))(v, s)
    for i in range(3):
        h = jnp.zeros(4).at[i].set(1e-6)
        assert_allclose(grads[0][i], (loss(v + h, s) - loss(v - h, s)) / 2e-6, rtol=1e-5, atol=1e-7)
        assert_allclose(grads[1][i], (loss(v, s + h) - loss(v, s - h)) / 2e-6, rtol=1e-5, atol=1e-7)
    assert grads[0][3] == 0 and grads[1][3] == 0


def test_drift_moves_the_view_but_not_below_the_floor() -> None:
    v, s = jnp.array([0.4, 0.05]), jnp.array([0.1, 0.1])
    assert_allclose(placement_at(v, s, drift=jnp.array([0.2, 0.2])).view, [0.6, 0.25])
    assert_allclose(placement_at(v, s, drift=jnp.array([-0.2, -0.2])).view, [0.2, 0.05])
    assert_allclose(placement_at(v, s, drift=-1.0).view, [0.1, 0.05])


def test_frozen_placement_has_no_loops() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        n = 9
        pairs = [e for e in combinations(range(n), 2) if rng.random() < 0.4] or [(0, 1)]
        c = SimplicialComplex.from_edges(n, pairs, SIZE)
        waiting = rng.uniform(0.05, 2, n)
        w = np.asarray(flow.waiting_potential(c, waiting, 0.07))
        near = np.zeros((n, n), bool)
        for u, v in pairs:
            near[u, v] = near[v, u] = True
        quiet = (np.full(n, 0.1), np.zeros(n), np.full(n, 10.0), np.full(n, 0.02))
        hops = [int(flow.placement(waiting[i], 10.0, 3, 1, w, *quiet, near[i]).next_hop) for i in range(n)]
        for i in range(n):
            seen, at = set(), i
            while at != NO_VERTEX:
                assert at not in seen
                seen.add(at)
                at = hops[at]


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
@settings(deadline=None, max_examples=200)
def test_release_rounds_jointly(seed: int, jobs: int) -> None:
    rng = np.random.default_rng(seed)
    outflow = rng.uniform(-2, 9, 9) * rng.integers(0, 2, 9)
    outflow = np.round(outflow) if seed % 2 else outflow
    sent = np.asarray(flow.release(outflow, jobs, rng.random()))
    want = np.maximum(outflow, 0)
    want = want * min(1.0, jobs / want.sum()) if want.any() else want
    assert sent.dtype == np.int32
    assert ((sent >= np.floor(want - 1e-9)) & (sent <= np.ceil(want + 1e-9))).all()
    assert math.floor(want.sum() - 1e-9) <= sent.sum() <= min(math.ceil(want.sum() + 1e-9), jobs)


def test_release_keeps_the_expectation() -> None:
    outflow = jnp.array([0.3, 2.75, 0.0, 1.2, -4.0, 0.5])
    uniforms = (jnp.arange(20_000) + 0.5) / 20_000
    counts = jax.vmap(lambda u: flow.release(outflow, 100, u))(uniforms)
    assert_allclose(jnp.mean(counts, axis=0), jnp.maximum(outflow, 0), atol=2e-4)
    halved = jax.vmap(lambda u: flow.release(outflow, 2, u))(uniforms)
    assert_allclose(jnp.mean(halved, axis=0), jnp.maximum(outflow, 0) * 2 / 4.75, atol=2e-4)
    assert set(np.asarray(halved).sum(axis=1)) == {2}


def test_release_survives_the_edges_of_floating_point() -> None:
    last = float(np.nextafter(1.0, 0.0))
    assert_array_equal(flow.release(jnp.array([1.0, 2.0, 3.0]), 6, last), [1, 2, 3])
    assert int(jnp.sum(flow.release(jnp.full(10, 0.1), 1, last))) <= 1
    assert_array_equal(flow.release(jnp.array([jnp.nan, jnp.inf, 0.0]), 5, 0.5), [0, 0, 0])
    assert_array_equal(flow.release(jnp.array([5.0, 1.0]), 0, 0.9), [0, 0])
