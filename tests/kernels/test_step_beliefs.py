"""The step's L1 and L2: own cells act, laws are swapped while it runs, dimensions grow and go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from neighbourhood import CAPACITY

from shivya_kernels import morphic, step
from shivya_kernels.complex import DimensionMismatch, SimplicialComplex
from shivya_kernels.policy import Action
from shivya_kernels.sensing import SENSES

EDGES = [(0, 1), (1, 2), (2, 0)]
CPU = 2
"""Place of the processor among the senses."""

TREND = ("sub", ("mul", ("const", 2.0), ("var", 0)), ("var", 1))


def observe(**values: Any) -> step.Observation:
    """Three vertices, all heard from, 0 this node's own; `values` replace the leading entries of fields."""
    empty, there = step.Observation.empty(CAPACITY), np.arange(CAPACITY.vertices) < 3
    changes: dict[str, Any] = {"service_rate": np.where(there, 10.0, 0.0), "cpu": np.where(there, 0.2, 0.0)}
    for name, given in values.items():
        changes[name] = np.array(getattr(empty, name))
        changes[name][: len(given)] = given
    return replace(
        empty,
        complex=SimplicialComplex.from_edges(3, EDGES, CAPACITY),
        own=jnp.arange(CAPACITY.vertices) == 0,
        live=jnp.asarray(there).at[0].set(False),
        sensed=jnp.asarray(there),
        **{name: jnp.asarray(value, empty.queue.dtype) for name, value in changes.items()},
    )


def start() -> tuple[step.Params, step.State]:
    params = step.Params()
    return params, step.init(params, CAPACITY, jax.random.PRNGKey(0))


def laws(*expressions: Any) -> morphic.Program:
    """One program for each sense; "as before" where none is given."""
    given = [*expressions, *[("var", 0)] * (SENSES - len(expressions))]
    programs = [morphic.compile_expression(one, CAPACITY.program) for one in given]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *programs)


@pytest.mark.parametrize(
    ("queue", "action", "factor"),
    [
        ([60.0, 0.0, 0.0], Action.SHED, 1.5),
        ([0.0, 60.0, 60.0], Action.ABSORB, 1.5),
        ([5.0, 5.0, 5.0], Action.HOLD, 1.0),
    ],
)
def test_own_cells_act_towards_the_wait_of_their_neighbourhood_and_open_their_links(
    queue: list[float], action: Action, factor: float
) -> None:
    params, state = start()
    observation = observe(queue=queue)
    state, first = step.step(params, state, observation)
    np.testing.assert_array_equal(first.advertised[:3], np.ones(3))
    state, info = step.step(params, state, observation)
    assert info.action.tolist() == [action, *[0] * (CAPACITY.vertices - 1)], "others choose for themselves"
    np.testing.assert_allclose(info.advertised[:3], [factor, 1.0, factor])
    np.testing.assert_allclose(info.conductance[:3], [factor, 1.0, factor])


def test_a_probe_in_force_makes_the_next_belief_more_precise() -> None:
    params, state = start()
    state, _ = step.step(params, state, observe())
    probing = replace(state, marks=state.marks.at[0, 2].set(Action.PROBE))
    (plain, _), (sharp, _) = (step.step(params, s, observe()) for s in (state, probing))
    ratio = np.diagonal(sharp.covariance[0]) / np.diagonal(plain.covariance[0])
    assert (ratio[:SENSES] < 0.8).all()
    np.testing.assert_array_equal(sharp.covariance[1:], plain.covariance[1:])


def test_a_law_that_foretells_a_trend_surprises_less_and_is_swapped_in_without_a_trace_of_the_old() -> None:
    params, state = start()
    same = step.install(state, laws())
    for leaf, other in zip(jax.tree.leaves(state), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(leaf, other)
    swapped = step.install(state, laws(("var", 0), ("var", 0), TREND))
    assert swapped.laws.length.tolist() == [1, 1, 5, 1]
    assert morphic.is_sound(jax.tree.map(lambda leaf: leaf[CPU], swapped.laws), 9)
    for tick in range(12):
        rising = observe(cpu=[0.1 + 0.3 * tick, 0.2, 0.2])
        state, plain = step.step(params, state, rising)
        swapped, told = step.step(params, swapped, rising)
    assert told.vertex_free_energy[0] < plain.vertex_free_energy[0] - 0.5
    np.testing.assert_allclose(told.beliefs[0, CPU], 0.1 + 0.3 * 11, atol=0.02)
    assert plain.beliefs[0, CPU] < 0.1 + 0.3 * 11 - 0.05, "the law as before lags"
    np.testing.assert_allclose(told.vertex_free_energy[1], plain.vertex_free_energy[1], atol=1e-9)


@pytest.mark.parametrize(
    "law", [("exp", ("exp", ("const", 99.0))), ("const", 1e9), ("sub", ("var", 0), ("const", -1e9))]
)
def test_a_law_that_says_nothing_usable_says_as_before(law: Any) -> None:
    params, state = start()
    swapped = step.install(state, laws(*[law] * SENSES))
    for queue in (3.0, 9.0, 0.0):
        state, plain = step.step(params, state, observe(queue=[queue]))
        swapped, told = step.step(params, swapped, observe(queue=[queue]))
    np.testing.assert_array_equal(told.beliefs, plain.beliefs)
    np.testing.assert_array_equal(told.free_energy, plain.free_energy)
    assert int(told.status) == 0


def test_laws_of_another_size_are_refused() -> None:
    _, state = start()
    with pytest.raises(DimensionMismatch, match="must have the shape"):
        step.install(state, jax.tree.map(lambda leaf: leaf[:2], laws()))


def test_dimensions_grow_where_senses_move_together_and_go_with_their_vertex() -> None:
    params, state = start()
    sizes = []
    for tick in range(120):
        level = 0.1 + 0.8 * (tick % 2)
        state, info = step.step(params, state, observe(cpu=[0.2, level, 0.2], memory=[0.3, level, 0.3]))
        sizes.append(info.dimensions.tolist())
    assert sizes[0] == [4, 4, 4, *[0] * (CAPACITY.vertices - 3)]
    assert sizes[-1][1] > 4
    assert max(size[0] for size in sizes) == max(size[2] for size in sizes) == 4
    assert max(size[1] for size in sizes) <= CAPACITY.beliefs
    assert bool(state.coupling[1].any())
    gone = replace(observe(), complex=SimplicialComplex.from_edges(1, [], CAPACITY))
    state, info = step.step(params, state, gone)
    assert info.dimensions.tolist() == [4, *[0] * (CAPACITY.vertices - 1)]
    assert not np.asarray(state.coupling).any()
