"""One tick of the law: what it finds, what it keeps, and that nothing recompiles, leaks or blows up."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shivya_kernels import beliefs, flow, hodge, morphic, step
from shivya_kernels.complex import NO_VERTEX, Capacity, DimensionMismatch, SimplicialComplex
from shivya_kernels.layers import SENSES
from shivya_kernels.policy import Action
from shivya_kernels.status import Status

CAPACITY = Capacity(8, 16, 16, 8, 32)
KEY = jax.random.PRNGKey(0)
RING = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]


def observe(
    n: int = 4,
    edges: list[tuple[int, int]] = RING,
    *,
    capacity: Capacity = CAPACITY,
    live: list[int] | None = None,
    **values: Any,
) -> step.Observation:
    """n idle vertices that serve 10 jobs per second; `values` replace the leading entries of fields."""
    empty = step.Observation.empty(capacity)
    slots = np.arange(capacity.vertices)
    heard = slots < n if live is None else np.isin(slots, live)
    at_rest = {"service_rate": 10.0, "cpu": 0.2, "memory": 0.3, "potential": 0.1, "slope": 0.1}
    changes = {name: np.where(slots < n, value, 0.0) for name, value in at_rest.items()}
    for name, given in values.items():
        changes[name] = np.array(getattr(empty, name))
        changes[name][: len(given)] = given
    return replace(
        empty,
        complex=SimplicialComplex.from_edges(n, edges, capacity),
        own=jnp.asarray(slots == 0),
        live=jnp.asarray(heard & (slots > 0)),
        sensed=jnp.asarray(heard),
        **{name: jnp.asarray(value, empty.queue.dtype) for name, value in changes.items()},
    )


def start(capacity: Capacity = CAPACITY) -> tuple[step.Params, step.State]:
    params = step.Params()
    return params, step.init(params, capacity, KEY)


def assert_finite(tree: Any) -> None:
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert np.isfinite(leaf).all()


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
    assert np.array_equal(after.mean[:, SENSES:], np.zeros((8, 4)))
    assert np.array_equal(after.covariance[:, SENSES:, SENSES:], np.broadcast_to(np.eye(4), (8, 4, 4)))


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
    many = 400
    states = jax.vmap(lambda key: replace(state, key=key))(jax.random.split(KEY, many))
    after, info = jax.vmap(step.step, in_axes=(None, 0, None))(params, states, observation)
    counts = np.asarray(info.release)
    f = np.asarray(info.flow[0])
    outflow = np.zeros(8)
    for (tail, head), value in zip(RING, f[:5], strict=True):
        if 0 in (tail, head):
            outflow[head if tail == 0 else tail] = max(value if tail == 0 else -value, 0.0)
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) <= 9).all()
    assert (np.abs(counts - outflow) < 1.0).all()
    assert (np.abs(counts.mean(axis=0) - outflow) < 0.1).all()
    assert len(np.unique(np.asarray(after.key), axis=0)) == many


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
    params, state = start(Capacity(8, 28, 56))
    rng = np.random.default_rng(0)
    edges = [(i, j) for i in range(8) for j in range(i + 1, 8) if (i + j) % 4 != 2]
    observation = observe(8, edges, capacity=Capacity(8, 28, 56), traffic=rng.normal(size=len(edges)))
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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_no_number_in_an_observation_can_poison_the_state(bad: float) -> None:
    params, state = start()
    good = observe(queue=[5.0, 1.0, 2.0, 0.0])
    state, _ = step.step(params, state, good)
    for field in fields(step.Observation):
        value = getattr(good, field.name)
        if field.name == "complex" or not jnp.issubdtype(value.dtype, jnp.floating):
            continue
        spoiled = replace(good, **{field.name: value.at[(1,) if value.ndim else ()].set(bad)})
        after, info = step.step(params, state, spoiled)
        assert_finite((after, info))
        assert int(info.status) & Status.NON_FINITE_INPUT, field.name
        # Padding is nobody's number.
        if value.ndim:
            _, info = step.step(params, state, replace(good, **{field.name: value.at[-1].set(bad)}))
            assert int(info.status) == 0, field.name


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_extreme_but_finite_numbers_stay_finite(dtype: Any) -> None:
    params, state = start()
    extreme = observe(
        queue=[1e12, 1e12, 0.0, 1e-30],
        service_rate=[1e-9, 1e12, 1e-30, 10.0],
        arrival_rate=[1e12] * 4,
        own_sent=[0.0, 1e12, 1e12],
        slope=[0.0, 1e12, 1e-30],
        rtt=[1e12],
        traffic=[1e12, -1e12],
    )

    def cast(leaf: Any) -> Any:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    params, state, extreme = jax.tree.map(cast, (params, state, extreme))
    for _ in range(3):
        state, info = step.step(params, state, extreme)
        assert_finite((state, info))


def test_negative_amounts_count_as_none() -> None:
    params, state = start()
    for name in ("queue", "servers", "service_rate", "arrival_rate", "rtt", "hop", "own_sent"):
        after, info = step.step(params, state, observe(**{name: [-5.0, -1.0]}))
        assert_finite((after, info))
        assert (np.asarray(info.waiting) >= 0).all()


def test_one_compilation_serves_joins_deaths_growth_another_law_and_a_split() -> None:
    capacity = Capacity(9, 16, 16, 6, 16)
    params, state = start(capacity)
    before = step.step._cache_size()
    for n, edges, live in (
        (4, RING, None),
        (4, RING, [0, 1]),
        (2, [(0, 1)], None),
        (8, [(i, 7) for i in range(7)], None),
        (1, [], None),
    ):
        state, _ = step.step(params, state, observe(n, edges, capacity=capacity, live=live))
    step.step(params, state, step.Observation.empty(capacity))
    trend = morphic.compile_expression(
        ("sub", ("mul", ("const", 2.0), ("var", 0)), ("var", 1)), capacity.program
    )
    state = step.install(state, jax.tree.map(lambda *one: jnp.stack(one), *[trend] * SENSES))
    parted, largest = set(), 0
    for tick in range(60):
        busy = observe(capacity=capacity, queue=[40.0], cpu=[0.1 + 0.8 * (tick % 2)] * 4)
        busy = replace(busy, slots=jnp.arange(9) == 8)
        state, info = step.step(params, state, busy)
        parted.add(int(info.child))
        largest = max(largest, int(info.dimensions.max()))
    assert parted == {NO_VERTEX, 8}
    assert largest > SENSES
    assert step.step._cache_size() == before + 1


def test_float32_stays_float32_and_agrees() -> None:
    params, state = start()
    observation = observe(queue=[9.0, 1.0, 4.0, 0.0], traffic=[1.0, -2.0, 0.5])

    def narrow(tree: Any) -> Any:
        return jax.tree.map(
            lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf, tree
        )

    wide_state, single_state = state, narrow(state)
    for _ in range(3):
        wide_state, wide = step.step(params, wide_state, observation)
        single_state, single = step.step(narrow(params), single_state, narrow(observation))
    assert all(leaf.dtype != jnp.float64 for leaf in jax.tree.leaves((single_state, single)))
    np.testing.assert_allclose(single.free_energy, wide.free_energy, rtol=1e-3)
    np.testing.assert_allclose(single.flow, wide.flow, atol=1e-4)
    np.testing.assert_allclose(single.activator, wide.activator, rtol=1e-4)


def test_a_batch_of_neighbourhoods_equals_one_at_a_time() -> None:
    params, state = start()
    several = [
        observe(queue=[float(i), 2.0, 8.0, 0.0], n=4 + i % 2, live=[0, 1, 2 + i % 2]) for i in range(3)
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)
    _, batch = jax.jit(jax.vmap(step.step, in_axes=(None, None, 0)))(params, state, stacked)
    for i, observation in enumerate(several):
        _, alone = step.step(params, state, observation)
        for name in ("free_energy", "flow", "release", "activator", "conductance"):
            np.testing.assert_allclose(getattr(batch, name)[i], getattr(alone, name), atol=1e-10)


def test_derivatives_in_every_parameter_are_finite_and_match_finite_differences() -> None:
    params, state = start()
    warm = observe(queue=[9.0, 1.0, 4.0, 0.0], traffic=[1.0, -2.0, 0.5, 0.1, 0.3])
    for _ in range(3):
        state, _ = step.step(params, state, warm)
    # One cell sheds, one probes, one with a grown dimension is surprised, one is silent: all takes part.
    state = replace(
        state,
        marks=state.marks.at[0, 2].set(Action.SHED).at[1, 2].set(Action.PROBE),
        coupling=state.coupling.at[2, :, 5].set(0.1),
    )
    observation = replace(warm, queue=warm.queue.at[:2].set(jnp.array([25.0, 7.0])))
    observation = replace(
        observation,
        cpu=warm.cpu.at[2].set(3.0),
        live=warm.live.at[3].set(False),
        sensed=warm.sensed.at[3].set(False),
        # One neighbour fills up, the other is foretold to fall by as much as is allowed.
        potential=warm.potential.at[1:3].set(0.3),
        age=warm.age.at[1:3].set(jnp.array([0.04, 0.2])),
        net_arrivals=warm.net_arrivals.at[1:3].set(jnp.array([25.0, 0.0])),
    )

    @jax.jit
    def found(p: step.Params) -> dict[str, Any]:
        after, info = step.step(p, state, observation)
        return {
            "free energy": info.free_energy,
            "entropy": info.entropy_production,
            "recommended": (info.recommended**2).sum() ** 0.5,
            "placement": info.placement.potential + info.placement.slope,
            "activator": (info.activator**2).sum() + (info.inhibitor**2).sum(),
            "memory": (after.mean**2).sum() + after.thickness.sum() + jnp.trace(after.covariance.sum(0)),
        }

    slopes = jax.jit(jax.jacrev(found))(params)
    without = set(vars(params))
    for knob in vars(params):
        value, width = getattr(params, knob), 1e-5 * float(getattr(params, knob))
        up, down = (found(replace(params, **{knob: value + by})) for by in (width, -width))
        for output, slope in slopes.items():
            numeric = (float(up[output]) - float(down[output])) / (2 * width)
            exact = float(getattr(slope, knob))
            np.testing.assert_allclose(exact, numeric, rtol=2e-4, atol=2e-6, err_msg=f"{output} by {knob}")
            if exact != 0.0:
                without.discard(knob)
    # Thresholds decide, and a decision has no derivative.
    assert without == {"growth_margin", "split_above", "cull_below", "refractory_seconds", "patience_seconds"}


def test_waiting_is_the_public_formula_and_zero_where_nothing_is_offered() -> None:
    params, state = start()
    observation = observe(
        queue=[4.0, 0.0, 2.0, 9.0], servers=[2.0, 1.0, 4.0, 1.0], service_rate=[10.0, 5.0, 8.0, 0.0]
    )
    _, info = step.step(params, state, observation)
    expected = flow.waiting_time(observation.queue[:3], observation.servers[:3], observation.service_rate[:3])
    np.testing.assert_allclose(info.waiting[:3], expected)
    assert float(info.waiting[3]) == 0.0
