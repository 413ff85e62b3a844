"""The search for better parameters: down the gradient of the fluid fleets, judged by whole jobs.

Worlds are split by seed. Derivatives come from the fluid relaxation of the training worlds; every step that
they propose is measured by the discrete simulator, lengths of steps on training worlds, candidates on the
validation worlds, and the one that is best there once, against the defaults, on the test worlds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shivya import experiments, tune_space
from shivya.experiments import Estimate, Row
from shivya_kernels.fleet import LAWS, Params, Scenario, World, worlds
from shivya_kernels.fleet.fluid import delay_quantile, fluid
from shivya_kernels.fleet.fluid_feed import Feed, feed

LAW = "shivya"
WIDTH = 1.2
"""Mean service times within which choices of the fluid are smooth: derivatives of sharp ones are chaotic."""
RATE, FORGET, FORGET_SQUARES = 0.15, 0.8, 0.95
"""Of Adam, per step; the rate falls to a tenth along a cosine."""
_LENGTHS = (0.25, 0.5, 1.0, 2.0)
"""Steps along a direction whose largest component is 1, in units of a point."""
_PATH_POINTS = 5
_SLOPE_BATCHES = 4
"""Batches of training worlds that a direction of line search is taken from."""

Point = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Plan:
    """What is to be tuned, on what."""

    scenario: Scenario
    names: tuple[str, ...]
    seed: int = 0
    train: int = 64
    validation: int = 16
    test: int = 32
    descent: int = 40
    """Steps of gradient descent."""
    fleets: int = 8
    """Training worlds per step."""
    lines: int = 4
    """Rounds of line search."""
    group: int = 16
    """Worlds that are measured side by side; divides validation and test."""

    @property
    def splits(self) -> dict[str, range]:
        """Seeds of the worlds of each kind; no two plans of different seeds have one in common."""
        total = self.train + self.validation + self.test
        ends = np.cumsum([self.seed * total, self.train, self.validation, self.test]).tolist()
        return {name: range(ends[k], ends[k + 1]) for k, name in enumerate(("train", "validation", "test"))}


class Candidate(NamedTuple):
    """A point of the search: how it was found, and its p99 over that of the defaults on validation worlds."""

    found_by: str
    point: Point
    validation: Estimate


@dataclass(frozen=True)
class Outcome:
    """What the search found, and what it is worth on worlds that it never saw."""

    parameters: Params
    defaults: Params
    chosen: Candidate | None
    """None: no candidate was better than the defaults on the validation worlds."""
    candidates: tuple[Candidate, ...]
    surrogate: tuple[float, float]
    """Delay quantile of the fluid on some training worlds, seconds: of the defaults, of what was found."""
    before: tuple[Row, ...]
    """The defaults on the test worlds."""
    after: tuple[Row, ...]
    steps: int
    """Of descent."""

    def ratio(self, figure: str = "p99") -> Estimate:
        """A figure on the test worlds over that of the defaults, paired, with its 95 % interval."""
        return experiments.ratio(self.after, self.before, figure)


class Progress(NamedTuple):
    """What is being done, and how much of all that is done."""

    what: str
    share: float


def search(plan: Plan, spent: Callable[[], float]) -> Iterator[Progress | Outcome]:
    """Tune; the last item is the outcome. `spent` tells the share of the time allowed that is over.

    When half of it is, descent ends, and after three quarters line search does; what is then known is
    measured whatever the time. Raises ValueError for a scenario that does not fit itself.
    """
    yield Progress("drawing fleets", 0.0)
    defaults = LAWS[LAW].params
    fleets = _Fleets(plan)
    start = tune_space.point(defaults, plan.names)

    path = [start]
    for at in _descend(plan, fleets.feeds, defaults, start):
        path.append(at)
        yield Progress("gradient descent", 0.5 * max((len(path) - 1) / plan.descent, min(2 * spent(), 1)))
        if spent() >= 0.5:
            break

    def known(at: Point) -> Params:
        return tune_space.parameters(jnp.asarray(at), plan.names, defaults)

    candidates: list[Candidate] = []

    def validate(found_by: str, at: Point) -> None:
        ratio = experiments.ratio(fleets.rows("validation", known(at)), untuned)
        candidates.append(Candidate(found_by, at, ratio))

    yield Progress("validating the path", 0.5)
    untuned = fleets.rows("validation", defaults)
    for k in sorted({round(x) for x in np.linspace(0, len(path) - 1, _PATH_POINTS + 1)[1:]}):
        validate(f"gradient step {k}", path[k])
        yield Progress("validating the path", 0.55)

    best = _best(candidates)
    at = best.point if best else start
    direction = path[-1] - start
    for k in range(plan.lines):
        if spent() >= 0.75:
            break
        here = fleets.rows("train", known(at), k)
        trials = []
        for length in _LENGTHS:
            there = at + length * direction / max(float(np.abs(direction).max()), 1e-9)
            trials.append((_value(experiments.ratio(fleets.rows("train", known(there), k), here)), there))
            yield Progress("line search", 0.55 + 0.25 * (k + len(trials) / len(_LENGTHS)) / plan.lines)
        ratio, there = min(trials, key=lambda trial: trial[0])
        if ratio < 1:
            at = there
            validate(f"line search {k + 1}", at)
        slopes = [_slopes(plan, fed, defaults, at)[1] for fed in fleets.feeds[:_SLOPE_BATCHES]]
        direction = -np.mean(slopes, axis=0)

    yield Progress("testing the defaults", 0.8)
    best = _best(candidates)
    before = fleets.rows("test", defaults)
    yield Progress("testing what was found", 0.9)
    found = known(best.point) if best else defaults
    after = fleets.rows("test", found) if best else before
    points = (start, best.point if best else start)
    fluid_before, fluid_after = (_slopes(plan, fleets.feeds[0], defaults, x)[0] for x in points)
    yield Outcome(
        found, defaults, best, tuple(candidates), (fluid_before, fluid_after), before, after, len(path) - 1
    )


def _best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The candidate of the least ratio on the validation worlds, if one beats the defaults there."""
    found = min(candidates, key=lambda c: _value(c.validation), default=None)
    return found if found is not None and _value(found.validation) < 1 else None


def _value(estimate: Estimate) -> float:
    """A ratio to be compared; one that is not known, as of jobs never done, is the worst."""
    return estimate.value if math.isfinite(estimate.value) else math.inf


class _Fleets:
    """The worlds of a plan: to be measured, all of one shape, and as feeds of the fluid."""

    def __init__(self, plan: Plan) -> None:
        groups = {name: _groups(seeds, plan.group) for name, seeds in plan.splits.items()}
        flat = iter(_alike(plan.scenario, [group for each in groups.values() for group in each]))
        self._worlds = {name: [next(flat) for _ in each] for name, each in groups.items()}
        self.feeds = [feed(w) for w in _alike(plan.scenario, _groups(plan.splits["train"], plan.fleets))]

    def rows(self, split: str, params: Params, group: int | None = None) -> tuple[Row, ...]:
        """Measure the law on the worlds of a split, or on one group of them, counted round and round."""
        chosen = self._worlds[split]
        if group is not None:
            chosen = [chosen[group % len(chosen)]]
        return tuple(row for world in chosen for row in experiments.measure(world, LAW, params).rows)


def _groups(seeds: Sequence[int], size: int) -> list[Sequence[int]]:
    return [seeds[k : k + size] for k in range(0, len(seeds), size)]


def _alike(scenario: Scenario, groups: Sequence[Sequence[int]]) -> list[World]:
    """Worlds of one shape, which run by one compiled program."""
    drawn = [worlds(scenario, group) for group in groups]
    sizes = ("rows", "degree", "near", "listeners", "jobs", "burst")
    room = replace(drawn[0].shape, **{name: max(getattr(w.shape, name) for w in drawn) for name in sizes})
    return [w if w.shape == room else worlds(scenario, w.seeds, room) for w in drawn]


def _descend(plan: Plan, feeds: Sequence[Feed], defaults: Params, at: Point) -> Iterator[Point]:
    """Points down the gradient by Adam (Kingma and Ba 2015), from another batch of training worlds each."""
    mean, square = np.zeros_like(at), np.zeros_like(at)
    order = np.random.default_rng(plan.seed)
    batches: list[int] = []
    for k in range(1, plan.descent + 1):
        batches = batches or order.permutation(len(feeds)).tolist()
        _, slope = _slopes(plan, feeds[batches.pop()], defaults, at)
        mean = FORGET * mean + (1 - FORGET) * slope
        square = FORGET_SQUARES * square + (1 - FORGET_SQUARES) * slope**2
        rate = RATE * (0.55 + 0.45 * math.cos(math.pi * k / plan.descent))
        scaled = np.sqrt(square / (1 - FORGET_SQUARES**k)) + 1e-6
        at = at - rate * mean / (1 - FORGET**k) / scaled
        yield at


def _slopes(plan: Plan, fed: Feed, defaults: Params, at: Point) -> tuple[float, Point]:
    """The geometric mean of the fluid's delay quantile over a batch, and the slope of its logarithm.

    Each fleet has its own derivative; a quarter of them at either end is left out, component by component,
    as the odd fleet's is chaotic.
    """
    count = fed.world.shape.fleets
    points = jnp.broadcast_to(jnp.asarray(at, jnp.float32), (count, len(at)))
    real = np.asarray(fed.world.fleet) < count
    service = np.asarray(fed.world.servers)[real] / np.asarray(fed.world.rate)[real].astype(float)
    width = np.float32(WIDTH * service.mean())
    (_, delays), slopes = _delays(points, fed, defaults, width, plan.names)
    ordered = np.sort(np.nan_to_num(np.asarray(slopes, float)), axis=0)
    cut = count // 4
    return float(np.exp(np.mean(delays))), ordered[cut : count - cut].mean(axis=0)


@partial(jax.jit, static_argnames=("names",))
@partial(jax.value_and_grad, has_aux=True)
def _delays(
    points: jax.Array, fed: Feed, defaults: Params, width: np.float32, names: tuple[str, ...]
) -> tuple[jax.Array, jax.Array]:
    """Logarithms of the fluid's delay quantiles, each fleet at a point of its own."""
    params = tune_space.parameters(points, names, defaults)
    delays = jnp.log(delay_quantile(fluid(fed, params, width)))
    return delays.sum(), delays
