"""Onsager flows: golden values and reciprocity."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shivya_kernels import onsager
from shivya_kernels.complex import Capacity, DimensionMismatch, SimplicialComplex


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
