"""Twins of a live mesh: simulated fleets with its nodes, links, rates and backlog, rolled forward in time.

What is not known of the future is drawn anew for each twin: when jobs come, how long they take, when bursts
fall, and the true rates of arrivals and of service within what a minute of watching leaves open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from shivya.whatif_mesh import (
    BURST_SECONDS,
    CALM_SECONDS,
    Mesh,
    arrival_spreads,
    bursts,
    rate_spreads,
)

if TYPE_CHECKING:
    from shivya_kernels.fleet import Params, Scenario, World
    from shivya_kernels.fleet.world import Shape

SETTLING = 1.0
"""Seconds in which twins go on as the mesh is; then nodes fail, and jobs are measured from there on."""
STEP = 0.005
"""Time step of the twins, and so the shortest hop, seconds."""
CHANGE = 0.03
"""By how much the price of a daemon (W and its slope) moves before it sends a heartbeat at once, seconds."""
SILENCE = 0.3
"""Longest time between two heartbeats of a daemon that has no news, seconds."""
DRAIN = 600.0
LONGEST = 600.0
"""Most seconds that twins are rolled forward."""
JOBS_LIMIT = 20_000_000
"""Most jobs of all twins together."""
FIGURES = ("p50", "p99", "mean", "largest_queue", "held", "utilisation", "moves_per_job")
_LOW, _HIGH = 0.05, 0.95


@dataclass(frozen=True)
class Band:
    """A figure over the twins: median and the 5 % and 95 % quantiles."""

    median: float
    low: float
    high: float


Outlook = dict[str, Band]
"""A band for each of `FIGURES`: times in seconds, `held` and `largest_queue` in jobs."""


@dataclass(frozen=True)
class Question:
    """What is to be rolled forward."""

    mesh: Mesh
    failed: tuple[int, ...]
    factor: float
    """By which all arrivals grow."""
    twins: int
    seconds: float
    seed: int

    @property
    def changes(self) -> bool:
        """Whether anything is asked beyond how the mesh goes on as it is."""
        return bool(self.failed) or self.factor != 1.0

    @property
    def jobs(self) -> float:
        """About how many jobs all twins have in the busier of the two cases."""
        rate = max(1.0, self.factor) * math.fsum(node.arrival_rate for node in self.mesh.nodes)
        held = 2 * sum(node.queue for node in self.mesh.nodes)
        return self.twins * (rate * (self.seconds + SETTLING) + held)


def outlooks(question: Question) -> tuple[Outlook, Outlook | None]:
    """Run the twins of the mesh as it is, and as it would be, if that is asked. Imports JAX."""
    from shivya_kernels.fleet import Failure, worlds

    seeds = range(question.seed, question.seed + question.twins)
    now, parameters = scenario(question), params(question.mesh)
    cases = [now]
    if question.changes:
        assert now.arrival_rates is not None
        rates = tuple(question.factor * rate for rate in now.arrival_rates)
        cases.append(replace(now, failure=Failure(question.failed, SETTLING), arrival_rates=rates))
    fitting = [worlds(case, seeds) for case in cases]
    room = _room(fitting)
    found = [
        _outlook(worlds(case, seeds, room), parameters, question.failed if position else ())
        for position, case in enumerate(cases)
    ]
    return found[0], found[1] if question.changes else None


def scenario(question: Question) -> Scenario:
    """The mesh as it is, as a scenario in which nobody fails."""
    from shivya_kernels.fleet import Failure, Scenario

    mesh, shape = question.mesh, bursts(question.mesh)
    law = mesh.law
    stale_after = law.get("stale_after", 1.0)
    beat = max(2 * round(law.get("tick_interval", 0.1) / (2 * STEP)), 4) * STEP
    silence = min(SILENCE, stale_after / 3)
    return Scenario(
        nodes=len(mesh.nodes),
        edges=mesh.links,
        rates=tuple(node.service_rate for node in mesh.nodes),
        shares=None,
        rate_spread=rate_spreads(mesh),
        servers=tuple(node.servers for node in mesh.nodes),
        arrival_rates=tuple(node.arrival_rate for node in mesh.nodes),
        arrival_spread=arrival_spreads(mesh, shape),
        backlog=tuple(node.queue for node in mesh.nodes),
        bursts=shape.variance > 0,
        burst_high=shape.high,
        burst_low=shape.low,
        burst_seconds=BURST_SECONDS,
        calm_seconds=CALM_SECONDS,
        seconds=question.seconds,
        warm_up=SETTLING,
        failure=Failure((), SETTLING),
        hops=tuple(_in_steps(rtt / 2) for rtt in mesh.rtts) or None,
        latency=_in_steps(mesh.rtt / 2),
        heartbeat=beat,
        change=CHANGE if silence >= beat / 2 else None,
        silence=silence,
        ttl=stale_after,
        step=STEP,
        drain=DRAIN,
    )


def params(mesh: Mesh) -> Params:
    """The numbers of the law that the daemons follow."""
    from shivya_kernels.fleet import LAWS, Params

    told: dict[str, Any] = {**mesh.law, "hops": int(mesh.law.get("hop_limit", 8))}
    known = {field.name for field in fields(Params)}
    return replace(LAWS["shivya"].params, **{key: value for key, value in told.items() if key in known})


def _in_steps(seconds: float) -> float:
    return max(round(seconds / STEP), 1) * STEP


def _room(fitting: Sequence[World]) -> Shape:
    """A shape that all fit into, of round sizes, so that the next question finds its program compiled."""
    shapes = [world.shape for world in fitting]
    rows = _round(max(shape.rows for shape in shapes))
    degree = max(shape.degree for shape in shapes)
    return replace(
        shapes[0],
        rows=rows,
        degree=degree,
        near=max(shape.near for shape in shapes),
        listeners=rows * degree,
        jobs=_round(max(shape.jobs for shape in shapes)),
        burst=_round(max(shape.burst for shape in shapes)),
        longest=_round(max(shape.longest for shape in shapes)),
    )


def _round(size: int) -> int:
    """The next power of two."""
    return 1 << (size - 1).bit_length()


def _outlook(world: World, parameters: Params, failed: tuple[int, ...]) -> Outlook:
    """Run one batch of twins and take the figures of each."""
    import numpy as np

    from shivya_kernels.fleet import simulate

    scenario = world.scenario
    assert scenario is not None
    trace = simulate(world, "shivya", parameters)
    begin = round(SETTLING / scenario.period)
    held, peak = np.asarray(trace.held)[begin:], np.asarray(trace.peak)[begin:]
    measured = np.asarray(trace.measured)
    left = [rate for i, rate in enumerate(scenario.rates) if i not in failed]
    able = math.fsum(left) * scenario.seconds
    rows = []
    for fleet in range(world.shape.fleets):
        row = trace.summary(fleet)
        rows.append(
            {
                **row,
                "largest_queue": float(peak[:, fleet].max()),
                "held": float(held[:, fleet].mean()),
                "utilisation": float(world.size[measured & (world.owner == fleet)].sum()) / able,
            }
        )
    return {figure: band([row[figure] for row in rows]) for figure in FIGURES}


def band(values: Sequence[float]) -> Band:
    """Median and quantiles by nearest rank; what was never done is infinite. NaN if there was no job."""
    ordered = sorted(value for value in values if not math.isnan(value))
    if not ordered:
        return Band(math.nan, math.nan, math.nan)

    def quantile(q: float) -> float:
        return ordered[max(math.ceil(q * len(ordered)) - 1, 0)]

    middle = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return Band((middle[0] + middle[1]) / 2, quantile(_LOW), quantile(_HIGH))
