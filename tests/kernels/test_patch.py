"""A patch of the organism: foods come and go, nutrient crosses its boundary, and the books balance."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shivya_kernels import body, measures, patch

FOODS, CELLS, TUBES = 4, 128, 256
PARAMS = body.Params(stride=0.125, reach=0.125, fuse=0.07, least_nutrient=0.01)
PLACES = np.array([[0.5, 0.0, 0.0], [-0.3, 0.4, 0.0], [0.0, -0.5, 0.1], [0.0, 0.0, 0.0]])


def links(**changed: Any) -> patch.Links:
    """Two links, and places for two more."""
    plain = patch.Links(
        jnp.asarray(PLACES),
        jnp.array([0.8, 0.5, 0.0, 0.0]),
        jnp.zeros(FOODS),
        jnp.zeros(FOODS),
        jnp.zeros(FOODS, bool),
    )
    return plain._replace(**{key: jnp.asarray(value) for key, value in changed.items()})


def plant() -> body.Organism:
    none = np.zeros(FOODS)
    return body.plant(np.zeros(3), np.zeros((FOODS, 3)), none, cells=CELLS, tubes=TUBES)


Round = tuple[body.Organism, patch.Links, patch.Told]


@pytest.fixture(scope="module")
def history() -> list[Round]:
    """A life in which a third link comes, the first goes, and nutrient crosses all of them."""
    s, key, seen, draw = plant(), jax.random.key(1), [], np.random.default_rng(5)
    for i in range(200):
        value: list[float] = [0.8 if i < 150 else 0.0, 0.5, 0.9 if i >= 60 else 0.0, 0.0]
        now = links(value=value, amount=draw.uniform(-0.1, 0.2, FOODS))
        s, key, told = patch.live(s, key, 0.2, PARAMS, now)
        seen.append((s, now, told))
    found: list[Round] = jax.device_get(seen)
    return found


def test_nutrient_is_accounted_for_with_what_crossed(history: list[Round]) -> None:
    total = 1.0
    for s, now, told in history:
        before, total = total, float(s.nutrient.sum())
        change = told.moved.sum() + told.intake - told.upkeep - told.dissolved
        np.testing.assert_allclose(total - before, change, atol=1e-13)
        assert (s.nutrient >= -1e-15).all() and not told.status
        np.testing.assert_array_equal(told.moved[now.amount > 0], now.amount[now.amount > 0])
        assert (told.moved[now.amount < 0] >= now.amount[now.amount < 0]).all()
    assert any((told.moved < -0.05).any() for _, _, told in history)


def test_foods_come_and_go(history: list[Round]) -> None:
    assert history[55][2].found.tolist() == [True, True, False, False]
    assert history[149][2].found.tolist() == [True, True, True, False]
    s, _, told = history[-1]
    assert told.found.tolist() == [False, True, True, False]
    cells = s.food_cell[1:3]
    np.testing.assert_array_equal(told.nutrient[1:3], s.nutrient[cells])
    np.testing.assert_array_equal(told.phase[1:3], s.phase[cells])


def settled() -> body.Organism:
    """Three cells in a row on the foods 0 and 1, and one apart on food 2."""
    where = np.zeros((CELLS, 3))
    where[:4] = [[0.5, 0, 0], [0.25, 0, 0], [0, 0, 0], [0, 1, 0]]
    return plant()._replace(
        position=jnp.asarray(where),
        nutrient=jnp.zeros(CELLS).at[:4].set(jnp.array([0.5, 0.25, 0.125, 0.0625])),
        cell_mask=jnp.arange(CELLS) < 4,
        tube_mask=jnp.arange(TUBES) < 2,
        tail=jnp.zeros(TUBES, jnp.int32).at[1].set(1),
        head=jnp.zeros(TUBES, jnp.int32).at[:2].set(jnp.array([1, 2], jnp.int32)),
        conductance=jnp.zeros(TUBES).at[:2].set(1.0),
        food_position=jnp.asarray(where[[0, 2, 3, 0]]),
        food_value=jnp.array([1.0, 1.0, 1.0, 0.0]),
        food_cell=jnp.array([0, 2, 3, -1], jnp.int32),
    )


def test_no_more_is_taken_than_is_there_and_what_has_no_cell_goes_to_the_first() -> None:
    after, moved = patch.trade(settled(), jnp.array([-0.75, 0.25, -0.03125, 0.5]))
    np.testing.assert_array_equal(moved, [-0.5, 0.25, -0.03125, 0.5])
    np.testing.assert_array_equal(after.nutrient[:4], [0.5, 0.25, 0.375, 0.03125])
    # Two links on one cell share what it holds; nothing is taken for a link without one.
    shared = settled()._replace(food_cell=jnp.array([0, 0, -1, -1], jnp.int32))
    after, moved = patch.trade(shared, jnp.array([-0.5, -1.5, -1.0, jnp.nan]))
    np.testing.assert_array_equal(moved, [-0.125, -0.375, 0.0, 0.0])
    assert after.nutrient[0] == 0.0
    empty = settled()._replace(cell_mask=jnp.zeros(CELLS, bool), food_cell=jnp.full(FOODS, -1, jnp.int32))
    assert not patch.trade(empty, jnp.ones(FOODS))[1].any()


def test_a_food_that_moves_has_to_be_found_again() -> None:
    s = settled()
    same = patch.feed(s, s.food_position, s.food_value)
    np.testing.assert_array_equal(same.food_cell, s.food_cell)
    other = patch.feed(s, s.food_position.at[0, 0].add(0.5), s.food_value.at[1].set(jnp.nan))
    np.testing.assert_array_equal(other.food_cell, [-1, -1, 3, -1])
    assert other.food_value[1] == 0.0


def test_phases_of_two_patches_agree_over_their_link() -> None:
    ours, theirs = settled(), settled()._replace(phase=jnp.where(jnp.arange(CELLS) < 3, 2.0, 0.0))
    heard = jnp.array([True, False, False, False])
    # Only the pulse: what flows and grows would draw on chance.
    for _ in range(60):
        mine, its = ours.phase[0], theirs.phase[0]
        ours = patch.entrain(ours, jnp.full(FOODS, its), heard, 0.2)
        theirs = patch.entrain(theirs, jnp.full(FOODS, mine), heard, 0.2)
    np.testing.assert_allclose(ours.phase[0], theirs.phase[0], atol=1e-6)
    np.testing.assert_array_equal(ours.phase[1:4], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(ours.phase[0], 1.0, atol=1e-6)


def test_measures_of_a_known_network() -> None:
    found = measures.measure(settled())
    assert (found.cells, found.tubes) == (4, 2)
    np.testing.assert_allclose(found.nutrient, 0.9375)
    # Of three pairs one is joined, straight; the tree of (0.5, 0), (0, 0), (0, 1) is 1.5 long.
    np.testing.assert_allclose([found.efficiency, found.cost], [1 / 3, 0.5 / 1.5])
    bent = settled()
    bent = bent._replace(position=bent.position.at[1].set(jnp.array([0.25, 0.25, 0.0])))
    np.testing.assert_allclose(measures.measure(bent).efficiency, 0.5 / (2 * np.hypot(0.25, 0.25)) / 3)
    alone = settled()._replace(food_cell=jnp.array([0, -1, -1, -1], jnp.int32))
    assert measures.measure(alone).efficiency == measures.measure(alone).cost == 0.0


def test_measures_agree_with_brute_force(history: list[Round]) -> None:
    s, _, told = history[140]
    far: Any = np.full((CELLS, CELLS), np.inf)
    np.fill_diagonal(far, 0.0)
    for a, b in zip(s.tail[s.tube_mask], s.head[s.tube_mask], strict=True):
        far[a, b] = far[b, a] = np.linalg.norm(s.position[a] - s.position[b])
    for k in range(CELLS):
        far = np.minimum(far, far[:, k : k + 1] + far[k])
    seats = s.food_cell[told.found]
    ratios = [
        np.linalg.norm(s.position[a] - s.position[b]) / far[a, b] if np.isfinite(far[a, b]) else 0.0
        for a, b in itertools.combinations(seats, 2)
    ]
    assert len(ratios) == 3
    found = measures.measure(s)
    np.testing.assert_allclose(found.efficiency, np.mean(ratios))
    tubes = far[s.tail[s.tube_mask], s.head[s.tube_mask]]
    straight = [np.linalg.norm(s.position[a] - s.position[b]) for a, b in itertools.combinations(seats, 2)]
    # Lengths are of the tubes themselves; a shorter way round may be below, which no tube here has.
    np.testing.assert_allclose(found.cost, tubes.sum() / (sum(straight) - max(straight)), rtol=1e-9)


def test_a_new_link_is_found_by_an_organism_that_has_all_the_others() -> None:
    """Even after it had long to fill its pool, for half of the pool is kept for the search."""
    s, key, counts, found = plant(), jax.random.key(9), [], []
    for i in range(500):
        now = links(value=[0.8, 0.5, 0.0 if i < 300 else 0.5, 0.0])
        s, key, told = patch.live(s, key, 0.2, PARAMS, now)
        counts.append(s.cell_mask.sum())
        found.append(told.found)
    assert found[150].tolist() == [True, True, False, False]
    assert max(map(int, counts[200:300])) <= CELLS // 2 + 8
    assert found[-1].tolist() == [True, True, True, False]
    assert len(set(np.asarray(body.as_complex(s).component[s.food_cell[:3]]).tolist())) == 1


def test_a_cell_that_nothing_joins_withers_and_is_counted() -> None:
    s = settled()._replace(food_cell=jnp.array([0, 2, -1, -1], jnp.int32))
    still = PARAMS._replace(exploration=0.0, upkeep=0.0, feeding=0.0, reach=0.0)
    s, _, told = patch.live(s, jax.random.key(0), 0.2, still, links(position=s.food_position))
    np.testing.assert_allclose(s.nutrient[3], 0.0625 * (1 - patch.WITHERING * 0.2))
    np.testing.assert_allclose(told.dissolved, 0.0625 * patch.WITHERING * 0.2)
