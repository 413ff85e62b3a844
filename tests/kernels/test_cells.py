"""The life of cells: who splits, who goes, and that no job is lost on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shivya_kernels import cells
from shivya_kernels.cells import Cells, Rules, Stage

SLOTS = 7
OWN = np.arange(SLOTS) < 6
"""The last slot belongs to another node."""
NOBODY = np.zeros(SLOTS, bool)
NOTHING = np.zeros(SLOTS)
WARM = np.full(SLOTS, 1.1)


def of(stages: str, **clocks: Any) -> Cells:
    """Cells from a picture: `.` free, `a` active, `d` draining."""
    made = cells.founded(np.array([letter == "a" for letter in stages]))
    stage = jnp.array([".ad".index(letter) for letter in stages], jnp.int8)
    return replace(made, stage=stage, **{name: jnp.asarray(value, float) for name, value in clocks.items()})


def picture(found: Cells) -> str:
    return "".join(".ad"[int(stage)] for stage in found.stage)


def split(start: Cells, activator: Any, *, backlog: Any = NOTHING, uniform: float = 0.7) -> Any:
    return cells.mitosis(Rules(), start, np.asarray(activator, float), WARM, backlog, OWN, uniform)


def test_the_hottest_cell_splits_into_the_first_free_slot_and_mass_is_shared() -> None:
    u = np.array([2.5, 0.0, 3.5, 1.0, 9.9, 9.9, 9.9])
    after, found = split(of("a.aa.d."), u)
    assert (int(found.parent), int(found.child)) == (2, 1)
    assert picture(after) == "aaaa.d."
    np.testing.assert_allclose(found.activator, [2.5, 1.76, 1.74, 1.0, 9.9, 9.9, 9.9])
    assert float(found.activator[1] + found.activator[2]) == 3.5
    np.testing.assert_array_equal(found.source, [0, 2, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(after.refractory, [0, 10, 10, 0, 0, 0, 0])
    _, other = split(of("a.aa.d."), u, uniform=0.2)
    np.testing.assert_allclose(other.activator[1:3], [1.74, 1.76])


@pytest.mark.parametrize(
    ("start", "activator", "backlog"),
    [
        (of("aaa...."), [2.0, 1.9, 0, 0, 0, 0, 0], NOTHING),
        (of("aaa....", refractory=[0.1] * SLOTS), [3.0] * SLOTS, NOTHING),
        (of("aaaaaa."), [3.0] * SLOTS, NOTHING),
        (of("d......"), [3.0] * SLOTS, NOTHING),
        (of("......a"), [3.0] * SLOTS, NOTHING),
        (of("aaa...."), [np.nan] * SLOTS, NOTHING),
        (of("aaa...."), [3.0] * SLOTS, np.array([9.0, 9, 9, 1, 1, 1, 0])),
    ],
    ids=["calm", "refractory", "full", "draining", "another node's", "not a number", "no empty slot"],
)
def test_who_may_not_split_does_not(start: Cells, activator: list[float], backlog: Any) -> None:
    after, found = split(start, activator, backlog=backlog)
    assert int(found.parent) == int(found.child) == -1
    assert picture(after) == picture(start)
    np.testing.assert_array_equal(found.source, np.arange(SLOTS))
    np.testing.assert_array_equal(found.activator, activator)
    np.testing.assert_array_equal(after.refractory, start.refractory)


def test_a_child_takes_belief_dimensions_inhibitor_and_links_from_its_parent() -> None:
    v = np.arange(7.0)
    _, found = cells.mitosis(Rules(), of("aa....."), np.array([1, 3, 0, 0, 0, 0, 0.0]), v, NOTHING, OWN, 0.5)
    means = jnp.arange(21.0).reshape(7, 3)
    np.testing.assert_array_equal(means[found.source][2], means[1])
    np.testing.assert_array_equal(found.inhibitor, [0, 1, 1, 3, 4, 5, 6])
    weights = np.zeros((7, 7))
    weights[0, 1] = weights[1, 0] = 0.3
    weights[1, 6] = weights[6, 1] = 0.7
    alive = np.array([1, 1, 1, 0, 0, 0, 1], bool)
    linked = np.asarray(cells.inherited_links(weights, found, alive, kinship=2.0))
    np.testing.assert_array_equal(linked, linked.T)
    np.testing.assert_allclose(linked[2], [0.3, 2.0, 0, 0, 0, 0, 0.7])
    np.testing.assert_allclose(linked[1], [0.3, 0, 2.0, 0, 0, 0, 0.7])
    # A cell that went leaves no link behind.
    assert not np.asarray(cells.inherited_links(weights, found, alive & (np.arange(7) != 6)))[:, 6].any()


def cull(
    start: Cells, activator: Any, utility: Any = NOTHING, backlog: Any = NOTHING, keep: Any = NOBODY
) -> Any:
    return cells.apoptosis(Rules(), start, np.asarray(activator, float), utility, backlog, OWN, keep)


def test_the_quietest_cell_drains_first_and_goes_once_it_is_empty() -> None:
    u = np.array([0.04, 0.02, 0.03, 1.0, 1.0, 1.0, 0.0])
    held = np.array([0, 2.0, 0, 0, 0, 0, 0])
    after, drained, culled = cull(of("aaaaa.a"), u, backlog=held)
    assert int(drained) == 1
    assert picture(after) == "adaaa.a"
    after, drained, culled = cull(after, u, backlog=held)
    assert (int(drained), picture(after)) == (2, "addaa.a")
    assert not np.asarray(culled).any()
    after, drained, culled = cull(after, u)
    assert (int(drained), picture(after)) == (-1, "a..aa.a")
    np.testing.assert_array_equal(np.flatnonzero(culled), [1, 2])


@pytest.mark.parametrize(
    ("start", "activator", "utility", "keep"),
    [
        (of("aaa...a"), 0.01, 0.0, NOBODY),
        (of("aaad..."), 0.01, 0.0, NOBODY),
        (of("aaaa..."), 0.05, 0.0, NOBODY),
        (of("aaaa..."), 0.01, 5.0, NOBODY),
        (of("aaaa..."), 0.01, np.nan, NOBODY),
        (of("aaaa..."), 0.01, 0.0, ~NOBODY),
    ],
    ids=["three left", "three beside one draining", "warm", "surprised", "unknown", "protected"],
)
def test_who_may_not_go_stays(start: Cells, activator: float, utility: float, keep: Any) -> None:
    held = np.ones(SLOTS)
    after, drained, culled = cull(start, WARM * 0 + activator, NOTHING + utility, held, keep)
    assert int(drained) == -1
    assert picture(after) == picture(start)
    assert not np.asarray(culled).any()


def test_one_cell_withers_at_a_time_and_only_if_it_can_be_spared() -> None:
    idle = [50, 70, 90, 90, 10, 0, 99]
    found = cells.withering(Rules(), of("aaaaa.a", idle=idle), OWN, NOBODY)
    np.testing.assert_array_equal(np.flatnonzero(found), [2])
    found = cells.withering(Rules(), of("aaaaa.a", idle=idle), OWN, np.arange(SLOTS) == 2)
    np.testing.assert_array_equal(np.flatnonzero(found), [3])
    decay = cells.activator_decay(Rules(), of("aaaaa.a", idle=idle), OWN, NOBODY, 1.5)
    np.testing.assert_allclose(decay, [1.5, 1.5, 15.0, 1.5, 1.5, 1.5, 1.5])
    assert not np.asarray(cells.withering(Rules(), of("aaa...a", idle=idle), OWN, NOBODY)).any()


def test_clocks_run_and_work_sets_them_back() -> None:
    start = of("aaaad..", refractory=[5, 0, 0.05, 0, 0, 0, 0], idle=[1, 2, 0, 80, 3, 0, 0])
    after = cells.age(Rules(), start, np.array([0, 1.0, 0, 0, 0, 0, 0]), OWN, NOBODY, 0.1)
    np.testing.assert_allclose(after.idle, [1.1, 0, 0.1, 80.1, 0, 0, 0])
    np.testing.assert_allclose(after.refractory, [4.9, 0, 0, 10, 0, 0, 0])


@given(
    st.lists(st.integers(0, 300), min_size=SLOTS, max_size=SLOTS),
    st.lists(st.floats(0, 50, allow_subnormal=False, width=32), min_size=SLOTS, max_size=SLOTS),
    st.lists(st.sampled_from(".ad"), min_size=SLOTS, max_size=SLOTS).map("".join),
    st.one_of(st.floats(0, 1, exclude_max=True), st.just(float(np.nextafter(1, 0)))),
)
@settings(max_examples=80, deadline=None)
def test_draining_moves_whole_jobs_and_makes_and_loses_none(
    jobs: list[int], rates: list[float], stages: str, uniform: float
) -> None:
    start, waiting, rate = of(stages), np.array(jobs, float), np.array(rates)
    for dtype in (np.float64, np.float32):
        moved = np.asarray(
            cells.drain(start, waiting.astype(dtype), rate.astype(dtype), OWN, np.asarray(uniform, dtype))
        )
        assert moved.sum() == 0
        draining, active = np.asarray(start.draining), np.asarray(start.active)
        assert (moved[~OWN | ~(draining | active)] == 0).all()
        assert (moved[active] >= 0).all()
        served = OWN & active & (rate.astype(dtype) > 0)
        given_away = np.minimum(waiting, 64) * (OWN & draining) * served.any()
        np.testing.assert_array_equal(moved[draining], -given_away[draining])
        fair = given_away.sum() * np.where(served, rate, 0) / max(rate[served].sum(), 1e-300)
        assert (np.abs(moved - fair)[served] < 1 + 1e-3).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_a_life_of_work_loses_no_job_and_breaks_no_rule(seed: int, founders: int) -> None:
    """Work arrives in bursts, fields are arbitrary, every job is counted from arrival to completion."""
    rng = np.random.default_rng(seed)
    rules, dt = Rules(refractory_seconds=1.0, patience_seconds=1.0), 0.1
    alive = cells.founded(np.arange(SLOTS) < founders)
    backlog, arrived, served = np.zeros(SLOTS, int), 0, 0
    last_split = np.full(SLOTS, -np.inf)
    reached = False
    for tick in range(60):
        taking = np.asarray(alive.active) & OWN
        burst = np.where(taking, rng.poisson(rng.choice([0, 0, 3]), SLOTS), 0)
        arrived += int(burst.sum())
        backlog += burst
        done = np.minimum(backlog, rng.integers(0, 3, SLOTS))
        served += int(done.sum())
        backlog -= done
        backlog += np.asarray(cells.drain(alive, backlog.astype(float), np.ones(SLOTS), OWN, rng.random()))
        assert (backlog >= 0).all()
        u = rng.choice([0.01, 1.0, 2.5], SLOTS, p=[0.3, 0.4, 0.3])
        before = alive
        alive, found = cells.develop(
            rules, before, u, WARM, rng.choice([0.0, 9.0], SLOTS), backlog.astype(float), OWN, NOBODY, dt,
            rng.random(),
        )  # fmt: skip
        now, then = np.asarray(alive.stage), np.asarray(before.stage)
        parent, child = int(found.division.parent), int(found.division.child)
        if parent >= 0:
            assert OWN[parent] and then[parent] == Stage.ACTIVE
            assert OWN[child] and then[child] == Stage.FREE and now[child] == Stage.ACTIVE
            assert tick * dt - last_split[parent] >= 1.0 - 1e-9
            last_split[[parent, child]] = tick * dt
        born = (then == Stage.FREE) & (now != Stage.FREE)
        assert born.sum() == (parent >= 0)
        went = np.asarray(found.culled)
        np.testing.assert_array_equal(went, (then != Stage.FREE) & (now == Stage.FREE))
        assert (then[went] == Stage.DRAINING).all()
        assert not backlog[now == Stage.FREE].any()
        assert ((then == Stage.ACTIVE) & (now == Stage.DRAINING)).sum() == (int(found.drained) >= 0)
        np.testing.assert_allclose(np.asarray(found.division.activator)[OWN & (then > 0)].sum()
                                   + (found.division.activator[child] if child >= 0 else 0),
                                   u[OWN & (then > 0)].sum())  # fmt: skip
        active = int((OWN & (now == Stage.ACTIVE)).sum())
        reached |= active >= cells.LEAST_ACTIVE
        assert not reached or active >= cells.LEAST_ACTIVE
        assert now[6] == then[6]
        assert arrived == served + int(backlog.sum())


def test_jit_vmap_float32_and_no_recompilation() -> None:
    rng = np.random.default_rng(0)
    u, held = rng.uniform(0, 3, (4, SLOTS)), rng.integers(0, 2, (4, SLOTS)).astype(float)
    starts = [of(stages) for stages in ("aaaaa..", "aadda..", "a......", "aaaaaa.")]

    def one(start: Cells, u: Any, held: Any) -> Any:
        return cells.develop(Rules(), start, u, u, NOTHING, held, OWN, NOBODY, 0.1, 0.3)

    batch = jax.jit(jax.vmap(one))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts), u, held)
    compiled = None
    for i, start in enumerate(starts):
        single = one(start, u[i], held[i])
        jax.tree.map(lambda many, alone, i=i: np.testing.assert_array_equal(many[i], alone), batch, single)
        compiled = compiled or cells.develop._cache_size()
        assert cells.develop._cache_size() == compiled
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == float else leaf, starts[0])
    thin = (np.asarray(x, np.float32) for x in (u[0], u[0], NOTHING, held[0]))
    after, found = cells.develop(Rules(), narrow, *thin, OWN, NOBODY, 0.1, 0.3)
    assert after.refractory.dtype == after.idle.dtype == found.division.activator.dtype == jnp.float32
    assert after.stage.dtype == jnp.int8
    wide, _ = one(starts[0], u[0], held[0])
    assert picture(after) == picture(wide)
