"""Prefactored complexes: the same parts without iterations, or with fewer, and the same derivatives."""

from __future__ import annotations

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from shivya_kernels import hodge, laplacian
from shivya_kernels.complex import Capacity, SimplicialComplex, restrict
from shivya_kernels.prefactor import prefactor
from shivya_kernels.status import Status

SIZE = Capacity(9, 36, 84)
PARTS = ("gradient", "curl", "harmonic", "potential", "circulation")

# A tetrahedron (d1 d1^T singular), a triangle with a tail, a ring of four, and an isolated vertex.
MIXED = [(0, 1), (2, 0), (0, 3), (1, 2), (1, 3), (3, 2), (4, 5), (5, 6), (4, 6), (7, 6)]
MIXED += [(8, 9), (9, 10), (10, 11), (11, 8)]
STRIP = [(i, i + step) for step in (1, 2) for i in range(127 - step)]
GRID = [(11 * i + j, 11 * i + j + 1) for i in range(11) for j in range(10)]
GRID += [(11 * i + j, 11 * i + j + 11) for i in range(10) for j in range(11)]


def projectors(c: SimplicialComplex) -> tuple[np.ndarray, ...]:
    """From a flow to each of its parts, by dense pseudo-inverses."""
    e, t = c.num_edges, c.num_triangles
    d0 = np.zeros((e, int(np.flatnonzero(c.vertex_mask).max()) + 1))
    for row, (u, v) in zip(d0, c.edges, strict=True):
        row[[u, v]] = -1, 1
    d1 = np.zeros((t, e))
    np.put_along_axis(d1, np.asarray(c.triangle_edges)[:t], np.asarray(c.triangle_signs, float)[:t], axis=1)
    up, down = np.linalg.pinv(d0), np.linalg.pinv(d1.T)
    return d0 @ up, d1.T @ down, np.eye(e) - d0 @ up - d1.T @ down, up, down


def geometric(n: int, degree: float, seed: int) -> list[tuple[int, int]]:
    points = np.random.default_rng(seed).random((n, 2))
    near = ((points[:, None] - points[None]) ** 2).sum(axis=2) < degree / (np.pi * n)
    return [(int(u), int(v)) for u, v in np.argwhere(np.triu(near, 1))]


def check(c: SimplicialComplex, f: np.ndarray) -> None:
    parts = hodge.decompose(prefactor(c), np.pad(f, (0, c.edge_mask.shape[0] - len(f))))
    assert int(parts.info.status) == 0 and int(parts.info.iterations) == 0
    for name, projector in zip(PARTS, projectors(c), strict=True):
        part, want = np.asarray(getattr(parts, name)), projector @ f
        assert_allclose(part[: len(want)], want, atol=1e-9 * np.linalg.norm(f), rtol=0, err_msg=name)
        assert_allclose(part[len(want) :], 0, atol=0)


@given(st.integers(2, 9), st.integers(0, 2**32 - 1), st.floats(0.1, 1.0))
@settings(deadline=None, max_examples=60)
def test_green_gives_the_orthogonal_projections(n: int, seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    edges = [e[:: rng.choice([-1, 1])] for e in combinations(range(n), 2) if rng.random() < density] or [
        (0, 1)
    ]
    f = rng.standard_normal(len(edges)) * 10.0 ** rng.integers(-6, 7)
    check(SimplicialComplex.from_edges(n, edges, SIZE), f)


@pytest.mark.parametrize(("n", "edges"), [(127, STRIP), (121, GRID), (13, MIXED), (64, geometric(64, 8, 0))])
def test_green_is_exact_on_long_thin_and_hollow_complexes(n: int, edges: list[tuple[int, int]]) -> None:
    c = SimplicialComplex.from_edges(n, edges)
    check(c, np.random.default_rng(n).standard_normal(len(edges)))


@pytest.mark.parametrize("capacity", [None, Capacity(16, 20, 8)], ids=["tight", "padded"])
def test_green_has_the_derivatives_of_the_projections(capacity: Capacity | None) -> None:
    c = prefactor(SimplicialComplex.from_edges(13, MIXED, capacity))
    f = jnp.asarray(np.random.default_rng(1).standard_normal(len(MIXED)))
    parts, pull = jax.vjp(lambda f: hodge.decompose(c, f)[:5], f)
    for index, projector in enumerate(projectors(c)):
        cotangents = [jnp.zeros_like(part) for part in parts]
        cotangents[index] = jnp.arange(1.0, 1 + len(projector))
        assert_allclose(pull(tuple(cotangents))[0], projector.T @ cotangents[index], atol=1e-9)
    grad = jax.grad(lambda f: jnp.sum(hodge.project_out_curl(c, f) ** 3))(f)
    h = 1e-5 * np.eye(len(f))
    numeric = [
        (jnp.sum(hodge.project_out_curl(c, f + d) ** 3) - jnp.sum(hodge.project_out_curl(c, f - d) ** 3))
        / 2e-5
        for d in h
    ]
    assert_allclose(grad, numeric, rtol=1e-5, atol=1e-7)


def test_stacks_and_float32() -> None:
    drawn = [(4, [(0, 1), (1, 2), (0, 2), (2, 3)]), (5, [(0, 1), (1, 2), (2, 3), (3, 0)]), (1, [])]
    complexes = [SimplicialComplex.from_edges(n, edges, SIZE) for n, edges in drawn]
    stacked = prefactor(jax.tree.map(lambda *leaves: jnp.stack(leaves), *complexes))
    f = np.random.default_rng(3).standard_normal((3, SIZE.edges))
    batched = jax.jit(jax.vmap(hodge.decompose))(stacked, f)
    low = hodge.decompose(prefactor(complexes[0]), f[0].astype(np.float32))
    assert low.gradient.dtype == jnp.float32 and int(low.info.status) == 0
    for name in PARTS:
        assert_allclose(getattr(low, name), getattr(batched, name)[0], atol=1e-6)
        for i, c in enumerate(complexes):
            assert_allclose(getattr(batched, name)[i], getattr(hodge.decompose(c, f[i]), name), atol=1e-11)
    large = jax.tree.map(
        lambda leaf: leaf[None], SimplicialComplex.from_edges(2, [(0, 1)], Capacity(2, 513, 0))
    )
    with pytest.raises(ValueError, match="at most 512 edges"):
        prefactor(large)


def test_a_subcomplex_keeps_nothing_prepared() -> None:
    c = restrict(prefactor(SimplicialComplex.from_edges(13, MIXED)), edges=jnp.arange(len(MIXED)) != 3)
    assert c.green is None and c.hierarchy is None
    again = prefactor(c)
    f = np.where(c.edge_mask, np.random.default_rng(5).standard_normal(len(MIXED)), 0)
    assert_allclose(hodge.decompose(again, f).curl, hodge.decompose(c, f).curl, atol=1e-9)


def test_bad_flows_are_flagged() -> None:
    parts = hodge.decompose(prefactor(SimplicialComplex.from_edges(13, MIXED)), np.full(len(MIXED), np.nan))
    assert int(parts.info.status) == Status.NON_FINITE_INPUT
    assert_allclose(parts.gradient, 0)


def test_hierarchy_saves_iterations_and_changes_nothing_else() -> None:
    # Two large components, a pair, and vertices without edges, so that coarse graphs are singular too.
    side = geometric(700, 7, 1)
    edges = side + [(u + 700, v + 700) for u, v in side] + [(1400, 1401)]
    plain = SimplicialComplex.from_edges(1410, edges, Capacity(1500, len(edges) + 9, 6000))
    prepared = prefactor(plain)
    assert prepared.hierarchy is not None
    f = jnp.asarray(np.random.default_rng(2).standard_normal(len(edges)))
    one, other = hodge.decompose(prepared, f), hodge.decompose(plain, f)
    assert int(one.info.status) == 0 and float(one.info.residual) <= 1e-8
    assert int(one.info.iterations) < 0.6 * int(other.info.iterations)
    for name in PARTS:
        assert_allclose(getattr(one, name), getattr(other, name), atol=1e-6)
    again = hodge.decompose(prepared, f, warm=(one.potential, None))
    assert int(again.info.iterations) < int(one.info.iterations)

    def pull(c: SimplicialComplex) -> jax.Array:
        return jax.grad(lambda f: jnp.cos(jnp.arange(1500)) @ solved(c, f))(jnp.pad(f, (0, 9)))

    def solved(c: SimplicialComplex, f: jax.Array) -> jax.Array:
        return laplacian.solve_laplacian(c, laplacian.net_inflow(c, f), tolerance=1e-10)[0]

    assert_allclose(pull(prepared), pull(plain), atol=1e-6)
