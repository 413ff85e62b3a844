"""Conjugate gradient: accuracy, honesty about failure, and derivatives on singular operators."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from shivya_kernels import cg
from shivya_kernels.status import Status, describe

PATH = jnp.array([[1.0, -1, 0, 0], [-1, 2, -1, 0], [0, -1, 2, -1], [0, 0, -1, 1]])


def centre(v: jax.Array) -> jax.Array:
    return v - jnp.mean(v)


def spd(n: int, seed: int) -> jax.Array:
    m = np.random.default_rng(seed).standard_normal((n, n))
    return jnp.asarray(m @ m.T + n * np.eye(n))


def test_solution_and_reported_residual_are_true() -> None:
    a, b = spd(40, 0), jnp.arange(40.0)
    x, info = cg.solve(lambda v: a @ v, b, tolerance=1e-12)
    assert_allclose(x, np.linalg.solve(a, b), rtol=1e-10)
    assert_allclose(info.residual, jnp.linalg.norm(b - a @ x) / jnp.linalg.norm(b), rtol=1e-3, atol=1e-16)
    assert int(info.status) == 0 and float(info.residual) <= 1e-12


def test_residual_stays_true_over_many_refreshes() -> None:
    n = 400
    scale = jnp.logspace(0, 5, n)
    x, info = cg.solve(lambda v: scale * v, jnp.ones(n), tolerance=1e-10, max_iterations=5000, refresh=7)
    assert_allclose(info.residual, jnp.linalg.norm(1 - scale * x) / n**0.5, rtol=1e-6)
    assert int(info.status) == 0


@pytest.mark.parametrize("start", [None, jnp.ones(4)])
def test_zero_right_hand_side_gives_zero(start: jax.Array | None) -> None:
    x, info = cg.solve(lambda v: PATH @ v, jnp.zeros(4), project=centre, start=start)
    assert_allclose(x, 0, atol=1e-15)
    assert float(info.residual) == 0 and int(info.status) == 0


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_non_finite_input_is_flagged_and_zeroed(bad: float) -> None:
    x, info = cg.solve(lambda v: PATH @ v, jnp.array([1.0, bad, 0, 0]), project=centre)
    assert_allclose(x, 0)
    assert int(info.status) == Status.NON_FINITE_INPUT
    assert describe(int(info.status))[0].startswith("NON_FINITE_INPUT")


def test_running_out_of_iterations_is_flagged() -> None:
    a = spd(40, 1)
    x, info = cg.solve(lambda v: a @ v, jnp.arange(40.0), max_iterations=2)
    assert int(info.iterations) == 2
    assert int(info.status) == Status.NOT_CONVERGED
    assert np.isfinite(np.asarray(x)).all()


def test_a_tolerance_below_rounding_ends_and_is_flagged() -> None:
    a = spd(40, 2)
    _, info = cg.solve(lambda v: a @ v, jnp.arange(40.0), tolerance=1e-30, max_iterations=100_000)
    assert int(info.iterations) < 1000
    assert int(info.status) == Status.NOT_CONVERGED


def test_warm_start_is_cheaper_and_as_accurate() -> None:
    a, b = spd(60, 3), jnp.arange(60.0)
    x, cold = cg.solve(lambda v: a @ v, b, tolerance=1e-10)
    y, warm = cg.solve(lambda v: a @ v, b, tolerance=1e-10, start=x + 1e-9)
    assert int(warm.iterations) < int(cold.iterations)
    assert_allclose(y, x, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_scale_of_the_right_hand_side_does_not_matter(scale: float) -> None:
    a, b = spd(20, 4), jnp.arange(20.0)
    x, info = cg.solve(lambda v: a @ v, b * scale)
    y, reference = cg.solve(lambda v: a @ v, b)
    assert_allclose(x / scale, y, rtol=1e-9)
    assert int(info.iterations) == int(reference.iterations)


def test_gradient_on_a_singular_operator_is_the_pseudo_inverse() -> None:
    c = jnp.array([1.0, 2, 3, 5])
    pinv = np.linalg.pinv(np.asarray(PATH))
    for start in (None, jnp.array([1.0, 0, 2, 0])):
        grad = jax.grad(
            lambda b, start=start: c @ cg.solve(lambda v: PATH @ v, b, project=centre, start=start)[0]
        )
        assert_allclose(grad(jnp.array([1.0, 0, 0, 4])), pinv @ c, atol=1e-9)
        assert_allclose(grad(jnp.zeros(4)), pinv @ c, atol=1e-9)
        tiny = jax.grad(
            lambda b, grad=grad, start=start: 1e-200 * c @ cg.solve(lambda v: PATH @ v, b, project=centre)[0]
        )
        assert_allclose(tiny(jnp.ones(4)) * 1e200, pinv @ c, atol=1e-9)


def test_gradient_with_respect_to_the_operator() -> None:
    b = jnp.array([1.0, -2, 3, 1])

    def loss(w: jax.Array) -> jax.Array:
        a = spd(4, 5) + jnp.diag(w)
        return jnp.sum(cg.solve(lambda v: a @ v, b, tolerance=1e-13, start=jnp.ones(4))[0] ** 2)

    w, h = jnp.array([1.0, 2, 3, 4]), 1e-5
    numeric = [(loss(w.at[i].add(h)) - loss(w.at[i].add(-h))) / (2 * h) for i in range(4)]
    assert_allclose(jax.grad(loss)(w), numeric, rtol=1e-6)


def test_jit_vmap_and_float32() -> None:
    b = np.random.default_rng(6).standard_normal((5, 4))
    exact = b @ np.linalg.pinv(np.asarray(PATH))
    batched = jax.jit(jax.vmap(lambda r: cg.solve(lambda v: PATH @ v, r, project=centre)))
    x, info = batched(jnp.asarray(b))
    assert_allclose(x, exact, atol=1e-7)
    assert info.status.shape == (5,) and not np.asarray(info.status).any()
    with jax.enable_x64(False):
        small = PATH.astype(jnp.float32)
        y, low = jax.vmap(lambda r: cg.solve(lambda v: small @ v, r, project=centre))(
            jnp.asarray(b, jnp.float32)
        )
        assert y.dtype == jnp.float32
        assert_allclose(y, exact, atol=1e-4)
        assert not np.asarray(low.status).any()
        tiny = jax.grad(lambda r: 1e-13 * jnp.sum(cg.solve(lambda v: small @ v, r, project=centre)[0][:2]))
        assert np.isfinite(np.asarray(tiny(jnp.ones(4, jnp.float32)))).all()
