"""The search for laws: it finds them, it accepts nothing by accident, and it leaves what runs alone."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shivya_kernels import fitting, formula, morphic, prediction, variation
from shivya_kernels.morphic import Opcode, Program
from shivya_kernels.polish import polish
from shivya_kernels.search import MAX_SAMPLES, SURVIVORS, Population, TooManySamples, population, search

CAPACITY = 32
VARIABLES = 4


def autoregressive(ticks: int, *weights: float, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.ones(ticks)
    for t in range(len(weights), ticks):
        x[t] = 0.3 + sum(w * x[t - 1 - k] for k, w in enumerate(weights)) + noise * rng.normal()
    return x


def lagged(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last four values at each tick, the latest first, and what came next."""
    return np.stack([x[3:-1], x[2:-2], x[1:-3], x[:-4]]), x[4:]


def generations(x: np.ndarray, rounds: int, seed: int = 0) -> tuple[Population, list[bool]]:
    seen, target = lagged(x)
    rng = np.random.default_rng(seed)
    current, accepted = population(VARIABLES, CAPACITY), []
    for r in range(rounds):
        rows = np.sort(rng.choice(len(target), MAX_SAMPLES, replace=False))
        current, found = search(jax.random.key(1000 * seed + r), current, seen[:, rows], target[rows])
        accepted.append(bool(found.accepted))
    return current, accepted


def same(one: Program, other: Program) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


@pytest.fixture(scope="module")
def bred() -> Program:
    """Hundreds of programs, stacked: generations of variations of variations."""
    stack = population(VARIABLES, CAPACITY).survivors
    breed = jax.jit(jax.vmap(partial(variation.vary, variables=VARIABLES)))
    kept = [stack]
    for generation in range(25):
        keys = jax.random.split(jax.random.key(generation), SURVIVORS)
        donors = jax.tree.map(partial(jnp.roll, shift=1 + generation % 5, axis=0), stack)
        stack = breed(keys, stack, donors)
        kept.append(stack)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *kept)


def test_every_variation_is_sound_and_within_capacity(bred: Program) -> None:
    assert jax.vmap(lambda p: morphic.is_sound(p, VARIABLES))(bred).all()
    assert bred.length.min() >= 1 and CAPACITY // 2 < bred.length.max() <= CAPACITY
    used = np.arange(CAPACITY) < np.asarray(bred.length)[:, None]
    assert set(np.asarray(bred.code)[..., 0][used]) == set(Opcode)
    assert not np.asarray(bred.code)[~used].any() and not np.asarray(bred.constants)[~used].any()
    texts = {formula.text(jax.tree.map(lambda leaf, i=i: leaf[i], bred)) for i in range(0, 400, 3)}
    assert len(texts) > 60


def test_compacting_changes_no_value_and_leaves_nothing_idle(bred: Program) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (VARIABLES, 5))
    cut = jax.vmap(lambda p: Program(p.code, p.constants, (p.length + 1) // 2))(bred)
    compacted = jax.vmap(variation.compact)(cut)
    run = jax.vmap(lambda p: morphic.evaluate(p, x))
    np.testing.assert_array_equal(run(cut), run(compacted))
    assert (compacted.length <= cut.length).all() and (compacted.length < cut.length).any()
    again = jax.vmap(variation.compact)(compacted)
    assert same(again, compacted)


def test_polishing_finds_the_least_squares_constants() -> None:
    seen, target = lagged(autoregressive(64, 1.2, -0.5))
    law = (
        "add",
        ("const", 0.0),
        ("add", ("mul", ("const", 1.0), ("var", 0)), ("mul", ("const", 0.0), ("var", 1))),
    )
    program = morphic.compile_expression(law, CAPACITY)
    weight = np.ones(len(target))
    weight[-20:] = 0.0
    polished, error = polish(program, seen, target, weight, steps=12)
    design = np.stack([np.ones(40), seen[0, :40], seen[1, :40]], axis=1)
    best, squares, *_ = np.linalg.lstsq(design, target[:40])
    found = np.asarray(polished.constants)[np.asarray(program.code)[:, 0] == Opcode.CONST][:3]
    np.testing.assert_allclose(found, best, rtol=1e-4)
    np.testing.assert_allclose(error, squares[0] / 40, rtol=1e-8)
    assert same(Program(polished.code, program.constants, polished.length), program)


def test_polishing_fits_constants_inside_an_exponential() -> None:
    x = np.linspace(0.0, 2.0, 50)[None]
    law = ("mul", ("const", 1.0), ("exp", ("mul", ("const", -0.2), ("var", 0))))
    program = morphic.compile_expression(law, CAPACITY)
    polished, error = polish(program, x, 3.0 * np.exp(-0.9 * x[0]), np.ones(50), steps=15)
    assert error < 1e-20
    np.testing.assert_allclose(np.asarray(polished.constants)[[0, 1]], [3.0, -0.9], rtol=1e-8)


def test_polishing_never_makes_worse_and_marks_what_is_not_finite(bred: Program) -> None:
    seen, target = lagged(autoregressive(64, 0.9))
    weight = np.ones(len(target))

    def both(program: Program) -> tuple[jax.Array, jax.Array]:
        _, error = polish(program, seen, target, weight)
        return jnp.mean((target - morphic.evaluate(program, seen)) ** 2), error

    before, after = map(np.asarray, jax.jit(partial(jax.lax.map, both))(bred))
    assert not np.isnan(after).any()
    before = np.where(np.isfinite(before), before, np.inf)
    assert (after <= before * (1 + 1e-9)).all()


def test_search_finds_the_law_of_an_autoregressive_process() -> None:
    x = autoregressive(1200, 1.2, -0.5)
    seen, target = lagged(x)
    found, accepted = generations(x[:800], 25)
    assert any(accepted)
    unseen = slice(800, None)
    error = np.mean((target - morphic.evaluate(found.incumbent, seen))[unseen] ** 2)
    before = np.mean((target - seen[0])[unseen] ** 2)
    # The noise alone is .74 of the error of "as before".
    assert error < 0.85 * before


def test_on_a_random_walk_as_before_is_all_but_kept() -> None:
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.normal(size=900))
    seen, target = lagged(x)
    found, _ = generations(x[:600], 25)
    error = np.mean((target - morphic.evaluate(found.incumbent, seen))[600:] ** 2)
    assert error < 1.1 * np.mean((target - seen[0])[600:] ** 2)


def test_what_fits_the_past_but_not_the_held_out_samples_is_refused() -> None:
    # The sign of the process turns where the held-out third begins.
    rng = np.random.default_rng(4)
    seen = rng.normal(size=(VARIABLES, MAX_SAMPLES))
    target = np.where(np.arange(MAX_SAMPLES) < 43, -1.0, 1.0) * seen[0]
    start = population(VARIABLES, CAPACITY)
    after, found = search(jax.random.key(0), start, seen, target)
    assert not found.accepted
    assert same(after.incumbent, start.incumbent)
    assert found.error == found.previous_error == 0.0


def test_the_reported_errors_are_those_of_the_held_out_samples() -> None:
    seen, target = lagged(autoregressive(68, 0.2))
    start = population(VARIABLES, CAPACITY)
    after, found = search(jax.random.key(0), start, seen, target)
    assert found.accepted
    for law, reported in ((start.incumbent, found.previous_error), (after.incumbent, found.error)):
        miss = target - np.asarray(morphic.evaluate(law, seen))
        np.testing.assert_allclose(reported, np.mean(miss[43:] ** 2), rtol=1e-9)
    assert found.error < found.previous_error


def test_weightless_samples_count_for_nothing_and_few_samples_change_nothing() -> None:
    seen, target = lagged(autoregressive(68, 0.2))
    start = population(VARIABLES, CAPACITY)
    weight = np.arange(MAX_SAMPLES) < 40
    spoilt = np.where(weight, target, 1e6)
    key = jax.random.key(5)
    one, first = search(key, start, seen, np.where(weight, target, 0.0), weight.astype(float))
    other, second = search(key, start, seen, spoilt, weight.astype(float))
    assert same(one.incumbent, other.incumbent) and first.error == second.error
    few = (np.arange(MAX_SAMPLES) < 20).astype(float)
    _, found = search(key, start, seen, target, few)
    assert not found.accepted
    _, found = search(key, start, seen, target, np.zeros(MAX_SAMPLES))
    assert not found.accepted and np.isfinite(found.error)
    with pytest.raises(TooManySamples, match="64"):
        search(key, start, np.zeros((VARIABLES, 65)), np.zeros(65))


def test_programs_that_are_not_finite_or_not_sound_never_win() -> None:
    seen, target = lagged(autoregressive(68, 0.2))
    start = population(VARIABLES, CAPACITY)
    huge = morphic.compile_expression(("exp", ("exp", ("exp", ("const", 9.0)))), CAPACITY)
    broken = Program(huge.code.at[0, 0].set(77), huge.constants, jnp.asarray(900, jnp.int32))
    stack = [huge, broken] * (SURVIVORS // 2)
    poisoned = Population(start.incumbent, jax.tree.map(lambda *parts: jnp.stack(parts), *stack))
    after, found = search(jax.random.key(0), poisoned, seen, target)
    assert found.finite <= SURVIVORS
    assert np.isfinite(morphic.evaluate(after.incumbent, seen)).all()
    # The other way round, any law is better than one that gives no number.
    healed, found = search(jax.random.key(0), Population(broken, start.survivors), seen, target)
    assert found.accepted and np.isinf(found.previous_error)
    assert np.isfinite(morphic.evaluate(healed.incumbent, seen)).all()


def test_a_key_determines_the_generation_and_a_generation_compiles_once() -> None:
    from shivya_kernels.search import _search

    seen, target = lagged(autoregressive(68, 0.5))
    start = population(VARIABLES, CAPACITY)
    one, _ = search(jax.random.key(1), start, seen, target)
    compiled = _search._cache_size()
    again, _ = search(jax.random.key(1), start, seen, target)
    other, _ = search(jax.random.key(2), one, seen, target)
    assert _search._cache_size() == compiled
    assert same(one.survivors, again.survivors) and not same(one.survivors, other.survivors)


def test_float32_programs_stay_float32_and_fit_as_well() -> None:
    seen, target = lagged(autoregressive(68, 0.2))
    start = population(VARIABLES, CAPACITY)
    narrow = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, start
    )
    after, found = search(jax.random.key(0), narrow, seen, target)
    assert (
        after.incumbent.constants.dtype == after.survivors.constants.dtype == found.error.dtype == jnp.float32
    )
    _, wide = search(jax.random.key(0), start, seen, target)
    assert found.accepted and wide.accepted
    np.testing.assert_allclose(found.error, wide.error, rtol=0.05)


def test_memory_holds_the_last_four_and_predicts_as_before() -> None:
    rng = np.random.default_rng(0)
    series = rng.uniform(size=(6, 3, 2))
    memory = prediction.forget(3, 2, jnp.dtype(jnp.float64))
    known = np.zeros(3, bool)
    for t, row in enumerate(series):
        seen = np.array([True, t != 4, t >= 3])
        memory = prediction.remember(memory, row, seen, known)
        known |= seen
    np.testing.assert_array_equal(memory.recent[:, 0], series[[5, 4, 3, 2], 0])
    np.testing.assert_array_equal(memory.recent[:, 1], series[[5, 3, 2, 1], 1])
    np.testing.assert_array_equal(memory.recent[:, 2], series[[5, 4, 3, 3], 2])
    assert (np.asarray(memory.slow) >= series.min(0)).all() and (
        np.asarray(memory.slow) <= series.max(0)
    ).all()
    seen = prediction.variables(memory)
    assert seen.shape == (4 + 1 + 2, 3, 2)
    np.testing.assert_array_equal(seen[5, :, 1], series[5, :, 0])
    laws = [morphic.compile_expression(law, CAPACITY) for law in (("var", 0), ("exp", ("const", 1e3)))]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *laws)
    np.testing.assert_array_equal(prediction.predict(stacked, memory), series[5])
    slope = jax.grad(lambda m: prediction.predict(stacked, m).sum())(memory)
    np.testing.assert_array_equal(slope.recent[0], np.ones((3, 2)))


def test_a_law_sees_in_a_trace_what_it_sees_live() -> None:
    trace = np.random.default_rng(1).uniform(size=(9, 2))
    seen, wanted = fitting.samples(jnp.asarray(trace))
    np.testing.assert_array_equal(wanted, trace[1:])
    memory = prediction.forget(1, 2, jnp.dtype(jnp.float64))
    for t in range(8):
        memory = prediction.remember(memory, trace[t : t + 1], np.array([True]), np.array([t > 0]))
        np.testing.assert_allclose(seen[:, t], prediction.variables(memory)[:, 0], rtol=1e-14)


def test_fitting_a_trace_beats_as_before_where_there_is_a_law() -> None:
    ticks = np.arange(900)
    rng = np.random.default_rng(2)
    reverting = autoregressive(900, 0.5, seed=2)
    season = np.sin(2 * np.pi * ticks / 40) + 0.05 * rng.normal(size=900)
    walk = np.cumsum(0.1 * rng.normal(size=900))
    fitted = fitting.fit(
        np.stack([reverting, season, walk, np.full(900, 0.7)], axis=1), jax.random.key(0), 30
    )
    ratio = np.asarray(fitted.ratio)
    # What is possible: (1 + .5) / 2 for the first; the walk and the constant leave nothing to be gained.
    assert ratio[0] < 0.82
    assert ratio[1] < 0.5
    assert ratio[2] < 1.1
    assert ratio[3] == 1.0
    assert (fitted.accepted[:2] > 0).all() and fitted.accepted[3] == 0


def test_a_trace_that_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(fitting.TraceTooShort, match="194"):
        fitting.fit(np.zeros((193, 1)), jax.random.key(0), 1)
    with pytest.raises(ValueError, match="NaN"):
        fitting.fit(np.full((194, 1), np.nan), jax.random.key(0), 1)
    assert fitting.fit(np.zeros((194, 1)), jax.random.key(0), 1).ratio == 1.0
