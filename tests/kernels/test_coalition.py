"""Coalition games: golden dividends and shares, the two games, and a collective sum that counts each once."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shivya_kernels import coalition
from shivya_kernels.complex import Capacity, DimensionMismatch, SimplicialComplex

Values = NDArray[np.float64]


def subsets(players: int) -> list[tuple[int, ...]]:
    return [tuple(i for i in range(players) if mask >> i & 1) for mask in range(1 << players)]


def sizes(players: int) -> NDArray[np.int64]:
    return np.array([len(members) for members in subsets(players)])


def dividends_by_definition(values: Values) -> Values:
    """The recursion: what a coalition is worth less what its parts make."""
    found = np.zeros_like(values)
    for mask in range(len(values)):
        found[mask] = values[mask] - sum(found[part] for part in range(mask) if part & mask == part)
    return found


def shapley_by_definition(values: Values, players: int) -> Values:
    share = np.zeros(players)
    for mask, members in enumerate(subsets(players)):
        for i in set(range(players)) - set(members):
            orders = factorial(len(members)) * factorial(players - len(members) - 1) / factorial(players)
            share[i] += orders * (values[mask | 1 << i] - values[mask])
    return share


def test_dividends_and_shares_are_golden(golden: Path) -> None:
    for case in json.loads((golden / "harsanyi.json").read_text()):
        dividends = coalition.harsanyi_dividends(case["v"])
        np.testing.assert_allclose(dividends, case["dividends"], atol=1e-9)
        np.testing.assert_allclose(coalition.shapley_values(case["v"]), case["shapley"], atol=1e-9)
        several = np.asarray(dividends)[sizes(case["players"]) >= 2].sum()
        np.testing.assert_allclose(several, case["sum_dividends_size_ge2"], atol=1e-9)


@pytest.mark.parametrize("players", [0, 1, 3, 7])
def test_transforms_follow_their_definitions(players: int) -> None:
    v = np.random.default_rng(players).normal(size=1 << players)
    np.testing.assert_allclose(coalition.harsanyi_dividends(v), dividends_by_definition(v), atol=1e-12)
    shares = coalition.shapley_values(v)
    assert shares.shape == (players,)
    np.testing.assert_allclose(shares, shapley_by_definition(v, players), atol=1e-12)


@pytest.mark.parametrize("players", [8, 9, 16])
def test_shares_divide_each_dividend_equally_on_both_sides_of_the_dense_limit(players: int) -> None:
    v = np.random.default_rng(players).normal(size=1 << players)
    dividends = np.asarray(coalition.harsanyi_dividends(v))
    masks = np.arange(1 << players)
    membership = masks[:, None] >> np.arange(players) & 1
    expected = (dividends / np.maximum(sizes(players), 1)) @ membership
    np.testing.assert_allclose(coalition.shapley_values(v), expected, atol=1e-11)
    # The transform inverts: a coalition is worth the dividends within it.
    for mask in (1, 37, 255, (1 << players) - 1):
        np.testing.assert_allclose(dividends[masks & mask == masks].sum(), v[mask], atol=1e-9)


@given(st.lists(st.floats(-1e3, 1e3), min_size=16, max_size=16), st.permutations(range(4)))
@settings(max_examples=40, deadline=None)
def test_shares_obey_shapleys_axioms(listed: list[float], order: list[int]) -> None:
    v = np.array(listed)
    shares = np.asarray(coalition.shapley_values(v))
    np.testing.assert_allclose(shares.sum(), v[-1] - v[0], atol=1e-9)
    renamed = [sum(1 << order[i] for i in members) for members in subsets(4)]
    permuted = np.zeros(16)
    permuted[renamed] = v
    np.testing.assert_allclose(np.asarray(coalition.shapley_values(permuted))[order], shares, atol=1e-9)
    # Whoever adds a constant to every coalition is owed that constant, and nothing else changes.
    joined = np.concatenate([v, v + 7.0])
    np.testing.assert_allclose(coalition.shapley_values(joined), [*shares, 7.0], atol=1e-9)


def test_batches_float32_and_derivatives() -> None:
    v = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 32)))
    for transform in (coalition.harsanyi_dividends, coalition.shapley_values):
        whole = transform(v)
        np.testing.assert_allclose(jax.jit(jax.vmap(jax.vmap(transform)))(v), whole, atol=1e-12)
        np.testing.assert_allclose(whole[1, 2], transform(v[1, 2]), atol=1e-12)
        narrow = transform(v.astype(jnp.float32))
        assert narrow.dtype == jnp.float32
        np.testing.assert_allclose(narrow, whole, atol=1e-4)
        # Both are linear: the derivative along v is the value at v.
        _, along = jax.jvp(transform, (v,), (v,))
        np.testing.assert_allclose(along, whole, atol=1e-12)


@pytest.mark.parametrize("length", [0, 3, 1 << 17])
def test_what_is_no_game_is_refused(length: int) -> None:
    for transform in (coalition.harsanyi_dividends, coalition.shapley_values):
        with pytest.raises(DimensionMismatch, match="2\\^n"):
            transform(np.zeros(length))
    with pytest.raises(DimensionMismatch, match="16"):
        coalition.pooling_gain(np.ones(17), np.ones(17))


def test_synergy_of_pairs_is_golden_and_has_no_dividend_of_three_or_more(golden: Path) -> None:
    case = json.loads((golden / "pairwise_synergy_game.json").read_text())
    dividends = np.asarray(coalition.harsanyi_dividends(coalition.pairwise_synergy(case["beliefs"])))
    np.testing.assert_allclose(dividends, case["dividends"], atol=1e-9)
    assert np.abs(dividends[sizes(6) >= 3]).max() < 1e-11
    assert np.abs(dividends[sizes(6) == 2]).min() > 0.1


def test_synergy_is_over_common_dimensions_and_absent_players_add_nothing() -> None:
    rng = np.random.default_rng(3)
    means = rng.normal(scale=0.4, size=(4, 3))
    used = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 1, 1]], bool)
    v = np.asarray(coalition.pairwise_synergy(means, dimensions=used))
    np.testing.assert_allclose(v[0b0011], _synergy(means[0, :2] - means[1, :2]), atol=1e-12)
    np.testing.assert_allclose(v[0b1001], _synergy(means[0] - means[3]), atol=1e-12)
    garbage = np.where(np.arange(4)[:, None] == 2, np.nan, means)
    present = np.array([True, True, False, True])
    without = np.asarray(coalition.pairwise_synergy(garbage, present, used))
    np.testing.assert_allclose(without[0b1011], v[0b1011], atol=1e-12)
    np.testing.assert_array_equal(without[0b1111], without[0b1011])


def _synergy(difference: Values) -> float:
    square = float(difference @ difference)
    return 2 * (1 - square) if square < 1 else -4 * (square - 1)


queues = st.lists(st.tuples(st.floats(0, 1e3), st.floats(0.1, 100)), min_size=4, max_size=4)


@given(queues)
@settings(max_examples=60, deadline=None)
def test_pooling_gain_is_what_levelling_saves_and_pays_everybody(drawn: list[tuple[float, float]]) -> None:
    x, c = np.array(drawn).T
    v = np.asarray(coalition.pooling_gain(x, c))
    scale = 1.0 + (x**2 / c).sum()
    for mask, members in enumerate(map(list, subsets(4))):
        expected = (x[members] ** 2 / c[members]).sum()
        expected -= x[members].sum() ** 2 / c[members].sum() if members else 0.0
        np.testing.assert_allclose(v[mask], expected, atol=1e-9 * scale)
    assert (v >= 0).all()
    np.testing.assert_array_equal(v[[0, 1, 2, 4, 8]], 0.0)
    for one, other in combinations(range(16), 2):
        if not one & other:
            assert v[one | other] >= v[one] + v[other] - 1e-9 * scale
    shares = np.asarray(coalition.shapley_values(v))
    assert (shares >= -1e-9 * scale).all()
    np.testing.assert_allclose(shares.sum(), v[-1], atol=1e-9 * scale)


def test_pooling_gain_of_equal_waits_is_nothing_and_idle_slots_are_not_players() -> None:
    assert np.abs(coalition.pooling_gain([4.0, 8.0, 2.0], [2.0, 4.0, 1.0])).max() == 0.0
    v = np.asarray(coalition.pooling_gain([10.0, 0.0], [1.0, 1.0]))
    np.testing.assert_allclose(v, [0, 0, 0, 50.0])
    padded = coalition.pooling_gain([10.0, 0.0, np.nan, 7.0], [1.0, 1.0, 3.0, 0.0], [True, True, False, True])
    np.testing.assert_allclose(padded, v[np.arange(16) & 3])
    gradient = jax.grad(lambda x: coalition.pooling_gain(x, jnp.array([1.0, 1.0, 0.0]))[-1])(jnp.arange(3.0))
    np.testing.assert_allclose(gradient, [-1.0, 1.0, 0.0], atol=1e-12)


def test_a_neighbourhood_is_the_centre_and_its_heaviest_links() -> None:
    edges = [(0, i) for i in range(1, 5)] + [(5, 0), (1, 2), (5, 6)]
    c = SimplicialComplex.from_edges(8, edges, Capacity(10, 12, 8))
    weights = [0.5, 3.0, 0.5, np.nan, 2.0, 9.0, 9.0]
    found = coalition.neighbourhood(c, weights, 0, players=4)
    assert np.asarray(found.vertices).tolist() == [0, 2, 5, 1]
    assert np.asarray(found.mask).all()
    whole = coalition.neighbourhood(c, weights, 0)
    assert np.asarray(whole.vertices)[np.asarray(whole.mask)].tolist() == [0, 2, 5, 1, 3]
    asleep = coalition.neighbourhood(c, weights, 0, active=np.arange(8) != 2)
    assert np.asarray(asleep.vertices)[np.asarray(asleep.mask)].tolist() == [0, 5, 1, 3]
    each = jax.vmap(lambda i: coalition.neighbourhood(c, jnp.asarray(weights), i))(jnp.arange(10))
    assert np.asarray(each.mask).sum(axis=1).tolist() == [5, 3, 3, 2, 1, 3, 2, 1, 0, 0]
    small = coalition.neighbourhood(SimplicialComplex.from_edges(2, [(1, 0)]), [1.0], 1)
    assert np.asarray(small.vertices)[np.asarray(small.mask)].tolist() == [1, 0]
    with pytest.raises(DimensionMismatch, match="16"):
        coalition.neighbourhood(c, weights, 0, players=17)


def test_helpers_are_paid_from_a_neighbourhoods_gain() -> None:
    c = SimplicialComplex.from_edges(4, [(0, 1), (0, 2), (2, 3)], Capacity(6, 5, 2))
    near = coalition.neighbourhood(c, [1.0, 2.0, 3.0], 0)
    backlog, rate = jnp.array([30.0, 0, 5, 9, 0, 0]), jnp.array([2.0, 3, 1, 1, 0, 0])
    v = coalition.pooling_gain(backlog[near.vertices], rate[near.vertices], near.mask)
    shares = np.asarray(coalition.shapley_values(v))
    # Vertices 0, 2, 1 play; 3 is no neighbour of 0.
    np.testing.assert_allclose(shares.sum(), 30**2 / 2 + 5**2 / 1 - 35**2 / 6)
    assert (shares[:3] > 0).all()
    np.testing.assert_allclose(shares[3:], 0.0, atol=1e-12)


def all_cliques_once(
    vertices: int, edges: list[tuple[int, int]], game: Callable[[tuple[int, ...]], float]
) -> float:
    """Sum of the dividends of all cliques of two or more, by enumeration."""
    linked = {frozenset(edge) for edge in edges}
    total = 0.0
    for size in range(2, vertices + 1):
        for members in combinations(range(vertices), size):
            if all(frozenset(pair) in linked for pair in combinations(members, 2)):
                parts = [part for n in range(size + 1) for part in combinations(members, n)]
                total += sum((-1) ** (size - len(part)) * game(part) for part in parts)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_collective_free_energy_counts_each_coalition_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = [pair for pair in combinations(range(7), 2) if rng.uniform() < 0.6]
    means, energy = rng.normal(scale=0.5, size=(7, 2)), rng.normal(size=7)

    def game(members: tuple[int, ...]) -> float:
        return sum(_synergy(means[i] - means[j]) for i, j in combinations(members, 2))

    c = SimplicialComplex.from_edges(7, edges)
    expected = energy.sum() - all_cliques_once(7, edges, game)
    np.testing.assert_allclose(coalition.collective_free_energy(c, energy, means), expected, atol=1e-12)


def test_where_everybody_is_a_neighbour_the_dividends_add_up_to_the_grand_coalition() -> None:
    rng = np.random.default_rng(5)
    means, energy = rng.normal(scale=0.6, size=(5, 2)), rng.normal(size=5)
    c = SimplicialComplex.from_edges(5, list(combinations(range(5), 2)))
    together = coalition.pairwise_synergy(means)[-1]
    np.testing.assert_allclose(
        coalition.collective_free_energy(c, energy, means), energy.sum() - together, atol=1e-12
    )


def test_dormant_and_padded_slots_change_no_collective_figure() -> None:
    rng = np.random.default_rng(6)
    edges = [(0, 1), (1, 2), (0, 2), (2, 3)]
    means, energy = rng.normal(scale=0.3, size=(4, 2)), rng.normal(size=4)
    tight = coalition.collective_free_energy(SimplicialComplex.from_edges(4, edges), energy, means)
    capacity = Capacity(9, 8, 4)
    padded = SimplicialComplex.from_edges(5, [*edges, (3, 4)], capacity)
    garbage = np.full((9, 2), np.nan), np.full(9, np.inf)
    garbage[0][:4], garbage[1][:4] = means, energy
    awake = np.arange(9) < 4

    def figure(means: Any) -> Any:
        return coalition.collective_free_energy(padded, garbage[1], means, active=awake)

    np.testing.assert_allclose(figure(garbage[0]), tight, atol=1e-12)
    gradient = np.asarray(jax.grad(figure)(jnp.asarray(garbage[0])))
    assert np.isfinite(gradient).all()
    assert not gradient[4:].any()
    bumped = garbage[0].copy()
    bumped[2, 1] += 1e-6
    np.testing.assert_allclose(gradient[2, 1], (figure(bumped) - tight) / 1e-6, rtol=1e-4)
    with pytest.raises(DimensionMismatch):
        coalition.collective_free_energy(padded, np.ones(10), garbage[0])


def test_repeated_eager_calls_compile_once() -> None:
    c = SimplicialComplex.from_edges(3, [(0, 1), (1, 2)])

    def call(x: Any) -> None:
        coalition.harsanyi_dividends(x)
        coalition.shapley_values(x)
        coalition.pooling_gain(x, x)
        coalition.pairwise_synergy(x[:, None])
        coalition.neighbourhood(c, x[:2], 1)
        coalition.collective_free_energy(c, x[:3], x[:3, None], active=x[:3] > 0.5)

    call(np.ones(8))
    compiled = [0]
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **__: compiled.__setitem__(0, compiled[0] + name.endswith("backend_compile_duration"))
    )
    call(np.arange(8.0))
    assert compiled == [0]
