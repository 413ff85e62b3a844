"""Gierer-Meinhardt on graphs: golden trajectories, order of accuracy, stiffness, positivity, derivatives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from shivya_kernels import morphogen
from shivya_kernels.complex import Capacity, SimplicialComplex
from shivya_kernels.status import Status

CASES = json.loads((Path(__file__).parents[1] / "golden" / "gierer_meinhardt.json").read_text())
cases = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def graph_of(case: dict[str, Any]) -> tuple[SimplicialComplex, np.ndarray, np.ndarray]:
    weights = np.array(case["weights"] or np.ones(len(case["edges"])))
    matrix = np.zeros((case["n"], case["n"]))
    for (u, v), w in zip(case["edges"], weights, strict=True):
        matrix[u, v] = matrix[v, u] = w
    return SimplicialComplex.from_edges(case["n"], case["edges"]), weights, matrix


@cases
@pytest.mark.parametrize("by_edges", [True, False])
def test_repeated_steps_follow_the_golden_trajectory(case: dict[str, Any], by_edges: bool) -> None:
    c, weights, matrix = graph_of(case)
    graph, given = (c, weights) if by_edges else (None, matrix)
    dt = morphogen.cfl_dt(matrix, case["Du"], case["Dv"], case["dt_requested"])
    assert dt == case["dt_used"]
    assert morphogen.cfl_dt(c, case["Du"], case["Dv"], case["dt_requested"], weights) == dt
    kinetics = (case["a"], case["b"], case["c"], case["d"])
    (done, u, v), *rest = case["trajectory"]

    @jax.jit
    def many(u: Any, v: Any, count: Any) -> Any:
        return jax.lax.fori_loop(
            0,
            count,
            lambda _, y: morphogen.step_rk4(*y, given, case["Du"], case["Dv"], dt, *kinetics, complex=graph),
            (u, v),
        )

    state = (jnp.asarray(u), jnp.asarray(v))
    for tick, u, v in rest:
        state = many(*state, tick - done)
        done = tick
        np.testing.assert_allclose(state, (u, v), atol=1e-11)


@cases
def test_error_control_agrees_with_an_independent_integrator(case: dict[str, Any]) -> None:
    c, weights, _ = graph_of(case)
    last, *_ = case["trajectory"][-1]
    _, u, v = case["trajectory"][0]
    u, v, info = morphogen.advance(
        u,
        v,
        weights,
        case["Du"],
        case["Dv"],
        last * case["dt_used"],
        complex=c,
        tolerance=1e-10,
        max_substeps=4000,
    )
    assert int(info.status) == 0
    np.testing.assert_allclose((u, v), case["dop853_final"], atol=1e-7)


def test_one_step_is_of_fifth_order_locally_and_fourth_globally() -> None:
    _, _, matrix = graph_of(CASES[0])
    start = jnp.array([0.8, 1.0, 1.3]), jnp.array([1.0, 1.1, 1.2])

    def end(steps: int) -> np.ndarray:
        y = start
        for _ in range(steps):
            y = morphogen.step_rk4(*y, matrix, 0.05, 0.5, 1.0 / steps)
        return np.array(y)

    exact = (
        solve_ivp(
            lambda _, y: _slopes(y.reshape(2, 3), matrix, 0.05, 0.5).ravel(),
            (0, 1),
            np.array(start).ravel(),
            method="DOP853",
            rtol=1e-13,
            atol=1e-13,
        )
        .y[:, -1]
        .reshape(2, 3)
    )
    errors = [np.abs(end(n) - exact).max() for n in (8, 16, 32)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all((orders > 3.8) & (orders < 4.3)), orders


def _slopes(y: np.ndarray, matrix: np.ndarray, d_u: float, d_v: float) -> np.ndarray:
    u, v = y
    laplacian = matrix - np.diag(matrix.sum(axis=1))
    return np.array(
        [0.1 - u + u**2 / np.maximum(v, 1e-5) + d_u * laplacian @ u, u**2 - v + d_v * laplacian @ v]
    )


def test_a_stiff_start_is_resolved_where_a_fixed_step_explodes() -> None:
    alone = np.zeros((1, 1))
    start = np.ones(1), np.full(1, 1e-5)
    _, exploded = morphogen.step_rk4(*start, alone, 0.01, 0.1, 0.05)
    assert exploded > 1e6
    u, v, info = morphogen.advance(*start, alone, 0.01, 0.1, 0.05, tolerance=1e-7, max_substeps=200)
    exact = solve_ivp(
        lambda _, y: _slopes(y.reshape(2, 1), alone, 0.0, 0.0).ravel(),
        (0, 0.05),
        np.array(start).ravel(),
        method="Radau",
        rtol=1e-11,
        atol=1e-12,
    ).y[:, -1]
    assert int(info.status) == 0
    np.testing.assert_allclose((u[0], v[0]), exact, rtol=2e-5)


def test_substeps_are_bounded_and_running_out_is_said() -> None:
    u, v, info = morphogen.advance(
        np.ones(1), np.full(1, 1e-5), np.zeros((1, 1)), 0.01, 0.1, 0.05, tolerance=1e-8, max_substeps=5
    )
    assert int(info.substeps) == 5
    assert int(info.status) == Status.NOT_CONVERGED
    assert np.isfinite((u, v)).all()


def test_concentrations_stay_positive_and_bad_values_are_flagged() -> None:
    rng = np.random.default_rng(0)
    c = SimplicialComplex.from_edges(4, [(0, 1), (1, 2), (2, 3)])
    for scale in (1e-6, 1.0, 30.0):
        u, v, info = morphogen.advance(
            scale * rng.uniform(size=4),
            scale * rng.uniform(size=4),
            np.ones(3),
            0.01,
            0.1,
            0.3,
            complex=c,
            max_substeps=400,
        )
        assert int(info.status) == 0
        assert (np.array([u, v]) >= 0).all()
    u, v, info = morphogen.advance(
        [np.nan, 1.0, 1.0, -3.0], np.ones(4), np.ones(3), 0.01, 0.1, 0.3, source=np.inf, complex=c
    )
    assert int(info.status) & Status.NON_FINITE_INPUT
    assert np.isfinite((u, v)).all()
    assert (np.array([u, v]) >= 0).all()


def test_no_time_and_rest_change_nothing() -> None:
    u, v = morphogen.rest(0.2, 1.5, 1.2, 0.9)
    np.testing.assert_allclose(morphogen.rest(), (1.1, 1.21))
    ring = np.roll(np.eye(4), 1, axis=0) + np.roll(np.eye(4), -1, axis=0)
    still = np.full(4, u), np.full(4, v)
    *after, _ = morphogen.advance(*still, ring, 0.01, 0.1, 5.0, 0.2, 1.5, 1.2, 0.9)
    np.testing.assert_allclose(after, still, atol=1e-12)
    *same, _ = morphogen.advance(np.ones(4), np.full(4, 2.0), ring, 0.01, 0.1, 0.0)
    np.testing.assert_array_equal(same, (np.ones(4), np.full(4, 2.0)))


def test_diffusion_limits_the_step_and_an_edgeless_graph_does_not() -> None:
    star = SimplicialComplex.from_edges(10, [(0, i) for i in range(1, 10)], Capacity(12, 16, 4))
    np.testing.assert_allclose(morphogen.cfl_dt(star, 0.01, 2.0, 1.0), 0.45 / 18.0)
    assert morphogen.cfl_dt(np.zeros((3, 3)), 0.01, 2.0, 1.0) == 1.0
    # A matrix's diagonal plays no part.
    assert morphogen.cfl_dt(np.eye(3) * 50.0, 0.01, 2.0, 1.0) == 1.0


def test_metropolis_laplacian_has_no_eigenvalue_above_two_on_any_graph() -> None:
    rng = np.random.default_rng(3)
    for density in (0.1, 0.4, 1.0):
        edges = [(i, j) for i in range(20) for j in range(i + 1, 20) if rng.uniform() < density]
        c = SimplicialComplex.from_edges(20, edges)
        weights = np.asarray(morphogen.metropolis_weights(c))
        incidence = np.zeros((len(edges), 20))
        for e, (i, j) in enumerate(edges):
            incidence[e, i], incidence[e, j] = -1, 1
        eigenvalues = np.linalg.eigvalsh(incidence.T @ (weights[:, None] * incidence))
        assert eigenvalues.max() <= 2.0 + 1e-12


def test_padded_large_vmapped_and_float32_agree_with_tight() -> None:
    case = CASES[3]
    tight, weights, _ = graph_of(case)
    _, u, v = case["trajectory"][0]
    u, v = jnp.asarray(u), jnp.asarray(v)
    expected = np.array(morphogen.advance(u, v, weights, 0.02, 0.5, 1.0, complex=tight)[:2])
    # Beyond 128 vertices diffusion runs over edges, below over a dense matrix.
    for size in (20, 200):
        padded = SimplicialComplex.from_edges(16, case["edges"], Capacity(size, 64, 8))
        found = morphogen.advance(u, v, weights, 0.02, 0.5, 1.0, complex=padded)[:2]
        np.testing.assert_allclose(found, expected, atol=1e-12)
    batch = jax.vmap(lambda u: morphogen.advance(u, v, weights, 0.02, 0.5, 1.0, complex=tight)[:2])(
        jnp.stack([u, 2 * u])
    )
    np.testing.assert_allclose([batch[0][0], batch[1][0]], expected, atol=1e-12)
    narrow = morphogen.advance(
        *(jnp.asarray(x, jnp.float32) for x in (u, v, weights)), 0.02, 0.5, 1.0, complex=tight
    )
    assert narrow[0].dtype == jnp.float32
    assert int(narrow[2].status) == 0
    np.testing.assert_allclose(narrow[:2], expected, rtol=1e-3)


def test_derivatives_through_the_substeps_match_finite_differences() -> None:
    case = CASES[0]
    c, weights, _ = graph_of(case)
    v = jnp.array([1.0, 1.1, 0.9])

    def end(x: Any) -> Any:
        u, w, _ = morphogen.advance(
            x[:3], v, weights, x[3], 0.1, x[4], source=x[5], complex=c, tolerance=1e-9, max_substeps=40
        )
        return (u * jnp.array([1.0, -2.0, 3.0])).sum() + (w**2).sum()

    x = jnp.array([0.9, 1.2, 1.0, 0.02, 0.4, 0.3])
    numeric = [(end(x.at[i].add(1e-6)) - end(x.at[i].add(-1e-6))) / 2e-6 for i in range(6)]
    np.testing.assert_allclose(jax.grad(end)(x), numeric, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jacfwd(end)(x), jax.grad(end)(x), rtol=1e-9)
