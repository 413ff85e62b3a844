"""Conductance of links: the formula, and that both ends arrive at one number."""

from __future__ import annotations

import jax
import numpy as np

from shivya_kernels import conductance


def test_advertised_falls_with_latency_and_rises_with_thickness() -> None:
    thickness, bandwidth = np.array([1.0, 1.0, 2.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.5])
    rtt = np.array([0.0, 0.01, 0.01, 0.03])
    np.testing.assert_allclose(conductance.advertised(thickness, bandwidth, rtt), [1.0, 0.5, 1.0, 0.125])


def test_both_ends_use_the_same_number() -> None:
    here, there = np.array([1.0, 0.2]), np.array([0.5, 0.9])
    known = np.array([True, True])
    np.testing.assert_array_equal(
        conductance.symmetric(here, there, known), conductance.symmetric(there, here, known)
    )
    np.testing.assert_allclose(conductance.symmetric(here, there, known), [0.75, 0.55])


def test_an_unknown_other_end_does_not_count() -> None:
    found = conductance.symmetric([0.4, 0.4], [-1.0, 0.8], [False, True])
    np.testing.assert_allclose(found, [0.4, 0.6])


def test_jit_vmap_grad_and_float32_agree() -> None:
    rtt = np.linspace(0.0, 0.1, 5)
    batch = jax.jit(jax.vmap(conductance.advertised))(np.ones(5), np.ones(5), rtt)
    np.testing.assert_allclose(batch, conductance.advertised(1.0, 1.0, rtt))
    slope = jax.grad(lambda r: conductance.advertised(1.0, 1.0, r))(0.01)
    np.testing.assert_allclose(slope, -25.0)
    narrow = conductance.advertised(np.float32(1.0), np.float32(1.0), rtt.astype(np.float32))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, batch, rtol=1e-6)
