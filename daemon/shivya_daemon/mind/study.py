"""One lesson: a search for laws that foretell what a service's own vertex senses next.

The history is cut in three. On the oldest third programs are bred and fitted, on the middle one they are
chosen, and only then is the newest third looked at: a law runs if its square error there is lower by a margin
than that of the law in use and that of "as before". A law in use that is worse there than "as before" goes.

Every compiled call is short (some 10 ms), and between two of them the caller is asked to breathe: XLA runs
all calls of a process on one pool, and on a single core a tick waits for the call that is under way.

Letters: K variables, N samples, P programs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from shivya_daemon.mind.lesson import HISTORY, LEAST, Lesson, Outcome
from shivya_daemon.mind.machine import listed, stacked
from shivya_daemon.mind.programs import AS_BEFORE, SENSES
from shivya_daemon.mind.traced import ahead, blank
from shivya_kernels.fitting import samples
from shivya_kernels.formula import text
from shivya_kernels.morphic import Program, evaluate
from shivya_kernels.polish import polish
from shivya_kernels.prediction import LAGS, names
from shivya_kernels.search import MAX_SAMPLES, Found, Population, population, search

LEARNED = 2
"""Wait and utilisation. Processor and memory are sampled once a second, and known of no other vertex."""

MARGIN = 0.05
"""Share by which a new law must lower the error."""

_GENERATIONS = 4
"""Of one lesson; the population goes on to the next."""

_FITTED = LEAST // 3 - 1
"""Samples that constants are fitted to."""

_LENGTH_PRICE = 1e-3
"""Logarithm of the error that an instruction must be worth."""

_VARIABLES = LAGS + 1 + len(SENSES)

Breathe = Callable[[], None]


@dataclass(frozen=True)
class _Sense:
    """The history of one sense, cut in three."""

    seen: Float[Array, "K N"]
    wanted: Float[Array, "N"]
    windows: Float[Array, "2 N"]
    """Share of each sample in the middle third and in the newest."""
    bred: NDArray[np.int64]
    """The numbers of the samples in the oldest third."""
    fitted: NDArray[np.int64]
    """Those in the oldest and the middle one."""


@dataclass(frozen=True)
class _Law:
    """A program and its mean square errors, infinite where it is not finite."""

    program: Program
    middle: float
    newest: float


@dataclass(frozen=True)
class _Calls:
    """What a lesson calls, compiled in float64 for programs of one capacity."""

    search: Callable[..., tuple[Population, Found]]
    _polish: Callable[..., tuple[Program, Float[Array, "2"]]]
    _errors: Callable[..., Float[Array, "2"]]

    def fit(self, history: _Sense, program: Program, seen: NDArray[Any], wanted: NDArray[Any]) -> _Law:
        """Fit the constants of a program to some samples, and judge it."""
        polished, errors = self._polish(program, seen, wanted, history.seen, history.wanted, history.windows)
        return _Law(polished, *np.asarray(errors).tolist())

    def judge(self, history: _Sense, program: Program) -> _Law:
        """Judge a program as it is."""
        errors = self._errors(program, history.seen, history.wanted, history.windows)
        return _Law(program, *np.asarray(errors).tolist())


@lru_cache(maxsize=1)
def _compiled(capacity: int) -> _Calls:
    """Compile, or load from the cache on disk; wants `jax.enable_x64`."""

    def samples_of(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.zeros((_VARIABLES, count)), np.zeros(count)

    law, founders = _row(stacked(AS_BEFORE, capacity), 0), population(_VARIABLES, capacity)
    whole = (*samples_of(HISTORY - 1), np.zeros((2, HISTORY - 1)))
    return _Calls(
        ahead(search, (founders, blank(Found)), jax.random.key(0), founders, *samples_of(MAX_SAMPLES)),
        ahead(_polish, (law, 0.0), law, *samples_of(_FITTED), *whole),
        ahead(_errors, 0.0, law, *whole),
    )


def study(capacity: int, seed: int, lesson: Lesson, breathe: Breathe) -> Outcome:
    """Search for better laws of `LEARNED` senses; programs have `capacity` instructions at most.

    The same lesson and seed give the same outcome. Calls `breathe` between compiled calls.
    """
    with jax.enable_x64(True):
        calls = _compiled(capacity)
        running = [_row(stacked(lesson.running, capacity), sense) for sense in range(len(SENSES))]
        populations = lesson.populations or (population(_VARIABLES, capacity),) * LEARNED
        dice = np.random.default_rng((seed, lesson.number))
        kept, ratios, past = list(populations), [1.0] * len(SENSES), [1.0] * len(SENSES)
        accepted = dropped = 0
        before = _row(stacked(AS_BEFORE, capacity), 0)
        for sense, history in enumerate(_cut(lesson.senses)):
            breathe()
            kept[sense], challenger = _challenge(calls, history, populations[sense], dice, breathe)
            as_before, law = calls.judge(history, before), calls.judge(history, running[sense])
            past[sense] = law.newest / as_before.newest if as_before.newest > 0.0 else 1.0
            if challenger.newest < (1.0 - MARGIN) * min(law.newest, as_before.newest):
                accepted += 1
                law = challenger
            elif law.newest > as_before.newest:
                dropped += 1
                law = as_before
            running[sense] = law.program
            ratios[sense] = law.newest / as_before.newest if as_before.newest > 0.0 else 1.0
        programs = tuple(listed(program) for program in running)
        texts = tuple(text(program, names(SENSES)) for program in running)
        return Outcome(programs, texts, tuple(ratios), accepted, dropped, tuple(kept), tuple(past))


def rehearse(capacity: int) -> None:
    """Compile all that a lesson needs."""
    study(capacity, 0, Lesson(np.zeros((LEAST, len(SENSES)), np.float32)), lambda: None)


def _cut(senses: NDArray[np.float32]) -> Iterator[_Sense]:
    """The histories of the learned senses, all of one length so that nothing is compiled twice."""
    # What came before the first tick is taken to have been as the first: so does the predictor's memory.
    missing = HISTORY - len(senses)
    rows = np.concatenate([np.repeat(senses[:1], missing, axis=0), senses]).astype(np.float64)
    seen, wanted = samples(jnp.asarray(rows))
    third = (len(senses) - 1) // 3
    place = np.arange(HISTORY - 1)
    newest, middle, oldest = (HISTORY - 1 - n * third for n in (1, 2, 3))
    windows = np.stack([(place >= middle) & (place < newest), place >= newest]) / third
    columns, targets = np.asarray(seen), np.asarray(wanted)
    for sense in range(LEARNED):
        yield _Sense(
            jnp.asarray(columns[:, :, sense]),
            jnp.asarray(targets[:, sense]),
            jnp.asarray(windows),
            np.arange(oldest, middle),
            np.arange(oldest, newest),
        )


def _challenge(
    calls: _Calls, history: _Sense, current: Population, dice: np.random.Generator, breathe: Breathe
) -> tuple[Population, _Law]:
    """The population some generations on, and the best of its laws and of the founders'."""
    seen, wanted = np.asarray(history.seen), np.asarray(history.wanted)
    key = jax.random.key(int(dice.integers(2**63)))
    for generation in range(_GENERATIONS):
        rows = np.sort(dice.choice(history.bred, MAX_SAMPLES, replace=False))
        draw = jax.random.fold_in(key, generation)
        current, found = calls.search(draw, current, seen[:, rows], wanted[rows])
        found.finite.block_until_ready()
        breathe()
    rows = np.sort(dice.choice(history.bred, _FITTED, replace=False))
    founders = population(_VARIABLES, current.incumbent.code.shape[0])
    best, least = None, math.inf
    for stack in (founders.survivors, current.survivors):
        for place in range(stack.length.shape[0]):
            law = calls.fit(history, _row(stack, place), seen[:, rows], wanted[rows])
            score = math.log(law.middle or math.ulp(0.0)) + _LENGTH_PRICE * int(law.program.length)
            if best is None or score < least:
                best, least = law, score
            breathe()
    assert best is not None
    rows = np.sort(dice.choice(history.fitted, _FITTED, replace=False))
    return current, calls.fit(history, best.program, seen[:, rows], wanted[rows])


def _polish(
    program: Program,
    fitting: Float[Array, "K F"],
    target: Float[Array, "F"],
    seen: Float[Array, "K N"],
    wanted: Float[Array, "N"],
    windows: Float[Array, "2 N"],
) -> tuple[Program, Float[Array, "2"]]:
    polished, _ = polish(program, fitting, target, jnp.ones_like(target))
    return polished, _errors(polished, seen, wanted, windows)


def _errors(
    program: Program, seen: Float[Array, "K N"], wanted: Float[Array, "N"], windows: Float[Array, "2 N"]
) -> Float[Array, "2"]:
    squares = (wanted - evaluate(program, seen)) ** 2
    errors = jnp.where(windows > 0.0, windows * squares, 0.0).sum(axis=1)
    return jnp.where(jnp.isfinite(errors), errors, jnp.inf)


def _row(stack: Program, place: int) -> Program:
    row: Program = jax.tree.map(lambda leaf: np.asarray(leaf)[place], stack)
    return row
