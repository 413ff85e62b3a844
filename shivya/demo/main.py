"""Runs both phases one after the other and cleans up whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from shivya.demo import children
from shivya.demo.children import Child, StartError
from shivya.demo.fleet import Fleet
from shivya.demo.generator import Outcome
from shivya.demo.interrupt import Interrupted, until_signalled
from shivya.demo.links import node_name
from shivya.demo.plan import Plan, make_plan
from shivya.demo.report import Display, closing_table, introduction, succeeded, summarize, verdict

_LONGEST_FOLDER = 60
"""Bytes of a temporary folder's path; a Unix socket inside must fit in about 100."""


def run_demo(nodes: int, seconds: float, seed: int, kill: bool, as_json: bool) -> int:
    """See `shivya.demo.run`."""
    try:
        plan = make_plan(nodes, seconds, seed)
    except ValueError as error:
        sys.stderr.write(f"shivya demo: {error}\n")
        return 2
    burn = (os.cpu_count() or 1) >= 2 * nodes
    display = Display(Console(stderr=as_json))
    try:
        baseline, mesh = asyncio.run(until_signalled(_both_phases(plan, burn, kill, display)))
    except StartError as error:
        sys.stderr.write(f"shivya demo: {error}\n")
        return 1
    except Interrupted as stop:
        sys.stderr.write(f"shivya demo: stopped by {stop.number.name}; all processes have ended\n")
        return 128 + stop.number
    summary = summarize(
        baseline,
        mesh,
        nodes=nodes,
        seconds=seconds,
        seed=seed,
        mode="burn" if burn else "wait",
        killed=node_name(plan.victim) if kill else None,
    )
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
    else:
        display.console.print(closing_table(summary))
        display.say(verdict(summary))
    return 0 if succeeded(summary) else 1


async def _both_phases(plan: Plan, burn: bool, kill: bool, display: Display) -> tuple[Outcome, Outcome]:
    """Start the daemons, run both phases, leave nothing behind."""
    started: list[Child] = []
    with tempfile.TemporaryDirectory(
        prefix="shivya-demo-", dir=_folder_for_sockets(), ignore_cleanup_errors=True
    ) as name:
        fleet = Fleet(plan, burn, kill, display, Path(name), started)
        try:
            with display.running():
                display.say(introduction(plan, burn, node_name(plan.victim) if kill else None))
                await fleet.daemons.start_all(display.say)
                baseline = await fleet.phase("without the mesh", meshed=False)
                if kill:
                    await fleet.restore()
                mesh = await fleet.phase("with the mesh", meshed=True)
                for child in fleet.daemons.ended():
                    display.say(f"{child.name} ended by itself\n{child.last_words()}")
        finally:
            await children.stop(started)
    return baseline, mesh


def _folder_for_sockets() -> str | None:
    """Where the temporary folder goes: the system's place, or /tmp when that one's path is too long."""
    return None if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER else "/tmp"
