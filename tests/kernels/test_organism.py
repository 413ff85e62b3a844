"""The organism: nothing is lost while it grows, it finds its food, and it keeps the short way."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shivya_kernels import body, organism
from shivya_kernels.status import Status

FOODS = np.array([[0.5, 0.0, 0.0], [-0.2, 0.4, 0.0], [0.0, -0.3, 0.3], [0.0, 0.0, 0.0]])
VALUES = np.array([1.0, 0.7, 0.5, 0.0])


CELLS, TUBES = 96, 192

History = list[tuple[body.Organism, organism.ExploreInfo, organism.StepInfo]]


def plant(**changed: Any) -> body.Organism:
    """Nearly all tests share one size of pool, and so one compiled program."""
    return body.plant([0.0, 0.0, 0.0], FOODS, VALUES, cells=CELLS, tubes=TUBES)._replace(**changed)


def live(s: body.Organism, seed: int, rounds: int) -> History:
    seen: History = []
    for key in jax.random.split(jax.random.key(seed), rounds):
        growing, moving = jax.random.split(key)
        s, grew = organism.explore(s, growing, body.Params())
        s, moved = organism.step(s, moving, 0.2, body.Params())
        seen.append((s, grew, moved))
    return seen


@pytest.fixture(scope="module")
def history() -> History:
    """A life, as numpy."""
    seen: History = jax.device_get(live(plant(), 0, 250))
    return seen


def test_nutrient_is_accounted_for_to_rounding(history: History) -> None:
    total = 1.0
    for s, _, info in history:
        before, total = total, s.nutrient.sum()
        np.testing.assert_allclose(total - before, info.intake - info.upkeep - info.dissolved, atol=1e-13)
        assert (s.nutrient >= -1e-15).all()
    assert sum(info.intake for *_, info in history) > 1.0
    assert sum(info.upkeep for *_, info in history) > 0.1


def test_every_food_is_found_and_joined_to_one_body(history: History) -> None:
    last = history[-1][0]
    assert sum(int(grew.found) for _, grew, _ in history) == 3
    cells = last.food_cell
    assert (cells[:3] >= 0).all() and cells[3] == body.NOWHERE
    away = np.linalg.norm(last.position[cells[:3]] - FOODS[:3], axis=1)
    assert (away <= body.Params().reach).all()
    component = np.asarray(body.as_complex(last).component)
    assert len(set(component[cells[:3]])) == 1


def test_the_pool_stays_sound(history: History) -> None:
    for s, _, info in history:
        assert np.isfinite(s.position).all() and np.isfinite(s.conductance).all()
        tubes = np.stack([s.tail, s.head], axis=1)[s.tube_mask]
        assert s.cell_mask[tubes].all() and (tubes[:, 0] != tubes[:, 1]).all()
        assert len({frozenset(pair) for pair in tubes.tolist()}) == len(tubes)
        assert not s.nutrient[~s.cell_mask].any() and not s.conductance[~s.tube_mask].any()
        assert not info.status


def test_growth_and_withdrawal_count_what_they_change(history: History) -> None:
    cells, tubes = 1, 0
    for s, grew, moved in history:
        cells += int(grew.cells - moved.withdrawn)
        tubes += int(grew.cells + grew.fusions - moved.pruned)
        assert (s.cell_mask.sum(), s.tube_mask.sum()) == (cells, tubes)
    degree = np.asarray(body.degree(s))
    ends = np.concatenate([s.tail[s.tube_mask], s.head[s.tube_mask]])
    np.testing.assert_array_equal(degree, np.bincount(ends, minlength=CELLS))
    assert sum(int(grew.fusions) for _, grew, _ in history) > 0
    assert sum(int(moved.withdrawn) for *_, moved in history) > 0


def two_ways(first: float, second: float) -> body.Organism:
    """Two foods joined by way of two cells, each so far off the straight line; all tubes alike."""
    where = np.array([[0.0, 0, 0], [1.0, 0, 0], [0.5, first, 0], [0.5, second, 0]])

    def pad(values: Any, size: int) -> jax.Array:
        array = np.asarray(values, float)
        return jnp.asarray(np.pad(array, [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1)))

    return plant(
        food_position=pad(where[:2], 4),
        food_value=pad([1.0, 1.0], 4),
        food_cell=jnp.asarray([0, 1, -1, -1], jnp.int32),
        position=pad(where, CELLS),
        nutrient=pad([0.5] * 4, CELLS),
        cell_mask=jnp.arange(CELLS) < 4,
        tube_mask=jnp.arange(TUBES) < 4,
        tail=pad([0, 2, 0, 3], TUBES).astype(jnp.int32),
        head=pad([2, 1, 3, 1], TUBES).astype(jnp.int32),
        conductance=pad([1.0] * 4, TUBES),
    )


def settle(s: body.Organism, rounds: int, params: body.Params) -> body.Organism:
    for key in jax.random.split(jax.random.key(1), rounds):
        s, _ = organism.step(s, key, 0.2, params)
    return s


def test_of_two_ways_the_short_one_stays() -> None:
    params = body.Params(feeding=5.0)
    after = settle(two_ways(0.1, 1.0), 300, params)
    np.testing.assert_array_equal(after.tube_mask[:4], [True, True, False, False])
    mirrored = settle(two_ways(1.0, 0.1), 300, params)
    np.testing.assert_array_equal(mirrored.tube_mask[:4], [False, False, True, True])


def test_where_flow_saturates_both_ways_stay() -> None:
    after = settle(two_ways(0.1, 1.0), 300, body.Params(feeding=5.0, saturation=0.5))
    assert after.tube_mask[:4].all()


def test_a_tip_without_traffic_withdraws_into_its_parent() -> None:
    s = two_ways(0.1, 0.2)._replace(tube_mask=jnp.arange(TUBES) < 3, age=jnp.full(TUBES, 10.0))
    s = s._replace(conductance=jnp.where(jnp.arange(TUBES) == 2, 1e-3, s.conductance))
    still = body.Params(growth=0.0, upkeep=0.0, feeding=0.0, sharing=0.0, flux=1e-30)
    after, info = organism.step(s, jax.random.key(0), 0.1, still)
    assert not after.cell_mask[3] and not after.tube_mask[2] and info.withdrawn == info.pruned == 1
    np.testing.assert_allclose(after.nutrient[0], 1.0)
    np.testing.assert_allclose(after.nutrient.sum(), s.nutrient.sum())


def test_a_cell_left_alone_starves_and_is_counted() -> None:
    s = plant()
    s = s._replace(nutrient=s.nutrient.at[0].set(0.01))
    after, info = organism.step(s, jax.random.key(0), 0.2, body.Params())
    np.testing.assert_allclose(info.dissolved + info.upkeep, 0.01)
    assert not after.cell_mask.any() and not after.nutrient.any()


def test_a_full_pool_refuses_and_says_so() -> None:
    s = body.plant([0.0, 0.0, 0.0], FOODS, VALUES, cells=6, tubes=3)
    params = body.Params(exploration=1.0, least_nutrient=0.0)
    refused = 0
    for seed in range(12):
        s, grew = organism.explore(s, jax.random.key(seed), params)
        refused += int(grew.refused)
        assert bool(grew.status & Status.OVERFLOW) == bool(grew.refused > 0)
    assert refused > 0 and s.tube_mask.sum() == 3
    np.testing.assert_allclose(s.nutrient.sum(), 1.0)


def test_growth_heads_for_food() -> None:
    timid = body.Params(boldness=0.0, exploration=1.0, reach=0.05)
    s = plant(food_position=jnp.array([[0.0, 2.0, 0.0]] * 4), food_value=jnp.array([1.0, 0, 0, 0]))
    for i in range(3):
        s, info = organism.explore(s, jax.random.key(i), timid)
    reached = np.asarray(s.position)[np.asarray(s.cell_mask)]
    assert info.cells > 0 and np.abs(reached[:, [0, 2]]).max() < 1e-9
    np.testing.assert_allclose(reached[:, 1].max(), 0.3)


def test_pulses_of_joined_cells_agree() -> None:
    s = two_ways(0.1, 0.2)
    s = s._replace(phase=s.phase.at[:4].set(jnp.array([0.0, 1.0, 2.0, -1.0])))
    after = settle(s, 150, body.Params(decay=0.0))
    assert abs(np.exp(1j * np.asarray(after.phase)[:4]).mean()) > 1 - 1e-9


def test_batches_and_float32_agree() -> None:
    s = live(plant(), 3, 10)[-1][0]
    keys = jax.random.split(jax.random.key(4), 2)

    def both(s: body.Organism, key: jax.Array) -> body.Organism:
        return organism.step(organism.explore(s, key, body.Params())[0], key, 0.2, body.Params())[0]

    batch = jax.vmap(both, (None, 0))(s, keys)
    for i in range(2):
        for one, row in zip(both(s, keys[i]), batch, strict=True):
            np.testing.assert_allclose(row[i], one, atol=1e-9)
    narrow = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == float else x, s)
    after, info = organism.step(narrow, keys[0], 0.2, body.Params())
    assert after.nutrient.dtype == after.conductance.dtype == jnp.float32 and not info.status
    # The draws of the two precisions differ, but not what is there in all.
    np.testing.assert_allclose(
        after.nutrient.sum(), s.nutrient.sum() + info.intake - info.upkeep - info.dissolved, rtol=1e-5
    )


def test_thickness_is_the_fourth_root_and_bad_pools_are_refused() -> None:
    s = two_ways(0.1, 0.2)
    s = s._replace(conductance=s.conductance.at[0].set(16.0))
    np.testing.assert_allclose(body.thickness(s)[:5], [2.0, 1.0, 1.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="room for 2 cells"):
        body.plant([0.0, 0.0, 0.0], FOODS, VALUES, cells=1)
    with pytest.raises(ValueError, match="F >= 1"):
        body.plant([0.0, 0.0, 0.0], FOODS[:, :2], VALUES)


def test_a_full_size_pool_takes_a_step() -> None:
    s = body.plant([0.0, 0.0, 0.0], FOODS, VALUES)
    assert s.cell_mask.shape == (4096,) and s.tube_mask.shape == (8192,)
    s, grew = organism.explore(s, jax.random.key(0), body.Params(exploration=1.0))
    s, moved = organism.step(s, jax.random.key(1), 0.1)
    assert grew.cells == 1 and moved.status == 0
    np.testing.assert_allclose(s.nutrient.sum(), 1.0 + moved.intake - moved.upkeep - moved.dissolved)
