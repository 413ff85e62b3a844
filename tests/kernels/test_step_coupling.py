"""The step's L3: collective free energy, beliefs about the silent, and who gains by pooling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from neighbourhood import CAPACITY

from shivya_kernels import step
from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.sensing import SENSES

EDGES = [(0, 1), (1, 2), (2, 0), (2, 3)]


def observe(queue: list[float], heard: list[int], edges: Any = EDGES, n: int = 4) -> step.Observation:
    """n vertices that serve 10 jobs per second, 0 this node's own."""
    empty, slots = step.Observation.empty(CAPACITY), jnp.arange(CAPACITY.vertices)
    listed = jnp.isin(slots, jnp.asarray(heard))
    return replace(
        empty,
        complex=SimplicialComplex.from_edges(n, edges, CAPACITY),
        own=slots == 0,
        live=listed & (slots > 0),
        sensed=listed,
        queue=jnp.zeros_like(empty.queue).at[: len(queue)].set(jnp.asarray(queue)),
        service_rate=jnp.where(slots < n, 10.0, 0.0).astype(empty.queue.dtype),  # as all tests have it
    )


def start() -> tuple[step.Params, step.State]:
    params = step.Params()
    return params, step.init(params, CAPACITY, jax.random.PRNGKey(0))


def test_collective_free_energy_counts_each_pair_of_known_neighbours_once() -> None:
    params, state = start()
    # 3 has never been heard from: its link counts for nothing.
    state, info = step.step(params, state, observe([0.0, 3.0, 40.0, 7.0], [0, 1, 2]))
    dividends = 0.0
    for a, b in EDGES[:3]:
        square = float(((state.mean[a] - state.mean[b])[:SENSES] ** 2).sum())
        dividends += (2.0 if square < 1.0 else 4.0) * (1.0 - square)
    expected = float(info.vertex_free_energy.sum()) - dividends
    np.testing.assert_allclose(info.free_energy, expected, rtol=1e-12)


def test_beliefs_about_a_silent_vertex_follow_its_neighbours_and_nobody_elses_change() -> None:
    params, state = start()
    state, _ = step.step(params, state, observe([0.0, 0.0, 0.0, 50.0], [0, 1, 2, 3]))
    alone = replace(params, fusion=jnp.zeros(()))
    together = apart = state
    gaps = [float(jnp.abs(state.mean[3, 0] - state.mean[2, 0]))]
    for _ in range(30):
        together, info = step.step(params, together, observe([0.0, 0.0, 0.0, 50.0], [0, 1, 2]))
        apart, _ = step.step(alone, apart, observe([0.0, 0.0, 0.0, 50.0], [0, 1, 2]))
        gaps.append(float(jnp.abs(together.mean[3, 0] - together.mean[2, 0])))
        assert int(info.status) == 0
    assert (np.diff(gaps) < 0).all()
    assert gaps[-1] < 0.8 * gaps[0]
    np.testing.assert_array_equal(together.mean[:3], apart.mean[:3])
    np.testing.assert_array_equal(together.covariance[:3], apart.covariance[:3])
    np.testing.assert_allclose(apart.mean[3], state.mean[3], rtol=1e-8)
    assert together.covariance[3, 0, 0] < apart.covariance[3, 0, 0]


def test_shares_divide_what_pooling_saves_among_the_players_of_the_neighbourhood() -> None:
    params, state = start()
    queue = [30.0, 6.0, 0.0, 50.0]
    _, info = step.step(params, state, observe(queue, [0, 1, 2, 3]))
    players = np.array(queue[:3])
    saved = (players**2 / 10.0).sum() - players.sum() ** 2 / 30.0
    np.testing.assert_allclose(info.shares.sum(), saved, rtol=1e-12)
    assert (np.asarray(info.shares[:3]) > 0.0).all()
    assert not np.asarray(info.shares[3:]).any(), "3 is no neighbour of 0"
    # A silent neighbour has no part, and a crowd is cut to the seven heaviest links.
    _, info = step.step(params, state, observe(queue, [0, 2, 3]))
    assert float(info.shares[1]) == 0.0
    star = observe([float(5 * i) for i in range(12)], list(range(12)), [(0, i) for i in range(1, 12)], n=12)
    _, info = step.step(params, state, replace(star, rtt=star.rtt.at[:11].set(jnp.arange(11) / 1000.0)))
    assert (np.asarray(info.shares) > 0.0).tolist() == [True] * 8 + [False] * 4
