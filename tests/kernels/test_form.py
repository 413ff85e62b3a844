"""Form follows stress: an idle mesh never splits, a lastingly busy cell may."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shivya_kernels import step
from shivya_kernels.complex import Capacity, SimplicialComplex

MITOSIS = 2.0
"""Activator above which a cell may split."""


def idle_mesh(n: int, edges: list[tuple[int, int]], capacity: Capacity) -> step.Observation:
    """n vertices that fill the capacity, all heard from, serving 10 jobs per second, with nothing to do."""
    level = jnp.ones(n)
    return replace(
        step.Observation.empty(capacity),
        complex=SimplicialComplex.from_edges(n, edges, capacity),
        own=jnp.arange(n) == 0,
        live=jnp.arange(n) > 0,
        sensed=jnp.ones(n, bool),
        service_rate=10.0 * level,
        cpu=0.2 * level,
        memory=0.3 * level,
        potential=0.1 * level,
        slope=0.1 * level,
    )


@pytest.mark.parametrize("shape", ["star", "clique", "sparse"])
def test_an_idle_mesh_never_splits_whatever_its_graph(shape: str) -> None:
    n, capacity = 24, Capacity(24, 276, 1)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    rng = np.random.default_rng(1)
    edges = {
        "star": [(0, i) for i in range(1, n)],
        "clique": [(i, j) for i, j in pairs if (i < 12) != (j < 12)],
        "sparse": [pair for pair in pairs if abs(pair[0] - pair[1]) == 1],
    }[shape]
    params = step.Params()
    state = step.init(params, capacity, jax.random.PRNGKey(0))
    observation = idle_mesh(n, edges, capacity)
    noise = jnp.asarray(rng.normal(scale=0.03, size=(100, 2, n)))

    @jax.jit
    def run(state: step.State, noise: Any) -> tuple[step.State, Any]:
        def tick(state: step.State, jitter: Any) -> tuple[step.State, Any]:
            # One job now and then, and a processor that is never quite still.
            busy = (jitter[1] > 0.05).astype(observation.queue.dtype)
            state, info = step.step(params, state, replace(observation, cpu=0.2 + jitter[0], queue=busy))
            return state, (info.activator.max(), info.status)

        return jax.lax.scan(tick, state, noise)

    highest = 0.0
    for _ in range(100):
        state, (peak, status) = run(state, noise)
        highest = max(highest, float(peak.max()))
        assert not np.asarray(status).any()
    assert int(state.tick) == 10_000
    assert 1.0 < highest < 1.5


def test_lasting_stress_lifts_a_cell_above_the_threshold_and_relief_lets_it_down() -> None:
    params, capacity = step.Params(), Capacity(4, 5, 2)
    state = step.init(params, capacity, jax.random.PRNGKey(0))
    idle = idle_mesh(4, [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)], capacity)
    busy = replace(idle, queue=jnp.array([40.0, 0.0, 0.0, 0.0]))
    for _ in range(60):
        state, info = step.step(params, state, busy)
    assert float(info.activator[0]) > MITOSIS
    assert float(info.activator[1:4].max()) < 1.5
    assert 0.7 < float(info.stress[0]) < 1.0
    for _ in range(300):
        state, info = step.step(params, state, idle)
    assert float(info.activator[0]) < MITOSIS
