"""State spaces that grow when surprised and shrink when they can (the seeds' autotelic expansion).

An agent has ``base`` permanent dimensions and, up to its capacity, grown ones. A grown dimension is a factor
x_d ~ N(0, variance), drawn afresh at each observation, that moves the senses together along its coupling
column c_d. With A the covariance that the agent predicts for its prediction error r, grown columns included,
a window of n errors speaks for dimension d, against the same model without it, by

    ln B_d = 1/2 [ v / (1 - s_d) sum_n (c_d^T A^-1 r_n)^2 + n ln(1 - s_d) ],   s_d = v c_d^T A^-1 c_d

nats: the exact difference of log evidence (rank-one update of a Gaussian; the Savage-Dickey ratio of
Dickey 1971). Growth and shrinking both read this one number, which makes shrinking a Bayesian model
reduction (Friston, Parr, Zeidman 2018).

    novelty (the mean of the last three free energies above a threshold) starts a trial: one more dimension,
        coupled along the direction for which the window's evidence rises most steeply;
    the trial is judged on the window of observations that came after it: the dimension stays only if they
        speak for it by ``margin`` nats;
    a grown dimension that the window does not speak for is removed;
    after each of these the vertex rests for a refractory time, and never holds more than ``cap``.

The seeds grow at every surprise, and so without bound wherever surprise cannot be reduced.

All state is per vertex and padded; times are counted in observations of that vertex.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, UInt32

from shivya_kernels.beliefs import Agent
from shivya_kernels.complex import DimensionMismatch
from shivya_kernels.linalg import Stabilised, solve_lower, stabilise
from shivya_kernels.shapes import as_float
from shivya_kernels.status import Status, flag

NO_TRIAL = -1
"""No dimension is on trial."""

RECENT = 3
"""Free energies whose mean is the novelty."""

_LARGEST = 1e12
"""An error or a free energy beyond this is not recorded: its square overflows in float32."""

_SQUARINGS = 10
"""The leading direction is found to the 1024th power of the ratio of eigenvalues: near ties may go either
way, and the trial judges whichever came out."""


class GrowthRule(NamedTuple):
    """When to grow and how much. Numbers or scalar arrays; none of them recompiles."""

    novelty: ArrayLike = 5.0
    """Nats of mean recent free energy above which a vertex is surprised."""
    margin: ArrayLike = 3.0
    """Nats by which the window must speak for a dimension on trial: 20 to 1, strong (Kass, Raftery 1995)."""
    coupling: ArrayLike = 0.05
    """Root mean square entry of a grown column: what one unit of the factor moves each sense by."""
    variance: ArrayLike = 10.0
    """Prior variance of a grown dimension."""
    refractory: ArrayLike = 100
    """Observations of rest after a decision."""
    cap: ArrayLike = 4
    """Most grown dimensions of a vertex, if its capacity holds as many."""


DEFAULT_RULE = GrowthRule()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GrowthState:
    """What the next observation needs; made by ``init``, replaced by ``update``."""

    errors: Float[Array, "V N S"]
    """Ring buffer of prediction errors of the permanent dimensions, at most the last N."""
    energies: Float[Array, "V 3"]
    """The last free energies in nats, newest last."""
    coupling: Float[Array, "V S D"]
    """Column of each grown dimension; a column of zeros is a dimension not grown."""
    seen: Int[Array, "V"]
    """Errors recorded; wraps from 2 N to N, so that its remainder by N is always the next place."""
    trial: Int[Array, "V"]
    """The dimension on trial, or ``NO_TRIAL``."""
    rest: Int[Array, "V"]
    """Observations until the next decision: the verdict of the trial, or the end of the refractory time."""


class GrowthInfo(NamedTuple):
    """What one update found and did."""

    novel: Bool[Array, "V"]
    """Surprised and rested: starts a search for a better law, and a trial if there is room."""
    started: Bool[Array, "V"]
    """A trial began."""
    kept: Bool[Array, "V"]
    """A trial ended and its dimension stays."""
    removed: Bool[Array, "V"]
    """A dimension went: its trial failed, or the window no longer speaks for it."""
    evidence: Float[Array, "V D"]
    """Nats by which the window speaks for each grown dimension; 0 for the others, or if nothing is due."""
    dimensions: Int[Array, "V"]
    """Dimensions in use, permanent and grown."""
    status: UInt32[Array, "V"]
    """Status bits."""


def init(vertices: int, senses: int, dimensions: int, *, window: int = 16, dtype: Any = None) -> GrowthState:
    """Nothing grown and nothing seen: a ring of ``window`` errors for each vertex. Float type in force unless
    given.

    Raises DimensionMismatch when the window holds fewer observations than novelty averages over.
    """
    if window < RECENT:
        raise DimensionMismatch(f"the window needs at least {RECENT} observations, got {window}")
    dtype = dtype or jnp.result_type(float)
    return GrowthState(
        errors=jnp.zeros((vertices, window, senses), dtype),
        energies=jnp.zeros((vertices, RECENT), dtype),
        coupling=jnp.zeros((vertices, senses, dimensions), dtype),
        seen=jnp.zeros(vertices, jnp.int32),
        trial=jnp.full(vertices, NO_TRIAL, jnp.int32),
        rest=jnp.zeros(vertices, jnp.int32),
    )


@partial(jax.jit, static_argnames="base")
def extend(
    agent: Agent, coupling: Float[ArrayLike, "S D"], *, base: int, variance: ArrayLike = DEFAULT_RULE.variance
) -> Agent:
    """The agent with its dimensions from ``base`` on replaced: N(0, variance) and coupled where grown, else
    N(0, 1) and sensed by nothing, which leaves mean and free energy of the others untouched.

    For one vertex; ``vmap`` for several. The arrays of the agent have the capacity D.
    """
    columns = as_float(coupling)
    permanent = jnp.arange(columns.shape[1]) < base
    own_variance = jnp.where(_grown(columns), jnp.asarray(variance, columns.dtype), 1.0)
    return replace(
        agent,
        mu_prior=jnp.where(permanent, agent.mu_prior, 0.0),
        sigma_prior=jnp.where(
            permanent[:, None] & permanent[None, :], agent.sigma_prior, jnp.diag(own_variance)
        ),
        G=jnp.where(permanent[None, :], agent.G, columns),
    )


@jax.jit
def evidence(
    errors: Float[ArrayLike, "N S"],
    valid: Bool[ArrayLike, "N"],
    covariance: Float[ArrayLike, "S S"],
    coupling: Float[ArrayLike, "S D"],
    variance: ArrayLike = DEFAULT_RULE.variance,
) -> Float[Array, "D"]:
    """ln B of each dimension over the valid errors, in nats: above 0 they speak for it. Exactly 0 where the
    column is 0. ``covariance`` is what the permanent dimensions predict; see the module for the formula."""
    columns = as_float(coupling)
    model = _model(as_float(covariance), columns, variance)
    whitened = _whiten(model, as_float(errors), jnp.asarray(valid, bool))
    return _evidence(model, whitened, jnp.asarray(valid, bool).sum(), columns, variance)


@partial(jax.jit, static_argnames="base")
def update(
    state: GrowthState,
    error: Float[ArrayLike, "V S"],
    covariance: Float[ArrayLike, "V S S"],
    free_energy: Float[ArrayLike, "V"],
    sensed: Bool[ArrayLike, "V"],
    present: Bool[ArrayLike, "V"],
    *,
    base: int,
    rule: GrowthRule = DEFAULT_RULE,
) -> tuple[GrowthState, GrowthInfo]:
    """One observation of every vertex sensed: record it, then start, judge or remove where that is due.

    ``error`` is the observation less what ``beliefs.predict`` expects of the permanent dimensions alone, and
    ``covariance`` what it expects of that error; ``free_energy`` in nats is that of the extended agent. A
    vertex not sensed keeps its state, one not present loses it. What is not finite, or beyond 1e12, is not
    recorded and sets NON_FINITE_INPUT.
    """
    errors, expected, energy = as_float(error), as_float(covariance), as_float(free_energy)
    listed = jnp.asarray(sensed, bool) & jnp.asarray(present, bool)
    sound = (jnp.abs(errors) <= _LARGEST).all(axis=1) & (jnp.abs(energy) <= _LARGEST)
    sound &= (jnp.abs(expected) <= _LARGEST).all(axis=(1, 2))
    heard = listed & sound
    state = jax.vmap(_record)(jax.vmap(_forget)(state, ~jnp.asarray(present, bool)), errors, energy, heard)

    due = heard & (state.rest == 0)
    judged = due & (state.trial != NO_TRIAL)
    ready = due & ~judged
    novel = ready & (state.seen >= RECENT) & (state.energies.mean(axis=1) > rule.novelty)
    grown = jax.vmap(_grown)(state.coupling)
    review = ready & grown.any(axis=1) & (state.seen >= state.errors.shape[1])
    asked = judged | novel | review
    # Most observations decide nothing, and then nothing is weighed.
    weighed = jax.lax.cond(
        asked.any(),
        jax.vmap(partial(_weigh, rule=rule)),
        jax.vmap(_unweighed),
        jnp.where(sound[:, None, None], expected, jnp.eye(errors.shape[1], dtype=expected.dtype)),
        state,
    )
    weighed = jax.tree.map(lambda leaf: jnp.where(_aligned(asked, leaf), leaf, 0), weighed)
    event = _Event(judged, novel, review)
    after, info = jax.vmap(partial(_decide, base=base, rule=rule))(state, event, weighed)
    bits = info.status | flag(listed & ~sound, Status.NON_FINITE_INPUT)
    counted = jnp.where(jnp.asarray(present, bool), info.dimensions, 0)
    return after, info._replace(status=bits, dimensions=counted)


class _Event(NamedTuple):
    """What is due for a vertex after an observation."""

    judged: Bool[Array, "*V"]
    """Its trial ends."""
    novel: Bool[Array, "*V"]
    """It is surprised."""
    review: Bool[Array, "*V"]
    """Its grown dimensions may be removed."""


class _Weighed(NamedTuple):
    """What the window says of a vertex's dimensions."""

    evidence: Float[Array, "*V D"]
    column: Float[Array, "*V S"]
    """The next column to try."""
    status: UInt32[Array, "*V"]


def _weigh(covariance: Float[Array, "S S"], state: GrowthState, *, rule: GrowthRule) -> _Weighed:
    valid = jnp.arange(state.errors.shape[0]) < state.seen
    model = _model(covariance, state.coupling, rule.variance)
    whitened, count = _whiten(model, state.errors, valid), valid.sum()
    return _Weighed(
        _evidence(model, whitened, count, state.coupling, rule.variance),
        _column(model, whitened, count, jnp.asarray(rule.coupling, whitened.dtype)),
        model.status,
    )


def _unweighed(_: Float[Array, "S S"], state: GrowthState) -> _Weighed:
    return _Weighed(jnp.zeros_like(state.coupling[0]), jnp.zeros_like(state.coupling[:, 0]), jnp.uint32(0))


def _aligned(mask: Bool[Array, "V"], leaf: Array) -> Bool[Array, "V ..."]:
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - 1))


def _decide(
    state: GrowthState, event: _Event, weighed: _Weighed, *, base: int, rule: GrowthRule
) -> tuple[GrowthState, GrowthInfo]:
    """Keep, remove or start, for one vertex: at most one of them."""
    window, dims = state.errors.shape[0], state.coupling.shape[1]
    grown = _grown(state.coupling)
    kept = event.judged & (weighed.evidence[state.trial] > rule.margin)
    weakest = jnp.argmin(jnp.where(grown, weighed.evidence, jnp.inf))
    idle = event.review & (weighed.evidence[weakest] <= 0.0)
    removed = (event.judged & ~kept) | idle
    free = (jnp.arange(dims) >= base) & ~grown
    started = event.novel & ~idle & free.any() & (grown.sum() < rule.cap)

    slot = jnp.argmax(free)
    gone = jnp.where(event.judged, state.trial, weakest)
    chosen = jnp.arange(dims) == jnp.where(started, slot, gone)
    column = jnp.where(started, weighed.column, 0.0)
    over = event.judged | idle | event.novel
    after = replace(
        state,
        coupling=jnp.where((started | removed) & chosen[None, :], column[:, None], state.coupling),
        trial=jnp.where(started, slot, jnp.where(event.judged, NO_TRIAL, state.trial)).astype(jnp.int32),
        rest=jnp.where(started, window, jnp.where(over, rule.refractory, state.rest)).astype(jnp.int32),
    )
    dimensions = base + _grown(after.coupling).sum()
    return after, GrowthInfo(
        event.novel, started, kept, removed, weighed.evidence, dimensions, weighed.status
    )


def _forget(state: GrowthState, forget: Bool[Array, ""]) -> GrowthState:
    """The state of a vertex never seen, where asked for."""
    blank = replace(jax.tree.map(jnp.zeros_like, state), trial=jnp.full_like(state.trial, NO_TRIAL))
    chosen: GrowthState = jax.tree.map(lambda new, old: jnp.where(forget, new, old), blank, state)
    return chosen


def _record(
    state: GrowthState, error: Float[Array, "S"], energy: Float[Array, ""], heard: Bool[Array, ""]
) -> GrowthState:
    window = state.errors.shape[0]
    place = (jnp.arange(window) == state.seen % window) & heard
    seen = state.seen + heard
    return replace(
        state,
        errors=jnp.where(place[:, None], error, state.errors),
        energies=jnp.where(heard, jnp.append(state.energies[1:], energy), state.energies),
        seen=jnp.where(seen >= 2 * window, seen - window, seen),
        rest=jnp.maximum(state.rest - heard, 0),
    )


def _grown(coupling: Float[Array, "S D"]) -> Bool[Array, "D"]:
    return (coupling != 0.0).any(axis=0)


def _model(covariance: Float[Array, "S S"], coupling: Float[Array, "S D"], variance: ArrayLike) -> Stabilised:
    """The covariance of an error with every grown dimension in use."""
    return stabilise(covariance + variance * (coupling @ coupling.T))


def _whiten(model: Stabilised, errors: Float[Array, "N S"], valid: Bool[Array, "N"]) -> Float[Array, "S N"]:
    return solve_lower(model.factor, jnp.where(valid[:, None], errors, 0.0).T)


def _evidence(
    model: Stabilised,
    whitened: Float[Array, "S N"],
    count: Int[Array, ""],
    coupling: Float[Array, "S D"],
    variance: ArrayLike,
) -> Float[Array, "D"]:
    columns = solve_lower(model.factor, coupling)
    limits = np.finfo(columns.dtype)
    share = jnp.minimum(variance * (columns**2).sum(axis=0), 1.0 - float(limits.eps))
    explained = variance / (1.0 - share) * ((columns.T @ whitened) ** 2).sum(axis=1)
    gain: Array = jnp.minimum(0.5 * (explained + count * jnp.log1p(-share)), float(limits.max))
    return gain


def _column(
    model: Stabilised, whitened: Float[Array, "S N"], count: Int[Array, ""], coupling: Float[Array, ""]
) -> Float[Array, "S"]:
    """The column for which ``evidence`` rises most steeply from zero.

    That is the leading eigenvector of A^-1 (R - A) A^-1, R the mean of r r^T: where the errors exceed what is
    predicted, and not where other dimensions predict them already.
    """
    size = whitened.shape[0]
    eye = jnp.eye(size, dtype=whitened.dtype)
    factor = solve_lower(model.factor, eye)
    precision, weighted = factor.T @ factor, factor.T @ whitened
    spread = jnp.trace(precision)
    scale = jnp.maximum(jnp.abs(weighted).max(), jnp.sqrt(spread))
    excess = (weighted / scale) @ (weighted / scale).T / jnp.maximum(count, 1)
    # Shifted by twice the trace, every eigenvalue is positive. Repeated squaring then turns the matrix into
    # the projector on its leading eigenvector, from no start vector.
    matrix = excess + (2.0 * spread * eye - precision) / scale / scale
    for _ in range(_SQUARINGS):
        matrix = matrix / jnp.trace(matrix)
        matrix = matrix @ matrix
    leading = matrix[:, jnp.argmax(jnp.diagonal(matrix))]
    found: Array = coupling * leading * jnp.sqrt(size / (leading @ leading))
    return found
