"""One tick of the law: nothing in it recompiles, overflows or is poisoned, and its derivatives are right."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from neighbourhood import CAPACITY, RING, assert_finite, observe, start

from shivya_kernels import morphic, step
from shivya_kernels.complex import NO_VERTEX
from shivya_kernels.layers import SENSES
from shivya_kernels.policy import Action
from shivya_kernels.status import Status


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
    params, state = start()
    step.step(params, state, observe())
    before = step.step._cache_size()
    for n, edges, live in (
        (4, RING, None),
        (4, RING, [0, 1]),
        (2, [(0, 1)], None),
        (8, [(i, 7) for i in range(7)], None),
        (1, [], None),
    ):
        state, _ = step.step(params, state, observe(n, edges, live=live))
    step.step(params, state, step.Observation.empty(CAPACITY))
    trend = morphic.compile_expression(
        ("sub", ("mul", ("const", 2.0), ("var", 0)), ("var", 1)), CAPACITY.program
    )
    state = step.install(state, jax.tree.map(lambda *one: jnp.stack(one), *[trend] * SENSES))
    parted, largest = set(), 0
    for tick in range(60):
        busy = observe(queue=[40.0], cpu=[0.1 + 0.8 * (tick % 2)] * 4)
        busy = replace(busy, slots=jnp.arange(CAPACITY.vertices) == 8)
        state, info = step.step(params, state, busy)
        parted.add(int(info.child))
        largest = max(largest, int(info.dimensions.max()))
    assert parted == {NO_VERTEX, 8}
    assert largest > SENSES
    assert step.step._cache_size() == before


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

    both = jax.jit(lambda p: (found(p), jax.jacrev(found)(p)))
    _, slopes = both(params)
    without = set(vars(params))
    for knob in vars(params):
        value, width = getattr(params, knob), 1e-5 * float(getattr(params, knob))
        up, down = (both(replace(params, **{knob: value + by}))[0] for by in (width, -width))
        for output, slope in slopes.items():
            numeric = (float(up[output]) - float(down[output])) / (2 * width)
            exact = float(getattr(slope, knob))
            np.testing.assert_allclose(exact, numeric, rtol=2e-4, atol=2e-6, err_msg=f"{output} by {knob}")
            if exact != 0.0:
                without.discard(knob)
    # Thresholds decide, and a decision has no derivative.
    assert without == {"growth_margin", "split_above", "cull_below", "refractory_seconds", "patience_seconds"}
