"""What the demo shows: progress while it runs, and what came of both phases at the end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from shivya.demo.accounts import Accounts
from shivya.demo.generator import Outcome
from shivya.demo.links import node_name
from shivya.demo.plan import Plan

_REFRESH = 0.2


def quantile(waits: Sequence[float], q: float) -> float | None:
    """The nearest-rank quantile, 0 < q <= 1; None of nothing."""
    ordered = sorted(waits)
    return ordered[math.ceil(q * len(ordered)) - 1] if ordered else None


def summarize(
    baseline: Outcome, mesh: Outcome, *, nodes: int, seconds: float, seed: int, mode: str, killed: str | None
) -> dict[str, Any]:
    """The object that `--json` prints: counts of both phases together, times in seconds."""
    plain, meshed = _times(baseline), _times(mesh)
    meshed["moves_per_job"] = mesh.moves / mesh.submitted if mesh.submitted else 0.0
    both = (baseline, mesh)
    return {
        "nodes": nodes,
        "jobs_submitted": sum(phase.submitted for phase in both),
        "jobs_done": sum(phase.done for phase in both),
        "jobs_lost": sum(phase.lost for phase in both),
        "jobs_twice": sum(phase.twice for phase in both),
        "baseline": plain,
        "mesh": meshed,
        "speedup_p99": plain["p99"] / meshed["p99"] if plain["p99"] and meshed["p99"] else None,
        "seconds": seconds,
        "seed": seed,
        "mode": mode,
        "killed": killed,
        "resubmitted": sum(phase.resubmitted for phase in both),
        "workers_ended": sum(len(phase.dead) for phase in both),
    }


def succeeded(summary: dict[str, Any]) -> bool:
    """Whether every job was done exactly once."""
    return bool(summary["jobs_lost"] == 0 and summary["jobs_twice"] == 0)


def closing_table(summary: dict[str, Any]) -> Table:
    """Both phases side by side, then what holds for the run."""
    table = Table(title=f"{summary['nodes']} nodes, one of them hot")
    table.add_column("")
    table.add_column("without the mesh", justify="right")
    table.add_column("with the mesh", justify="right")
    plain, meshed = summary["baseline"], summary["mesh"]
    for name, label in (("p50", "p50 wait"), ("p99", "p99 wait"), ("mean", "mean wait")):
        table.add_row(label, _duration(plain[name]), _duration(meshed[name]))
    table.add_row("moves per job", "-", f"{meshed['moves_per_job']:.2f}")
    table.add_section()
    table.add_row("jobs in", str(plain["jobs_submitted"]), str(meshed["jobs_submitted"]))
    table.add_row("jobs done", str(plain["jobs_done"]), str(meshed["jobs_done"]))
    if summary["killed"]:
        table.add_row("resubmitted", str(plain["resubmitted"]), str(meshed["resubmitted"]))
    return table


def verdict(summary: dict[str, Any]) -> str:
    """One line: conservation, and what the mesh brought."""
    if not succeeded(summary):
        return f"{summary['jobs_lost']} jobs lost, {summary['jobs_twice']} done twice"
    line = f"jobs in = jobs done = {summary['jobs_done']}, each exactly once"
    if summary["speedup_p99"] is not None:
        line += f"; p99 wait {summary['speedup_p99']:.1f} times shorter with the mesh"
    return line


def introduction(plan: Plan, burn: bool, killed: str | None) -> str:
    """What is going to happen, before it does."""
    rates = ", ".join(
        f"{node_name(i)} {rate:g}" + (" (hot)" if i == plan.hot else "")
        for i, rate in enumerate(plan.service_rates)
    )
    cost = "burns its service time on a core" if burn else "waits its service time (too few cores to burn it)"
    text = (
        f"{len(plan.service_rates)} nodes serve {rates} jobs per second; {len(plan.arrivals)} jobs arrive in "
        f"{plan.seconds:g} s, the same in both phases; a job {cost}."
    )
    return text if killed is None else f"{text} Half-way through each, {killed} is killed."


class Display:
    """Progress bars on a console, one for each phase."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} jobs done, {task.fields[open]} in the fleet"),
            TimeElapsedColumn(),
            console=console,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the bars while the context lasts."""
        with self._progress:
            yield

    def say(self, text: str) -> None:
        """One line above the bars."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    async def follow(self, label: str, accounts: Accounts, total: int) -> None:
        """Show the books of a phase until cancelled, and once more then."""
        bar = self._progress.add_task(label, total=total, open=0)
        try:
            while True:
                self._progress.update(bar, completed=accounts.done, open=accounts.open)
                await asyncio.sleep(_REFRESH)
        finally:
            self._progress.update(bar, completed=accounts.done, open=accounts.open)


def _times(phase: Outcome) -> dict[str, Any]:
    return {
        "p50": quantile(phase.waits, 0.5),
        "p99": quantile(phase.waits, 0.99),
        "mean": math.fsum(phase.waits) / len(phase.waits) if phase.waits else None,
        "jobs_submitted": phase.submitted,
        "jobs_done": phase.done,
        "resubmitted": phase.resubmitted,
    }


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
