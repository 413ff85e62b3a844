"""Hodge decomposition: golden parts, invariants on random complexes, transforms and derivatives."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from shivya_kernels import hodge, laplacian
from shivya_kernels.complex import Capacity, SimplicialComplex
from shivya_kernels.status import Status

SIZE = Capacity(9, 36, 84)
"""One capacity for all drawn complexes, so that they share one compilation."""

# A tetrahedron (d1 d1^T singular), a triangle with a tail, a ring of four, and an isolated vertex.
MIXED = [(0, 1), (2, 0), (0, 3), (1, 2), (1, 3), (3, 2), (4, 5), (5, 6), (4, 6), (7, 6)]
MIXED += [(8, 9), (9, 10), (10, 11), (11, 8)]


@st.composite
def flows(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]], np.ndarray]:
    n = draw(st.integers(2, SIZE.vertices))
    chosen = draw(st.lists(st.sampled_from(list(combinations(range(n), 2))), unique=True, min_size=1))
    edges = [(v, u) if draw(st.booleans()) else (u, v) for u, v in chosen]
    seed = draw(st.integers(0, 2**32 - 1))
    return n, edges, np.random.default_rng(seed).standard_normal(len(edges)) * 10 ** draw(st.integers(-6, 6))


def matrices(c: SimplicialComplex) -> tuple[np.ndarray, np.ndarray]:
    d0 = np.zeros((c.num_edges, c.num_vertices))
    for row, (u, v) in zip(d0, c.edges, strict=True):
        row[[u, v]] = -1, 1
    d1 = np.zeros((c.num_triangles, c.num_edges))
    for i, (ids, signs) in enumerate(
        zip(np.asarray(c.triangle_edges), np.asarray(c.triangle_signs), strict=True)
    ):
        if i < c.num_triangles:
            d1[i, ids] = signs
    return d0, d1


def whole(f: np.ndarray) -> np.ndarray:
    return np.pad(f, (0, SIZE.edges - len(f)))


def decompose(c: SimplicialComplex, f: np.ndarray) -> hodge.HodgeParts:
    """Parts at the lengths in use, computed at capacity length: one compilation for all drawn complexes."""
    parts = hodge.decompose(c, whole(f))
    counts = (len(f), len(f), len(f), c.num_vertices, c.num_triangles)
    return hodge.HodgeParts(*(np.asarray(p)[:k] for p, k in zip(parts[:5], counts, strict=True)), parts.info)


def geometric(n: int, degree: float, seed: int) -> SimplicialComplex:
    points = np.random.default_rng(seed).random((n, 2))
    near = ((points[:, None] - points[None]) ** 2).sum(axis=2) < degree / (np.pi * n)
    return SimplicialComplex.from_edges(n, np.argwhere(np.triu(near, 1)))


@pytest.mark.parametrize("capacity", [None, Capacity(64, 256, 512)], ids=["tight", "padded"])
def test_golden_parts(golden: Path, capacity: Capacity | None) -> None:
    for name, case in json.loads((golden / "hodge.json").read_text()).items():
        c = SimplicialComplex.from_edges(case["n"], case["edges"], capacity)
        for want in case["flows"]:
            f = want["flow"]
            parts = hodge.decompose(c, f)
            assert int(parts.info.status) == 0, name
            for part in ("gradient", "curl", "harmonic"):
                assert_allclose(getattr(parts, part), want[part], atol=1e-9, err_msg=f"{name} {part}")
            assert_allclose(parts.potential, want["potential_meanzero"], atol=1e-9, err_msg=name)
            assert_allclose(hodge.project_out_curl(c, f), want["curl_free"], atol=1e-9, err_msg=name)
            assert_allclose(hodge.divergence(c, f), want["divergence_d0T"], atol=1e-12, err_msg=name)
            assert_allclose(hodge.curl(c, f), want["circulation_d1"], atol=1e-12, err_msg=name)
            assert_allclose(hodge.gradient(c, parts.potential), want["gradient"], atol=1e-9, err_msg=name)


def test_golden_weighted_gradient(golden: Path) -> None:
    case = json.loads((golden / "hodge_weighted_annulus.json").read_text())
    annulus = json.loads((golden / "hodge.json").read_text())["annulus_hole_12v_24e"]
    for capacity in (None, Capacity(200, 300, 20)):  # below and above the dense limit
        c = SimplicialComplex.from_edges(annulus["n"], annulus["edges"], capacity)
        size = c.edge_mask.shape[0]
        w = jnp.ones(size).at[:24].set(jnp.asarray(case["w"]))
        f = jnp.zeros(size).at[:24].set(jnp.asarray(case["flow"]))
        phi, info = jax.jit(
            lambda c, w, f: laplacian.solve_laplacian(c, laplacian.net_inflow(c, f), w, tolerance=1e-12)
        )(c, w, f)
        assert int(info.status) == 0
        assert_allclose(phi[:12], case["phi_meanzero"], atol=1e-9)
        assert_allclose((w * laplacian.vertex_difference(c, phi))[:24], case["gradient_Wd0phi"], atol=1e-9)


@given(flows())
@settings(deadline=None)
def test_parts_are_the_orthogonal_projections(drawn: tuple[int, list[tuple[int, int]], np.ndarray]) -> None:
    n, edges, f = drawn
    c = SimplicialComplex.from_edges(n, edges, SIZE)
    parts = decompose(c, f)
    d0, d1 = matrices(c)
    scale = np.linalg.norm(f)
    near = {"rtol": 0, "atol": 1e-9 * scale}
    assert int(parts.info.status) == 0
    assert_allclose(parts.gradient, d0 @ np.linalg.pinv(d0) @ f, **near)
    assert_allclose(parts.curl, d1.T @ np.linalg.pinv(d1.T) @ f, **near)
    assert_allclose(parts.gradient + parts.curl + parts.harmonic, f, rtol=0, atol=1e-14 * scale)
    assert_allclose(parts.potential, np.linalg.pinv(d0) @ f, **near)
    assert_allclose(parts.circulation, np.linalg.pinv(d1.T) @ f, **near)
    for one, other in combinations((parts.gradient, parts.curl, parts.harmonic), 2):
        assert abs(float(one @ other)) <= 1e-9 * scale**2
    # Projectors: a second pass changes nothing. What is left of a part elsewhere is rounding, and stays that.
    for kept in ("gradient", "curl", "harmonic"):
        again = decompose(c, getattr(parts, kept))
        for part in ("gradient", "curl", "harmonic"):
            assert_allclose(getattr(again, part), getattr(parts, kept) if part == kept else 0, **near)
    assert_allclose(hodge.project_out_curl(c, whole(parts.curl)), 0, **near)
    assert_allclose(hodge.curl(c, whole(parts.gradient)), 0, **near)
    assert_allclose(hodge.divergence(c, whole(parts.curl)), 0, **near)
    assert_allclose(hodge.divergence(c, whole(f))[:n], d0.T @ f, rtol=0, atol=1e-12 * scale)


@given(flows(), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_orientation_and_labels_do_not_matter(
    drawn: tuple[int, list[tuple[int, int]], np.ndarray], seed: int
) -> None:
    n, edges, f = drawn
    rng = np.random.default_rng(seed)
    names, order = rng.permutation(n), rng.permutation(len(edges))
    flip = rng.choice([-1, 1], len(edges))
    pairs = names[np.array(edges)]
    pairs[flip < 0] = pairs[flip < 0, ::-1]
    parts = decompose(SimplicialComplex.from_edges(n, edges, SIZE), f)
    other = decompose(SimplicialComplex.from_edges(n, pairs[order], SIZE), (f * flip)[order])
    near = {"rtol": 0, "atol": 1e-9 * np.linalg.norm(f)}
    for part in ("gradient", "curl", "harmonic"):
        assert_allclose(getattr(other, part), (np.asarray(getattr(parts, part)) * flip)[order], **near)
    assert_allclose(np.asarray(other.potential)[names], parts.potential, **near)


def test_accuracy_on_both_sides_of_the_dense_limit() -> None:
    for n, tolerance in ((120, 1e-9), (300, 1e-6)):
        c = geometric(n, 8, n)
        f = np.random.default_rng(n).standard_normal(c.num_edges)
        parts = hodge.decompose(c, f)
        d0, d1 = matrices(c)
        assert int(parts.info.status) == 0
        assert_allclose(parts.gradient, d0 @ np.linalg.lstsq(d0, f)[0], atol=tolerance)
        assert_allclose(parts.curl, d1.T @ np.linalg.lstsq(d1.T, f)[0], atol=tolerance)
        again = hodge.decompose(c, f, warm=parts)
        assert int(again.info.iterations) <= 2
        assert_allclose(again.curl, parts.curl, atol=tolerance)


def test_a_long_strip_of_triangles_stays_accurate() -> None:
    n = 127
    c = SimplicialComplex.from_edges(n, [(i, i + step) for step in (1, 2) for i in range(n - step)])
    f = np.random.default_rng(0).standard_normal(c.num_edges)
    parts = hodge.decompose(c, f)
    assert int(parts.info.status) == 0
    d0, _ = matrices(c)
    assert_allclose(parts.gradient, d0 @ np.linalg.lstsq(d0, f)[0], atol=1e-9)
    assert_allclose(parts.harmonic, 0, atol=1e-9)


@pytest.mark.parametrize(
    "capacity", [None, Capacity(16, 20, 8), Capacity(130, 20, 8)], ids=["tight", "padded", "cg"]
)
def test_derivatives_are_those_of_the_projections(capacity: Capacity | None) -> None:
    c = SimplicialComplex.from_edges(13, MIXED, capacity)
    d0, d1 = matrices(c)
    onto_gradient, onto_curl = d0 @ np.linalg.pinv(d0), d1.T @ np.linalg.pinv(d1.T)
    exact = (
        onto_gradient,
        onto_curl,
        np.eye(len(MIXED)) - onto_gradient - onto_curl,
        np.linalg.pinv(d0),
        np.linalg.pinv(d1.T),
    )
    f = jnp.asarray(np.random.default_rng(1).standard_normal(len(MIXED)))
    parts, pull = jax.vjp(lambda f: hodge.decompose(c, f, tolerance=1e-12)[:5], f)
    pull = jax.jit(pull)
    for part, projector in enumerate(exact):
        # Cotangents with components outside every range, the kernels of d0 and d1 included, and within each.
        for weights in (np.arange(1.0, 1 + len(projector)), projector @ np.ones(len(MIXED))):
            cotangents = [jnp.zeros_like(p) for p in parts]
            cotangents[part] = jnp.asarray(weights)
            assert_allclose(pull(tuple(cotangents))[0], projector.T @ weights, atol=1e-8)
    _, tangents = jax.jvp(lambda f: hodge.decompose(c, f, tolerance=1e-12)[:5], (f,), (jnp.cos(f),))
    for tangent, projector in zip(tangents, exact, strict=True):
        assert_allclose(tangent, projector @ np.cos(f), atol=1e-8)


def test_nonlinear_loss_agrees_with_finite_differences() -> None:
    c = SimplicialComplex.from_edges(13, MIXED)
    f = np.random.default_rng(2).standard_normal(len(MIXED))

    def loss(f: jax.Array) -> jax.Array:
        parts = hodge.decompose(c, f)
        return jnp.sum(parts.curl**3) + jnp.sum(jnp.sin(parts.harmonic)) + jnp.sum(parts.potential**4)

    step = 1e-5 * np.eye(len(f))
    numeric = [(loss(f + h) - loss(f - h)) / 2e-5 for h in step]
    assert_allclose(jax.grad(loss)(jnp.asarray(f)), numeric, rtol=1e-5, atol=1e-7)


def test_traced_complexes_stack_under_jit_and_vmap() -> None:
    rng = np.random.default_rng(3)
    drawn = [(4, [(0, 1), (1, 2), (0, 2), (2, 3)]), (5, [(0, 1), (1, 2), (2, 3), (3, 0)])]
    complexes = [SimplicialComplex.from_edges(n, edges, SIZE) for n, edges in drawn]
    f = np.zeros((2, SIZE.edges))
    f[:, :4] = rng.standard_normal((2, 4))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *complexes)
    batched = jax.jit(jax.vmap(hodge.decompose))(stacked, f)
    for i, c in enumerate(complexes):
        parts = hodge.decompose(c, f[i])
        for name in ("gradient", "curl", "harmonic", "potential", "circulation"):
            assert_allclose(getattr(batched, name)[i], getattr(parts, name), atol=1e-12)
    traced = jax.jit(hodge.decompose)(complexes[0], f[0, :4])
    assert traced.gradient.shape == (4,) and traced.potential.shape == (SIZE.vertices,)


def test_padding_does_not_leak() -> None:
    c = SimplicialComplex.from_edges(13, MIXED, Capacity(16, 20, 8))
    f = np.random.default_rng(4).standard_normal(20)
    clean = np.where(np.arange(20) < len(MIXED), f, 0)
    f[len(MIXED) :] = np.nan
    dirty, parts = hodge.decompose(c, f), hodge.decompose(c, clean)
    assert int(dirty.info.status) == 0
    assert_allclose(dirty.harmonic, parts.harmonic, atol=0)
    assert_allclose(hodge.divergence(c, f), hodge.divergence(c, clean), atol=0)
    potential = np.where(np.arange(16) < 13, 1.0, np.nan)
    assert_allclose(hodge.gradient(c, potential), 0, atol=0)


def test_edges_alone_triangles_none_and_no_edges_at_all() -> None:
    ring = SimplicialComplex.from_edges(4, [(0, 1), (1, 2), (2, 3), (3, 0)])
    assert_allclose(hodge.decompose(ring, [1, 1, 1, 1]).harmonic, 1, atol=1e-14)
    assert hodge.curl(ring, [1, 1, 1, 1]).shape == (0,)
    alone = hodge.decompose(SimplicialComplex.from_edges(3, []), [])
    assert alone.gradient.shape == (0,)
    assert_allclose(alone.potential, np.zeros(3), atol=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_flow_is_flagged(bad: float) -> None:
    c = SimplicialComplex.from_edges(3, [(0, 1), (1, 2), (0, 2)])
    parts = hodge.decompose(c, [1.0, bad, 2.0])
    assert int(parts.info.status) == Status.NON_FINITE_INPUT
    for part in parts[:5]:
        assert_allclose(part, 0)


def test_too_few_iterations_are_flagged() -> None:
    c = geometric(300, 8, 5)
    parts = hodge.decompose(c, np.random.default_rng(5).standard_normal(c.num_edges), max_iterations=3)
    assert int(parts.info.status) == Status.NOT_CONVERGED


def test_float32_is_near_float64() -> None:
    c = geometric(60, 8, 6)
    f = np.random.default_rng(6).standard_normal(c.num_edges)
    exact = hodge.decompose(c, f)
    low = hodge.decompose(c, f.astype(np.float32))
    assert low.gradient.dtype == jnp.float32 and int(low.info.status) == 0
    for part in ("gradient", "curl", "harmonic"):
        assert_allclose(getattr(low, part), getattr(exact, part), atol=2e-5)


def test_repeated_eager_calls_compile_once() -> None:
    size = Capacity(11, 23, 17)
    rng = np.random.default_rng(7)

    def call(n: int, edges: list[tuple[int, int]]) -> None:
        c = SimplicialComplex.from_edges(n, edges, size)
        f = rng.standard_normal(size.edges)
        hodge.decompose(c, f, tolerance=float(rng.random()) * 1e-9)
        hodge.project_out_curl(c, f)
        hodge.curl(c, hodge.gradient(c, hodge.divergence(c, f)))

    call(4, [(0, 1), (1, 2), (0, 2)])
    compiled = [0]
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **__: compiled.__setitem__(0, compiled[0] + name.endswith("backend_compile_duration"))
    )
    call(7, [(0, 1), (1, 2), (5, 6)])
    assert compiled == [0]
    jax.jit(lambda x: x + 17.25)(1.0)
    assert compiled == [1]
