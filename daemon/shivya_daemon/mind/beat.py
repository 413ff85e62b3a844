"""One beat of the guard as one compiled call: one array in, one array out.

The kernels are `shivya_kernels.guard`. To hand forty small numbers to a compiled call one by one takes many
times as long as the call: they travel packed, and nothing stays behind between two beats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from shivya_daemon.guard.sight import LINKS, VERTICES, Loop, Outcome, Sight, Threat
from shivya_daemon.mind.traced import lean
from shivya_kernels import guard

STEP = 0.1
"""Seconds that a beat counts for at the least. The gains are those of a control step: at the pulse of 4 ms
of a guard that runs alone, the derivative would answer every millisecond of error with twelve."""

SAMPLES = 128
"""Samples in a training step."""

_SEGMENTS = {
    "traffic": LINKS,
    "suspect": LINKS,
    "waiting": VERTICES,
    "waiting_after": VERTICES,
    "vertices": VERTICES,
    "cost": 2,
    "cost_after": 2,
    "weights": 4,
    **dict.fromkeys(
        ("anomalies", "flows", "live", "weight", "bias", "cpu", "dt", "grant", "most", "set_point"), 1
    ),
    **dict.fromkeys(("integral", "error", "started"), 1),
}
_STARTS = dict(zip(_SEGMENTS, np.cumsum([0, *_SEGMENTS.values()]).tolist(), strict=False))
_SIZE = sum(_SEGMENTS.values())


def beat(sight: Sight, threat: Threat, loop: Loop, *, seed: bool = False) -> Outcome:
    """Judge a moment and close the loop; with `seed`, by the seed's formulas, which look at no mesh."""
    x = np.zeros(_SIZE)

    def put(name: str, values: Sequence[float]) -> None:
        start = _STARTS[name]
        x[start : start + len(values)] = values

    links, vertices = sight.links[:LINKS], sight.vertices[:VERTICES]
    put("traffic", [link.traffic for link in links])
    put("suspect", [link.suspect for link in links])
    put("waiting", [vertex.waiting for vertex in vertices])
    put("waiting_after", [vertex.after for vertex in vertices])
    put("vertices", [1.0] * len(vertices))
    put("cost", sight.cost)
    put("cost_after", sight.cost_after)
    put("weights", loop.weights)
    start = _STARTS["anomalies"]
    x[start:] = (
        *(sight.anomalies, sight.flows, sight.live, threat.weight, threat.bias),
        *(sight.cpu, sight.dt, loop.grant, loop.most, loop.set_point),
        *(loop.integral, loop.error, loop.started),
    )
    with jax.enable_x64(True):
        found = np.asarray(_beats(seed)(x)).tolist()
    urgency, stability, level, gain, repairs, status, action, pulse, change, grant = found[:10]
    return Outcome(
        action=guard.Action(int(action)).name,
        urgency=urgency,
        stability=stability,
        threat=level,
        gain=gain,
        repairs=int(repairs),
        sound=not status,
        pulse=pulse,
        change=change,
        vector=tuple(found[18:]),
        loop=Loop(
            most=loop.most,
            set_point=loop.set_point,
            grant=grant,
            weights=tuple(found[10:14]),
            integral=found[14],
            error=found[15],
            started=bool(found[16]),
            stable=bool(found[17]),
        ),
    )


@lru_cache(maxsize=2)
def _beats(seed: bool) -> Callable[[Any], Float[Array, "Y"]]:
    """Compile, or load from the cache on disk; wants `jax.enable_x64`."""
    return lean(jax.jit(partial(_beat, seed=seed)).lower(np.zeros(_SIZE)))


def _beat(x: Float[Array, "X"], *, seed: bool) -> Float[Array, "Y"]:
    def take(name: str) -> Array:
        start, size = _STARTS[name], _SEGMENTS[name]
        return x[start] if size == 1 else x[start : start + size]

    model = guard.ThreatModel(take("weight"), take("bias"))
    pulse = guard.t_lambda(take("flows"), take("live"))
    if seed:
        scores = guard.seed_cores(take("anomalies"), pulse, take("weights"), model)
    else:
        evidence = guard.Evidence(
            traffic=take("traffic"),
            suspect=take("suspect") > 0.0,
            waiting=take("waiting"),
            waiting_after=take("waiting_after"),
            vertex_mask=take("vertices") > 0.0,
            anomalies=take("anomalies"),
            cost=take("cost"),
            cost_after=take("cost_after"),
        )
        scores = guard.cores(evidence, model)
    error, granted, most = take("cpu") - take("set_point"), take("grant"), take("most")
    dt = take("dt")
    # Where the grant is at its bound on the error's side nothing can be done, and nothing is to be wound up.
    held = ((granted >= most) & (error < 0.0)) | ((granted <= 0.0) & (error > 0.0))
    before = guard.PidState(take("integral"), take("error"), take("started") > 0.0, jnp.zeros((), bool))
    after, output = guard.pid_step(
        before, error, jnp.where(held | (dt <= 0.0), 0.0, jnp.maximum(dt, STEP)), limit=guard.PER_BEAT
    )
    grant = jnp.clip(granted - output, 0.0, most)
    # The weight of O follows what is granted, and rests where that rests: it would drift to its bound.
    change = grant - granted
    weights = guard.recalibrate(take("weights"), scores.threat, change)
    head = (scores.urgency, scores.stability, scores.threat, scores.gain, scores.repairs, scores.status)
    rest = (guard.decide(scores), pulse, change, grant)
    tail = (after.integral, after.error, after.started, after.stable)
    numbers = [*head, *rest, *weights, *tail, *guard.weighted(scores, take("weights"))]
    return jnp.stack([jnp.asarray(number, x.dtype) for number in numbers])


def train(
    threat: Threat, counts: Sequence[float], labels: Sequence[float], steps: int = 8
) -> tuple[Threat, float, float]:
    """Descend on the mean squared error over the newest `SAMPLES` samples, and keep within bounds.

    Returns (model, error before, AUC before).
    """
    count, label = np.zeros(SAMPLES), np.zeros(SAMPLES)
    used = min(len(counts), SAMPLES)
    count[:used], label[:used] = counts[-used:], labels[-used:]
    with jax.enable_x64(True):
        model = np.array([threat.weight, threat.bias])
        found = np.asarray(_trains()(model, count, label, np.int64(used), np.int64(steps)))
    weight, bias, error, area = found.tolist()
    return Threat(weight, bias).bounded(), error, area


@lru_cache(maxsize=1)
def _trains() -> Callable[..., Float[Array, "4"]]:
    samples, number = np.zeros(SAMPLES), np.int64(0)
    return lean(jax.jit(_train).lower(np.zeros(2), samples, samples, number, number))


def _train(
    model: Float[Array, "2"],
    counts: Float[Array, "N"],
    labels: Float[Array, "N"],
    used: Int[Array, ""],
    steps: Int[Array, ""],
) -> Float[Array, "4"]:
    mask = jnp.arange(SAMPLES) < used
    start = guard.ThreatModel(model[0], model[1])
    area = guard.auc(guard.threat(counts, model[0], model[1]), labels, mask)
    _, error = guard.train_threat(start, counts, labels, mask, 0.0)

    def descend(_: Int[Array, ""], at: guard.ThreatModel) -> guard.ThreatModel:
        after: guard.ThreatModel = guard.train_threat(at, counts, labels, mask)[0]
        return after

    end = jax.lax.fori_loop(0, steps, descend, start)
    return jnp.stack([end.weight, end.bias, error, area])


def rehearse() -> None:
    """Compile what a daemon calls."""
    beat(Sight(), Threat(), Loop())
    train(Threat(), [0.0], [0.0])
