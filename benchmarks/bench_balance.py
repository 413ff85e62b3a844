"""The laws of load sharing against load, stale telemetry and lost heartbeats; and a heap that spreads.

The fleets, seeds and figures are those of `bench_fleet`: 64 nodes with bursts and a hotspot, the same jobs
for every law, seeds that no law was tuned on. `ratio` is the geometric mean over the seeds of p99 over that
of shortest expected delay (sed), with its 95 % interval. The heap is 160 jobs at one node of a ring of eight:
`p99_ms` is then the time until nothing waits anywhere. Plots go to docs/images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from shivya.experiments import mean, measure, ratio
from shivya.simulate_plot import draw

from bench_fleet import BASE, SEEDS
from shivya_kernels.fleet import Scenario, simulate, worlds
from shivya_kernels.fleet.world import Shape
from timing import ROOT, Row, fix_environment, publish

IMAGES = ROOT / "docs" / "images"
AXES: dict[str, tuple[str, str, Sequence[float], Sequence[str]]] = {
    "load": (
        "load",
        "load",
        (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98),
        ("sed", "sedAll", "shivya", "oracle"),
    ),
    "age": (
        "extra_age",
        "heartbeats older by, seconds",
        (0.0, 0.3, 1.0, 2.0, 3.0),
        ("sed", "sedAll", "shivya"),
    ),
    "loss": ("loss", "share of heartbeats lost", (0.0, 0.1, 0.2, 0.3), ("sed", "sedAll", "shivya")),
}
RING = Scenario(
    nodes=8,
    edges=tuple((i, (i + 1) % 8) for i in range(8)),
    arrivals=tuple((0, 0.5, 1.0) for _ in range(160)),
    rates=(20.0,) * 8,
    shares=None,
    seconds=9.0,
    warm_up=0.0,
)


def main() -> None:
    rows = [row for axis in AXES for row in curve(axis)]
    publish("balance", [*rows, *heap()])


def curve(axis: str) -> Iterator[Row]:
    """Every law at every value of one axis; the plot on the way."""
    field, label, values, laws = AXES[axis]
    runs: list[list[dict[str, Any]]] = []
    room: Shape | None = None
    if axis == "load":  # one shape for all loads, so that each law is compiled once
        room = worlds(replace(BASE, load=values[-1]), SEEDS).shape
    for value in values:
        world = worlds(replace(BASE, **{field: value}), SEEDS, room)
        yardstick: Sequence[dict[str, Any]] = ()
        for law in laws:
            result = [{**row, axis: value} for row in measure(world, law).rows]
            yardstick = yardstick or result
            runs.append(result)
            beside = ratio(result, yardstick)
            yield {
                "axis": axis,
                "value": value,
                "law": law,
                "mean_ms": 1e3 * mean(result, "mean").value,
                **{
                    f"{name}_{part}": 1e3 * getattr(mean(result, name), field)
                    for name in ("p50", "p99", "p999")
                    for part, field in (("ms", "value"), ("low", "low"), ("high", "high"))
                },
                "ratio": beside.value,
                "low": beside.low,
                "high": beside.high,
                "moves": mean(result, "moves_per_job").value,
                "lost": sum(row["jobs_lost"] + row["jobs_refused"] for row in result),
            }
        if room is None:  # another value is another program
            jax.clear_caches()
    IMAGES.mkdir(exist_ok=True)
    title = f"64 nodes, {len(SEEDS)} seeds" + ("" if axis == "load" else f", load {BASE.load:g}")
    (IMAGES / f"balance-{axis}.svg").write_text(draw(runs, title, axis, label))


def heap() -> Iterator[Row]:
    """How soon a heap of jobs at one node is worked off by all: a step response."""
    world = worlds(RING, SEEDS)
    for law in ("none", "steal", "diffusion", "second_order", "sed", "sedAll", "shivya", "l2"):
        held = np.asarray(simulate(world, law).held)
        spent = [_emptied(held[:, fleet]) for fleet in range(held.shape[1])]
        found = mean([{"ms": ms} for ms in spent], "ms")
        yield {
            "axis": "heap",
            "value": 160.0,
            "law": law,
            "p99_ms": found.value,
            "p99_low": found.low,
            "p99_high": found.high,
        }


def _emptied(held: np.ndarray[Any, np.dtype[Any]]) -> float:
    """Milliseconds from the most jobs that wait to none."""
    after = held[int(np.argmax(held)) :]
    assert (after == 0).any(), "the fleet is drained at the end"
    return 1e3 * RING.heartbeat * int(np.argmax(after == 0))


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
