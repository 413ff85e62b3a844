"""The search for better parameters: down the gradient of the fluid fleets, judged by whole jobs.

Worlds are split by seed. Derivatives come from the fluid relaxation of the training worlds; every step that
they propose is measured by the discrete simulator, lengths of steps on training worlds, candidates on the
validation worlds, and the one that is best there once, against the defaults and what is in use already, on
the test worlds. Where the fluid leads astray, sweeps of single parameters do not (``tune_sweep``): whole jobs
judge their every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shivya import experiments, tune_space, tune_sweep
from shivya.experiments import Estimate, Row
from shivya_kernels.fleet import LAWS, Params, Scenario, World, alike
from shivya_kernels.fleet.fluid import delay_quantile, fluid
from shivya_kernels.fleet.fluid_feed import STEP_SECONDS, Feed, feed

LAW = "shivya"
WIDTH = 1.2
"""Mean service times within which choices of the fluid are smooth: derivatives of sharp ones are chaotic."""
FLUID_STEP = 2.0
"""Longest time step of the fluid, in mean service times: a move takes one at least, so hops would be dear."""
RATE, FORGET, FORGET_SQUARES = 0.15, 0.8, 0.95
"""Of Adam, per step; the rate falls to a tenth along a cosine."""
_LENGTHS = (0.25, 0.5, 1.0, 2.0)
"""Steps along a direction whose largest component is 1, in units of a point."""
_PATH_POINTS = 5
_SLOPE_BATCHES = 4
"""Batches of training worlds that a direction is taken from."""
_DESCENT, _LINES = 0.25, 0.35
"""Shares of the time allowed after which each of them ends; those of the sweeps: `Plan.sweeps_end`."""
_STEEPEST = 2.0
"""Of a logarithm of the delay, per unit of a point: what is steeper is one fleet's chaos and no slope."""
_FINALISTS, _FINALS = 8, 0.06
"""Candidates that are measured on all worlds but the test's, and the share of the time that this may take."""
_OF_SERVICE = ("gap", "pull_wait")
"""Parameters that are compared with waiting times, which service times scale."""

Point = tune_sweep.Point


@dataclass(frozen=True)
class Plan:
    """What is to be tuned, on what."""

    scenario: Scenario
    names: tuple[str, ...]
    seed: int = 0
    existing: Params | None = None
    """What is in use already: the test compares what was found with that, too."""
    train: int = 64
    validation: int = 16
    test: int = 32
    descent: int = 24
    """Steps of gradient descent."""
    fleets: int = 8
    """Training worlds per step."""
    lines: int = 2
    """Rounds of line search."""
    sweeps: int = 100
    """Of all parameters, one after the other, at most; the time allowed mostly ends them before."""
    group: int = 16
    """Worlds that are measured side by side; divides validation and test."""

    @property
    def sweeps_end(self) -> float:
        """Share of the time allowed after which the sweeps end: two runs of the test are to come, or 3."""
        return 0.8 if self.existing is None else 0.7

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
    everywhere: Estimate | None = None
    """The same on validation and training worlds; known of finalists."""

    @property
    def better(self) -> bool:
        """Whether it beats the defaults, as far as it was measured."""
        return _value(self.everywhere or self.validation) < 1

    @property
    def merit(self) -> float:
        """What is to be least: on all worlds the upper end of the interval, as some worlds may go wrong."""
        known = self.everywhere or self.validation
        return known.high if self.everywhere and math.isfinite(known.high) else _value(known)


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
    existing: tuple[Row, ...] = ()
    """What is in use already, on the test worlds; none where nothing is, or nothing was chosen."""

    def ratio(self, figure: str = "p99") -> Estimate:
        """A figure on the test worlds over that of the defaults, paired, with its 95 % interval."""
        return experiments.ratio(self.after, self.before, figure)

    def beside_existing(self, figure: str = "p99") -> Estimate:
        """The same over that of what is in use already."""
        return experiments.ratio(self.after, self.existing, figure)


class Progress(NamedTuple):
    """What is being done, and how much of all that is done."""

    what: str
    share: float


def search(plan: Plan, spent: Callable[[], float]) -> Iterator[Progress | Outcome]:
    """Tune; the last item is the outcome. `spent` tells the share of the time allowed that is over.

    When a quarter of it is, descent ends; line search and sweeps have their times, too. What is then known is
    measured whatever the time. Raises ValueError for a scenario that does not fit itself.
    """
    yield Progress("drawing fleets", 0.0)
    defaults = LAWS[LAW].params
    fleets = _Fleets(plan)
    start = tune_space.point(defaults, plan.names)

    path = [start]
    for at in _descend(plan, fleets.feeds, defaults, start):
        path.append(at)
        yield Progress(
            "gradient descent", min(_DESCENT, max(_DESCENT * (len(path) - 1) / plan.descent, spent()))
        )
        if spent() >= _DESCENT:
            break

    yield Progress("validating the path", _DESCENT)
    judged = _Judged(plan, fleets, defaults)
    for k in sorted({round(x) for x in np.linspace(0, len(path) - 1, _PATH_POINTS + 1)} - {0}):
        judged.validate(f"gradient step {k}", path[k])
        yield Progress("validating the path", _DESCENT)

    of_path = min(judged.candidates, key=lambda c: _value(c.validation)).point
    for share in _search_lines(plan, judged, path[-1] - start, spent):
        yield Progress("line search", _DESCENT + (_LINES - _DESCENT) * share)
    scaled = tune_space.point(_scaled(defaults, fleets.service), plan.names)
    for share in _sweep(plan, judged, (start, scaled, of_path), path[-1] - start, spent):
        yield Progress("one by one", _LINES + (plan.sweeps_end - _LINES) * share)

    for share in judged.weigh_finalists():
        yield Progress("weighing the best", plan.sweeps_end + _FINALS * share)
        if spent() >= plan.sweeps_end + _FINALS:
            break

    yield Progress("testing the defaults", plan.sweeps_end + _FINALS)
    best = judged.best
    before = fleets.rows("test", defaults)
    yield Progress("testing what was found", 0.9 if plan.existing is None else 0.85)
    found = judged.known(best.point) if best else defaults
    after = fleets.rows("test", found) if best else before
    existing: tuple[Row, ...] = ()
    if best and plan.existing is not None:
        yield Progress("testing what is there", 0.9)
        existing = fleets.rows("test", plan.existing)
    points = (start, best.point if best else start)
    fluid_before, fluid_after = (_slopes(plan, fleets.feeds[0], defaults, x)[0] for x in points)
    candidates = tuple(judged.candidates)
    yield Outcome(
        found, defaults, best, candidates, (fluid_before, fluid_after), before, after, len(path) - 1, existing
    )


class _Judged:
    """What whole jobs say of points: on groups of the training worlds, of candidates on validation worlds."""

    def __init__(self, plan: Plan, fleets: _Fleets, defaults: Params) -> None:
        self.candidates: list[Candidate] = []
        self._plan, self._fleets, self._defaults = plan, fleets, defaults
        self._untuned = fleets.rows("validation", defaults)

    @property
    def best(self) -> Candidate | None:
        """The candidate of the most merit, of finalists once there are some, if it beats the defaults."""
        finalists = [c for c in self.candidates if c.everywhere is not None]
        found = min(finalists or self.candidates, key=lambda c: c.merit, default=None)
        return found if found is not None and found.better else None

    def weigh_finalists(self) -> Iterator[float]:
        """Measure the candidates that are best on the validation worlds on all worlds; yields the share done.

        Of many candidates on few worlds, the best is also the luckiest.
        """
        ranked = sorted(range(len(self.candidates)), key=lambda k: _value(self.candidates[k].validation))
        ranked = [k for k in ranked if self.candidates[k].better][:_FINALISTS]
        untuned = self._untuned + self._fleets.rows("train", self._defaults) if ranked else ()
        for done, k in enumerate(ranked, start=1):
            found, known = self.candidates[k], self.known(self.candidates[k].point)
            rows = self._fleets.rows("validation", known) + self._fleets.rows("train", known)
            self.candidates[k] = found._replace(everywhere=experiments.ratio(rows, untuned))
            yield done / len(ranked)

    def known(self, at: Point) -> Params:
        return tune_space.parameters(jnp.asarray(at), self._plan.names, self._defaults)

    def validate(self, found_by: str, at: Point) -> float:
        """Make a candidate of a point; its p99 beside that of the defaults."""
        ratio = experiments.ratio(self._fleets.rows("validation", self.known(at)), self._untuned)
        self.candidates.append(Candidate(found_by, at, ratio))
        return _value(ratio)

    def beside(self, at: Point, group: int) -> Callable[[Point], float]:
        """How p99 elsewhere compares with that at a point, on one group of the training worlds."""
        here = self._fleets.rows("train", self.known(at), group)

        def measure(there: Point) -> float:
            return _value(experiments.ratio(self._fleets.rows("train", self.known(there), group), here))

        return measure

    def downhill(self, at: Point) -> Point:
        """Against the fluid's slope."""
        feeds = self._fleets.feeds[:_SLOPE_BATCHES]
        slopes = [_slopes(self._plan, fed, self._defaults, at)[1] for fed in feeds]
        return np.asarray(-np.mean(slopes, axis=0), float)


def _search_lines(
    plan: Plan, judged: _Judged, direction: Point, spent: Callable[[], float]
) -> Iterator[float]:
    """On from the best of the path in its direction, then along fresh gradients; yields the share done."""
    at = judged.best.point if judged.best else tune_space.point(LAWS[LAW].params, plan.names)
    for k in range(plan.lines):
        if spent() >= _LINES:
            return
        measure, trials = judged.beside(at, k), []
        for length in _LENGTHS:
            there = at + length * direction / max(float(np.abs(direction).max()), 1e-9)
            trials.append((measure(there), there))
            yield (k + len(trials) / len(_LENGTHS)) / plan.lines
        ratio, there = min(trials, key=lambda trial: trial[0])
        if ratio < 1:
            at = there
            judged.validate(f"line search {k + 1}", at)
        if k + 1 < plan.lines:
            direction = judged.downhill(at)


def _sweep(
    plan: Plan, judged: _Judged, starts: Sequence[Point], downhill: Point, spent: Callable[[], float]
) -> Iterator[float]:
    """One parameter after the other, from each start and then on from the best; yields the share done."""
    walks = [tune_sweep.begin(at, downhill) for at in starts]
    values = [math.inf] * len(walks)
    for k in range(plan.sweeps):
        if spent() >= plan.sweeps_end:
            return
        turn = k if k < len(walks) else values.index(min(values))
        measure = judged.beside(walks[turn].at, k)
        for walk in tune_sweep.sweep(walks[turn], measure):
            walks[turn] = walk
            yield min(max(k / plan.sweeps, (spent() - _LINES) / (plan.sweeps_end - _LINES)), 1.0)
            if spent() >= plan.sweeps_end:
                break
        values[turn] = judged.validate(f"sweep {k + 1}", walks[turn].at)


def _value(estimate: Estimate) -> float:
    """A ratio to be compared; one that is not known, as of jobs never done, is the worst."""
    return estimate.value if math.isfinite(estimate.value) else math.inf


class _Fleets:
    """The worlds of a plan: to be measured, all of one shape, and as feeds of the fluid."""

    def __init__(self, plan: Plan) -> None:
        groups = {name: _groups(seeds, plan.group) for name, seeds in plan.splits.items()}
        flat = iter(alike(plan.scenario, [group for each in groups.values() for group in each]))
        self._worlds = {name: [next(flat) for _ in each] for name, each in groups.items()}
        batches = alike(plan.scenario, _groups(plan.splits["train"], plan.fleets))
        self.service = float(np.mean([_service(world) for world in batches]))
        # One step for all, so that they run by one compiled program.
        step = min(STEP_SECONDS, max(FLUID_STEP * self.service, plan.scenario.step))
        self.feeds = [feed(w, step) for w in batches]

    def rows(self, split: str, params: Params, group: int | None = None) -> tuple[Row, ...]:
        """Measure the law on the worlds of a split, or on one group of them, counted round and round."""
        chosen = self._worlds[split]
        if group is not None:
            chosen = [chosen[group % len(chosen)]]
        return tuple(row for world in chosen for row in experiments.measure(world, LAW, params).rows)


def _scaled(defaults: Params, service: float) -> Params:
    """The defaults for a fleet of another mean service time, seconds."""
    usual = Scenario()  # what the defaults were made for
    factor = service / float(np.average(1.0 / np.asarray(usual.rates), weights=usual.shares))
    return replace(defaults, **{name: getattr(defaults, name) * factor for name in _OF_SERVICE})


def _service(world: World) -> float:
    """The mean service time of the nodes, seconds."""
    real = np.asarray(world.fleet) < world.shape.fleets
    return float((np.asarray(world.servers)[real] / np.asarray(world.rate)[real].astype(float)).mean())


def _groups(seeds: Sequence[int], size: int) -> list[Sequence[int]]:
    return [seeds[k : k + size] for k in range(0, len(seeds), size)]


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
    width = np.float32(WIDTH * _service(fed.world))
    (_, delays), slopes = _delays(points, fed, defaults, width, plan.names)
    ordered = np.sort(np.nan_to_num(np.asarray(slopes, float)).clip(-_STEEPEST, _STEEPEST), axis=0)
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
