"""One parameter after the other, by what whole jobs say: no derivative, and no step that was not measured.

Rosenbrock, "An automatic method for finding the greatest or least value of a function", 1960: a step that
gains is kept and doubled, one that does not is turned round and halved. After each sweep comes the pattern
move of Hooke and Jeeves, "Direct search solution of numerical and statistical problems", 1961.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

FIRST, LEAST, LONGEST = 1.0, 0.2, 4.0
"""Lengths of a step, in units of a point; shorter ones drown in the noise of a few fleets."""

Point = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Walk:
    """Where sweeps have led, and the step that each parameter is to try next."""

    at: Point
    steps: Point


def begin(at: Point, downhill: Point) -> Walk:
    """A walk whose first steps go where the fluid's delays fall."""
    return Walk(at, np.where(downhill < 0, -FIRST, FIRST))


def sweep(walk: Walk, measure: Callable[[Point], float]) -> Iterator[Walk]:
    """Try a step of every parameter, then the sum of those that gained once more; yields after every trial.

    `measure` tells p99 at a point beside that where the sweep began, inf where it is not known.
    """
    at, steps, best = walk.at, walk.steps.copy(), 1.0
    for k, step in enumerate(walk.steps):
        there = at.copy()
        there[k] += step
        value = measure(there)
        gains = value < best
        if gains:
            at, best = there, value
        length = np.clip(abs(step) * (2 if gains else 0.5), LEAST, LONGEST)
        steps[k] = np.copysign(length, step if gains else -step)
        yield Walk(at, steps.copy())
    if (at != walk.at).sum() > 1:
        there = 2 * at - walk.at
        if measure(there) < best:
            yield Walk(there, steps)
