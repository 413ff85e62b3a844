"""One phase: submit each job at its time, follow it through the fleet, wait until every one is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from shivya.demo.accounts import Accounts, Delivery
from shivya.demo.messages import Done, Finish, Message, Moved
from shivya.demo.plan import Plan

PATIENCE = 30.0
"""Seconds without news after which a drain is given up."""


class WorkerLink(Protocol):
    """What the generator needs of a worker process."""

    @property
    def address(self) -> str | None:
        """Where other workers reach it; None without the mesh."""

    def send(self, message: Message) -> None:
        """Send a message; to a dead worker it is lost, and `next_message` tells of the death."""

    async def next_message(self) -> Message | None:
        """What the worker says next; None, for good, once it is dead."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one phase; `waits`: seconds from submission to first completion of each job done."""

    waits: tuple[float, ...]
    submitted: int
    done: int
    twice: int
    resubmitted: int
    moves: int
    dead: frozenset[int]
    """Workers that ended, killed or not."""

    @property
    def lost(self) -> int:
        """Jobs submitted and not done."""
        return self.submitted - self.done


class Generator:
    """Runs the jobs of `plan` through `workers`, one for each node."""

    def __init__(self, plan: Plan, workers: Sequence[WorkerLink]) -> None:
        self.accounts = Accounts(len(workers))
        self._plan = plan
        self._workers = workers
        self._node_at = {worker.address: node for node, worker in enumerate(workers) if worker.address}
        self._progress = asyncio.Event()

    async def run(self, kill: Callable[[], Awaitable[None]] | None = None) -> Outcome:
        """Submit everything, await `kill` half-way through, drain, and let the workers end."""
        async with asyncio.TaskGroup() as group:
            listeners = [group.create_task(self._listen(node)) for node in range(len(self._workers))]
            if kill is not None:
                group.create_task(self._kill_half_way(kill))
            await self._submit_all()
            await self._drain()
            dead = frozenset(self.accounts.dead)
            # A job that some worker still holds was done already: let it show as a second completion.
            for worker in self._workers:
                worker.send(Finish())
            await asyncio.wait(listeners, timeout=PATIENCE)
            for listener in listeners:
                listener.cancel()
        return self._outcome(dead)

    async def _submit_all(self) -> None:
        clock = asyncio.get_running_loop().time
        start = clock()
        for arrival in self._plan.arrivals:
            due = start + arrival.time
            if (early := due - clock()) > 0:
                await asyncio.sleep(early)
            # Submitted when due: a generator that runs late must not hide it.
            self._deliver(self.accounts.submit(arrival, due))

    async def _kill_half_way(self, kill: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self._plan.seconds / 2)
        await kill()

    async def _listen(self, node: int) -> None:
        worker = self._workers[node]
        while (message := await worker.next_message()) is not None:
            if isinstance(message, Done):
                self.accounts.completed(message.id, asyncio.get_running_loop().time())
            elif isinstance(message, Moved):
                self._heed(message)
            self._progress.set()
        for delivery in self.accounts.died(node):
            self._deliver(delivery)
        self._progress.set()

    def _heed(self, news: Moved) -> None:
        node = self._node_at.get(news.to)
        if node is None:
            self.accounts.unknown += 1
        else:
            self._deliver(self.accounts.moved(news, node))

    def _deliver(self, delivery: Delivery | None) -> None:
        if delivery is not None:
            task = delivery.task
            age = self.accounts.age(task.id, asyncio.get_running_loop().time())
            self._workers[delivery.node].send(replace(task, age=age))

    async def _drain(self) -> None:
        while self.accounts.open and len(self.accounts.dead) < len(self._workers):
            self._progress.clear()
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._progress.wait()
            except TimeoutError:
                return

    def _outcome(self, dead: frozenset[int]) -> Outcome:
        books = self.accounts
        return Outcome(
            waits=tuple(books.waits()),
            submitted=books.submitted,
            done=books.done,
            twice=books.twice,
            resubmitted=books.resubmitted,
            moves=books.moves,
            dead=dead,
        )
