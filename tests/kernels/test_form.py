"""Form follows stress: an idle mesh never splits, a lastingly busy cell may."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from neighbourhood import CAPACITY

from shivya_kernels import step
from shivya_kernels.cells import Stage
from shivya_kernels.complex import NO_VERTEX, Capacity, SimplicialComplex

RING = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]
MITOSIS = 2.0
"""Activator above which a cell may split."""


def idle_mesh(n: int, edges: list[tuple[int, int]], capacity: Capacity, own: int = 1) -> step.Observation:
    """n vertices, all heard from, serving 10 jobs per second, with nothing to do; free slots are this node's,
    as are the first `own` vertices."""
    slots = jnp.arange(capacity.vertices)
    level = (slots < n).astype(float)
    return replace(
        step.Observation.empty(capacity),
        complex=SimplicialComplex.from_edges(n, edges, capacity),
        own=slots < own,
        slots=slots >= n,
        live=(slots > 0) & (slots < n),
        sensed=slots < n,
        service_rate=10.0 * level,
        cpu=0.2 * level,
        memory=0.3 * level,
        potential=0.1 * level,
        slope=0.1 * level,
    )


@jax.jit
def run(state: step.State, observation: step.Observation, noise: Any) -> tuple[step.State, Any]:
    """One job now and then, and a processor that is never quite still; `noise` is [ticks, 2, vertices]."""

    def tick(state: step.State, jitter: Any) -> tuple[step.State, Any]:
        busy, cpu = (jitter[1] > 0.05).astype(float), observation.cpu + jitter[0]
        state, info = step.step(step.Params(), state, replace(observation, cpu=cpu, queue=busy))
        return state, (info.activator.max(), info.child, info.status)

    return jax.lax.scan(tick, state, noise)


@pytest.mark.parametrize("shape", ["star", "clique", "sparse"])
def test_an_idle_mesh_never_splits_whatever_its_graph(shape: str) -> None:
    n, capacity = 24, Capacity(28, 276, 1)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    rng = np.random.default_rng(1)
    edges = {
        "star": [(0, i) for i in range(1, n)],
        "clique": [(i, j) for i, j in pairs if (i < 12) != (j < 12)],
        "sparse": [pair for pair in pairs if abs(pair[0] - pair[1]) == 1],
    }[shape]
    state = step.init(step.Params(), capacity, jax.random.PRNGKey(0))
    observation = idle_mesh(n, edges, capacity)
    noise = jnp.pad(rng.normal(scale=0.03, size=(100, 2, n)), ((0, 0), (0, 0), (0, 4)))

    highest = 0.0
    for _ in range(100):
        state, (peak, child, status) = run(state, observation, noise)
        highest = max(highest, float(peak.max()))
        assert not np.asarray(status).any()
        assert (np.asarray(child) == NO_VERTEX).all()
    assert int(state.tick) == 10_000
    assert 1.0 < highest < 1.5


def test_lasting_stress_lifts_a_cell_above_the_threshold_and_relief_lets_it_down() -> None:
    params, capacity = step.Params(), CAPACITY
    state = step.init(params, capacity, jax.random.PRNGKey(0))
    idle = idle_mesh(4, RING, capacity)
    busy = replace(idle, queue=idle.queue.at[0].set(40.0))
    for _ in range(60):
        state, info = step.step(params, state, busy)
    assert float(info.activator[0]) > MITOSIS
    assert float(info.activator[1:4].max()) < 1.5
    assert 0.7 < float(info.stress[0]) < 1.0
    for _ in range(300):
        state, info = step.step(params, state, idle)
    assert float(info.activator[0]) < MITOSIS


def stressed(capacity: Capacity) -> step.Observation:
    """Vertex 0, this node's only cell, has 40 jobs; three others are idle; the rest are its free slots."""
    mesh = idle_mesh(4, RING, capacity)
    return replace(mesh, queue=mesh.queue.at[0].set(40.0))


def test_a_stressed_cell_splits_and_the_child_that_the_host_starts_knows_what_its_parent_knew() -> None:
    params, capacity = step.Params(), CAPACITY
    state = step.init(params, capacity, jax.random.PRNGKey(0))
    for _ in range(100):
        state, info = step.step(params, state, stressed(capacity))
        if int(info.child) != NO_VERTEX:
            break
    assert (int(info.parent), int(info.child)) == (0, 4)
    assert info.stage.tolist() == [Stage.ACTIVE, 0, 0, 0, Stage.ACTIVE, *[0] * (capacity.vertices - 5)]
    assert info.activator[0] < 0.6 * MITOSIS, "it shares its activator"
    assert float(info.activator[4]) == 0.0, "advice is no vertex"
    np.testing.assert_array_equal(state.mean[4], state.mean[0])
    np.testing.assert_array_equal(state.memory[4], state.memory[0])
    parent, both = state.mean[0], idle_mesh(5, [*RING, (0, 4)], capacity)
    both = replace(both, own=both.own.at[4].set(True), sensed=both.sensed.at[4].set(False))
    state, info = step.step(params, state, both)
    assert bool(state.known[4])
    np.testing.assert_allclose(state.mean[4], parent, rtol=0.05, atol=0.05)
    assert 0.9 < float(info.activator[4]) < 1.3
    for _ in range(50):
        state, info = step.step(params, state, both)
        assert int(info.child) == NO_VERTEX


def test_a_split_that_nobody_acts_on_is_forgotten_and_advised_again() -> None:
    params, capacity = step.Params(), CAPACITY
    state = step.init(params, capacity, jax.random.PRNGKey(0))
    ticks = []
    for tick in range(300):
        state, info = step.step(params, state, stressed(capacity))
        assert not np.asarray(info.stage[1:4]).any()
        assert not np.asarray(info.drain).any()
        if int(info.child) != NO_VERTEX:
            ticks.append(tick)
            assert int(info.child) == 4
    assert len(ticks) > 1
    assert min(np.diff(ticks)) >= 100, "ten seconds apart at least"


def test_cells_that_nobody_needs_hand_over_what_they_hold_and_go_but_three_stay() -> None:
    params, capacity = replace(step.Params(), patience_seconds=jnp.asarray(1.0, float)), CAPACITY
    state = step.init(params, capacity, jax.random.PRNGKey(0))
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    mesh, own = idle_mesh(6, [*pairs, (0, 5)], capacity, own=5), jnp.arange(capacity.vertices) < 5
    handed, gone = [], []
    for _ in range(600):
        late = len(handed) == 0 and bool((state.marks[:, 1] == Stage.DRAINING).any())
        draining = np.asarray(state.marks[:, 1] == Stage.DRAINING)
        # Jobs reach the first cell that drains just before its neighbours hear of it.
        queue = jnp.where(jnp.asarray(draining) & late, 4.0, 0.0)
        state, info = step.step(params, state, replace(mesh, own=own, queue=queue))
        assert int(info.drain.sum()) == 0
        if np.asarray(info.drain).any():
            handed.append(info.drain.tolist())
            cell = int(np.flatnonzero(draining)[0])
            assert int(info.drain[cell]) == -3, "one is in service"
            assert not np.asarray(info.culled).any(), "it holds something"
            assert not np.asarray(info.release)[cell]
        for cell in np.flatnonzero(np.asarray(info.culled)):
            gone.append(int(cell))
            own = own.at[cell].set(False)
            kept = [i for i in range(6) if i not in gone]
            mesh = replace(
                mesh,
                complex=SimplicialComplex.from_edges(
                    capacity.vertices,
                    [(i, j) for i, j in [*pairs, (0, 5)] if i in kept and j in kept],
                    capacity,
                    active=[i in kept for i in range(capacity.vertices)],
                ),
                service_rate=mesh.service_rate.at[cell].set(0.0),
                sensed=mesh.sensed.at[cell].set(False),
                live=mesh.live.at[cell].set(False),
            )
    assert len(handed) == 1
    assert len(gone) == 2
    assert 0 not in gone
    assert int((info.stage == Stage.ACTIVE).sum()) == 3
