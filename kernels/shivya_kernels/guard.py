"""The guard's arithmetic (VENOM): pulse, controller, threat, four cores, decision and weights.

A beat is ``t_lambda`` -> ``cores`` -> ``decide`` -> ``pid_step`` -> ``recalibrate``. The cores are R
(regenerate: links that need repair), B (balance), E (entropy: threat) and O (optimise), all in one compiled
call. Decisions read raw scores; weighted ones are for display. The guard may veto, quarantine and grant time
to optimisation; nothing here can add load.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, UInt32

from shivya_kernels.shapes import as_float
from shivya_kernels.status import Status, flag

SHORTEST_PULSE = 1e-6
"""Seconds below which no pulse goes."""
PER_BEAT = 0.05
"""Most that one beat may change the optimiser's grant or weight by."""
STEADY = 1e-3
"""Seconds of error within which the loop counts as stable."""
WEIGHTS = (0.25, 0.25, 0.15, 0.35)
"""Weights of R, B, E, O at the start."""

_INTEGRAL_LIMIT = 1.0
_EPSILON_RESET = 1e-4
_OPTIMISE_BOUNDS = (0.1, 0.9)
_CALM_ENTROPY, _ENTROPY_SPAN = 0.05, 0.25


class Action(IntEnum):
    """What a beat decides, in rising order of precedence."""

    NOOP = 0
    APPLY_OPTIMIZE = 1
    APPLY_BALANCE = 2
    ALERT = 3
    QUARANTINE = 4


@jax.jit
def t_lambda(k: ArrayLike, p: ArrayLike, ln_u: ArrayLike = 4.0, t1: ArrayLike = 1e-3) -> Float[Array, "*N"]:
    """Seconds between beats: max(t1 ln_u / (1 - 1/(k p)), 1 us), for k flows on p live nodes.

    Defined for k p > 1. Where that fails (see ``admissible``) the pulse is that of k p = 2, the slowest that
    whole numbers allow, so that a guard whose peers are all gone keeps beating.
    """
    flows = jnp.where(admissible(k, p), as_float(k) * as_float(p), 2.0)
    return jnp.maximum(as_float(t1) * as_float(ln_u) / (1.0 - 1.0 / flows), SHORTEST_PULSE)


@jax.jit
def admissible(k: ArrayLike, p: ArrayLike) -> Bool[Array, "*N"]:
    """Whether k p > 1, the condition under which the pulse is defined. NaN is not admissible."""
    return as_float(k) * as_float(p) > 1.0


def _zero() -> Array:
    return jnp.zeros((), jnp.result_type(float))


def _false() -> Array:
    return jnp.zeros((), bool)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PidState:
    """What the controller remembers; ``PidState()`` at the start, in the float type then in force."""

    integral: Float[Array, ""] = field(default_factory=_zero)
    """Integral of the error, in [-1, 1]."""
    error: Float[Array, ""] = field(default_factory=_zero)
    """The last error."""
    started: Bool[Array, ""] = field(default_factory=_false)
    stable: Bool[Array, ""] = field(default_factory=_false)
    """Whether V = error^2 / 2 fell in the last step, or |error| < 1 ms."""


@jax.jit
def pid_step(
    state: PidState,
    error: ArrayLike,
    dt: ArrayLike,
    kp: ArrayLike = 0.6,
    ki: ArrayLike = 0.1,
    kd: ArrayLike = 0.05,
    limit: ArrayLike = jnp.inf,
) -> tuple[PidState, Float[Array, ""]]:
    """One step of a discrete PID controller; returns (state, output), output within +-`limit`.

    `dt` >= 0 seconds since the last step; at dt = 0 nothing is integrated or differentiated, and the first
    step has no derivative. The integral restarts when |error| < 1e-4, stays in [-1, 1], and does not grow
    while the output is at its limit on the error's side (conditional integration: Astrom, Hagglund 1995).
    An error that is not finite leaves the state as it was and gives 0.
    """
    kind = state.integral.dtype
    e, h = jnp.asarray(error, kind), jnp.asarray(dt, kind)
    usable = jnp.isfinite(e) & (h >= 0.0)
    e = jnp.where(usable, e, 0.0)
    moving = usable & (h > 0.0)
    before = jnp.where(jnp.abs(e) < _EPSILON_RESET, 0.0, state.integral)
    slope = jnp.where(moving & state.started, (e - state.error) / jnp.where(moving, h, 1.0), 0.0)
    direct = kp * e + kd * slope
    grown = jnp.clip(before + jnp.where(moving, e * h, 0.0), -_INTEGRAL_LIMIT, _INTEGRAL_LIMIT)
    wanted = direct + ki * grown
    winding = (jnp.abs(wanted) > limit) & (wanted * e > 0.0)
    integral = jnp.where(winding, before, grown)
    output = jnp.clip(direct + ki * integral, -jnp.asarray(limit, kind), jnp.asarray(limit, kind))
    fell = state.started & (e**2 < state.error**2)
    after = PidState(integral.astype(kind), e, jnp.array(True), fell | (jnp.abs(e) < STEADY))
    kept = jax.tree.map(lambda new, old: jnp.where(usable, new, old), after, state)
    return kept, jnp.where(usable, output, 0.0).astype(kind)


@jax.jit
def threat(
    anomalies: Float[ArrayLike, "*N"], weight: ArrayLike = 0.12, bias: ArrayLike = 0.0
) -> Float[Array, "*N"]:
    """Probability that something is wrong: sigmoid(weight * anomalies + bias).

    The seed's bias is 0; with -3, ALERT begins at 29 anomalies and QUARANTINE at 40.
    """
    chance: Array = jax.nn.sigmoid(as_float(weight) * as_float(anomalies) + as_float(bias))
    return chance


class ThreatModel(NamedTuple):
    """The two numbers behind ``threat``."""

    weight: Float[Array, ""]
    bias: Float[Array, ""]


@jax.jit
def train_threat(
    model: ThreatModel,
    anomalies: Float[Array, "N"],
    label: Float[Array, "N"],
    mask: Bool[Array, "N"],
    rate: ArrayLike = 1.0,
) -> tuple[ThreatModel, Float[Array, ""]]:
    """One gradient step on the mean squared error (Brier score) over the masked window; returns (model,
    error before the step). `label` is 1 where an incident was confirmed. An empty window changes nothing.

    Counts are divided by their largest in the window for the weight's step, so that one `rate` fits all.
    """
    model = ThreatModel(as_float(model.weight), as_float(model.bias))
    share = jnp.where(mask, 1.0, 0.0) / jnp.maximum(mask.sum(), 1)
    counts = jnp.where(mask, anomalies, 0.0)

    def error(m: ThreatModel) -> Array:
        return share @ jnp.square(threat(counts, m.weight, m.bias) - jnp.where(mask, label, 0.0))

    loss, slope = jax.value_and_grad(error)(model)
    scale = jnp.maximum(jnp.abs(counts).max(initial=0.0), 1.0)
    weight = model.weight - rate * slope.weight / scale**2
    return ThreatModel(weight, model.bias - rate * slope.bias), loss


@jax.jit
def auc(score: Float[Array, "N"], label: Float[Array, "N"], mask: Bool[Array, "N"]) -> Float[Array, ""]:
    """Area under the ROC curve: the chance that an incident scores above a calm moment, ties counting half
    (Hanley, McNeil 1982); 1/2 when the window lacks either."""
    bad, good = mask & (label > 0.5), mask & (label <= 0.5)
    pairs = bad[:, None] & good[None, :]
    ahead = jnp.sign(score[:, None] - score[None, :])
    count = pairs.sum()
    return 0.5 + 0.5 * jnp.where(pairs, ahead, 0.0).sum() / jnp.maximum(count, 1)


class Evidence(NamedTuple):
    """What a beat looks at; padded vectors with masks, everything finite and >= 0."""

    traffic: Float[Array, "E"]
    """Size of the flow on each link; 0 on padding."""
    suspect: Bool[Array, "E"]
    """Links under suspicion or with an open breaker."""
    waiting: Float[Array, "V"]
    """Seconds of waiting at each vertex now."""
    waiting_after: Float[Array, "V"]
    """The same once the recommended flow is applied."""
    vertex_mask: Bool[Array, "V"]
    anomalies: Float[Array, ""]
    """Decayed count."""
    cost: Float[Array, "2"]
    """Held-out prediction error of the running program, and p99 in seconds under the running parameters."""
    cost_after: Float[Array, "2"]
    """The same predicted for the best candidates."""


class Scores(NamedTuple):
    """Raw scores of the four cores."""

    urgency: Float[Array, ""]
    """R: share of the link flow that goes over suspect links, in [0, 1]."""
    stability: Float[Array, ""]
    """B: predicted relative fall of the variance of waiting, in [-1, 1]."""
    threat: Float[Array, ""]
    """E: probability of an attack or fault, in [0, 1]."""
    gain: Float[Array, ""]
    """O: predicted relative fall of the better of both costs, in [-1, 1]."""
    repairs: Float[Array, ""]
    """R's cost: handshakes needed."""
    status: UInt32[Array, ""]


@jax.jit
def cores(evidence: Evidence, model: ThreatModel) -> Scores:
    """R, B, E and O in one compiled call. Numbers that are not finite count as zero and set
    NON_FINITE_INPUT."""
    sound = jnp.stack([jnp.isfinite(as_float(leaf)).all() for leaf in evidence]).all()
    e = Evidence(*(jnp.where(jnp.isfinite(as_float(leaf)), leaf, 0) for leaf in evidence))
    traffic, suspect = jnp.abs(as_float(e.traffic)), jnp.asarray(evidence.suspect, bool)
    total = traffic.sum()
    urgency = jnp.where(suspect, traffic, 0.0).sum() / jnp.where(total > 0, total, 1.0)
    mask = jnp.asarray(evidence.vertex_mask, bool)
    stability = _relative_fall(
        _variance(as_float(e.waiting), mask), _variance(as_float(e.waiting_after), mask)
    )
    gain = _relative_fall(as_float(e.cost), as_float(e.cost_after)).max()
    alarm = threat(e.anomalies, model.weight, model.bias)
    status = flag(~sound, Status.NON_FINITE_INPUT)
    return Scores(urgency, stability, alarm, gain, suspect.sum().astype(total.dtype), status)


@jax.jit
def seed_cores(
    anomalies: ArrayLike, pulse: ArrayLike, weights: Float[ArrayLike, "4"], model: ThreatModel
) -> Scores:
    """The seed's formulas, kept as mode `seed`: urgency min(.9, n/100), stability .3 + .2 (1 - |pulse -
    .02|), gain min(.5, .12 O). None of them looks at the mesh: prefer ``cores``."""
    n, beat = as_float(anomalies), as_float(pulse)
    urgency = jnp.minimum(0.9, n / 100.0)
    stability = jnp.clip(0.3 + 0.2 * (1.0 - jnp.abs(beat - 0.02)), 0.0, 1.0)
    gain = jnp.minimum(0.5, 0.12 * as_float(weights)[3])
    alarm = threat(n, model.weight, model.bias)
    return Scores(urgency, stability, alarm, gain, 0.5 * urgency, jnp.uint32(0))


@jax.jit
def weighted(scores: Scores, weights: Float[ArrayLike, "4"]) -> Float[Array, "4"]:
    """The decision vector for display: the scores of R, B, E, O times their weights."""
    raw = jnp.stack([scores.urgency, scores.stability, scores.threat, scores.gain])
    return raw * as_float(weights)


@jax.jit
def decide(scores: Scores) -> Int32[Array, ""]:
    """The first that holds, as an ``Action``: threat >= .85 QUARANTINE, >= .60 ALERT; stability > .25 with
    urgency < .1 APPLY_BALANCE; gain > .1 APPLY_OPTIMIZE; else NOOP. On raw scores."""
    balance = (scores.stability > 0.25) & (scores.urgency < 0.1)
    action = jnp.where(scores.gain > 0.1, Action.APPLY_OPTIMIZE, Action.NOOP)
    action = jnp.where(balance, Action.APPLY_BALANCE, action)
    action = jnp.where(scores.threat >= 0.60, Action.ALERT, action)
    return jnp.where(scores.threat >= 0.85, Action.QUARANTINE, action).astype(jnp.int32)


@jax.jit
def recalibrate(
    weights: Float[ArrayLike, "4"], threat_now: ArrayLike, change: ArrayLike
) -> Float[Array, "4"]:
    """New weights of R, B, E, O: O moves by `change` (at most 0.05), E is 0.05 + 0.25 threat, the sum is 1.

    Bounds hold exactly after normalising, as the weights are projected and not divided by their sum: O in
    [.1, .9], E in [.05, .30], R and B in [0, 1].
    """
    w = as_float(weights)
    entropy = _CALM_ENTROPY + _ENTROPY_SPAN * jnp.clip(as_float(threat_now), 0.0, 1.0)
    entropy = jnp.clip(entropy, _CALM_ENTROPY, _CALM_ENTROPY + _ENTROPY_SPAN).astype(w.dtype)
    wanted = w.at[3].add(jnp.clip(as_float(change), -PER_BEAT, PER_BEAT).astype(w.dtype))
    low = jnp.asarray([0.0, 0.0, 0.0, _OPTIMISE_BOUNDS[0]], w.dtype).at[2].set(entropy)
    high = jnp.asarray([1.0, 1.0, 0.0, _OPTIMISE_BOUNDS[1]], w.dtype).at[2].set(entropy)
    projected: Array = project_simplex(wanted, low, high)
    return projected


@jax.jit
def project_simplex(
    y: Float[ArrayLike, "N"], low: Float[ArrayLike, "N"], high: Float[ArrayLike, "N"]
) -> Float[Array, "N"]:
    """The point nearest to y with sum 1 and low <= w <= high: clip(y - t, low, high) for the t that makes the
    sum 1 (Held, Wolfe, Crowder 1974).

    Needs sum(low) <= 1 <= sum(high). Bounds hold exactly, the sum to rounding. Differentiable.
    """
    y, low, high = as_float(y), as_float(low), as_float(high)
    at, least, most = jax.lax.stop_gradient((y, low, high))
    # The sum falls piecewise linearly in t, with its corners where a coordinate meets a bound.
    corners = jnp.sort(jnp.concatenate([at - least, at - most]))
    sums = jnp.clip(at - corners[:, None], least, most).sum(axis=1)
    left = jnp.clip((sums >= 1.0).sum() - 1, 0, corners.shape[0] - 2)
    middle = 0.5 * (corners[left] + corners[left + 1])
    free = (at - middle > least) & (at - middle < most)
    bound = jnp.where(at - middle >= most, high, low)
    count = free.sum()
    shift = (jnp.where(free, y, bound).sum() - 1.0) / jnp.maximum(count, 1)
    return jnp.clip(jnp.where(free, y - shift, bound), low, high)


def _variance(values: Float[Array, "V"], mask: Bool[Array, "V"]) -> Float[Array, ""]:
    size = jnp.maximum(mask.sum(), 1)
    mean = jnp.where(mask, values, 0.0).sum() / size
    spread = jnp.where(mask, (values - mean) ** 2, 0.0).sum() / size
    # Equal values differ by rounding: no variance that balancing could remove.
    rounding = size * float(np.finfo(values.dtype).eps) * mean
    return jnp.where(spread > rounding**2, spread, 0.0)


def _relative_fall(before: Float[Array, "*N"], after: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """1 - after / before within [-1, 1]; 0 where there was nothing to fall."""
    fall = 1.0 - after / jnp.where(before > 0, before, 1.0)
    return jnp.where(before > 0, jnp.clip(fall, -1.0, 1.0), 0.0)
