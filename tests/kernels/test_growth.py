"""Growing state spaces: exact evidence, growth where it pays, none where it does not, shrinking, bounds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from shivya_kernels import beliefs, growth
from shivya_kernels.complex import DimensionMismatch
from shivya_kernels.status import Status

FACTOR = np.array([1.0, -1.0, 1.0, -1.0]) / 2
"""Unit direction of the second latent dimension, which the first, along (1, 1, 1, 1), cannot explain."""


def one_dimensional(dims: int = 4, noise: float = 0.02) -> beliefs.Agent:
    """Four senses, one latent dimension that moves them all, room for more."""
    return beliefs.Agent(
        np.zeros(dims),
        np.eye(dims),
        np.ones((4, 1)) * np.eye(1, dims),
        (noise / 2) * np.eye(4),
        np.full((4, 1), -np.log(noise / 2)),
        np.zeros((dims, 1)),
        np.zeros(4),
        np.eye(4),
    )


def golden_case(golden: Path, name: str) -> dict[str, Any]:
    cases = json.loads((golden / "vfe.json").read_text())
    return next(case for case in cases if case["name"] == name)


def with_room(case: dict[str, Any], dims: int) -> beliefs.Agent:
    """The golden agent of two dimensions, with room up to ``dims``."""
    more = dims - 2
    prior = np.eye(dims)
    prior[:2, :2] = case["sigma_prior"]
    return beliefs.Agent(
        np.pad(case["mu_prior"], (0, more)),
        prior,
        np.pad(case["G"], ((0, 0), (0, more))),
        case["sigma_s0"],
        case["W"],
        np.zeros((dims, 1)),
        case["mu_pref"],
        case["sigma_pref"],
    )


def live(
    agent: beliefs.Agent, observations: Any, *, base: int, rule: growth.GrowthRule, window: int = 16
) -> tuple[growth.GrowthState, growth.GrowthInfo, np.ndarray]:
    """One vertex through a series of observations [n, S]: last state, every report and free energy."""
    action = jnp.ones(1)

    def tick(state: growth.GrowthState, seen: jax.Array) -> tuple[growth.GrowthState, Any]:
        grown = growth.extend(agent, state.coupling[0], base=base, variance=rule.variance)
        energy = beliefs.infer(grown, seen, action).free_energy
        expected, covariance = beliefs.predict(agent, action)
        state, info = growth.update(
            state,
            (seen - expected)[None],
            covariance[None],
            energy[None],
            [True],
            [True],
            base=base,
            rule=rule,
        )
        return state, (jax.tree.map(lambda leaf: leaf[0], info), energy)

    first = growth.init(1, agent.G.shape[0], agent.G.shape[1], window=window)
    state, (infos, energies) = jax.lax.scan(tick, first, jnp.asarray(observations))
    return state, infos, np.asarray(energies)


def two_factors(n: int, seed: int = 0, size: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common, second = rng.normal(size=(n, 1)), size * rng.normal(size=(n, 1))
    return common + second * FACTOR + np.sqrt(0.02) * rng.normal(size=(n, 4))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_evidence_is_the_difference_of_log_densities_of_the_two_models(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, 3))
    covariance, coupling = root @ root.T + 0.1 * np.eye(3), rng.normal(size=(3, 4))
    coupling[:, 1] = 0.0
    errors, valid = 2.0 * rng.normal(size=(6, 3)), np.array([1, 1, 0, 1, 0, 1], bool)
    found = growth.evidence(errors, valid, covariance, coupling, 0.7)

    def log_density(columns: np.ndarray) -> float:
        model = multivariate_normal(np.zeros(3), covariance + 0.7 * columns @ columns.T)
        return float(model.logpdf(errors[valid]).sum())

    expected = [log_density(coupling) - log_density(np.delete(coupling, d, axis=1)) for d in range(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
    assert found[1] == 0.0


def test_evidence_is_the_fall_of_free_energy_and_the_savage_dickey_ratio() -> None:
    agent, coupling = one_dimensional(), np.zeros((4, 4))
    coupling[:, 2] = 0.1 * FACTOR
    seen, action = np.array([0.9, -0.2, 0.7, 0.1]), np.ones(1)
    small = beliefs.infer(growth.extend(agent, np.zeros((4, 4)), base=1), seen, action)
    large = beliefs.infer(growth.extend(agent, coupling, base=1), seen, action)
    expected, covariance = beliefs.predict(agent, action)
    found = growth.evidence((seen - expected)[None], [True], covariance, coupling)
    np.testing.assert_allclose(found[2], small.free_energy - large.free_energy, rtol=1e-10)

    def log_normal_at_zero(mean: Any, variance: Any) -> float:
        return float(-0.5 * (np.log(2 * np.pi * variance) + mean**2 / variance))

    # Dickey 1971: prior over posterior density at the value that removes the dimension.
    ratio = log_normal_at_zero(0.0, 10.0) - log_normal_at_zero(large.mean[2], large.covariance[2, 2])
    np.testing.assert_allclose(found[2], ratio, rtol=1e-10)


def test_extending_by_nothing_changes_nothing_whatever_the_unused_dimensions_held() -> None:
    agent = one_dimensional()
    stale = replace(
        agent,
        mu_prior=jnp.array([0.0, 5.0, -3.0, 2.0]),
        sigma_prior=(2.0 * jnp.eye(4) + 0.3).at[0, 0].set(1.0),
        G=agent.G.at[:, 3].set(7.0),
    )
    clean = growth.extend(stale, jnp.zeros((4, 4)), base=1)
    np.testing.assert_array_equal(clean.mu_prior, agent.mu_prior)
    np.testing.assert_array_equal(clean.sigma_prior, agent.sigma_prior)
    np.testing.assert_array_equal(clean.G, agent.G)


def test_surprise_that_no_dimension_reduces_never_grows(golden: Path) -> None:
    case = json.loads((golden / "autotelic_growth_obs_10_10_tau5.json").read_text())
    seeds = case["dims_after_each_update"]
    assert seeds[-1] == len(seeds) == 40, "the seeds' rule adds a dimension at every update"
    rule = growth.GrowthRule(novelty=5.0, refractory=20, cap=40)
    agent = with_room(golden_case(golden, "novelty_10_10"), 42)
    state, info, energies = live(agent, np.full((1000, 2), 10.0), base=2, rule=rule)
    assert (energies > 5.0).all(), "the surprise never ends"
    assert int(info.started.sum()) == int(info.removed.sum()) > 20
    assert not info.kept.any()
    assert int(info.dimensions.max()) == 3
    assert not np.asarray(state.coupling)[..., :2].any()
    # What the seeds paid 38 dimensions for: two thousandths of a nat each.
    at_rest, on_trial = energies[0], energies[int(np.argmax(info.started)) + 1]
    assert 0.0 < at_rest - on_trial < 0.005
    assert 0.0 < np.asarray(info.evidence).max() < 16 * 0.005


def test_the_seeds_extra_dimension_is_weighed_exactly(golden: Path) -> None:
    two, three = (golden_case(golden, name) for name in ("novelty_10_10", "expanded_3d"))
    agent, coupling = with_room(two, 3), np.asarray(three["G"]) * [0.0, 0.0, 1.0]
    expected, covariance = beliefs.predict(agent, [0.0])
    error = np.asarray(two["obs"]) - np.asarray(expected)
    found = growth.evidence([error] * 8, [True] * 8, covariance, coupling)
    gain = 8 * (two["F_at_posterior"] - three["F_at_posterior"])
    np.testing.assert_allclose(found, [0.0, 0.0, gain], rtol=1e-9, atol=1e-12)
    inferred = beliefs.infer(growth.extend(agent, coupling, base=2), two["obs"], [0.0])
    np.testing.assert_allclose(inferred.mean, three["mu_posterior"], atol=1e-9)
    np.testing.assert_allclose(inferred.covariance, three["sigma_q"], atol=1e-9)
    np.testing.assert_allclose(inferred.free_energy, three["F_at_posterior"], atol=1e-9)


def test_a_second_latent_dimension_is_found_kept_and_explains_the_surprise() -> None:
    data = two_factors(400)
    state, info, energies = live(
        one_dimensional(), data, base=1, rule=growth.GrowthRule(novelty=1.0, refractory=30)
    )
    assert int(info.started.sum()) >= 1
    kept = int(np.argmax(info.kept))
    assert kept == int(np.argmax(info.started)) + 16
    assert 2 <= int(info.dimensions[-1]) <= 4
    column = np.asarray(state.coupling[0, :, 1])
    np.testing.assert_allclose(np.linalg.norm(column), 0.05 * 2.0, rtol=1e-12)
    assert abs(column @ FACTOR) > 0.99 * np.linalg.norm(column)
    before, after = energies[: int(np.argmax(info.started)) + 1].mean(), energies[kept:].mean()
    assert after < before - 5.0
    # The verdict is the evidence of the observations made during the trial, under the column found before it.
    agent, window = one_dimensional(), data[kept - 15 : kept + 1]
    expected, covariance = beliefs.predict(agent, np.ones(1))
    judged = growth.evidence(
        window - np.asarray(expected), np.ones(16, bool), covariance, column[:, None] * np.eye(1, 4)
    )
    np.testing.assert_allclose(info.evidence[kept, 1], judged[0], rtol=1e-9)


def test_what_is_no_longer_needed_is_removed_and_the_vertex_rests_in_between() -> None:
    rule = growth.GrowthRule(novelty=1.0, refractory=30)
    calm = two_factors(400, seed=3, size=0.0)
    _, info, _ = live(one_dimensional(), np.concatenate([two_factors(200), calm]), base=1, rule=rule)
    assert int(info.dimensions[199]) > 1
    assert int(info.dimensions[-1]) == 1
    decisions = np.flatnonzero(np.asarray(info.kept | info.removed))
    starts = np.flatnonzero(np.asarray(info.started))
    assert np.diff(decisions).min() >= 30
    for start in starts:
        assert (np.abs(decisions - start) >= 16).all()
    _, quiet, _ = live(one_dimensional(), calm, base=1, rule=growth.GrowthRule())
    assert not quiet.novel.any()
    assert not quiet.started.any()


def test_growth_stops_at_the_cap_and_at_the_capacity_but_novelty_goes_on() -> None:
    data = two_factors(600, size=40.0)
    for dims, cap, most in ((6, 2, 3), (3, 10, 3), (6, 0, 1)):
        rule = growth.GrowthRule(refractory=5, cap=cap)
        _, info, _ = live(one_dimensional(dims), data, base=1, rule=rule)
        assert int(info.dimensions.max()) == int(info.dimensions[-1]) == most
        late = np.asarray(info.novel)[-100:]
        assert late.any(), "a search for a better law still starts"
        assert not np.asarray(info.started)[-100:].any()


def test_vertices_are_independent_silence_keeps_and_absence_forgets() -> None:
    rng = np.random.default_rng(0)
    state = growth.init(3, 2, 4, window=4)
    covariance = np.broadcast_to(np.eye(2), (3, 2, 2))
    for _ in range(9):
        errors = 10.0 * rng.normal(size=(3, 2))
        state, _ = growth.update(
            state, errors, covariance, np.full(3, 9.0), [True, True, False], [True, True, True], base=2
        )
    assert state.seen.tolist() == [5, 5, 0], "nine, wrapped"
    assert state.trial[0] != growth.NO_TRIAL or state.rest[0] > 0
    kept, info = growth.update(
        state, np.zeros((3, 2)), covariance, np.zeros(3), [False] * 3, [True, False, True], base=2
    )
    for name in ("errors", "energies", "coupling", "seen", "trial", "rest"):
        before, after = getattr(state, name), getattr(kept, name)
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_array_equal(after[1], getattr(growth.init(3, 2, 4, window=4), name)[1])
    assert info.dimensions[1] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e13])
def test_bad_numbers_are_flagged_and_not_recorded(bad: float) -> None:
    state = growth.init(2, 2, 4)
    eye = np.broadcast_to(np.eye(2), (2, 2, 2))
    good = (np.zeros((2, 2)), eye, np.zeros(2))
    for place in range(3):
        given = [np.array(values, float) for values in good]
        given[place][0] = bad
        after, info = growth.update(state, *given, [True, True], [True, True], base=2)
        assert after.seen.tolist() == [0, 1]
        assert [int(bits) for bits in info.status] == [Status.NON_FINITE_INPUT, 0]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after, info)))


def test_largest_admitted_errors_leave_finite_numbers_in_float32() -> None:
    state = growth.init(1, 2, 4, dtype=jnp.float32)
    one = jnp.ones(1, jnp.float32)
    for _ in range(40):
        state, info = growth.update(
            state, 1e12 * jnp.ones((1, 2), jnp.float32), 1e-9 * jnp.eye(2, dtype=jnp.float32)[None], 9 * one,
            [True], [True], base=2,
        )  # fmt: skip
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, info)))
    assert state.coupling.dtype == state.errors.dtype == info.evidence.dtype == jnp.float32
    assert info.dimensions[0] == 3


def test_evidence_in_float32_is_near_and_its_derivative_matches_finite_differences() -> None:
    rng = np.random.default_rng(2)
    errors, coupling = rng.normal(size=(8, 3)), 0.3 * rng.normal(size=(3, 2))
    valid = np.ones(8, bool)
    wide = growth.evidence(errors, valid, np.eye(3), coupling)
    narrow = growth.evidence(*(np.asarray(a, np.float32) for a in (errors, valid, np.eye(3), coupling)))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, wide, rtol=1e-4)

    def total(scale: Any) -> Any:
        return growth.evidence(errors, valid, np.eye(3), scale * coupling).sum()

    numeric = (total(1.0 + 1e-6) - total(1.0 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(total)(1.0), numeric, rtol=1e-6)
    none = jax.grad(lambda c: growth.evidence(errors, valid, np.eye(3), c).sum())(np.zeros((3, 2)))
    assert np.isfinite(none).all()


def test_a_batch_of_neighbourhoods_equals_one_at_a_time_with_finite_derivatives() -> None:
    rng = np.random.default_rng(4)
    covariance, ones = np.broadcast_to(0.1 * np.eye(2), (2, 2, 2)), np.ones(2, bool)

    def after(errors: Any) -> growth.GrowthState:
        """Two vertices, the first surprised, through 21 observations: a trial begins and is judged."""
        energy = jnp.array([9.0, 0.0])

        def tick(state: growth.GrowthState, error: Any) -> tuple[growth.GrowthState, None]:
            return growth.update(state, error, covariance, energy, ones, ones, base=2)[0], None

        return jax.lax.scan(tick, growth.init(2, 2, 4), errors)[0]

    errors = np.cumsum(rng.normal(size=(3, 21, 2, 2)), axis=1)
    batch = jax.vmap(after)(errors)
    for i in range(3):
        jax.tree.map(
            lambda whole, alone, i=i: np.testing.assert_allclose(whole[i], alone, rtol=1e-9, atol=1e-12),
            batch,
            after(errors[i]),
        )
    assert (np.asarray(batch.coupling)[:, 0] != 0.0).any()
    assert not np.asarray(batch.coupling)[:, 1].any()
    slope = jax.grad(lambda e: (after(e).coupling ** 2 * np.arange(1.0, 3.0)[:, None]).sum())(errors[0, :5])
    assert np.isfinite(slope).all()
    assert slope.any()


def test_a_single_sense_without_error_still_has_a_direction() -> None:
    state = growth.init(1, 1, 3)
    for _ in range(4):
        state, info = growth.update(
            state, np.zeros((1, 1)), np.ones((1, 1, 1)), np.full(1, 9.0), [True], [True], base=1
        )
    assert info.dimensions[0] == 2
    np.testing.assert_allclose(state.coupling[0], [[0.0, 0.05, 0.0]])


def test_repeated_eager_updates_compile_once() -> None:
    state = growth.init(2, 2, 4)
    given = (np.ones((2, 2)), np.broadcast_to(np.eye(2), (2, 2, 2)), np.full(2, 9.0), [True] * 2, [True] * 2)
    state, _ = growth.update(state, *given, base=2, rule=growth.GrowthRule())
    before = growth.update._cache_size()
    growth.update(state, *given, base=2, rule=growth.GrowthRule(novelty=2.0, refractory=7))
    assert growth.update._cache_size() == before


def test_a_window_shorter_than_the_novelty_needs_is_refused() -> None:
    with pytest.raises(DimensionMismatch, match="at least 3 observations, got 2"):
        growth.init(1, 2, 4, window=2)
