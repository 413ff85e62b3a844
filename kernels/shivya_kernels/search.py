"""Search for a better law: a generation of programs, polished, judged on samples they were not fitted to (the
seeds' hot-swapper).

One call makes one generation in one compiled program. Every candidate has its constants fitted on the earlier
part of the samples; the one with the best Bayesian information criterion there (Schwarz 1978) challenges the
incumbent on the later, held-out part, and replaces it only if its error there is lower by more than chance
explains (Diebold, Mariano 1995). A running program is never edited: what comes back is another one.

A candidate that is not sound, or not finite on any sample, has infinite error and never wins; nothing raises.
Letters: P survivors, I instructions (padded), K variables, N samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray

from shivya_kernels.morphic import Expression, Opcode, Program, compile_expression, evaluate
from shivya_kernels.polish import polish
from shivya_kernels.variation import vary

MAX_SAMPLES = 64
"""Samples of one call. With twice `SURVIVORS` candidates this bounds what a search costs."""

SURVIVORS = 16
"""Programs carried from one generation to the next; as many offspring are made of them."""

_HELD_OUT = 1.0 / 3.0
"""Share of the samples, the last ones, that no candidate is fitted to."""

_LEAST_HELD_OUT = 8
"""With fewer held-out samples nothing is accepted."""

_SIGNIFICANCE = 1.0
"""Standard errors by which the held-out error must fall."""

_LENGTH_PRICE = 1e-3
"""Nats that an instruction costs: between equals the shorter program wins."""

_SAME = 1e-6
"""Relative difference of scores below which two programs are taken to be the same law."""


class TooManySamples(ValueError):
    """A search was given more samples than one call may take."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Population:
    """What one generation leaves to the next."""

    incumbent: Program
    """The law in use. Not part of the stack below: it changes only by being replaced."""
    survivors: Program
    """P programs, stacked, the best first."""


class Found(NamedTuple):
    """What a generation came to."""

    accepted: Bool[Array, ""]
    """The challenger replaced the incumbent."""
    error: Float[Array, ""]
    """Mean square error of the incumbent that goes on, on the held-out samples."""
    previous_error: Float[Array, ""]
    """That of the incumbent that came in, on the same samples."""
    finite: Int32[Array, ""]
    """Candidates that were finite on the samples they were fitted to."""


class _Judged(NamedTuple):
    """Errors of one program on the held-out samples."""

    squares: Float[Array, "N"]
    """Weighted square errors, zero elsewhere."""
    mean: Float[Array, ""]


def population(variables: int, capacity: int = 32) -> Population:
    """The first population: the incumbent predicts "as before", which is variable 0.

    The survivors are linear laws in one, two and more variables, all equal to the incumbent until their
    constants are fitted. `capacity` is the instructions that a program may have.
    """
    expressions = list(islice(_founders(variables, capacity), SURVIVORS))
    expressions += [("var", 0)] * (SURVIVORS - len(expressions))
    programs = [compile_expression(expression, capacity) for expression in expressions]
    return Population(programs[0], jax.tree.map(lambda *parts: jnp.stack(parts), *programs))


def search(
    key: PRNGKeyArray,
    current: Population,
    variables: Float[ArrayLike, "K N"],
    target: Float[ArrayLike, "N"],
    weight: Float[ArrayLike, "N"] | None = None,
) -> tuple[Population, Found]:
    """One generation: 16 survivors and 16 offspring on up to 64 samples, the samples in order of time.

    `weight` >= 0 per sample, 0 for padding. The last third of the samples that have weight is held out.
    Computes in the float type of the programs. Raises TooManySamples.
    """
    dtype = current.incumbent.constants.dtype
    values, wanted = jnp.asarray(variables, dtype), jnp.asarray(target, dtype)
    if wanted.shape[-1] > MAX_SAMPLES:
        raise TooManySamples(
            f"{wanted.shape[-1]} samples, and one search takes {MAX_SAMPLES}: thin out the window"
        )
    weights = jnp.ones_like(wanted) if weight is None else jnp.asarray(weight, dtype)
    found: tuple[Population, Found] = _search(key, current, values, wanted, weights)
    return found


@jax.jit
def _search(
    key: PRNGKeyArray, current: Population, variables: Array, target: Array, weight: Array
) -> tuple[Population, Found]:
    fitting, held = _split(weight)
    candidates = _candidates(key, current.survivors, variables.shape[0])
    # One program after the other: each then runs for its own length only, over all samples at once.
    polished, errors = lax.map(lambda one: polish(one, variables, target, fitting), candidates)
    scores = _scores(polished, errors, fitting)
    ranked: Program = jax.tree.map(lambda stack: stack[jnp.argsort(scores)], polished)
    challenger: Program = jax.tree.map(lambda stack: stack[0], ranked)

    before = _judge(current.incumbent, variables, target, held)
    after = _judge(challenger, variables, target, held)
    accepted = _convinces(before, after, held)
    incumbent: Program = jax.tree.map(
        lambda new, old: jnp.where(accepted, new, old), challenger, current.incumbent
    )
    survivors: Program = jax.tree.map(lambda stack: stack[:SURVIVORS], ranked)
    found = Found(
        accepted,
        jnp.where(accepted, after.mean, before.mean),
        before.mean,
        jnp.isfinite(errors).sum(dtype=jnp.int32),
    )
    return Population(incumbent, survivors), found


def _candidates(key: PRNGKeyArray, survivors: Program, variables: int) -> Program:
    """The survivors, and as many variations of parents that won a tournament of two."""
    choose, other, work = jax.random.split(key, 3)
    # Survivors are ranked, so the lower of two numbers is the winner.
    parents = jax.random.randint(choose, (2, SURVIVORS), 0, SURVIVORS).min(axis=0)
    donors = jax.random.randint(other, (SURVIVORS,), 0, SURVIVORS)

    def take(places: Array) -> Program:
        taken: Program = jax.tree.map(lambda stack: stack[places], survivors)
        return taken

    keys = jax.random.split(work, SURVIVORS)
    offspring = jax.vmap(partial(vary, variables=variables))(keys, take(parents), take(donors))
    joined: Program = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), survivors, offspring)
    return joined


def _split(weight: Float[Array, "N"]) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
    """The weights of the samples to fit, and of those held out: the last third of those that count."""
    present = weight > 0.0
    place = jnp.cumsum(present)
    early = place <= jnp.ceil((1.0 - _HELD_OUT) * present.sum())
    return jnp.where(early, weight, 0.0), jnp.where(present & ~early, weight, 0.0)


def _scores(programs: Program, errors: Float[Array, "C"], fitting: Float[Array, "N"]) -> Float[Array, "C"]:
    """Bayesian information criterion per sample, in nats; infinite for a law that is there already."""
    count = jnp.maximum((fitting > 0.0).sum(), 2).astype(errors.dtype)
    in_use = jnp.arange(programs.code.shape[1]) < programs.length[:, None]
    constants = ((programs.code[..., 0] == Opcode.CONST) & in_use).sum(axis=1)
    price = constants * jnp.log(count) / count + _LENGTH_PRICE * programs.length
    scores = jnp.log(errors + float(np.finfo(errors.dtype).tiny)) + price
    close = jnp.abs(scores[:, None] - scores) <= _SAME
    earlier = jnp.arange(scores.shape[0])[:, None] > jnp.arange(scores.shape[0])
    return jnp.where((close & earlier).any(axis=1) | ~jnp.isfinite(errors), jnp.inf, scores)


def _judge(program: Program, variables: Array, target: Array, held: Float[Array, "N"]) -> _Judged:
    miss = target - evaluate(program, variables)
    squares = jnp.where(held > 0.0, jnp.where(jnp.isfinite(miss), held * miss**2, jnp.inf), 0.0)
    return _Judged(squares, squares.sum() / jnp.maximum(held.sum(), 1.0))


def _convinces(before: _Judged, after: _Judged, held: Float[Array, "N"]) -> Bool[Array, ""]:
    """The mean gain is positive and beyond its standard error, or the incumbent is not finite at all."""
    counted = held > 0.0
    count = counted.sum()
    gain = jnp.where(counted, before.squares - after.squares, 0.0)
    mean = gain.sum() / jnp.maximum(count, 1)
    variance = jnp.where(counted, (gain - mean) ** 2, 0.0).sum() / jnp.maximum(count - 1, 1)
    clear = (mean > 0.0) & (mean > _SIGNIFICANCE * jnp.sqrt(variance / jnp.maximum(count, 1)))
    return (count >= _LEAST_HELD_OUT) & jnp.isfinite(after.mean) & (clear | ~jnp.isfinite(before.mean))


def _founders(variables: int, capacity: int) -> Iterator[Expression]:
    """ "As before", and linear laws that begin as it."""
    yield ("var", 0)
    subsets = [
        [0],
        *([0, k] for k in range(1, variables)),
        *(list(range(n)) for n in range(3, variables + 1)),
    ]
    for subset in subsets:
        if 4 * len(subset) + 1 <= capacity:
            yield _linear(subset)


def _linear(variables: list[int]) -> Expression:
    """1 x0 + 0 x1 + ... + 0: a sum of weighted variables and a constant, to be fitted."""
    total: Expression = ("const", 0.0)
    for k in variables:
        total = ("add", total, ("mul", ("const", 0.0 if k else 1.0), ("var", k)))
    return total
