"""Onsager flows, migration and fusion: golden values, reciprocity, and information that is never invented."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shivya_kernels import onsager
from shivya_kernels.complex import Capacity, DimensionMismatch, SimplicialComplex
from shivya_kernels.status import Status


def test_componentwise_flows_and_entropy_production_are_golden(golden: Path) -> None:
    case = json.loads((golden / "onsager.json").read_text())
    pairs = list(combinations(range(5), 2))
    k = np.array([case["L"][u][v] for u, v in pairs])
    z = np.array([belief[:2] for belief in case["beliefs"]])
    expected = np.array([case["per_component_flows_first2"][u][v] for u, v in pairs])
    c = SimplicialComplex.from_edges(5, pairs)
    found = onsager.flows(c, k, z)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    relaxed = z.copy()
    for (u, v), flow in zip(pairs, np.asarray(found), strict=True):
        relaxed[u] -= 0.1 * flow
        relaxed[v] += 0.1 * flow
    np.testing.assert_allclose(relaxed, case["per_component_after_rate_0.1_first2"], atol=1e-12)
    energies = np.array(case["free_energies"])[:, None]
    workload = onsager.flows(c, k, energies)[:, 0]
    np.testing.assert_allclose(workload, [case["workload_flows"][u][v] for u, v in pairs], atol=1e-12)
    production = onsager.entropy_production(c, k, energies)
    np.testing.assert_allclose(production, case["entropy_production_sum_J2_over_L"], rtol=1e-12)


def test_differences_that_cancel_in_sum_still_flow(golden: Path) -> None:
    case = json.loads((golden / "onsager.json").read_text())["cancelling_force_example"]
    c = SimplicialComplex.from_edges(2, [(0, 1)])
    found = onsager.flows(c, [1.0], [case["bi"], case["bj"]])
    np.testing.assert_array_equal(found[0], case["per_component_flow"])


def test_turning_an_edge_round_turns_its_flow_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    z, k = rng.normal(size=(4, 3)), rng.uniform(size=3)
    one = SimplicialComplex.from_edges(4, [(0, 1), (1, 2), (2, 3)])
    other = SimplicialComplex.from_edges(4, [(1, 0), (1, 2), (3, 2)])
    sign = np.array([[-1.0], [1.0], [-1.0]])
    np.testing.assert_allclose(onsager.flows(other, k, z), sign * onsager.flows(one, k, z), atol=1e-15)
    np.testing.assert_allclose(
        onsager.entropy_production(other, k, z), onsager.entropy_production(one, k, z), rtol=1e-14
    )


def test_entropy_production_is_flow_squared_over_conductance_and_least_at_equilibrium() -> None:
    rng = np.random.default_rng(1)
    c = SimplicialComplex.from_edges(5, [(0, 1), (1, 2), (3, 4)])
    z, k = rng.normal(size=(5, 2)), np.array([0.5, 2.0, 0.0])
    j = np.asarray(onsager.flows(c, k, z))
    np.testing.assert_allclose(
        onsager.entropy_production(c, k, z), (j[:2] ** 2 / k[:2, None]).sum(), rtol=1e-12
    )
    assert onsager.entropy_production(c, k, np.ones((5, 2))) == 0.0


def test_padding_changes_no_value_and_a_wrong_length_is_refused() -> None:
    edges = [(0, 1), (2, 1)]
    tight, padded = (
        SimplicialComplex.from_edges(3, edges),
        SimplicialComplex.from_edges(3, edges, Capacity(8, 6, 4)),
    )
    z, k = np.arange(6.0).reshape(3, 2) ** 2, np.array([1.0, 3.0])
    np.testing.assert_array_equal(onsager.flows(tight, k, z), onsager.flows(padded, k, z))
    full = onsager.flows(padded, np.pad(k, (0, 4), constant_values=9.0), np.pad(z, ((0, 5), (0, 0))))
    np.testing.assert_array_equal(full[:2], onsager.flows(tight, k, z))
    assert not np.asarray(full[2:]).any()
    with pytest.raises(DimensionMismatch):
        onsager.flows(tight, np.ones(5), z)


def test_jit_vmap_and_float32_agree() -> None:
    c = SimplicialComplex.from_edges(3, [(0, 1), (2, 1)], Capacity(4, 3, 1))
    rng = np.random.default_rng(2)
    z, k = jnp.asarray(rng.normal(size=(6, 4, 2))), jnp.asarray(rng.uniform(size=(6, 3)))
    batch = jax.jit(jax.vmap(lambda k, z: onsager.flows(c, k, z)))(k, z)
    for i in range(6):
        np.testing.assert_allclose(batch[i], onsager.flows(c, k[i], z[i]), rtol=1e-14)
    narrow = onsager.flows(c, k[0].astype(jnp.float32), z[0].astype(jnp.float32))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, batch[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "memory", "expected"), [(0.0, 0.0, 0.5), (1e6, 0.5, 1.5), (1e9, 7.0, 6.0), (2e6, -1.0, 1.5)]
)
def test_base_coupling_grows_with_pressure_and_saturates(
    network: float, memory: float, expected: float
) -> None:
    assert onsager.base_coupling(network, memory) == expected


def golden_ensemble(golden: Path) -> tuple[dict[str, Any], SimplicialComplex, Any, Any, Any]:
    """Five agents, one of them of three dimensions: case, complex, conductance, beliefs, their masks."""
    case = json.loads((golden / "onsager.json").read_text())
    pairs = list(combinations(range(5), 2))
    beliefs = np.zeros((5, 3))
    used = np.zeros((5, 3), bool)
    for i, belief in enumerate(case["beliefs"]):
        beliefs[i, : len(belief)], used[i, : len(belief)] = belief, True
    k = np.array([case["L"][u][v] for u, v in pairs])
    return case, SimplicialComplex.from_edges(5, pairs), k, beliefs, used


def test_migration_is_golden_in_both_forms(golden: Path) -> None:
    case, c, k, beliefs, used = golden_ensemble(golden)
    moved = np.asarray(onsager.migrate(c, k, beliefs, 0.1, dimensions=used))
    np.testing.assert_allclose(moved[:, :2], case["per_component_after_rate_0.1_first2"], atol=1e-12)
    np.testing.assert_array_equal(moved[:, 2], beliefs[:, 2])
    seed = np.asarray(onsager.migrate(c, k, beliefs, 0.1, form="seed", dimensions=used))
    for i, expected in enumerate(case["ref_after_rate_0.1"]):
        np.testing.assert_allclose(seed[i, : len(expected)], expected, atol=1e-12)
    np.testing.assert_array_equal(seed[~used], 0.0)


@pytest.mark.parametrize("form", ["componentwise", "seed"])
def test_migration_conserves_totals_and_settles_at_any_rate(form: Any) -> None:
    rng = np.random.default_rng(4)
    star = SimplicialComplex.from_edges(6, [(0, i) for i in range(1, 6)])
    k, z = rng.uniform(0.1, 30, size=5), rng.normal(size=(6, 2))
    total, spread = z.sum(axis=0), np.ptp(z.sum(axis=1))
    start = z.copy()
    for _ in range(4000):
        z = np.asarray(onsager.migrate(star, k, z, 1e6, form=form))
    np.testing.assert_allclose(z.sum(axis=0), total, atol=1e-9)
    assert np.ptp(z.sum(axis=1)) < 1e-3 * spread
    # Componentwise differences vanish; the seeds' form only levels their sum.
    left = np.ptp(z[:, 0] - z[:, 1])
    initial = np.ptp(start[:, 0] - start[:, 1])
    assert left < 1e-3 * initial if form == "componentwise" else abs(left - initial) < 1e-9


def test_the_rate_is_cut_to_what_an_explicit_step_bears() -> None:
    star = SimplicialComplex.from_edges(5, [(0, 1), (0, 2), (0, 3), (3, 4)], Capacity(8, 6, 2))
    k = np.array([2.0, 1.0, 0.5, 5.0])
    assert onsager.guarded_rate(star, k, 0.01) == 0.01
    np.testing.assert_allclose(onsager.guarded_rate(star, k, 1.0), 0.9 / (5.0 * 3))
    # Links that take no part do not slow the others: the dear one here, then all.
    np.testing.assert_allclose(onsager.guarded_rate(star, k, 1.0, active=np.arange(5) < 4), 0.9 / (2.0 * 3))
    assert onsager.guarded_rate(star, k, 1.0, active=np.arange(5) == 0) == 1.0
    assert onsager.guarded_rate(star, [np.nan, np.inf, -1.0, 0.0], 1.0) == 1.0
    assert onsager.guarded_rate(star, k, -1.0) == 0.0


CYCLE = SimplicialComplex.from_edges(6, [(0, 1), (1, 2), (2, 0), (2, 3), (4, 5)], Capacity(8, 8, 4))


def drawn_beliefs(seed: int, scale: float = 1.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(8, 3, 3)) * scale
    return rng.normal(size=(8, 3)), root @ root.transpose(0, 2, 1) + 0.05 * np.eye(3)


@given(st.integers(0, 10_000), st.floats(0.0, 10.0), st.floats(0.1, 10.0))
@settings(max_examples=40, deadline=None)
def test_fused_precision_lies_between_what_went_in_and_information_is_conserved(
    seed: int, rate: float, scale: float
) -> None:
    mean, covariance = drawn_beliefs(seed, scale)
    k = np.random.default_rng(seed + 1).uniform(0.1, 3, size=8)
    fused = onsager.fuse(CYCLE, k, mean, covariance, rate)
    assert int(fused.status) == 0
    before, after = np.linalg.inv(covariance), np.linalg.inv(np.asarray(fused.covariance))
    near = {0: [0, 1, 2], 1: [0, 1, 2], 2: [0, 1, 2, 3], 3: [2, 3], 4: [4, 5], 5: [4, 5]}
    largest = np.abs(before).max()
    for i, members in near.items():
        for x in np.vstack([np.eye(3), np.ones(3), [1.0, -2.0, 0.5]]):
            among = [x @ before[j] @ x for j in members]
            assert min(among) - 1e-9 * largest <= x @ after[i] @ x <= max(among) + 1e-9 * largest
    np.testing.assert_allclose(after[:4].sum(axis=0), before[:4].sum(axis=0), atol=1e-8 * largest)
    information = np.einsum("vij,vj->vi", before, mean), np.einsum("vij,vj->vi", after, fused.mean)
    np.testing.assert_allclose(
        information[1][:4].sum(axis=0), information[0][:4].sum(axis=0), atol=1e-7 * largest
    )
    np.testing.assert_array_equal(fused.mean[6:], mean[6:])


def test_beliefs_that_agree_stay_as_they_are_however_often_they_are_told() -> None:
    mean, covariance = drawn_beliefs(0)
    same = np.tile(mean[0], (8, 1)), np.tile(covariance[0], (8, 1, 1))
    told = same
    for _ in range(50):
        told = onsager.fuse(CYCLE, np.ones(8), *told, 0.2)[:2]
    # A product of beliefs would be a hundred orders of magnitude more certain by now.
    np.testing.assert_allclose(told[0], same[0], atol=1e-10)
    np.testing.assert_allclose(told[1], same[1], atol=1e-10)
    # With one mean and several precisions the mean is beyond dispute.
    fused = onsager.fuse(CYCLE, np.ones(8), same[0], covariance, 0.2)
    np.testing.assert_allclose(fused.mean, same[0], atol=1e-10)


def test_repeated_fusion_ends_in_one_belief_that_weighs_all_by_precision() -> None:
    mean, covariance = drawn_beliefs(7)
    precision = np.linalg.inv(covariance[:4])
    expected = np.linalg.solve(precision.sum(axis=0), np.einsum("vij,vj->i", precision, mean[:4]))
    told = mean, covariance
    for _ in range(300):
        told = onsager.fuse(CYCLE, np.ones(8), *told, 0.25)[:2]
    np.testing.assert_allclose(told[0][:4], np.tile(expected, (4, 1)), atol=1e-9)
    np.testing.assert_allclose(
        told[1][:4], np.tile(np.linalg.inv(precision.mean(axis=0)), (4, 1, 1)), atol=1e-9
    )
    assert np.abs(np.asarray(told[0][4]) - expected).max() > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_fusion_never_claims_more_than_it_knows_whatever_the_errors_share(seed: int) -> None:
    """Covariance intersection is consistent: the true error stays within what is stated."""
    rng = np.random.default_rng(seed)
    # Errors of two estimates with a joint covariance of any correlation; what is stated is each one's own.
    root = rng.normal(size=(4, 4)) * rng.uniform(0.2, 3, size=(4, 1))
    joint = root @ root.T + 0.01 * np.eye(4)
    stated = np.stack([joint[:2, :2], joint[2:, 2:]])
    pair = SimplicialComplex.from_edges(2, [(0, 1)])
    fused = onsager.fuse(pair, [1.0], np.zeros((2, 2)), stated, 0.4)
    weights = np.array([[0.6, 0.4], [0.4, 0.6]])
    for i in range(2):
        gain = np.hstack([weights[i, j] * fused.covariance[i] @ np.linalg.inv(stated[j]) for j in range(2)])
        true = gain @ joint @ gain.T
        assert np.linalg.eigvalsh(np.asarray(fused.covariance[i]) - true).min() > -1e-9


def test_dormant_slots_and_other_dimensions_neither_give_nor_take() -> None:
    mean, covariance = drawn_beliefs(3)
    awake = np.array([1, 1, 0, 1, 1, 1, 1, 1], bool)
    k = np.ones(8)
    quiet = onsager.fuse(CYCLE, k, mean, covariance, 0.2, active=awake)
    # What a dormant slot holds is nobody's business, its own result included.
    mean[2], covariance[2] = np.nan, np.nan
    spoilt = onsager.fuse(CYCLE, k, mean, covariance, 0.2, active=awake)
    kept = np.arange(8) != 2
    np.testing.assert_array_equal(spoilt.mean[kept], quiet.mean[kept])
    np.testing.assert_array_equal(spoilt.covariance[kept], quiet.covariance[kept])
    assert int(spoilt.status) == 0
    # 3 is linked to 2 alone, so it keeps its belief to the bit.
    np.testing.assert_array_equal(spoilt.mean[3], mean[3])
    np.testing.assert_array_equal(spoilt.covariance[3], covariance[3])
    moved = np.asarray(onsager.migrate(CYCLE, k, mean, 0.2, active=awake))
    np.testing.assert_array_equal(moved[3], mean[3])
    assert np.isfinite(moved[kept]).all()
    grown = np.ones((8, 3), bool)
    grown[:2, 2] = False
    apart = onsager.fuse(CYCLE, k, mean, covariance, 0.2, active=awake, dimensions=grown)
    np.testing.assert_array_equal(apart.mean, spoilt.mean)
    grown[1, 2] = True
    apart = onsager.fuse(CYCLE, k, mean, covariance, 0.2, active=awake, dimensions=grown)
    np.testing.assert_array_equal(apart.mean[:2], mean[:2])


def test_unpadded_beliefs_are_fused_and_migrated_like_padded_ones() -> None:
    mean, covariance = drawn_beliefs(8)
    k = np.linspace(0.5, 1.5, 8)
    whole = onsager.fuse(CYCLE, k, mean, covariance, 0.2)
    cut = onsager.fuse(CYCLE, k[:5], mean[:6], covariance[:6], 0.2, dimensions=np.ones((6, 3), bool))
    np.testing.assert_allclose(cut.mean, whole.mean[:6], atol=1e-12)
    np.testing.assert_allclose(cut.covariance, whole.covariance[:6], atol=1e-12)
    np.testing.assert_allclose(
        onsager.migrate(CYCLE, k[:5], mean[:6], 0.2), onsager.migrate(CYCLE, k, mean, 0.2)[:6], atol=1e-12
    )
    with pytest.raises(DimensionMismatch):
        onsager.fuse(CYCLE, k, mean[:4], covariance[:4], 0.2)


def test_a_singular_belief_is_mended_and_said_and_does_not_spread() -> None:
    mean, covariance = drawn_beliefs(4)
    covariance[1] = np.diag([1.0, 1.0, 0.0])
    fused = onsager.fuse(CYCLE, np.ones(8), mean, covariance, 0.2)
    assert int(fused.status) == Status.SINGULAR_MATRIX
    assert np.isfinite(fused.mean).all() and np.isfinite(fused.covariance).all()
    # Nobody asks a slot without links what it holds.
    covariance[1], covariance[7] = np.eye(3), -np.eye(3)
    assert int(onsager.fuse(CYCLE, np.ones(8), mean, covariance, 0.2).status) == 0


def test_fusion_under_jit_vmap_float32_and_grad() -> None:
    mean, covariance = map(jnp.asarray, drawn_beliefs(5))
    k = jnp.linspace(0.5, 1.5, 8)

    def told(mean: Any, covariance: Any, k: Any) -> Any:
        return onsager.fuse(CYCLE, k, mean, covariance, 0.2, active=CYCLE.vertex_mask)

    one = told(mean, covariance, k)
    batch = jax.jit(jax.vmap(told))(
        jnp.stack([mean, 2 * mean]), jnp.stack([covariance] * 2), jnp.stack([k] * 2)
    )
    np.testing.assert_allclose(batch.mean[0], one.mean, atol=1e-12)
    np.testing.assert_allclose(batch.mean[1], 2 * one.mean, atol=1e-12)
    narrow = told(*(x.astype(jnp.float32) for x in (mean, covariance, k)))
    assert narrow.mean.dtype == narrow.covariance.dtype == jnp.float32
    np.testing.assert_allclose(narrow.mean, one.mean, rtol=1e-3, atol=1e-3)

    def score(x: Any) -> Any:
        fused = told(x[:24].reshape(8, 3), covariance.at[2, 1, 1].add(x[24]), k.at[0].add(x[25]))
        return (fused.mean**2).sum() + (fused.covariance * jnp.arange(3.0)).sum()

    x = jnp.concatenate([mean.ravel(), jnp.zeros(2)])
    gradient = jax.grad(score)(x)
    for i in (0, 7, 20, 24, 25):
        numeric = (score(x.at[i].add(1e-6)) - score(x.at[i].add(-1e-6))) / 2e-6
        np.testing.assert_allclose(gradient[i], numeric, rtol=1e-5, atol=1e-6)


def test_repeated_eager_calls_compile_once() -> None:
    mean, covariance = drawn_beliefs(6)

    def call(scale: float) -> None:
        k = np.full(8, scale)
        onsager.fuse(CYCLE, k, scale * mean, covariance, 0.1 * scale, active=mean[:, 0] > scale)
        onsager.migrate(CYCLE, k, scale * mean, 0.1 * scale)
        onsager.guarded_rate(CYCLE, k, scale)

    call(1.0)
    compiled = [0]
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **__: compiled.__setitem__(0, compiled[0] + name.endswith("backend_compile_duration"))
    )
    call(0.5)
    assert compiled == [0]
