"""Fleets whose p99 is a known function of the parameters, and searches that end as a test says."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shivya import experiments, tune, tune_search, tune_space
from shivya.tune_search import Candidate, Outcome, Plan, Progress

from shivya_kernels.fleet import LAWS, Params, Scenario

DEFAULTS = LAWS["shivya"].params
SCENARIO = "[scenario]\nnodes = 6\nmean_degree = 3\nseconds = 2\nwarm_up = 0.5\nhotspot = 0.3\n"
SMALL = Plan(
    Scenario(nodes=6, mean_degree=3.0, seconds=2.0, warm_up=0.5, hotspot=0.3),
    tune.NAMES,
    train=4,
    validation=2,
    test=4,
    descent=12,
    fleets=2,
    lines=2,
    sweeps=24,
    group=2,
)


def options(**changes: Any) -> Namespace:
    given: dict[str, Any] = {
        "file": Path("scenario.toml"),
        "output": Path("params.toml"),
        "minutes": 15.0,
        "seed": 0,
        "only": None,
        "json": False,
    }
    return Namespace(**given | changes)


def p99_of(params: Params, seed: int) -> float:
    """Least at gap .1 and drift .8, on the seeds of each split by its own factor."""
    miss = np.log(float(params.gap) / 0.1) ** 2 + 2 * (float(params.drift) - 0.8) ** 2
    return float(np.exp(0.3 * miss) * (1 + 0.01 * np.sin(seed)))


class Made:
    """Stands for the simulator: what it was asked."""

    def __init__(self, p99: Callable[[Params, int], float]) -> None:
        self.p99 = p99
        self.asked: list[tuple[float, tuple[int, ...]]] = []

    def __call__(self, world: Any, law: str, params: Params) -> Any:
        assert law == "shivya"
        self.asked.append((float(params.gap), world.seeds))
        return Namespace(rows=tuple(row(self.p99(params, seed), seed) for seed in world.seeds))


def made_up(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Have the search measure by `p99_of` and go by a fluid that is right about directions."""
    found = Made(p99_of)
    monkeypatch.setattr(experiments, "measure", found)
    monkeypatch.setattr(tune_search, "_slopes", by_differences)
    return found


def row(p99: float, seed: int) -> dict[str, Any]:
    times = {"mean": p99 / 5, "p50": p99 / 8, "p99": p99, "p999": 2 * p99, "moves_per_job": 1.0}
    counts = {"jobs_submitted": 9, "jobs_done": 9, "jobs_lost": 0, "jobs_refused": 0, "jobs_left": 0}
    return {"law": "shivya", "load": 0.85, "seed": seed, **times, **counts}


def by_differences(plan: Plan, fed: Any, defaults: Params, at: np.ndarray) -> tuple[float, np.ndarray]:
    """A fluid that is right about the direction and wrong about the size."""

    def value(x: np.ndarray) -> float:
        return p99_of(tune_space.parameters(x, plan.names, defaults), 0)

    eye = np.eye(len(at))
    return value(at), np.array([5 * (value(at + 0.01 * e) - value(at - 0.01 * e)) for e in eye])


def outcome_of(plan: Plan, spent: Callable[[], float] = lambda: 0.0) -> Outcome:
    *progress, last = tune_search.search(plan, spent)
    assert isinstance(last, Outcome)
    shares = [step.share for step in progress if isinstance(step, Progress)]
    assert len(shares) == len(progress) and shares == sorted(shares) and shares[-1] < 1
    return last


def finished(ratio: float, spread: float = 0.0, chosen: bool = True) -> Outcome:
    """An outcome in which p99 changed by that ratio, more on some fleets than on others."""
    before = tuple(row(0.5, seed) for seed in SMALL.splits["test"])
    after = tuple(row(0.5 * ratio * (1 + spread * (-1) ** k), r["seed"]) for k, r in enumerate(before))
    at = tune_space.point(DEFAULTS, tune.NAMES)
    found = Candidate("gradient step 3", at, experiments.ratio(after, before))
    return Outcome(
        replace(DEFAULTS, gap=0.03, slope_share=0.4),
        DEFAULTS,
        found if chosen else None,
        (found,),
        (0.5, 0.4),
        before,
        after,
        3,
    )


def end(monkeypatch: pytest.MonkeyPatch, last: Outcome | Exception) -> list[Plan]:
    """Have the search end so; returns the plans that it is given."""
    plans: list[Plan] = []

    def search(plan: Plan, spent: Callable[[], float]) -> Any:
        plans.append(plan)
        yield Progress("gradient descent", 0.5)
        if isinstance(last, Exception):
            raise last
        yield last

    monkeypatch.setattr(tune_search, "search", search)
    return plans
