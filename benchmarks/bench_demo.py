"""Do real processes do what the simulator says: no mesh, shortest expected delay, and Shivya?

The demo's fleets: real daemons and workers on loopback, jobs that wait their service time, one node asked for
twice what it serves, bursts everywhere. Every law gets the same jobs. `sed` is the daemon with `--no-law`,
without gap, forecasts and requests; as with any law, workers serve the oldest job first. `links` is how many
others each daemon seeks. Times are those of jobs from arrival to completion; bytes are of UDP payload sent,
per node, by the mesh itself. `sim` is the same law in the simulator, on the same jobs and the links that the
daemons had made, 5 ms per hop and on the way of a heartbeat: one time step, and more than loopback takes.
Names of laws as arguments run those alone.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from shivya.demo import children
from shivya.demo.children import Child
from shivya.demo.daemons import ask
from shivya.demo.fleet import Fleet
from shivya.demo.plan import Plan, make_plan
from shivya.demo.report import Display, quantile
from shivya.experiments import run as simulate

from shivya_daemon.core.settings import OWN_WAIT_CHANGE, NodeSettings
from shivya_daemon.settings import LawSettings
from shivya_kernels.fleet import LAWS as SIMULATED
from shivya_kernels.fleet import Scenario
from timing import Row, publish

FLEETS = (
    *((5, seed, 6, 1) for seed in range(4)),
    (12, 0, 6, 1),
    (12, 0, 6, 2),
    *((12, seed, 2, 1) for seed in range(3)),
)
"""Nodes, seed, links, and by how much all is slower: twelve nodes at the usual pace fill two cores."""
SECONDS = 30.0
RUNS = 2
"""Of each fleet and law: no two runs of real processes have the same p99. Without a mesh one will do."""
_SECONDS = ("gap", "stale_after", "minimum_hop", "tick_interval", "pull_wait", "drift_fade")
"""Numbers of the law that are times."""
_PLAIN = {"gap": 1e-6, "drift": 0.0, "kappa": 0.0, "prior_jobs": 1e9, "pull_wait": 1e9}
LAWS: dict[str, tuple[bool, Mapping[str, float]] | None] = {
    "none": None,
    "sed": (False, _PLAIN),
    "shivya": (True, {}),
}
"""Whether the law runs, and its settings; None: no mesh at all."""
_SIMULATED = {**SIMULATED, "sed": replace(SIMULATED["sed"], order=True)}


def main() -> None:
    chosen = sys.argv[1:] or list(LAWS)
    publish("demo", [row for fleet in FLEETS for turn in range(RUNS) for row in rows(*fleet, turn, chosen)])


def rows(nodes: int, seed: int, links: int, slow: int, turn: int, laws: list[str]) -> Iterator[Row]:
    """One plan under every law."""
    plan = slowed(make_plan(nodes, SECONDS, seed), slow)
    for law in laws:
        if LAWS[law] is None and turn:
            continue
        found, made = asyncio.run(run(plan, LAWS[law], links, slow))
        row = {"nodes": nodes, "seed": seed, "links": links, "slow": slow, "law": law, **found}
        row |= simulated(plan, law, made, slow)
        print(row, flush=True)
        yield row


def slowed(plan: Plan, slow: int) -> Plan:
    """The same jobs, which come and are served that much slower."""
    return replace(
        plan,
        seconds=slow * plan.seconds,
        service_rates=tuple(rate / slow for rate in plan.service_rates),
        arrival_rates=tuple(rate / slow for rate in plan.arrival_rates),
        arrivals=tuple(replace(job, time=slow * job.time) for job in plan.arrivals),
    )


def times(slow: int) -> dict[str, float]:
    """What the daemon has for times in its law, that much longer."""
    return {name: slow * getattr(LawSettings(), name) for name in _SECONDS}


def simulated(plan: Plan, law: str, links: tuple[tuple[int, int], ...], slow: int) -> Row:
    """The same in the simulator."""
    longer = times(slow)
    known = _SIMULATED[law]
    if law == "shivya":
        told = {name: longer[name] for name in ("gap", "pull_wait", "drift_fade")}
        known = replace(known, params=replace(known.params, **told))
    scenario = Scenario(
        nodes=len(plan.service_rates),
        edges=links or ((0, 1),),  # nothing moves without a law
        rates=plan.service_rates,
        shares=None,
        arrivals=tuple((job.node, job.time, job.size) for job in plan.arrivals),
        seconds=plan.seconds,
        warm_up=0.0,
        hop=0.005,
        latency=0.005,
        heartbeat=longer["tick_interval"],
        ttl=longer["stale_after"],
        change=OWN_WAIT_CHANGE if law == "sed" else NodeSettings().heartbeat_change,
    )
    row = simulate(scenario, known).rows[0]
    return {"sim_p50_ms": 1e3 * row["p50"], "sim_p99_ms": 1e3 * row["p99"], "sim_moves": row["moves_per_job"]}


async def run(
    plan: Plan, law: tuple[bool, Mapping[str, float]] | None, links: int, slow: int
) -> tuple[Row, tuple[tuple[int, int], ...]]:
    """One phase, with daemons of its own; and which of them have links."""
    started: list[Child] = []
    with tempfile.TemporaryDirectory(prefix="shivya-bench-", ignore_cleanup_errors=True) as name:
        options: list[str] = []
        if law is not None:
            runs, numbers = law[0], {**times(slow), **law[1]}
            config = Path(name) / "law.toml"
            config.write_text("[law]\n" + "".join(f"{key} = {value:f}\n" for key, value in numbers.items()))
            options = ["--config", str(config), *([] if runs else ["--no-law"])]
        display = Display(Console(quiet=True))
        fleet = Fleet(plan, False, False, display, Path(name), started, options, links)
        try:
            if law is not None:
                await fleet.daemons.start_all(display.say)
            before = await _ask(fleet)
            outcome = await fleet.phase("", meshed=law is not None)
            after = await _ask(fleet)
        finally:
            await children.stop(started)
    waits = outcome.waits
    row = {
        "jobs": outcome.submitted,
        "mean_ms": 1e3 * sum(waits) / len(waits),
        **{f"{label}_ms": 1e3 * (quantile(waits, q) or 0.0) for label, q in (("p50", 0.5), ("p99", 0.99))},
        "moves": outcome.moves / outcome.submitted,
        "bytes_per_node_s": _per_second(before, after),
        "lost": outcome.lost,
        "twice": outcome.twice,
    }
    return row, _links(after)


async def _ask(fleet: Fleet) -> list[dict[str, Any]]:
    """The status of every daemon that runs."""
    answers = [await ask(path, "STATUS") for path in fleet.daemons.sockets]
    return [answer for answer in answers if answer is not None]


def _per_second(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> float | None:
    """Bytes that a daemon sent per second, the mean of all."""
    sent, seconds = (
        sum(read(late) - read(early) for early, late in zip(before, after, strict=True))
        for read in (lambda status: status["traffic"]["bytes_sent"], lambda status: status["uptime_seconds"])
    )
    return sent / seconds if seconds else None


def _links(statuses: list[dict[str, Any]]) -> tuple[tuple[int, int], ...]:
    """Pairs of nodes that have a link."""
    number = {status["node_id"]: i for i, status in enumerate(statuses)}
    pairs = {
        tuple(sorted((number[status["node_id"]], number[link["id"]])))
        for status in statuses
        for link in status["links"]
        if link["state"] == "established"
    }
    return tuple((a, b) for a, b in sorted(pairs))


if __name__ == "__main__":
    main()
