"""Laws on one view at a time: ties, the daemon's own placement, the formulas it shares with the simulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from shivya_daemon import placement
from shivya_kernels import flow
from shivya_kernels.fleet import LAWS, Law, LocalView, Params
from shivya_kernels.fleet.laws import law_of, shortest

WAYS = 6
EXACT = Params(gap=0.0625, drift=0.0)
"""Of numbers that floats of any width add without rounding, so that ties are ties."""


def views(rng: np.random.Generator, count: int, **changes: Any) -> LocalView:
    """Views of coarse numbers, so that ties come up often."""
    queue = rng.integers(1, 12, count)
    servers = rng.integers(1, 4, count)
    rate = rng.choice([8.0, 16.0, 32.0], count)
    held = queue + servers
    fields: dict[str, Any] = {
        "own": (np.maximum(held + 1 - servers, 0) + servers) / rate,
        "ahead": queue,
        "waiting": queue,
        "held": held,
        "tail": held / rate,
        "service_rate": rate,
        "chance": rng.random(count),
        "relayed": rng.random(count) < 0.5,
        "live": rng.random((count, WAYS)) < 0.8,
        "potential": rng.integers(1, 24, (count, WAYS)) / 16,
        "slope": rng.integers(1, 4, (count, WAYS)) / 32,
        "rate": rng.choice([8.0, 16.0, 32.0], (count, WAYS)),
        "net_arrivals": rng.uniform(0, 60, (count, WAYS)),
        "queue": rng.integers(0, 12, (count, WAYS)).astype(float),
        "out": rng.integers(0, 4, (count, WAYS)).astype(float),
        "own_rate": rng.uniform(0, 20, (count, WAYS)),
        "age": rng.integers(0, 16, (count, WAYS)) / 64,
        "hop": np.full((count, WAYS), 1 / 32),
        "random": rng.random((count, WAYS)),
    }
    return LocalView(**{name: jnp.asarray(value) for name, value in {**fields, **changes}.items()})


def choose(law: Law, view: LocalView, params: Params) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(lambda v: law.place(v, params)))(view))


def test_placement_is_the_daemons_own() -> None:
    """10,000 random states, ties included, against the rule that daemon and clients run."""
    count = 10_000
    rng = np.random.default_rng(11)
    view = views(rng, count)
    found = choose(LAWS["shivya"], view, EXACT)
    v = jax.tree.map(np.asarray, view)
    servers = v.held - v.waiting
    ties = 0
    for i in range(count):
        rows = tuple(
            placement.Neighbour(
                id=f"{d:040x}", name="", address=None, potential=float(v.potential[i, d]),
                slope=float(v.slope[i, d]), service_rate=float(v.rate[i, d]), queue=0, servers=1,
                hop=float(v.hop[i, d]), age=0.0 if v.live[i, d] else 9.0, out=0, seen=0, flow=0,
            )
            for d in range(WAYS)
        )  # fmt: skip
        table = placement.Table("", 0, 0.0625, 8, 1.0, float(v.service_rate[i]), int(servers[i]), rows)
        out = v.out[i].astype(int).tolist()
        place = placement.place(table, int(v.held[i]), int(servers[i]), float(v.service_rate[i]), out, 0.0, 0)
        assert found[i] == (-1 if place is None else place)
        costs = v.potential[i] + v.out[i] * v.slope[i]
        live = costs[v.live[i]]
        ties += bool(len(live)) and int((live == live.min()).sum()) > 1
    assert ties > 500


def test_drift_shifts_the_choice_within_its_bounds() -> None:
    rng = np.random.default_rng(5)
    view = views(rng, 2000, age=rng.uniform(0, 1, (2000, WAYS)))
    params = Params()
    d = flow.forecast(view.age, view.net_arrivals, view.own_rate, view.rate, view.hop + params.gap)
    assert float(jnp.min(d)) >= -0.5 * (1 / 32 + params.gap) - 1e-12
    assert bool(jnp.all(jnp.where(view.age > 0.4, d == 0, True)))
    growing = view.net_arrivals - view.own_rate > view.rate
    assert bool(jnp.all(jnp.where(growing, d >= 0, d <= 0)))
    # Trusted in full at young age: half of age times relative growth.
    one = flow.forecast(0.1, 30.0, 5.0, 10.0, 0.07)
    assert_allclose(one, 0.5 * 0.1 * 0.75 * 1.0)
    assert (choose(LAWS["shivya"], view, params) != choose(LAWS["shivya"], view, EXACT)).any()


def test_residual_time_and_measured_rate() -> None:
    assert_allclose(flow.residual_time(jnp.array([0.0, 0.2, 1.0]), 10.0), [0.1, 0.1, 0.3])
    assert_allclose(flow.residual_time(1.0, 10.0, kappa=0.0), 0.1)
    assert_allclose(flow.measured_rate(0.0, 0.0, 20.0), 20.0)
    assert_allclose(flow.measured_rate(30.0, 6.0, 20.0), 40 / 6.5)
    assert_allclose(flow.measured_rate(30.0, 6.0, 20.0, prior_jobs=1e12), 20.0)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_no_law_sends_to_the_dead_or_against_its_own_estimate(name: str) -> None:
    rng = np.random.default_rng(2)
    law, view = LAWS[name], views(rng, 500)
    chosen = choose(law, view, law.params)
    live = np.asarray(view.live)
    sent = np.nonzero(chosen >= 0)[0]
    assert live[sent, chosen[sent]].all()
    nobody = choose(law, views(rng, 50, live=np.zeros((50, WAYS), bool)), law.params)
    assert (nobody == -1).all()
    if law.place is shortest:
        cost = np.asarray(view.potential)[sent, chosen[sent]]
        assert (cost < np.asarray(view.own)[sent] + 1e-9).all()
        # The gain is more than a hop and the gap, of which the forecast may make up a share at most.
        price = cost + law.params.own_sent * (view.out * view.slope)[sent, chosen[sent]]
        least = (1 / 32 + law.params.gap) * (1 - law.params.drift_share * (law.params.drift > 0))
        assert (np.asarray(view.own)[sent] - price > least - 1e-9).all()


@pytest.mark.parametrize("name", ["jsq2", "jsq2stale"])
def test_two_looks_take_the_shorter_of_two_queues_if_it_is_shorter_than_the_own(name: str) -> None:
    rng = np.random.default_rng(6)
    count = 3000
    view = views(rng, count, held=rng.integers(1, 12, count))
    v = jax.tree.map(np.asarray, view)
    drawn = np.where(v.live, v.random, np.inf)
    two = v.live & (drawn <= np.sort(drawn, axis=1)[:, 1:2])
    assert (two.sum(axis=1) == np.minimum(v.live.sum(axis=1), 2)).all()
    cost = np.where(two, (v.queue + 1) / v.rate + v.hop, np.inf)
    stays = (v.held + 1) / v.service_rate <= cost.min(axis=1)
    found = choose(LAWS[name], view, LAWS[name].params)
    np.testing.assert_array_equal(found, np.where(stays, -1, cost.argmin(axis=1)))
    assert count / 5 < stays.sum() < count * 4 / 5


def test_looks_are_few_and_random() -> None:
    """Two looks find the best of six ways a third of the time, six always; a random way is any."""
    rng = np.random.default_rng(4)
    view = views(rng, 3000, live=np.ones((3000, WAYS), bool), own=np.full(3000, 1e3), held=np.full(3000, 500))
    cost = np.array(rng.permuted(np.tile(np.arange(6.0), (3000, 1)), axis=1))
    view = view._replace(potential=jnp.asarray(cost), queue=jnp.asarray(cost), out=view.out * 0)
    view = view._replace(rate=jnp.full((3000, WAYS), 8.0))
    best = cost.argmin(axis=1)
    for name, share in (("sed2", 1 / 3), ("jsq2", 1 / 3), ("jsq2stale", 1 / 3), ("sed6", 1.0), ("jsq6", 1.0)):
        hits = (choose(LAWS[name], view, LAWS[name].params) == best).mean()
        assert abs(hits - share) < 0.04
    ways = np.bincount(choose(LAWS["random"], view, Params()) + 1, minlength=WAYS + 1)
    assert_allclose(ways / 3000, 1 / 7, atol=0.03)


def test_a_law_by_name_or_from_a_function() -> None:
    def mine(view: LocalView, params: Params) -> jax.Array:
        return jnp.int32(-1)

    assert law_of("sed") is LAWS["sed"]
    assert law_of(mine).place is mine and law_of(mine).name == "mine"
    with pytest.raises(ValueError, match="jsq6"):
        law_of("best")
    assert hash(replace(LAWS["shivya"], order=False)) != hash(LAWS["shivya"])
