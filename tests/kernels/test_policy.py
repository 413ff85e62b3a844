"""Choosing what to do: golden energies, the right action in each situation, ties, bad numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shivya_kernels import beliefs, policy
from shivya_kernels.complex import Capacity, DimensionMismatch, SimplicialComplex
from shivya_kernels.policy import Action

FIELDS = ("mu_prior", "sigma_prior", "G", "sigma_s0", "W", "m", "mu_pref", "sigma_pref")
CASES = json.loads((Path(__file__).parents[1] / "golden" / "vfe.json").read_text())
SENSES, DIMS = 4, 6
CERTAIN, UNCERTAIN = 1e-4 * np.eye(DIMS), 10.0 * np.eye(DIMS)


def node(waiting: float, **effects: Any) -> tuple[beliefs.Agent, np.ndarray]:
    """A node that prefers log1p(waiting) = 1, and its belief that it waits so; processor at one half."""
    sharpen, move = policy.effects(SENSES, DIMS, **effects)
    mean = np.array([waiting, 0.5, 0.5, 0.3, 0.0, 0.0])
    return beliefs.Agent(
        mean,
        np.eye(DIMS),
        np.eye(SENSES, DIMS),
        0.01 * np.eye(SENSES),
        sharpen,
        move,
        np.array([1.0, 0.5, 0.0, 0.3]),
        np.diag([0.05, 1.0, 1.0, 1.0]),
    ), mean


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
@pytest.mark.parametrize(("form", "entry"), [("risk_ambiguity", "textbook_efe"), ("seed", "seed_efe")])
def test_the_golden_policy_of_least_energy_is_chosen(case: dict[str, Any], form: Any, entry: str) -> None:
    agent = beliefs.Agent(*(case[name] for name in FIELDS))
    mean, covariance, _ = beliefs.posterior(agent, case["obs"], case["action"])
    rows = np.array([one["policy"] for one in case["policies"]])
    expected = np.array([one[entry] for one in case["policies"]])
    # Golden energies that agree to rounding are a tie, which the first row wins.
    least = int(np.argmax(expected <= expected.min() + 1e-8 * (1 + abs(expected.min()))))
    found = policy.choose(agent, mean, covariance, rows, form=form)
    np.testing.assert_allclose(found.energies, expected, rtol=0, atol=1e-9)
    assert int(found.action) == least
    turned = policy.choose(agent, mean, covariance, rows[::-1], form=form)
    np.testing.assert_allclose(turned.energies[int(turned.action)], expected.min(), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("waiting", "covariance", "expected"),
    [
        (1.0, CERTAIN, Action.HOLD),
        (1.1, CERTAIN, Action.HOLD),
        (2.0, CERTAIN, Action.SHED),
        (0.0, CERTAIN, Action.ABSORB),
        (1.0, UNCERTAIN, Action.PROBE),
        (9.0, UNCERTAIN, Action.SHED),
    ],
)
def test_the_action_fits_the_situation(waiting: float, covariance: np.ndarray, expected: Action) -> None:
    agent, mean = node(waiting)
    found = policy.choose(agent, mean, covariance, policy.repertoire(probe_effort=0.5))
    assert int(found.action) == expected


def test_a_busy_node_does_not_probe_and_dear_transfers_are_not_made() -> None:
    rows = policy.repertoire(probe_effort=0.5)
    agent, mean = node(1.0)
    busy = mean + np.eye(DIMS)[policy.PROCESSOR] * 3.0
    assert int(policy.choose(agent, busy, UNCERTAIN, rows).action) == Action.HOLD
    late, mean = node(1.6)
    assert int(policy.choose(late, mean, CERTAIN, rows).action) == Action.SHED
    dear = policy.repertoire(transfer_effort=3.0)
    assert int(policy.choose(late, mean, CERTAIN, dear).action) == Action.HOLD


def test_a_probe_lowers_the_noise_of_the_senses_and_a_transfer_shifts_the_waiting_expected() -> None:
    agent, _ = node(1.0, attention=4.6, transfer=0.5, effort=1.2)
    rows = np.asarray(policy.repertoire(probe=2.0, transfer_effort=0.25))
    spread = [float(beliefs.posterior(agent, np.zeros(4), row)[1][0, 0]) for row in rows]
    assert spread[Action.PROBE] < spread[Action.HOLD] == spread[Action.SHED] == spread[Action.ABSORB]
    shifts = np.asarray(agent.m) @ rows.T
    np.testing.assert_allclose(shifts[policy.WAITING], [0.0, -0.5, 0.5, 0.0])
    np.testing.assert_allclose(shifts[policy.PROCESSOR], [0.0, 0.3, 0.3, 1.2])
    assert not np.delete(shifts, [policy.WAITING, policy.PROCESSOR], axis=0).any()


def test_actions_without_effect_tie_and_hold_wins() -> None:
    agent, mean = node(5.0, attention=0.0, transfer=0.0, effort=0.0)
    rows = policy.repertoire()
    for form in ("risk_ambiguity", "seed"):
        assert int(policy.choose(agent, mean, UNCERTAIN, rows, form=form).action) == Action.HOLD
    # A gain smaller than rounding is none.
    tiny, mean = node(5.0, attention=0.0, transfer=1e-13, effort=0.0)
    assert int(policy.choose(tiny, mean, UNCERTAIN, rows).action) == Action.HOLD
    small, mean = node(5.0, attention=0.0, transfer=1e-4, effort=0.0)
    assert int(policy.choose(small, mean, UNCERTAIN, rows).action) == Action.SHED


def test_an_energy_that_is_not_finite_is_never_chosen() -> None:
    agent, mean = node(2.0)
    rows = np.asarray(policy.repertoire())
    broken = rows.copy()
    broken[Action.SHED] = np.nan
    found = policy.choose(agent, mean, CERTAIN, broken)
    assert int(found.action) != Action.SHED
    assert np.isposinf(found.energies[Action.SHED])
    nothing = policy.choose(agent, np.full(DIMS, np.nan), CERTAIN, rows)
    assert int(nothing.action) == Action.HOLD


def test_vertices_choose_each_for_itself_and_float32_agrees() -> None:
    waits = jnp.array([0.0, 1.0, 1.05, 2.0, 6.0])
    agent, mean = node(1.0)
    rows = policy.repertoire()

    def decide(waiting: Any) -> policy.Choice:
        return policy.choose(agent, jnp.asarray(mean).at[0].set(waiting), CERTAIN, rows)

    batch = jax.vmap(decide)(waits)
    assert batch.action.tolist() == [int(decide(waiting).action) for waiting in waits]
    assert batch.action.tolist() == [Action.ABSORB, Action.HOLD, Action.HOLD, Action.SHED, Action.SHED]
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), agent)
    for i, waiting in enumerate(waits):
        start = np.asarray(mean, np.float32)
        start[0] = waiting
        found = policy.choose(narrow, start, np.float32(CERTAIN), rows.astype(jnp.float32))
        assert found.energies.dtype == jnp.float32
        assert int(found.action) == int(batch.action[i])
        np.testing.assert_allclose(found.energies, batch.energies[i], rtol=2e-4, atol=2e-4)


def test_energies_have_the_derivative_of_finite_differences() -> None:
    agent, mean = node(2.0)

    def energies(shift: Any) -> Any:
        moved = replace(agent, m=agent.m * shift, W=agent.W * shift)
        return policy.choose(moved, mean, 0.1 * np.eye(DIMS), policy.repertoire()).energies.sum()

    numeric = (energies(1.0 + 1e-5) - energies(1.0 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(energies)(1.0), numeric, rtol=1e-6)


def test_the_choice_opens_links_and_sharpens_senses() -> None:
    rows = policy.repertoire(probe=3.0)
    actions = np.array([Action.HOLD, Action.SHED, Action.ABSORB, Action.PROBE])
    found = policy.modulate(actions, rows, opening=0.25)
    np.testing.assert_array_equal(found.conductance, [1.0, 1.25, 1.25, 1.0])
    np.testing.assert_array_equal(found.values, rows)
    assert policy.modulate(Action.PROBE, rows).values.tolist() == rows[3].tolist()


def test_neighbourhood_mean_counts_the_known_ones_once_each() -> None:
    c = SimplicialComplex.from_edges(5, [(0, 1), (2, 1), (2, 3)], Capacity(8, 8, 2))
    values, known = np.array([1.0, 2.0, np.nan, 8.0, 5.0]), np.array([1, 1, 0, 1, 0], bool)
    found = policy.neighbourhood_mean(c, values, known)
    np.testing.assert_allclose(found, [1.5, 1.5, 5.0, 8.0, 0.0])
    full = policy.neighbourhood_mean(c, np.pad(values, (0, 3)), np.pad(known, (0, 3), constant_values=True))
    np.testing.assert_allclose(full, [1.5, 1.5, 5.0, 8.0, 0.0, 0.0, 0.0, 0.0])
    with pytest.raises(DimensionMismatch):
        policy.neighbourhood_mean(c, np.zeros(9), np.ones(9, bool))


def test_repeated_eager_choices_compile_once_and_missing_senses_are_refused() -> None:
    agent, mean = node(1.0)
    policy.choose(agent, mean, CERTAIN, policy.repertoire())
    before = policy.choose._cache_size()
    policy.choose(node(2.0)[0], mean + 1.0, UNCERTAIN, policy.repertoire(3.0))
    assert policy.choose._cache_size() == before
    with pytest.raises(DimensionMismatch, match="at least 3 senses and dimensions, got 2 and 6"):
        policy.effects(2, 6)
