"""The smooth formulas of the fluid against the ones of the law that they relax, and against counting."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from shivya_kernels import flow
from shivya_kernels.complex import NO_VERTEX
from shivya_kernels.fleet import fluid_law as law

WAYS = 5
SHARP = 1e-6
"""Seconds: so narrow that smooth choices are the choices themselves."""


def test_hinge_stays_close_above_the_corner():
    x = np.linspace(-3, 3, 601)[:, None]
    width = np.array([1e-6, 0.01, 0.5, 2.0])
    value = np.asarray(law.hinge(x, width))
    assert (value >= np.maximum(x, 0) - 1e-12).all()
    assert (value <= np.maximum(x, 0) + width / 4 + 1e-12).all()
    assert (np.diff(value, axis=0) >= 0).all()


def test_what_passes_a_limit_exceeds_neither_and_comes_close_to_the_lesser():
    amount, limit = np.geomspace(1e-6, 1e5, 200)[:, None], np.geomspace(1e-6, 1e5, 150)
    passed = amount * np.asarray(law.share_within(amount, limit))
    lesser = np.minimum(amount, limit)
    assert (passed <= lesser * (1 + 1e-12)).all()
    assert (passed >= 0.87 * lesser - 1e-6).all()
    assert float(law.share_within(jnp.float64(3), jnp.float64(0))) == 0


@pytest.mark.parametrize("x", [0.0, 1e-30, 1.0, 1e6])
def test_derivatives_are_finite_where_nothing_is_there(x):
    slopes = jax.grad(law.share_within, argnums=(0, 1))(jnp.float64(0), jnp.float64(x))
    assert np.isfinite(slopes).all()
    assert np.isfinite(jax.grad(law.share_within)(jnp.float64(x), jnp.float64(0)))


def nodes(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "own": rng.uniform(0.05, 0.5, count),
        "rate": rng.choice([8.0, 16.0, 32.0], count),
        "ways": rng.uniform(0.05, 0.5, (count, WAYS)),
        "slopes": rng.uniform(0.005, 0.1, (count, WAYS)),
        "live": rng.random((count, WAYS)) < 0.8,
    }


def test_a_sharp_advert_is_the_laws_own():
    """Potential and slope as `flow.placement` has them; to the next hop, the second ones."""
    many, window = nodes(300), 0.07
    said = jax.jit(law.advertise)(
        many["own"],
        many["rate"],
        np.zeros(300),
        many["ways"],
        many["slopes"],
        many["live"],
        jnp.full(300, window),
        SHARP,
    )
    none = jnp.zeros(WAYS)
    rule = jax.vmap(
        lambda own, rate, ways, slopes, live: flow.placement(
            own, rate, 3.0, 1.0, ways, slopes, none, jnp.full(WAYS, 1e9), none, live, 0.0, window
        )
    )
    exact = jax.jit(rule)(many["own"], many["rate"], many["ways"], many["slopes"], many["live"])
    slot, live = np.arange(WAYS), many["live"]
    onward = np.asarray(exact.next_hop)[:, None] == slot
    assert onward.sum() > 100
    assert (np.asarray(exact.next_hop) == NO_VERTEX).sum() > 20
    for told, first, second in (
        (said.potential, exact.potential, exact.second_potential),
        (said.slope, exact.slope, exact.second_slope),
    ):
        expected = np.where(onward, np.asarray(second)[:, None], np.asarray(first)[:, None])
        assert_allclose(np.asarray(told)[live], expected[live], rtol=1e-9)


def placed_one_by_one(many: dict[str, np.ndarray], amount: float, pieces: int) -> np.ndarray:
    """Shares when pieces go to the least cost in turn, each making its way dearer."""
    cost = np.concatenate([many["own"][:, None], np.where(many["live"], many["ways"], np.inf)], axis=1)
    dearer = np.concatenate([1 / many["rate"][:, None], many["slopes"]], axis=1) * amount / pieces
    counts = np.zeros_like(cost)
    for _ in range(pieces):
        least = np.argmin(cost + counts * dearer, axis=1)
        counts[np.arange(len(cost)), least] += 1
    return counts / pieces


@pytest.mark.parametrize("amount", [0.1, 1.0, 8.0])
def test_filling_is_placement_one_by_one(amount):
    many = nodes(100)
    arguments = (many["own"], many["rate"], many["ways"], many["slopes"], many["live"])
    stays, goes = jax.jit(law.fill)(*arguments, jnp.full(100, amount), 1e-5)
    assert_allclose(stays + goes.sum(axis=1), 1, rtol=1e-12)
    assert (np.asarray(goes)[~many["live"]] == 0).all()
    expected = placed_one_by_one(many, amount, 1000)
    found = np.concatenate([np.asarray(stays)[:, None], goes], axis=1)
    assert_allclose(found, expected, atol=0.01)


def test_derivatives_of_filling_are_those_of_its_level():
    many = nodes(40)

    @jax.jit
    def score(shift: jax.Array) -> jax.Array:
        ways = many["ways"] + shift
        _, goes = law.fill(
            many["own"], many["rate"], ways, many["slopes"], many["live"], jnp.full(40, 2.0), 0.02
        )
        return (goes * jnp.arange(1.0, WAYS + 1)).sum()

    at, step = jnp.float64(0.003), 1e-6
    numerical = (score(at + step) - score(at - step)) / (2 * step)
    assert_allclose(jax.jit(jax.grad(score))(at), numerical, rtol=1e-5)
    assert abs(numerical) > 1


def test_handing_over_stops_where_it_no_longer_gains():
    many = nodes(200)
    tail, outflow = many["own"] + 0.2, np.full((200, WAYS), 40.0)
    handed = jax.jit(law.hand_over)(
        outflow, tail, many["rate"], many["ways"], many["slopes"], jnp.full(200, 1e9), SHARP
    )
    gain = np.maximum(tail[:, None] - many["ways"], 0)
    most = gain / (many["slopes"] + 1 / many["rate"][:, None])
    assert (np.asarray(handed) <= np.minimum(most, outflow) + 1e-6).all()
    assert (np.asarray(handed) >= 0.85 * np.minimum(most, outflow) - 1e-3).all()
    scarce = jax.jit(law.hand_over)(
        outflow, tail, many["rate"], many["ways"], many["slopes"], jnp.full(200, 1.5), 0.01
    )
    assert (np.asarray(scarce).sum(axis=1) <= 1.5).all()
