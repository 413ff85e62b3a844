"""Gaussian active inference: golden values, exact posteriors, descents, matrices that are not positive."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from shivya_kernels import beliefs
from shivya_kernels.linalg import inverse, inverse_stable, last_stabilization_event, stabilise
from shivya_kernels.status import Status

FIELDS = ("mu_prior", "sigma_prior", "G", "sigma_s0", "W", "m", "mu_pref", "sigma_pref")
CASES = json.loads((Path(__file__).parents[1] / "golden" / "vfe.json").read_text())
cases = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def agent_of(case: dict[str, Any]) -> beliefs.Agent:
    return beliefs.Agent(*(case[name] for name in FIELDS))


def random_agent(seed: int, dims: int = 3, senses: int = 4, actions: int = 2) -> beliefs.Agent:
    rng = np.random.default_rng(seed)

    def spd(n: int) -> np.ndarray:
        root = rng.normal(size=(n, n))
        return root @ root.T + 0.1 * np.eye(n)

    normal = rng.normal
    return beliefs.Agent(
        normal(size=dims),
        spd(dims),
        normal(size=(senses, dims)),
        spd(senses),
        normal(size=(senses, actions)),
        normal(size=(dims, actions)),
        normal(size=senses),
        spd(senses),
    )


@cases
def test_posterior_and_free_energy_are_golden(case: dict[str, Any]) -> None:
    agent = agent_of(case)
    mean, covariance, status = beliefs.posterior(agent, case["obs"], case["action"])
    np.testing.assert_allclose(mean, case["mu_posterior"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(covariance, case["sigma_q"], rtol=0, atol=1e-9)
    assert bool(int(status) & Status.SINGULAR_MATRIX) == case["prior_singular"]
    for belief, expected in ((mean, "F_at_posterior"), (case["mu_prior"], "F_at_prior")):
        found = beliefs.variational_free_energy(agent, case["obs"], belief, covariance, case["action"])
        np.testing.assert_allclose(found, case[expected], rtol=0, atol=1e-9)
    inferred = beliefs.infer(agent, case["obs"], case["action"])
    np.testing.assert_allclose(inferred.free_energy, case["neg_log_evidence"], rtol=0, atol=1e-9)


@cases
def test_plain_descent_follows_the_golden_history(case: dict[str, Any]) -> None:
    agent, golden = agent_of(case), case["gd"]
    # On a ridged prior the plain gradient diverges, and amplifies rounding by its condition number of 1e6.
    tolerance = 1e-8 if case["prior_singular"] else 1e-9
    for steps in (1, 4, 9):
        expected = golden["F_history"][steps]
        _, energy, _ = beliefs.descend(
            agent, case["obs"], case["mu_prior"], case["action"], rate=golden["lr"], steps=steps, form="seed"
        )
        np.testing.assert_allclose(energy, expected, rtol=tolerance)
    # The reference stops when a step is shorter than its tolerance, so its last recorded F is the final one.
    steps = golden["iters"] if golden["iters"] < 11 else golden["iters"] - 1
    mean, energy, _ = beliefs.descend(
        agent, case["obs"], case["mu_prior"], case["action"], rate=golden["lr"], steps=steps, form="seed"
    )
    np.testing.assert_allclose(mean, golden["mu_final"], rtol=tolerance, atol=1e-12)
    np.testing.assert_allclose(energy, golden["F_final_fresh"], rtol=tolerance)


@cases
def test_policies_are_golden_in_both_forms(case: dict[str, Any]) -> None:
    agent = agent_of(case)
    policies = [entry["policy"] for entry in case["policies"]]
    mean, covariance, _ = beliefs.posterior(agent, case["obs"], case["action"])
    textbook = beliefs.expected_free_energy(agent, mean, covariance, policies)
    np.testing.assert_allclose(textbook, [e["textbook_efe"] for e in case["policies"]], rtol=0, atol=1e-9)
    seed = beliefs.expected_free_energy(agent, mean, covariance, policies, form="seed")
    np.testing.assert_allclose(seed, [e["seed_efe"] for e in case["policies"]], rtol=0, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_free_energy_is_minus_log_evidence_and_least_at_the_posterior(seed: int) -> None:
    agent = random_agent(seed)
    rng = np.random.default_rng(seed + 1)
    observation, action = rng.normal(size=4), 0.3 * rng.normal(size=2)
    mean, covariance, _ = beliefs.posterior(agent, observation, action)
    noise = np.asarray(agent.sigma_s0) + np.diag(np.exp(-np.asarray(agent.W) @ action))
    evidence = multivariate_normal(
        np.asarray(agent.G @ agent.mu_prior), np.asarray(agent.G @ agent.sigma_prior @ agent.G.T) + noise
    ).logpdf(observation)
    energy = beliefs.variational_free_energy(agent, observation, mean, covariance, action)
    np.testing.assert_allclose(energy, -evidence, rtol=1e-10)
    np.testing.assert_allclose(beliefs.infer(agent, observation, action).free_energy, energy, rtol=1e-10)
    for elsewhere, spread in ((mean + 0.1, covariance), (mean, 1.1 * covariance)):
        assert beliefs.variational_free_energy(agent, observation, elsewhere, spread, action) > energy


def test_natural_descent_lands_in_one_step_and_contracts_below_rate_two() -> None:
    agent = random_agent(5)
    observation, action, start = np.ones(4), np.zeros(2), np.full(3, 4.0)
    target, covariance, _ = beliefs.posterior(agent, observation, action)
    mean, energy, _ = beliefs.descend(agent, observation, start, action, rate=1.0, steps=1)
    np.testing.assert_allclose(mean, target, atol=1e-12)
    slope = jax.grad(lambda m: beliefs.variational_free_energy(agent, observation, m, covariance, action))(
        jnp.asarray(start)
    )
    once, _, _ = beliefs.descend(agent, observation, start, action, rate=0.3, steps=1)
    np.testing.assert_allclose(once, start - 0.3 * covariance @ slope, atol=1e-10)
    near, close, _ = beliefs.descend(agent, observation, start, action, rate=1.9, steps=400)
    np.testing.assert_allclose(near, target, atol=1e-9)
    np.testing.assert_allclose(close, energy, atol=1e-9)


def test_free_energy_returned_is_that_of_the_mean_returned() -> None:
    agent = random_agent(9)
    observation, action = np.ones(4), np.zeros(2)
    _, covariance, _ = beliefs.posterior(agent, observation, action)
    for form in ("natural", "seed"):
        mean, energy, _ = beliefs.descend(
            agent, observation, np.zeros(3), action, rate=0.01, steps=7, form=form
        )
        fresh = beliefs.variational_free_energy(agent, observation, mean, covariance, action)
        np.testing.assert_allclose(energy, fresh, rtol=1e-12)


def test_an_unused_dimension_changes_nothing() -> None:
    small = random_agent(3, dims=2)
    padded = beliefs.Agent(
        jnp.pad(small.mu_prior, (0, 3)),
        jnp.eye(5).at[:2, :2].set(small.sigma_prior),
        jnp.pad(small.G, ((0, 0), (0, 3))),
        small.sigma_s0,
        small.W,
        jnp.pad(small.m, ((0, 3), (0, 0))),
        small.mu_pref,
        small.sigma_pref,
    )
    for agent in (small, padded):
        found = beliefs.infer(agent, np.ones(4), np.zeros(2))
        np.testing.assert_allclose(
            found.mean[:2], beliefs.infer(small, np.ones(4), np.zeros(2)).mean, atol=1e-14
        )
    assert np.array_equal(found.mean[2:], np.zeros(3))
    assert np.array_equal(found.covariance[2:, 2:], np.eye(3))
    np.testing.assert_allclose(
        found.free_energy, beliefs.infer(small, np.ones(4), np.zeros(2)).free_energy, atol=1e-14
    )


@pytest.mark.parametrize(
    ("matrix", "bits", "diagonal"),
    [
        ([[2.0, 0.0], [0.0, 1e-9]], 0, [2.0, 1e-9]),
        ([[0.3, 0.1], [0.1, 0.1 / 3]], Status.SINGULAR_MATRIX, [0.3 + 1e-6, 0.1 / 3 + 1e-6]),
        ([[0.0, 0.0], [0.0, 0.0]], Status.SINGULAR_MATRIX, [1e-6, 1e-6]),
        ([[1.0, 2.0], [2.0, 1.0]], Status.SINGULAR_MATRIX | Status.STABILIZATION_FAILED, [1.0, 1.0]),
        ([[np.nan, 0.0], [0.0, 1.0]], Status.SINGULAR_MATRIX | Status.STABILIZATION_FAILED, [1.0, 1.0]),
    ],
)
def test_stabilisation_ladder(matrix: list[list[float]], bits: int, diagonal: list[float]) -> None:
    found = stabilise(jnp.asarray(matrix))
    assert int(found.status) == bits
    np.testing.assert_allclose(np.diagonal(found.matrix), diagonal, rtol=1e-12)
    np.testing.assert_allclose(found.factor @ found.factor.T, found.matrix, rtol=1e-12, atol=1e-15)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_prediction_is_the_marginal_of_the_model(seed: int) -> None:
    agent, rng = random_agent(seed), np.random.default_rng(seed + 1)
    observation, action = rng.normal(size=4), 0.3 * rng.normal(size=2)
    mean, covariance = beliefs.predict(agent, action)
    evidence = multivariate_normal(np.asarray(mean), np.asarray(covariance)).logpdf(observation)
    found = beliefs.infer(agent, observation, action)
    np.testing.assert_allclose(found.free_energy, -evidence, rtol=1e-9)
    assert np.isfinite(beliefs.predict(agent, [np.nan, np.inf])[1]).all()


def test_prediction_uses_the_ridged_prior() -> None:
    singular = agent_of(next(case for case in CASES if case["prior_singular"]))
    action = np.zeros(singular.W.shape[1])
    mean, covariance = beliefs.predict(singular, action)
    prior = np.asarray(singular.sigma_prior) + 1e-6 * np.eye(len(singular.mu_prior))
    noise = np.asarray(singular.sigma_s0) + np.eye(len(covariance))
    np.testing.assert_allclose(covariance, singular.G @ prior @ singular.G.T + noise, rtol=1e-14)
    np.testing.assert_allclose(mean, singular.G @ singular.mu_prior, rtol=1e-14)


@pytest.mark.parametrize(
    ("matrix", "expected", "bits"),
    [
        ([[2.0, 1.0], [1.0, 3.0]], [[0.6, -0.2], [-0.2, 0.4]], 0),
        ([[4.0, 0.0], [0.0, 0.0]], [[1 / 4.000001, 0.0], [0.0, 1e6]], Status.SINGULAR_MATRIX),
        ([[1.0, 2.0], [2.0, 1.0]], np.eye(2), Status.SINGULAR_MATRIX | Status.STABILIZATION_FAILED),
    ],
)
def test_inverse_says_what_it_had_to_do(matrix: Any, expected: Any, bits: int) -> None:
    found, status = inverse(matrix)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    assert int(status) == bits
    batch, flags = jax.vmap(inverse)(jnp.asarray([matrix, np.eye(2)]))
    np.testing.assert_array_equal(batch[1], np.eye(2))
    assert flags.tolist() == [bits, 0]
    assert np.isfinite(jax.grad(lambda m: inverse(m)[0].sum())(jnp.asarray(matrix))).all()


def test_the_last_stabilisation_is_remembered_by_the_thread_that_made_it() -> None:
    def in_turn() -> list[Any]:
        """What a fresh thread reads before, after a clean matrix, a singular, an indefinite, a clean one."""
        read = [last_stabilization_event()]
        for matrix in (np.eye(2), np.zeros((3, 3)), [[1.0, 2.0], [2.0, 1.0]], np.eye(2)):
            with jax.enable_x64(True):
                inverse_stable(matrix)
            read.append(last_stabilization_event())
        return read

    mine = last_stabilization_event()
    with ThreadPoolExecutor(1) as thread:
        none, still_none, singular, indefinite, after = thread.submit(in_turn).result()
    assert last_stabilization_event() is mine
    assert none is None
    assert still_none is None
    assert (singular.status, singular.size) == (Status.SINGULAR_MATRIX, 3)
    assert indefinite.status == Status.SINGULAR_MATRIX | Status.STABILIZATION_FAILED
    assert "full rank" in singular.remedies[0]
    assert len(indefinite.remedies) == 2
    assert after is indefinite
    with pytest.raises(TypeError, match="call inverse"):
        jax.jit(inverse_stable)(np.eye(2))


def test_derivative_of_the_factor_matches_finite_differences_and_survives_the_ridge() -> None:
    root = np.random.default_rng(0).normal(size=(4, 4))
    direction = root + root.T

    def entry(x: Any, base: Any) -> Any:
        return jnp.sin(stabilise(base + x * direction).factor).sum()

    base = root @ root.T + np.eye(4)
    numeric = (entry(1e-6, base) - entry(-1e-6, base)) / 2e-6
    np.testing.assert_allclose(jax.grad(entry)(0.0, base), numeric, rtol=1e-7)
    singular = np.outer(root[0], root[0])
    assert np.isfinite(jax.grad(lambda s: stabilise(s * singular).factor.sum())(1.0))


def test_anything_in_gives_finite_free_energy_out() -> None:
    case = CASES[0]
    agent = agent_of(case)
    mean, covariance, status = beliefs.posterior(agent, [np.nan, np.inf], case["action"])
    energy = beliefs.variational_free_energy(agent, [np.nan, np.inf], mean, covariance, case["action"])
    assert int(status) & Status.NON_FINITE_INPUT
    assert np.isfinite(mean).all()
    assert np.isfinite(energy)
    indefinite = beliefs.Agent(
        *(case[name] for name in FIELDS[:1]), [[-1.0, 3.0], [3.0, -1.0]], *(case[name] for name in FIELDS[2:])
    )
    mean, energy, status = beliefs.descend(
        indefinite, case["obs"], case["mu_prior"], case["action"], rate=1.0, steps=1
    )
    assert int(status) & Status.STABILIZATION_FAILED
    assert np.isfinite(energy)


def test_vmap_over_agents_and_float32_agree_with_one_at_a_time() -> None:
    agents = [random_agent(seed) for seed in range(4)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *agents)
    batch = jax.vmap(lambda a: beliefs.infer(a, jnp.ones(4), jnp.zeros(2)))(stacked)
    for i, agent in enumerate(agents):
        alone = beliefs.infer(agent, np.ones(4), np.zeros(2))
        np.testing.assert_allclose(batch.mean[i], alone.mean, rtol=1e-12)
        np.testing.assert_allclose(batch.free_energy[i], alone.free_energy, rtol=1e-12)
        narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), agent)
        single = beliefs.infer(narrow, np.ones(4, np.float32), np.zeros(2, np.float32))
        assert single.free_energy.dtype == jnp.float32
        np.testing.assert_allclose(single.free_energy, alone.free_energy, rtol=1e-4)


def test_repeated_eager_calls_compile_once() -> None:
    agent = random_agent(1)
    beliefs.posterior(agent, np.ones(4), np.zeros(2))
    before = beliefs.posterior._cache_size()
    beliefs.posterior(random_agent(2), np.zeros(4), np.ones(2))
    assert beliefs.posterior._cache_size() == before


def test_an_unknown_form_is_refused_by_name() -> None:
    agent = random_agent(1)
    with pytest.raises(ValueError, match="'natural' or 'seed'"):
        beliefs.descend(agent, np.ones(4), np.zeros(3), np.zeros(2), rate=1.0, steps=1, form="newton")
    with pytest.raises(ValueError, match="'risk_ambiguity' or 'seed'"):
        beliefs.expected_free_energy(agent, np.zeros(3), np.eye(3), np.zeros((1, 2)), form="other")
