"""Seven whole nodes in virtual time: what they live through, and what is left of it afterwards."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shivya.client import Client
from virtual_time import HOST, VirtualLoop
from whole_node import Ledger, WholeNode, Worker

from shivya_daemon.commands import Session
from shivya_daemon.core.events import Event
from shivya_daemon.core.links.settings import LinksSettings
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.net.memory import MemoryNetwork
from shivya_daemon.placement import Table, parse_table
from shivya_daemon.settings import LawSettings

LOSS = 0.15
DELAY = (0.001, 0.02)
SERVICE_RATE = 5.0
_TICK = LawSettings().tick_interval
_BREAK = 0.7  # seconds from one reset of all streams to the next
_FLUSH, _PUSH = 0.02, 0.05  # how often a client says what it did, and is told the table


class DirectLink:
    """A client's connection to its daemon, without the socket: lines go to the commands, tables come back."""

    malformed = 0

    def __init__(
        self,
        whole: WholeNode,
        greeting: bytes,
        *,
        opened: Callable[[], None],
        collect: Callable[[], bytes],
        deliver: Callable[[Table], None],
        lost: Callable[[], None],
    ) -> None:
        self.connected = False
        self.last_error: str | None = None
        self._whole, self._greeting = whole, greeting
        self._opened, self._collect, self._deliver, self._lost = opened, collect, deliver, lost
        self._session = Session()
        self._flushing = False

    def start(self) -> None:
        for line in self._greeting.splitlines():
            self._obey(line)
        self._opened()
        self.connected = True
        self._push()

    def wake(self) -> None:
        if self.connected and not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_later(_FLUSH, self._flush)

    def close(self) -> None:
        self.connected = False
        self._whole.commands.close(self._session)
        self._lost()

    def _flush(self) -> None:
        self._flushing = False
        if self.connected:
            for line in self._collect().splitlines():
                self._obey(line)

    def _push(self) -> None:
        if self.connected:
            self._deliver(parse_table(self._whole.commands.table(self._session)["table"]))
            asyncio.get_running_loop().call_later(_PUSH, self._push)

    def _obey(self, line: bytes) -> None:
        reply = self._whole.commands.obey(line, self._session)
        if reply is not None and "error" in reply:
            self.last_error = str(reply["error"])


class Fleet:
    """Whole nodes on one simulated network, each with a worker and a stream of jobs."""

    def __init__(self, seed: int, count: int = 7, target_links: int = 6) -> None:
        self._limits = LinksSettings(target_links=target_links)
        self.network = MemoryNetwork(seed, LOSS, DELAY, settings=NodeSettings(links=self._limits))
        self.ledger = Ledger()
        self.random = random.Random(seed)
        self.loop = VirtualLoop(seed, self._reachable, LOSS, DELAY)
        self._group: dict[str, int] = {}
        self.nodes = [
            WholeNode(node, self.network.address(node), self.loop.time, SERVICE_RATE)
            for node in self.network.spawn(count)
        ]
        self._by_id = {whole.node.id: whole for whole in self.nodes}
        self.network.on_events = self._hear
        self.workers: list[Worker] = []

    # The run

    def live(self, story: Callable[[], Awaitable[None]]) -> None:
        """Run `story` with everything under way; its end is the end of the world."""
        with ExitStack() as undo:
            patch = undo.enter_context(pytest.MonkeyPatch.context())
            patch.setattr("shivya.client.DaemonLink", self._link)
            patch.setattr("shivya.client.time", SimpleNamespace(monotonic=self.loop.time))
            runner = undo.enter_context(asyncio.Runner(loop_factory=lambda: self.loop))
            runner.run(self._live(story, undo))

    async def _live(self, story: Callable[[], Awaitable[None]], undo: ExitStack) -> None:
        clients = undo.enter_context(ExitStack())
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._break_streams())]
            for number, whole in enumerate(self.nodes):
                host = self._host(whole)
                HOST.set(host)  # tasks made from here on run there
                worker = Worker(whole.name, SERVICE_RATE, self.ledger, seed=number)
                address = await worker.carrier.start(host)
                worker.attach(clients.enter_context(Client(address=address, socket=Path(whole.name))))
                self.workers.append(worker)
                tasks += [group.create_task(run) for run in (worker.serve(), worker.hand_over())]
                tasks.append(group.create_task(self._tick(whole, number * _TICK / len(self.nodes))))
            await story()
            for task in tasks:
                task.cancel()
            for worker in self.workers:
                await worker.close()

    async def _tick(self, whole: WholeNode, offset: float) -> None:
        await asyncio.sleep(offset)
        while True:
            self._catch_up()
            whole.tick()
            self._catch_up()
            await asyncio.sleep(_TICK)

    async def _break_streams(self) -> None:
        while True:
            await asyncio.sleep(_BREAK)
            self.loop.break_streams()

    def _catch_up(self) -> None:
        """Bring the network to the loop's time, and send what nodes were made to say."""
        self.network.run(max(0.0, self.loop.time() - self.network.now))

    # What a story is made of

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Let time pass, a step at a time, until the condition holds."""
        end = self.loop.time() + seconds
        while not condition():
            if self.loop.time() >= end:
                return False
            await asyncio.sleep(_TICK)
        return True

    @asynccontextmanager
    async def stream(self, rates: list[float]) -> AsyncIterator[None]:
        """Let jobs arrive at each worker, at random with these rates per second, while the block lasts."""

        async def arrivals(worker: Worker, rate: float, host: str) -> None:
            HOST.set(host)
            while True:
                await asyncio.sleep(self.random.expovariate(rate))
                worker.arrive()

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(arrivals(worker, rate, self._host(whole)))
                for whole, worker, rate in zip(self.nodes, self.workers, rates, strict=True)
            ]
            yield
            for task in tasks:
                task.cancel()

    def split(self, *groups: list[WholeNode]) -> None:
        """Cut the network between the groups, for datagrams and streams alike."""
        self.network.partition([[whole.node for whole in group] for group in groups])
        self._group = {self._host(whole): n for n, group in enumerate(groups, 1) for whole in group}

    def heal(self) -> None:
        """Undo `split`."""
        self.network.heal()
        self._group = {}

    @property
    def whole(self) -> bool:
        """Whether everybody knows everybody."""
        return all(len(whole.node.members) == len(self.nodes) - 1 for whole in self.nodes)

    @property
    def linked(self) -> bool:
        """Whether the mesh is whole, and links are agreed at both ends and as many as they should be."""
        links = {whole.node.id: set(whole.node.links) for whole in self.nodes}
        full = len(self.nodes) - 1
        return self.whole and all(
            len(links[node]) >= (full if full <= self._limits.target_links else self._limits.min_links)
            and all(node in links[other] for other in links[node])
            for node in links
        )

    @property
    def idle(self) -> bool:
        """Whether no job is anywhere."""
        return self.ledger.settled and all(worker.idle for worker in self.workers)

    def triangles(self, among: list[WholeNode]) -> Iterator[tuple[WholeNode, WholeNode, WholeNode]]:
        """Yield the triples of nodes that are linked all three."""
        for a, b, c in combinations(among, 3):
            if {b.node.id, c.node.id} <= set(a.node.links) and c.node.id in b.node.links:
                yield a, b, c

    # Machinery

    def _link(self, path: Path, greeting: bytes, **callbacks: Any) -> DirectLink:
        whole = next(whole for whole in self.nodes if whole.name == path.name)
        return DirectLink(whole, greeting, **callbacks)

    def _hear(self, node: Node, events: list[Event]) -> None:
        self._by_id[node.id].desk.take(events)

    def _host(self, whole: WholeNode) -> str:
        return self.network.address(whole.node)[0]

    def _reachable(self, source: str, destination: str) -> bool:
        return self._group.get(source, 0) == self._group.get(destination, 0)
