"""Does the order of the laws hold on real processes: no mesh, shortest expected delay, and Shivya?

The demo's fleets: real daemons and workers on loopback, jobs that wait their service time, one node asked for
twice what it serves, bursts everywhere. Every law gets the same jobs. `sed` is the daemon with `--no-law`,
without gap, forecasts and requests; `gap .1` is a setting of the daemon's. Times are those of jobs
from arrival to completion; bytes are of UDP payload each way, per node, of the mesh's own traffic. Wall time
is what is measured here, so the machine must be quiet: the load average is told above.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from shivya.demo import children
from shivya.demo.children import Child
from shivya.demo.daemons import ask
from shivya.demo.fleet import Fleet
from shivya.demo.plan import Plan, make_plan
from shivya.demo.report import Display, quantile

from timing import Row, publish

FLEETS = ((5, 0), (5, 1), (5, 2), (12, 0))
"""Nodes and seed."""
SECONDS = 30.0
_PLAIN = {"gap": 1e-6, "drift": 0.0, "kappa": 0.0, "prior_jobs": 1e9, "pull_wait": 1e9}
LAWS: dict[str, tuple[bool, Mapping[str, float]] | None] = {
    "none": None,
    "sed": (False, _PLAIN),
    "shivya": (True, {}),
    "shivya, gap .1": (True, {"gap": 0.1}),
}
"""Whether the law runs, and its settings; None: no mesh at all."""


def main() -> None:
    chosen = sys.argv[1:] or list(LAWS)
    publish("demo", [row for nodes, seed in FLEETS for row in rows(nodes, seed, chosen)])


def rows(nodes: int, seed: int, laws: list[str]) -> Iterator[Row]:
    """One plan under every law."""
    plan = make_plan(nodes, SECONDS, seed)
    for law in laws:
        found = asyncio.run(run(plan, LAWS[law]))
        print(nodes, seed, law, found, flush=True)
        yield {"nodes": nodes, "seed": seed, "law": law, **found}


async def run(plan: Plan, law: tuple[bool, Mapping[str, float]] | None) -> Row:
    """One phase, with daemons of its own."""
    started: list[Child] = []
    with tempfile.TemporaryDirectory(prefix="shivya-bench-", ignore_cleanup_errors=True) as name:
        options: list[str] = []
        if law is not None:
            runs, numbers = law
            config = Path(name) / "law.toml"
            config.write_text("[law]\n" + "".join(f"{key} = {value:f}\n" for key, value in numbers.items()))
            options = ["--config", str(config), *([] if runs else ["--no-law"])]
        display = Display(Console(quiet=True))
        fleet = Fleet(plan, False, False, display, Path(name), started, options)
        try:
            if law is not None:
                await fleet.daemons.start_all(display.say)
            before = await _sent(fleet)
            outcome = await fleet.phase("", meshed=law is not None)
            after = await _sent(fleet)
        finally:
            await children.stop(started)
    waits = outcome.waits
    return {
        "jobs": outcome.submitted,
        "mean_ms": 1e3 * sum(waits) / len(waits),
        **{f"{label}_ms": 1e3 * (quantile(waits, q) or 0.0) for label, q in (("p50", 0.5), ("p99", 0.99))},
        "moves": outcome.moves / outcome.submitted,
        "bytes_per_node_s": (after[0] - before[0]) / max(after[1] - before[1], 1e-9) if law else None,
        "lost": outcome.lost,
        "twice": outcome.twice,
    }


async def _sent(fleet: Fleet) -> tuple[float, float]:
    """Bytes that all daemons have sent, and the seconds for which they have run, together."""
    answers: list[dict[str, Any] | None] = [await ask(path, "STATUS") for path in fleet.daemons.sockets]
    up = [answer for answer in answers if answer is not None]
    return sum(a["traffic"]["bytes_sent"] for a in up), sum(a["uptime_seconds"] for a in up)


if __name__ == "__main__":
    main()
