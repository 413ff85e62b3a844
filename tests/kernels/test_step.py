"""One tick of the law: what it finds, and what it keeps."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from neighbourhood import CAPACITY, KEY, RING, assert_finite, observe, start

from shivya_kernels import beliefs, flow, hodge, step
from shivya_kernels.complex import NO_VERTEX, Capacity, DimensionMismatch
from shivya_kernels.layers import SENSES
from shivya_kernels.morphic import compile_expression
from shivya_kernels.state import pack, unpack


def test_state_is_small_and_an_empty_neighbourhood_is_at_rest() -> None:
    params, state = start()
    assert len(jax.tree.leaves(state)) <= 12
    after, info = step.step(params, state, step.Observation.empty(CAPACITY))
    assert_finite((after, info))
    assert int(info.status) == 0
    assert float(info.free_energy) == 0.0
    assert int(info.placement.next_hop) == NO_VERTEX
    assert int(after.tick) == 1
    assert not np.asarray(info.release).any()


def test_too_few_belief_dimensions_are_refused() -> None:
    with pytest.raises(DimensionMismatch, match=f"at least {SENSES}"):
        step.init(step.Params(), Capacity(4, 4, 4, 3), KEY)


def test_beliefs_are_the_exact_posterior_and_free_energy_is_that_of_the_public_kernel() -> None:
    params, state = start()
    observation = observe(queue=[3.0, 0.0, 7.0, 1.0], arrival_rate=[5.0, 1.0, 9.0, 0.0])
    state, _ = step.step(params, state, observation)
    prior, spread = state.mean[2], state.covariance[2]
    broad = jnp.diag(jnp.array([10.0] * SENSES + [1.0] * 4))
    spread = spread + params.forgetting * (broad - spread)
    agent = beliefs.Agent(
        prior,
        spread,
        jnp.eye(SENSES, 8),
        0.01 * jnp.eye(SENSES),
        4.6 * jnp.ones((SENSES, 1)),
        jnp.zeros((8, 1)),
        jnp.zeros(SENSES),
        jnp.eye(SENSES),
    )
    changed = replace(observation, queue=observation.queue.at[2].set(12.0))
    seen = jnp.array([np.log1p(1.3), 0.9, 0.2, 0.3])
    mean, covariance, _ = beliefs.posterior(agent, seen, [1.0])
    after, info = step.step(params, state, changed)
    np.testing.assert_allclose(after.mean[2], mean, atol=1e-10)
    np.testing.assert_allclose(after.covariance[2], covariance, atol=1e-10)
    expected = beliefs.variational_free_energy(agent, seen, mean, covariance, [1.0])
    np.testing.assert_allclose(info.vertex_free_energy[2], expected, atol=1e-10)
    np.testing.assert_allclose(info.senses[2], seen, rtol=1e-15)
    # The dimensions that nothing senses stay exactly as they were.
    assert np.array_equal(after.mean[:, SENSES:], np.zeros((CAPACITY.vertices, 4)))
    assert (after.covariance[:, SENSES:, SENSES:] == np.eye(4)).all()


def test_a_silent_vertex_keeps_its_mean_and_grows_uncertain_but_not_without_bound() -> None:
    params, state = start()
    params = replace(params, fusion=jnp.zeros(()))
    state, first = step.step(params, state, observe(queue=[0.0, 9.0]))
    silent = observe(queue=[0.0, 100.0], live=[0, 2, 3])
    held, info = step.step(params, state, silent)
    np.testing.assert_allclose(held.mean[1], state.mean[1], rtol=1e-9)
    assert held.covariance[1, 0, 0] > state.covariance[1, 0, 0]
    assert info.vertex_free_energy[1] == first.vertex_free_energy[1]
    for _ in range(50):
        held, _ = step.step(replace(params, forgetting=jnp.asarray(0.5, float)), held, silent)
    np.testing.assert_allclose(np.diagonal(held.covariance[1])[:SENSES], params.prior_variance, rtol=1e-6)


def test_dormant_slots_take_no_part_and_a_returning_one_starts_afresh() -> None:
    params, state = start()
    state, whole = step.step(params, state, observe(queue=[1.0, 2.0, 3.0, 4.0]))
    gone, info = step.step(params, state, observe(n=3, edges=RING[:2]))
    assert not bool(gone.known[3])
    assert float(info.vertex_free_energy[3]) == 0.0
    assert float(info.activator[3]) == 0.0
    _, again = step.step(params, gone, observe(queue=[1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose(again.vertex_free_energy[3], whole.vertex_free_energy[3], rtol=1e-12)


def test_flows_level_the_wait_over_live_vertices_and_never_pass_through_a_silent_one() -> None:
    params, state = start()
    queue = [30.0, 2.0, 4.0, 0.0]
    observation = observe(queue=queue, service_rate=[10.0, 20.0, 10.0, 40.0], own_sent=[0.0, 1.0, 0.0, 3.0])
    _, info = step.step(params, state, observation)
    left = (
        jnp.array(queue)
        + jnp.array([0.0, 1.0, 0.0, 3.0])
        + hodge.divergence(observation.complex, info.flow)[:4]
    )
    np.testing.assert_allclose(left / jnp.array([10.0, 20.0, 10.0, 40.0]), left.sum() / 80.0, atol=1e-9)
    np.testing.assert_allclose(info.recommended, info.flow / 1.0)
    # 0 - 1 - 2 with 1 silent: nothing may move, and 3 lives beyond 2.
    path = observe(queue=queue, edges=[(0, 1), (1, 2), (2, 3)], live=[0, 2, 3])
    _, info = step.step(params, state, path)
    assert not np.asarray(info.flow[:2]).any()
    np.testing.assert_allclose(info.flow[2], 2.0, atol=1e-9)
    assert not np.asarray(info.release).any()


def test_released_jobs_are_whole_affordable_and_right_on_average() -> None:
    params, state = start()
    observation = observe(queue=[11.0, 0.0, 3.0, 0.0], servers=[2.0, 1.0, 1.0, 1.0])
    keys = jax.random.split(KEY, 400)
    draws = [step.step(params, replace(state, key=key), observation) for key in keys]
    counts = np.array([info.release for _, info in draws])
    f = np.asarray(draws[0][1].flow)
    outflow = np.zeros(CAPACITY.vertices)
    for (tail, head), value in zip(RING, f[:5], strict=True):
        if 0 in (tail, head):
            outflow[head if tail == 0 else tail] = max(value if tail == 0 else -value, 0.0)
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) <= 9).all()
    assert (np.abs(counts - outflow) < 1.0).all()
    assert (np.abs(counts.mean(axis=0) - outflow) < 0.1).all()
    assert len({tuple(after.key.tolist()) for after, _ in draws}) == len(keys)


def test_placement_looks_only_at_adjacent_live_vertices_that_offer_the_service() -> None:
    params, state = start()
    values = {"queue": [20.0, 0.0, 0.0, 0.0], "potential": [0.0, 0.3, 0.01, 0.2]}
    everyone = observe(edges=[(1, 0), (0, 3), (1, 2)], **values)
    _, info = step.step(params, state, everyone)
    # 2 has the lowest potential but is no neighbour of 0.
    assert int(info.placement.next_hop) == 3
    np.testing.assert_allclose(info.placement.potential, 0.2 + params.gap)
    _, info = step.step(params, state, observe(edges=[(1, 0), (0, 3), (1, 2)], live=[0, 1, 2], **values))
    assert int(info.placement.next_hop) == 1
    off = observe(edges=[(1, 0), (0, 3), (1, 2)], service_rate=[10.0, 0.0, 10.0, 0.0], **values)
    _, info = step.step(params, state, off)
    assert int(info.placement.next_hop) == NO_VERTEX
    np.testing.assert_allclose(info.placement.potential, info.waiting[0])
    # A node that does not offer the service itself still passes jobs on.
    _, info = step.step(params, state, observe(service_rate=[0.0, 10.0, 10.0, 10.0], live=[0, 1]))
    assert int(info.placement.next_hop) == 1


def test_a_job_that_overruns_makes_its_node_dearer_unless_a_server_is_free() -> None:
    params, state = start()
    values = {"queue": [3.0, 0.0, 0.0, 0.0], "potential": [0.0, 0.5, 0.5, 0.5], "overrun": [0.25]}
    _, info = step.step(params, state, observe(**values))
    np.testing.assert_allclose(info.waiting[0], 0.4 + 0.25)
    assert int(info.placement.next_hop) == 1
    _, info = step.step(params, state, observe(**{**values, "overrun": [0.0]}))
    assert int(info.placement.next_hop) == NO_VERTEX
    _, info = step.step(params, state, observe(**values, servers=[4.0]))
    np.testing.assert_allclose(info.waiting[0], 0.4)


def test_a_neighbour_that_fills_up_is_dearer_by_its_forecast_and_one_that_does_not_tell_is_not() -> None:
    params, state = start()
    shared = {"queue": [20.0, 0.0, 0.0, 0.0], "potential": [0.0, 0.3, 0.3, 0.3], "age": [0.0, 0.2, 0.2, 0.2]}
    told = {"net_arrivals": [-1.0, 25.0, -1.0, 0.0], "own_rate": [0.0, 5.0, 0.0, 0.0]}
    _, info = step.step(params, state, observe(**shared, **told))
    drift = flow.forecast(0.2, jnp.array([25.0, 0.0]), jnp.array([5.0, 0.0]), 10.0, params.gap)
    np.testing.assert_allclose(info.placement.view[1:4], 0.3 + np.array([drift[0], 0.0, drift[1]]))
    assert float(drift[0]) == pytest.approx(0.05)
    assert int(info.placement.next_hop) == 3
    _, info = step.step(replace(params, drift=jnp.zeros(())), state, observe(**shared, **told))
    np.testing.assert_allclose(info.placement.view[1:4], 0.3)


def test_the_slope_counts_the_servers_that_stay_free_beside_the_next_job() -> None:
    params, state = start()
    for queue, servers, free in ((0.0, 1.0, 0), (0.0, 3.0, 2), (2.0, 3.0, 0), (5.0, 3.0, 0)):
        alone = observe(n=1, edges=[], queue=[queue], servers=[servers])
        _, info = step.step(params, state, alone)
        expected = min(0.1, 0.05 / (0.05 * 10.0 + free))
        np.testing.assert_allclose(info.placement.slope, expected)


def test_reported_traffic_is_split_into_its_hodge_parts_and_the_next_solve_starts_warm() -> None:
    params, state = start()
    rng = np.random.default_rng(0)
    edges = [(i, j) for i in range(8) for j in range(i + 1, 8) if (i + j) % 4 != 2]
    observation = observe(8, edges, traffic=rng.normal(size=len(edges)))
    state, info = step.step(params, state, observation)
    expected = hodge.decompose(observation.complex, observation.traffic)
    for name in ("gradient", "curl", "harmonic"):
        np.testing.assert_allclose(getattr(info, name), getattr(expected, name), atol=1e-9)
    np.testing.assert_allclose(info.curl_norm, np.linalg.norm(expected.curl), rtol=1e-9)
    _, again = step.step(params, state, observation)
    assert int(again.iterations) < int(info.iterations)


def test_conductance_is_shared_and_links_thicken_with_use_within_bounds() -> None:
    params, state = start()
    remote = np.full(16, -1.0)
    remote[1] = 0.1
    observation = observe(rtt=[0.01, 0.01], remote_conductance=remote, traffic=[50.0])
    state, info = step.step(params, state, observation)
    np.testing.assert_allclose(info.conductance[:3], [0.5, 0.3, 1.0])
    assert not np.asarray(info.conductance[5:]).any()
    faster = replace(params, thickness_rate=jnp.asarray(5.0, float))
    for _ in range(40):
        state, info = step.step(faster, state, observation)
    np.testing.assert_allclose(state.thickness[:2], [1.0 + 50 / 51, 1.0], rtol=1e-6)
    assert float(info.entropy_production) == 0.0


def test_entropy_is_produced_where_acquainted_neighbours_differ_and_nowhere_else() -> None:
    params, state = start()
    after, info = step.step(params, state, observe(queue=[0.0, 50.0, 0.0, 0.0]))
    force = after.mean[1] - after.mean[0]
    # Two of the five links touch vertex 1; memory .3 makes the base coupling .5 * 1.3.
    np.testing.assert_allclose(info.entropy_production, 2 * 0.65 * (force**2).sum(), rtol=1e-9)
    _, info = step.step(params, state, observe(queue=[0.0, 50.0, 0.0, 0.0], live=[0, 2, 3]))
    assert float(info.entropy_production) < 1e-12


def test_waiting_is_the_public_formula_and_zero_where_nothing_is_offered() -> None:
    params, state = start()
    observation = observe(
        queue=[4.0, 0.0, 2.0, 9.0], servers=[2.0, 1.0, 4.0, 1.0], service_rate=[10.0, 5.0, 8.0, 0.0]
    )
    _, info = step.step(params, state, observation)
    expected = flow.waiting_time(observation.queue[:3], observation.servers[:3], observation.service_rate[:3])
    np.testing.assert_allclose(info.waiting[:3], expected)
    assert float(info.waiting[3]) == 0.0


def test_what_is_believed_foretold_and_grown_moves_no_job() -> None:
    """Where jobs go follows from queues and rates alone; of the form, only whether a cell drains."""
    params, state = start()
    seen = observe(queue=[9.0, 2.0, 1.0, 4.0], potential=[0.9, 0.3, 0.2, 0.5], own_sent=[0.0, 1.0, 0.0, 2.0])
    state, _ = step.step(params, state, seen)
    rng = np.random.default_rng(5)
    memory = unpack(state)
    other = replace(
        memory,
        mean=memory.mean + rng.normal(0, 3, memory.mean.shape),
        covariance=4.0 * memory.covariance,
        free_energy=memory.free_energy + 7.0,
        activator=memory.activator + 0.5,
        inhibitor=memory.inhibitor + 0.5,
        thickness=memory.thickness * rng.uniform(1, 2, memory.thickness.shape),
        history=jax.tree.map(lambda x: x + 1, memory.history),
    )
    laws = jax.tree.map(
        lambda *x: jnp.stack(x), *[compile_expression(("const", 0.7), CAPACITY.program)] * SENSES
    )
    changed = step.install(pack(other), laws)
    _, here = step.step(params, state, seen)
    _, there = step.step(params, changed, seen)
    assert int(here.placement.next_hop) == 2 and np.asarray(here.release).any()
    for a, b in zip(jax.tree.leaves(here.placement), jax.tree.leaves(there.placement), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(here.release, there.release)
    np.testing.assert_array_equal(here.flow, there.flow)
    assert not np.array_equal(here.vertex_free_energy, there.vertex_free_energy)
    assert not np.array_equal(here.conductance, there.conductance)
