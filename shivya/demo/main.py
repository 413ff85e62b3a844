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
from shivya.demo.daemons import Daemons
from shivya.demo.generator import Generator, Outcome
from shivya.demo.interrupt import Interrupted, until_signalled
from shivya.demo.links import node_name, start_workers
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
        fleet = _Fleet(plan, burn, kill, display, Path(name), started)
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


class _Fleet:
    """The daemons, which run in both phases, and the workers, which each phase has of its own."""

    def __init__(
        self, plan: Plan, burn: bool, kill: bool, display: Display, folder: Path, started: list[Child]
    ) -> None:
        self.daemons = Daemons(plan.service_rates, folder, started)
        self._plan = plan
        self._burn = burn
        self._kill = kill
        self._display = display
        self._folder = folder
        self._started = started

    async def phase(self, label: str, *, meshed: bool) -> Outcome:
        """Run the plan's jobs through new workers; with `meshed` they ask their daemon where jobs go."""
        plan = self._plan
        workers = await start_workers(
            plan.service_rates,
            burn=self._burn,
            sockets=self.daemons.sockets if meshed else (None,) * len(plan.service_rates),
            logs=self._folder,
            started=self._started,
        )
        if meshed:
            await self.daemons.wait_offered()

        async def kill() -> None:
            await asyncio.gather(workers[plan.victim].child.kill(), self.daemons.kill(plan.victim))
            self._display.say(f"killed {node_name(plan.victim)}: worker and daemon")

        generator = Generator(plan, workers)
        following = asyncio.create_task(self._display.follow(label, generator.accounts, len(plan.arrivals)))
        try:
            outcome = await generator.run(kill if self._kill else None)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await children.stop([worker.child for worker in workers])
        if strange := generator.accounts.unknown + sum(worker.garbled for worker in workers):
            self._display.say(f"{strange} messages from workers made no sense and were dropped")
        for node in sorted(outcome.dead - ({plan.victim} if self._kill else set())):
            self._display.say(f"worker {node_name(node)} ended by itself\n{workers[node].child.last_words()}")
        return outcome

    async def restore(self) -> None:
        """Start the killed daemon again and wait until the mesh is whole."""
        self._display.say(f"starting {node_name(self._plan.victim)} again")
        await self.daemons.restart(self._plan.victim)
        await self.daemons.wait_whole()


def _folder_for_sockets() -> str | None:
    """Where the temporary folder goes: the system's place, or /tmp when that one's path is too long."""
    return None if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER else "/tmp"
