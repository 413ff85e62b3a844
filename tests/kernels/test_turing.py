"""Where patterns form by themselves: in the band that linear stability predicts, and nowhere else."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from shivya_kernels import cells, morphogen

D_U, D_V = 0.01, 0.1
ALONE = np.zeros((1, 1))


def ring(vertices: int, weight: float) -> NDArray[np.float64]:
    turn = np.roll(np.eye(vertices), 1, axis=0)
    return weight * (turn + turn.T)


def jacobian() -> NDArray[np.float64]:
    """Of the kinetics at rest, from the integrator itself: one step is exp(J dt)."""
    dt = 1e-4

    def after(y: Any) -> Any:
        return jnp.concatenate(morphogen.step_rk4(y[:1], y[1:], ALONE, D_U, D_V, dt))

    one_step = np.asarray(jax.jacfwd(after)(jnp.array(morphogen.rest())))
    eigenvalues, basis = np.linalg.eig(one_step)
    return np.real(basis @ np.diag(np.log(eigenvalues) / dt) @ np.linalg.inv(basis))


def growth(eigenvalue: float) -> float:
    """The largest growth rate of a mode of the graph Laplacian, per second, from the linearised kinetics."""
    rates = np.linalg.eigvals(jacobian() - eigenvalue * np.diag([D_U, D_V]))
    return float(rates.real.max())


def grown(weights: NDArray[np.float64], mode: NDArray[np.float64], seconds: float) -> Any:
    """The field that a small deviation along a mode of the Laplacian becomes."""
    u, v = (np.full(len(weights), float(x)) for x in morphogen.rest())
    dt = morphogen.cfl_dt(weights, D_U, D_V, 0.05)

    @jax.jit
    def run(u: Any, v: Any, steps: Any) -> Any:
        return jax.lax.fori_loop(0, steps, lambda _, y: morphogen.step_rk4(*y, weights, D_U, D_V, dt), (u, v))

    return run(jnp.asarray(u + 1e-6 * mode), jnp.asarray(v), int(seconds / dt))


def test_linear_stability_and_the_unstable_band_are_golden(golden: Path) -> None:
    case = json.loads((golden / "gm_turing.json").read_text())
    np.testing.assert_allclose(morphogen.rest(), case["steady"])
    j = jacobian()
    np.testing.assert_allclose(j.ravel(), case["J"], atol=1e-7)
    assert np.trace(j) < 0 < np.linalg.det(j)
    # At the ends of the band det(J - L diag(D_u, D_v)) is zero, a quadratic in L.
    band = np.sort(np.roots([D_U * D_V, -(D_V * j[0, 0] + D_U * j[1, 1]), np.linalg.det(j)]))
    np.testing.assert_allclose(band, case["unstable_laplacian_band"], rtol=1e-5)
    low, high = case["unstable_laplacian_band"]
    assert growth(low - 0.1) < 0 < growth(low + 0.1)
    assert growth(high + 0.1) < 0 < growth(high - 0.1)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("triangle", ring(3, 1.0)),
        ("weak ring", ring(8, 1.0)),
        ("ring", ring(8, 10.0)),
        ("stiff ring", ring(8, 100.0)),
    ],
)
def test_a_graph_forms_a_pattern_exactly_if_an_eigenvalue_lies_in_the_band(
    name: str, weights: NDArray[np.float64]
) -> None:
    eigenvalues, modes = np.linalg.eigh(np.diag(weights.sum(axis=1)) - weights)
    predicted = [growth(eigenvalue) > 0 for eigenvalue in eigenvalues]
    assert any(predicted) == (name == "ring")
    u, _ = grown(weights, modes @ np.ones(len(modes)), 400.0)
    spread = float(np.ptp(u))
    assert spread > 0.2 if any(predicted) else spread < 1e-9, spread


def test_an_unstable_mode_grows_at_the_predicted_rate_and_keeps_its_shape() -> None:
    weights = ring(8, 10.0)
    eigenvalues, modes = np.linalg.eigh(np.diag(weights.sum(axis=1)) - weights)
    fastest = int(np.argmax([growth(eigenvalue) for eigenvalue in eigenvalues]))
    mode = modes[:, fastest]
    sizes = []
    for seconds in (40.0, 60.0):
        deviation = np.asarray(grown(weights, mode, seconds)[0]) - morphogen.rest()[0]
        sizes.append(float(deviation @ mode))
        np.testing.assert_allclose(deviation, sizes[-1] * mode, atol=1e-3 * abs(sizes[-1]))
    measured = np.log(sizes[1] / sizes[0]) / 20.0
    np.testing.assert_allclose(measured, growth(eigenvalues[fastest]), rtol=1e-3)


def test_the_kinetics_alone_never_bring_an_activator_below_its_floor() -> None:
    """u' >= a - b u, so u stays above a/b: 0.1, twice the seeds' threshold for culling."""
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0.1, 3, size=6), rng.uniform(0.01, 30, size=6)
    lowest = np.inf
    for _ in range(60):
        u, v, _ = morphogen.advance(u, v, ring(6, 0.5), D_U, D_V, 0.5, max_substeps=400)
        lowest = min(lowest, float(u.min()))
    assert 0.1 <= lowest < 0.3
    assert lowest > cells.Rules().cull_below


SLOTS = 8
OWN, FIRST = jnp.ones(SLOTS, bool), jnp.arange(SLOTS) == 0
TICK = 0.1


@jax.jit
def live(state: Any, stress: Any, backlog: Any, noise: Any) -> Any:
    """Ticks of form and cells together over a clique of living cells: what each tick saw and did."""
    rules, still = cells.Rules(), morphogen.rest()

    def tick(state: Any, jitter: Any) -> Any:
        alive, u, v = state
        there = alive.active | alive.draining
        weights = jnp.where(there[:, None] & there, 1.0, 0.0) / jnp.maximum(there.sum() - 1, 1)
        decay = cells.activator_decay(rules, alive, OWN, FIRST, 1.0)
        source = jnp.where(there, 2.0 * stress, 0.0) + jnp.abs(jitter)
        u, v, info = morphogen.advance(u, v, weights, D_U, D_V, TICK, b=decay, source=source)
        before, utility = u, jnp.zeros(SLOTS)
        alive, found = cells.develop(
            rules, alive, u, v, utility, backlog, OWN, FIRST, TICK, 10 * jnp.abs(jitter[0]) % 1.0
        )
        there = alive.active | alive.draining
        u = jnp.where(there, found.division.activator, still[0])
        v = jnp.where(there, found.division.inhibitor, still[1])
        return (alive, u, v), (before, alive.active.sum(), found.division.parent, found.drained, info.status)

    return jax.lax.scan(tick, state, noise)


def founders(count: int) -> Any:
    u, v = morphogen.rest()
    return cells.founded(jnp.arange(SLOTS) < count), jnp.full(SLOTS, u), jnp.full(SLOTS, v)


def noise(ticks: int) -> Any:
    return jnp.asarray(np.random.default_rng(0).normal(scale=0.02, size=(ticks, SLOTS)))


def test_an_idle_node_never_splits_and_comes_to_rest_at_three_cells() -> None:
    calm = jnp.zeros(SLOTS)
    (alive, u, _), (seen, active, parents, drained, status) = live(founders(6), calm, calm, noise(6000))
    assert not np.asarray(status).any()
    assert (np.asarray(parents) < 0).all()
    assert float(seen.max()) < 1.5
    # Three went, one by one, once patience was over; the first cell is protected.
    went = np.flatnonzero(np.asarray(drained) >= 0)
    assert len(went) == 3
    assert went[0] * TICK >= 60.0
    assert all(later > earlier + 1 for earlier, later in pairwise(went))
    assert float(seen[went[0]].min()) < cells.Rules().cull_below
    assert int(active[-1]) == cells.LEAST_ACTIVE
    assert bool(alive.active[0])
    np.testing.assert_allclose(u, morphogen.rest()[0], atol=0.1)


def test_lasting_stress_splits_one_cell_at_a_time_and_never_a_refractory_one() -> None:
    stress = jnp.where(FIRST, 0.9, 0.0)
    held = jnp.where(FIRST, 40.0, 0.0)
    _, (_, active, parents, _, status) = live(founders(3), stress, held, noise(300))
    assert not np.asarray(status).any()
    when = np.flatnonzero(np.asarray(parents) >= 0)
    assert (np.asarray(parents)[when] == 0).all()
    assert len(when) == 3
    assert (np.diff(when) * TICK >= 10.0).all()
    assert int(active[-1]) == 6
