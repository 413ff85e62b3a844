"""Laws fitted to a recorded trace by the live search, and judged on what the search never saw.

Letters: T ticks, S senses, I instructions, K variables, N samples.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from shivya_kernels import prediction
from shivya_kernels.morphic import Program, evaluate
from shivya_kernels.polish import polish
from shivya_kernels.search import MAX_SAMPLES, Population, population, search
from shivya_kernels.shapes import as_float


class TraceTooShort(ValueError):
    """A trace has too few ticks to search on two thirds of it."""


class Fitted(NamedTuple):
    """The law of each sense, and what it is worth."""

    laws: Program
    """Stacked [S]."""
    ratio: Float[Array, "S"]
    """Mean square error over that of "as before", on the last third of the trace: below 1 is better."""
    accepted: Int32[Array, "S"]
    """How often the live search replaced an incumbent."""


def fit(trace: Float[ArrayLike, "T S"], key: PRNGKeyArray, rounds: int = 50, capacity: int = 32) -> Fitted:
    """Runs `rounds` generations per sense on the first two thirds of a trace of one vertex.

    Each round searches on 64 ticks drawn from the earlier half of them, in order. A window of 64 shows only
    large gains, so all survivors are then fitted to that whole half and judged on the later one; of all laws
    judged the one with the least error there is kept, "as before" among them. The last third of the trace is
    seen by nothing but the ratio. Raises TraceTooShort below 194 ticks, and ValueError for a trace that is
    not finite.
    """
    observed = as_float(trace)
    if observed.shape[0] < _least_ticks():
        raise TraceTooShort(f"{observed.shape[0]} ticks; record at least {_least_ticks()}")
    if not bool(jnp.isfinite(observed).all()):
        raise ValueError("the trace holds NaN or infinity: leave out the ticks that were not observed")
    seen, wanted = samples(observed)
    start = population(seen.shape[0], capacity)
    found: Fitted = _fit(seen, wanted, key, start, rounds)
    return found


@jax.jit
def samples(trace: Float[Array, "T S"]) -> tuple[Float[Array, "K N S"], Float[Array, "N S"]]:
    """What the laws saw at each tick of a trace of one vertex, and what came next: N = T - 1 of them."""
    always = jnp.ones(1, bool)

    def observe(memory: prediction.Memory, row: Array) -> tuple[prediction.Memory, Array]:
        memory = prediction.remember(memory, row[None], always, always)
        return memory, prediction.variables(memory)[:, 0]

    nothing = prediction.forget(1, trace.shape[1], trace.dtype)
    first = prediction.remember(nothing, trace[:1], always, ~always)
    _, rest = lax.scan(observe, first, trace[1:-1])
    seen = jnp.concatenate([prediction.variables(first)[None, :, 0], rest])
    return jnp.moveaxis(seen, 0, 1), trace[1:]


@partial(jax.jit, static_argnames="rounds")
def _fit(
    seen: Float[Array, "K N S"],
    wanted: Float[Array, "N S"],
    key: PRNGKeyArray,
    start: Population,
    rounds: int,
) -> Fitted:
    count = wanted.shape[0]
    training, fitting = 2 * count // 3, count // 3

    def error(law: Program, variables: Array, target: Array) -> Array:
        found = jnp.mean((target - evaluate(law, variables)) ** 2)
        return jnp.where(jnp.isfinite(found), found, jnp.inf)

    def one_sense(given: tuple[Array, Array, PRNGKeyArray]) -> Fitted:
        variables, target, own_key = given
        first = start.incumbent
        early, late = slice(None, fitting), slice(fitting, training)
        alike = jnp.ones(fitting, target.dtype)

        def judge(law: Program) -> tuple[Program, Array]:
            fitted, _ = polish(law, variables[:, early], target[early], alike)
            return fitted, error(fitted, variables[:, late], target[late])

        least = error(first, variables[:, late], target[late])

        def choose(laws: Program, best: Program, best_error: Array) -> tuple[Program, Array]:
            judged, errors = lax.map(judge, laws)
            here = jnp.argmin(errors)
            better = errors[here] < best_error
            chosen: Program = jax.tree.map(lambda new, old: jnp.where(better, new[here], old), judged, best)
            return chosen, jnp.minimum(errors[here], best_error)

        def one_round(
            carry: tuple[Population, Program, Array], round_key: PRNGKeyArray
        ) -> tuple[tuple[Population, Program, Array], Array]:
            current, best, best_error = carry
            draw, work = jax.random.split(round_key)
            rows = jnp.sort(jax.random.choice(draw, fitting, (MAX_SAMPLES,), replace=False))
            current, found = search(work, current, variables[:, rows], target[rows])
            best, best_error = choose(current.survivors, best, best_error)
            return (current, best, best_error), found.accepted

        founder = choose(start.survivors, first, least)
        (_, law, _), accepted = lax.scan(one_round, (start, *founder), jax.random.split(own_key, rounds))
        ours = error(law, variables[:, training:], target[training:])
        theirs = error(first, variables[:, training:], target[training:])
        # On a still trace "as before" makes no error, and no law can do better.
        ratio = jnp.where(
            theirs > 0.0, ours / jnp.where(theirs > 0.0, theirs, 1.0), jnp.where(ours > 0.0, jnp.inf, 1.0)
        )
        return Fitted(law, ratio, accepted.sum(dtype=jnp.int32))

    keys = jax.random.split(key, wanted.shape[1])
    fitted: Fitted = lax.map(one_sense, (jnp.moveaxis(seen, -1, 0), wanted.T, keys))
    return fitted


def _least_ticks() -> int:
    """A third of the samples fills a search, and a sample is a tick and the next one."""
    return 3 * MAX_SAMPLES + 2
