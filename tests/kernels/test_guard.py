"""The guard's arithmetic: golden values of VENOM where they are sound, and its defects closed where not.

Not reproduced, on purpose: the golden ``stable`` and ``dV`` (a constant error is not stable), the urgency of
0.4 without any anomaly, and the golden weights, which leave their own bounds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from shivya_kernels import guard
from shivya_kernels.status import Status

LOW, HIGH = np.array([0.0, 0.0, 0.05, 0.1]), np.array([1.0, 1.0, 0.30, 0.9])


@pytest.fixture
def venom(golden: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((golden / "venom.json").read_text())
    return found


def model(bias: float = 0.0) -> guard.ThreatModel:
    return guard.ThreatModel(jnp.asarray(0.12), jnp.asarray(bias))


def evidence(**changed: Any) -> guard.Evidence:
    """A quiet mesh of three nodes and three links, padded to four of each."""
    quiet = guard.Evidence(
        traffic=np.array([2.0, 1.0, 1.0, 0.0]),
        suspect=np.zeros(4, bool),
        waiting=np.array([1.0, 1.0, 1.0, 0.0]),
        waiting_after=np.array([1.0, 1.0, 1.0, 0.0]),
        vertex_mask=np.array([True, True, True, False]),
        anomalies=np.asarray(0.0),
        cost=np.array([1.0, 2.0]),
        cost_after=np.array([1.0, 2.0]),
    )
    return quiet._replace(**changed)


def test_pulse_is_golden(venom: dict[str, Any]) -> None:
    np.testing.assert_allclose(guard.t_lambda(4, 5), venom["T_lambda"], rtol=1e-14)
    np.testing.assert_allclose(guard.t_lambda(4, 5) - 0.02, venom["delta_T"], rtol=1e-14)
    k, p, expected = np.array(venom["T_lambda_table"]).T
    np.testing.assert_allclose(guard.t_lambda(k, p), expected, rtol=1e-14)
    np.testing.assert_allclose(jax.vmap(guard.t_lambda)(k, p), expected, rtol=1e-14)


def test_pulse_without_enough_flows_still_beats() -> None:
    for k, p in ((1, 1), (0, 5), (1, 0), (-2, 3), (np.nan, 4)):
        assert not guard.admissible(k, p)
        np.testing.assert_allclose(guard.t_lambda(k, p), 0.008)
    assert guard.admissible(1, 2)
    assert guard.t_lambda(4, 5, ln_u=0.0) == 1e-6
    assert np.isfinite(jax.grad(guard.t_lambda)(1.0, 1.0))


def drive(errors: list[float], times: list[float], **gains: float) -> list[tuple[guard.PidState, jax.Array]]:
    state, seen = guard.PidState(), []
    for error, dt in zip(errors, times, strict=True):
        state, output = guard.pid_step(state, error, dt, **gains)
        seen.append((state, output))
    return seen


@pytest.mark.parametrize("name", ["pid_synthetic", "pid_constant_error_dt0.005_first5"])
def test_controller_is_golden(venom: dict[str, Any], name: str) -> None:
    case = venom[name]
    seen = drive([row["e"] for row in case], [row["dt"] for row in case])
    np.testing.assert_allclose([out for _, out in seen], [row["out"] for row in case], rtol=1e-12)
    np.testing.assert_allclose([s.integral for s, _ in seen], [row["I"] for row in case], rtol=1e-12)
    changes = np.clip([-float(out) for _, out in seen], -guard.PER_BEAT, guard.PER_BEAT)
    np.testing.assert_allclose(changes, [row["dO"] for row in case], rtol=1e-12)


def test_integral_stays_within_its_golden_limit(venom: dict[str, Any]) -> None:
    row = venom["pid_windup"]
    state, output = drive([row["e"]] * 20, [row["dt"]] * 20)[-1]
    assert state.integral == row["I"]
    np.testing.assert_allclose(output, row["out"], rtol=1e-12)


def test_a_constant_error_is_not_stable_and_a_falling_one_is() -> None:
    assert [bool(s.stable) for s, _ in drive([0.01] * 3, [0.1] * 3)] == [False, False, False]
    assert [bool(s.stable) for s, _ in drive([0.03, -0.02, 0.025], [0.1] * 3)] == [False, True, False]
    assert [bool(s.stable) for s, _ in drive([5e-4, 9e-4], [0.1] * 2)] == [True, True]


def test_a_saturated_output_does_not_wind_the_integral_and_unwinds_freely() -> None:
    long = drive([0.5] * 50, [0.1] * 50, limit=0.05)
    assert long[-1][0].integral == 0.0 and long[-1][1] == 0.05
    state = guard.PidState(integral=jnp.asarray(0.8), error=jnp.asarray(0.5), started=jnp.asarray(True))
    lower, _ = guard.pid_step(state, -0.1, 0.1, limit=0.01)
    held, _ = guard.pid_step(state, 0.5, 0.1, limit=0.01)
    assert held.integral == 0.8 and lower.integral <= 0.8
    near, _ = guard.pid_step(state, 5e-5, 0.1)
    np.testing.assert_allclose(near.integral, 5e-6)


def test_a_broken_measurement_changes_nothing() -> None:
    state, _ = guard.pid_step(guard.PidState(), 0.2, 0.1)
    for error, dt in ((np.nan, 0.1), (np.inf, 0.1), (0.1, -1.0), (0.1, np.nan)):
        after, output = guard.pid_step(state, error, dt)
        assert output == 0.0
        for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
            assert old == new


def test_the_closed_loop_settles_at_its_set_point() -> None:
    """The plant is the CPU time of a beat: control plus what was granted to optimisation."""
    rng = np.random.default_rng(0)
    state, grant, errors = guard.PidState(), 0.0, []
    for _ in range(200):
        error = 0.006 + rng.uniform(-2e-4, 2e-4) + grant - 0.02
        state, output = guard.pid_step(state, error, 0.1, limit=guard.PER_BEAT)
        grant = max(grant - float(output), 0.0)
        errors.append(error)
    assert np.abs(errors[50:]).max() < guard.STEADY
    assert bool(state.stable)


def test_threat_is_golden_in_both_modes(venom: dict[str, Any]) -> None:
    np.testing.assert_allclose(guard.threat(5), venom["threat_5"], rtol=1e-14)
    narrow = guard.threat(np.float32(5))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, venom["threat_5_float32"], rtol=1e-7)
    assert guard.threat(0) == venom["threat_0"]

    def first(action: guard.Action, bias: float) -> int:
        counts = np.arange(100)
        scores = guard.cores(evidence(), model())._replace(threat=guard.threat(counts, bias=bias))
        return int(np.flatnonzero(np.asarray(guard.decide(scores)) >= action)[0])

    assert first(guard.Action.ALERT, 0.0) == venom["first_alert_anoms"]
    assert first(guard.Action.QUARANTINE, 0.0) == venom["first_quarantine_anoms"]
    assert (first(guard.Action.ALERT, -3.0), first(guard.Action.QUARANTINE, -3.0)) == (29, 40)


def test_threat_learns_to_tell_incidents_from_noise() -> None:
    rng = np.random.default_rng(1)
    counts = np.concatenate([rng.poisson(8, 60), rng.poisson(35, 60), [500, 500]]).astype(float)
    labels = np.concatenate([np.zeros(60), np.ones(60), [0, 0]])
    mask = np.arange(122) < 120
    at, losses = guard.ThreatModel(jnp.asarray(0.12), jnp.asarray(0.0)), []
    for _ in range(400):
        at, loss = guard.train_threat(at, counts, labels, mask, 5.0)
        losses.append(float(loss))
    assert losses[-1] < 0.25 * losses[0]
    scores = guard.threat(counts, at.weight, at.bias)
    assert guard.auc(scores, labels, mask) > 0.99
    correct = (np.asarray(scores) > 0.5) == (labels > 0.5)
    assert correct[mask].mean() > 0.95
    same, _ = guard.train_threat(at, counts, labels, np.zeros(122, bool))
    assert same.weight == at.weight and same.bias == at.bias


def test_auc_counts_pairs() -> None:
    score, label = np.array([0.1, 0.4, 0.4, 0.9, 7.0]), np.array([0.0, 0.0, 1.0, 1.0, 0.0])
    mask = np.array([True, True, True, True, False])
    assert guard.auc(score, label, mask) == pytest.approx(3.5 / 4)
    assert guard.auc(score, np.zeros(5), mask) == 0.5


def test_seed_cores_give_the_golden_decision_vector(venom: dict[str, Any]) -> None:
    pulse = guard.t_lambda(4, 5)
    for name, n in (("beats_anoms0", 0), ("beats_anoms5", 5)):
        weights = np.array(guard.WEIGHTS)
        for beat in venom[name][:2]:
            scores = guard.seed_cores(n, pulse, weights, model())
            found, expected = guard.weighted(scores, weights), beat["decvec"]
            golden = [expected[key] for key in ("stability", "threat", "opt_gain")]
            np.testing.assert_allclose(found[1:], golden, rtol=1e-12)
            np.testing.assert_allclose(scores.threat, expected["raw_threat"], rtol=1e-12)
            if n:
                np.testing.assert_allclose(found[0], expected["repair_score"], rtol=1e-12)
                assert guard.Action(int(guard.decide(scores))).name == beat["action"]
            weights = np.array([beat["w"][core] for core in "RBEO"])


def test_cores_measure_the_mesh() -> None:
    scores = guard.cores(
        evidence(
            suspect=np.array([False, True, True, False]),
            waiting=np.array([4.0, 1.0, 1.0, 9.0]),
            waiting_after=np.array([3.0, 1.5, 1.5, 0.0]),
            anomalies=np.asarray(10.0),
            cost_after=np.array([0.9, 1.0]),
        ),
        model(-3.0),
    )
    assert scores.urgency == 0.5 and scores.repairs == 2.0 and scores.status == 0
    np.testing.assert_allclose(scores.stability, 1.0 - 0.25)
    np.testing.assert_allclose(scores.threat, guard.threat(10.0, 0.12, -3.0))
    np.testing.assert_allclose(scores.gain, 0.5)


def test_nothing_to_gain_is_zero_and_equal_waiting_has_no_variance() -> None:
    third = np.full(4, 0.1 + 0.2)
    scores = guard.cores(
        evidence(traffic=np.zeros(4), waiting=third, waiting_after=np.zeros(4), cost=np.zeros(2)), model()
    )
    assert scores.urgency == scores.stability == scores.gain == 0.0
    worse = guard.cores(evidence(cost_after=np.array([50.0, 2.0]), cost=np.array([1.0, 1.0])), model())
    assert worse.gain == -1.0


ACTIONS = {
    guard.Action.NOOP: {},
    guard.Action.APPLY_OPTIMIZE: {"cost_after": np.array([0.85, 2.0])},
    guard.Action.APPLY_BALANCE: {"waiting": np.array([9.0, 1.0, 1.0, 0.0]), "cost_after": np.zeros(2)},
    guard.Action.ALERT: {"anomalies": np.asarray(30.0), "waiting": np.array([9.0, 1.0, 1.0, 0.0])},
    guard.Action.QUARANTINE: {"anomalies": np.asarray(41.0), "cost_after": np.zeros(2)},
}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_reached(action: guard.Action) -> None:
    scores = guard.cores(evidence(**ACTIONS[action]), model(-3.0))
    assert guard.Action(int(guard.decide(scores))) is action


def test_urgent_repair_comes_before_balance() -> None:
    found = guard.cores(
        evidence(waiting=np.array([9.0, 1.0, 1.0, 0.0]), suspect=np.array([True, False, False, False])),
        model(-3.0),
    )
    assert found.stability > 0.25 and guard.decide(found) == guard.Action.NOOP


def test_evidence_that_is_not_finite_is_reported_and_harmless() -> None:
    for name in ("traffic", "waiting", "waiting_after", "anomalies", "cost", "cost_after"):
        broken = np.array(getattr(evidence(), name), float)
        broken[..., None].flat[0] = np.nan
        scores = guard.cores(evidence(**{name: broken}), model())
        assert scores.status == Status.NON_FINITE_INPUT
        assert np.isfinite(np.stack(scores[:5])).all()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(-3.0, 3.0), min_size=4, max_size=4))
def test_projection_is_the_nearest_point_and_within_bounds_exactly(wanted: list[float]) -> None:
    y = np.array(wanted)
    w = np.asarray(guard.project_simplex(y, LOW, HIGH))
    assert (w >= LOW).all() and (w <= HIGH).all()
    np.testing.assert_allclose(w.sum(), 1.0, rtol=0, atol=4e-16 * 4 * 4)
    # Optimality: shift between any two coordinates that may move does not bring it nearer.
    pull = y - w
    for i in range(4):
        for j in range(4):
            if w[i] < HIGH[i] and w[j] > LOW[j]:
                assert pull[i] <= pull[j] + 1e-12


def test_projection_agrees_with_a_solver_and_has_its_derivative() -> None:
    y = np.array([0.3, 0.2, 0.6, 0.4])
    w = guard.project_simplex(y, LOW, HIGH)
    best = minimize(
        lambda x: ((x - y) ** 2).sum(),
        np.full(4, 0.25),
        bounds=list(zip(LOW, HIGH, strict=True)),
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1.0},
        tol=1e-14,
    )
    np.testing.assert_allclose(w, best.x, atol=1e-6)
    jacobian = jax.jacobian(guard.project_simplex)(y, LOW, HIGH)
    free = np.array([1.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(jacobian, np.diag(free) - np.outer(free, free) / 3.0, atol=1e-14)


def test_recalibrated_weights_keep_bounds_that_the_golden_ones_broke(venom: dict[str, Any]) -> None:
    broken = [beat["w"]["E"] for beat in venom["beats_anoms5"]]
    assert min(broken) < 0.05
    weights = jnp.asarray(guard.WEIGHTS)
    for threat_now in (0.0, 0.3, 1.0, 0.9, 0.1):
        for change in (0.2, 0.01, -0.04, -1.0) * 12:
            before = weights
            weights = guard.recalibrate(weights, threat_now, change)
            assert (weights >= LOW).all() and (weights <= HIGH).all()
            np.testing.assert_allclose(weights.sum(), 1.0, atol=1e-15)
            np.testing.assert_allclose(weights[2], 0.05 + 0.25 * threat_now, atol=1e-16)
    assert weights[3] <= before[3]
    calm, alarmed = (guard.recalibrate(guard.WEIGHTS, t, 0.0)[2] for t in (0.1, 0.9))
    assert alarmed > calm


def test_a_beat_is_one_compiled_call_over_a_batch() -> None:
    @jax.jit
    @jax.vmap
    def beat(anomalies: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = guard.cores(evidence(anomalies=anomalies), model(-3.0))
        return guard.decide(scores), guard.recalibrate(guard.WEIGHTS, scores.threat, 0.0)

    actions, weights = beat(jnp.array([0.0, 30.0, 50.0]))
    assert [guard.Action(int(a)).name for a in actions] == ["NOOP", "ALERT", "QUARANTINE"]
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-15)


def test_a_second_step_compiles_nothing() -> None:
    state, _ = guard.pid_step(guard.PidState(), 0.1, 0.1)
    count = guard.pid_step._cache_size()
    state, _ = guard.pid_step(state, 0.2, 0.1)
    guard.pid_step(state, -0.2, 0.3)
    assert guard.pid_step._cache_size() == count
    narrow = jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else leaf.astype(jnp.float32), state)
    after, output = guard.pid_step(narrow, 0.1, 0.1)
    assert output.dtype == after.integral.dtype == after.error.dtype == jnp.float32
