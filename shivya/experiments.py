"""Experiments on simulated fleets: a law, also one of your own, on the same jobs as the others.

    scenario = experiments.load_scenario("scenario.toml")
    ours = experiments.run(scenario, law=my_function, seeds=range(12))

Importing this module loads neither JAX nor NumPy; running something does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shivya.simulate_scenario import ScenarioError as ScenarioError
from shivya.simulate_scenario import build, read

if TYPE_CHECKING:
    from shivya_kernels.fleet import FleetTrace, Law, Params, Scenario, World
    from shivya_kernels.fleet.laws import Place

Row = dict[str, Any]
"""One fleet under one law: law, load, seed; mean, p50, p99, p999 of the time in system, in seconds (inf where
jobs were never done, nan where there were none); moves_per_job; jobs_submitted = jobs_done + jobs_lost +
jobs_refused + jobs_left."""

_SAME = ("load", "seed", "jobs_submitted")
"""What rows of the same fleet have in common, whatever the law."""


@dataclass(frozen=True)
class Result:
    """What a law made of fleets that differ in their seeds alone."""

    law: str
    scenario: Scenario
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    """One per seed, in their order."""
    trace: FleetTrace
    """All jobs of all fleets; fleet b is that of seeds[b]."""


class Estimate(NamedTuple):
    """A mean over seeds and its 95 % interval; of one seed there is none (nan)."""

    value: float
    low: float
    high: float


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file. Raises `ScenarioError`: one line that names the file, the key and the remedy."""
    return build(read(Path(path)), str(path))


def run(
    scenario: Scenario,
    law: str | Law | Place = "shivya",
    seeds: Sequence[int] = (0,),
    params: Params | None = None,
) -> Result:
    """Run one fleet per seed, side by side on all devices of this process, under one law.

    `law` is a name in `shivya_kernels.fleet.LAWS`, a `fleet.Law`, or a function `place(view, params)` of a
    `fleet.LocalView` that returns the slot of a neighbour, or -1 to queue the job here; it is compiled, so it
    computes with `jax.numpy`. `params` replaces the law's own. Seeds are whole numbers, 0 or more.
    Raises ValueError for an unknown law and for no seeds.
    """
    return compare(scenario, (law,), seeds, params)[0]


def compare(
    scenario: Scenario,
    laws: Iterable[str | Law | Place],
    seeds: Sequence[int] = (0,),
    params: Params | None = None,
) -> tuple[Result, ...]:
    """Run several laws, one after the other, on the same fleets and the same jobs; see `run`."""
    from shivya_kernels.fleet import spread

    if not len(seeds):
        raise ValueError("seeds must name at least one fleet")
    fleets = spread(scenario, tuple(seeds))
    return tuple(measure(fleets, law, params) for law in laws)


def measure(
    fleets: World | Sequence[World],
    law: str | Law | Place,
    params: Params | None = None,
    told: Callable[[float], None] | None = None,
) -> Result:
    """Run one law on fleets that `fleet.worlds` or `fleet.spread` made, and wait until it is done.

    `told` hears now and then how many seconds have been simulated.
    """
    from shivya_kernels.fleet import World, simulate
    from shivya_kernels.fleet.laws import law_of

    law = law_of(law)
    worlds = (fleets,) if isinstance(fleets, World) else tuple(fleets)
    scenario = worlds[0].scenario
    if scenario is None:
        raise ValueError("the world has lost its scenario; make it with fleet.worlds")
    trace = simulate(worlds, law, params, told)
    each = [(world, fleet, seed) for world in worlds for fleet, seed in enumerate(world.seeds)]
    rows = tuple(
        {"law": law.name, "load": _load(world, fleet), "seed": seed, **trace.summary(position)}
        for position, (world, fleet, seed) in enumerate(each)
    )
    return Result(law.name, scenario, tuple(seed for _, _, seed in each), rows, trace)


def _load(world: World, fleet: int) -> float:
    """The load asked for; of a recorded trace or of rates per node, the one that it is for this fleet."""
    scenario = world.scenario
    assert scenario is not None
    if scenario.arrivals is None and scenario.arrival_rates is None:
        return scenario.load
    work = float(world.size[world.owner == fleet].sum())
    return work / (float(world.rate[world.fleet == fleet].sum()) * scenario.horizon)


def mean(rows: Sequence[Row], figure: str = "p99") -> Estimate:
    """A figure's mean over the rows of one law, with Student's t interval."""
    return _estimate([row[figure] for row in rows])


def ratio(rows: Sequence[Row], reference: Sequence[Row], figure: str = "p99") -> Estimate:
    """A figure over that of another law on the same fleets: geometric mean of the seeds' own ratios.

    The interval is Student's t on their logarithms. Raises ValueError if the fleets were not the same.
    """
    ours, theirs = ([[row[key] for key in _SAME] for row in side] for side in (rows, reference))
    if ours != theirs:
        raise ValueError(
            f"a paired ratio needs rows of the same fleets, in the same order: {', '.join(_SAME)}"
        )
    pairs = [(a[figure], b[figure]) for a, b in zip(rows, reference, strict=True)]
    if not all(0 < value < math.inf for pair in pairs for value in pair):
        return Estimate(math.nan, math.nan, math.nan)
    return Estimate(*map(math.exp, _estimate([math.log(a / b) for a, b in pairs])))


def _estimate(values: Sequence[float]) -> Estimate:
    count = len(values)
    if not all(map(math.isfinite, values)):
        return Estimate(math.inf if math.inf in values else math.nan, math.nan, math.nan)
    centre = math.fsum(values) / count
    if count < 2:
        return Estimate(centre, math.nan, math.nan)
    spread = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (count - 1))
    half = _student(count - 1) * spread / math.sqrt(count)
    return Estimate(centre, centre - half, centre + half)


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: tabled, then Cornish and Fisher's expansion, right to 1e-3."""
    tabled = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469)
    if freedom <= len(tabled):
        return tabled[freedom - 1]
    z = 1.959964
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
