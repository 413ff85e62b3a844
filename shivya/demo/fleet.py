"""Daemons on a plan's nodes, and phases of its jobs through workers beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from shivya.demo import children
from shivya.demo.children import Child
from shivya.demo.daemons import LINKS, Daemons
from shivya.demo.generator import Generator, Outcome
from shivya.demo.links import node_name, start_workers
from shivya.demo.plan import Plan
from shivya.demo.report import Display


class Fleet:
    """The daemons, which run in both phases, and the workers, which each phase has of its own."""

    def __init__(
        self,
        plan: Plan,
        burn: bool,
        kill: bool,
        display: Display,
        folder: Path,
        started: list[Child],
        options: Sequence[str] = (),
        links: int = LINKS,
    ) -> None:
        """`options` are further flags of the daemons, each of which seeks `links`; all go into `started`."""
        self.daemons = Daemons(plan.service_rates, folder, started, options, links)
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
