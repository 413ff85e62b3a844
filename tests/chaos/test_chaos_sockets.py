"""Five whole nodes on real loopback sockets that lose datagrams: isolated, split in two, one mesh again."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest
from msgspec.structs import replace
from shivya.ask import ask
from shivya.client import Client
from whole_node import Ledger, WholeNode, Worker, circulation, disagreements, falls, rotate

from shivya_daemon.control import ControlServer
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.net import udp
from shivya_daemon.settings import LawSettings

BOOKS = "books"
COUNT, LOSS = 5, 0.15
SERVICE_RATE, HOT, COOL = 5.0, 12.0, 1.0  # jobs per second
REMAINING_CURL = 1e-7
_POLL, _PATIENCE = 0.05, 100.0

pytestmark = [pytest.mark.anyio, pytest.mark.no_cover]  # counting lines would treble its time


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Loss:
    """Draws which datagrams are lost, and counts them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.sent = self.lost = 0

    def strikes(self) -> bool:
        self.sent += 1
        hit = self._random.random() < LOSS
        self.lost += hit
        return hit

    def module(self) -> SimpleNamespace:
        """Return the module `socket` with datagrams that this loss strikes."""
        loss = self

        class LossySocket(socket.socket):
            def sendto(self, data: bytes, address: Any) -> int:  # type: ignore[override]
                return len(data) if loss.strikes() else super().sendto(data, address)

        return SimpleNamespace(**{**vars(socket), "socket": LossySocket})


class Host:
    """One whole node on sockets of its own, with a worker."""

    def __init__(self, number: int, folder: Path, ledger: Ledger) -> None:
        settings = NodeSettings(name=f"n{number}")
        # All are on one address, which the hash table would take for one party.
        settings = replace(settings, dht=replace(settings.dht, subnet_limit=None))
        node = Node(Identity.generate(os.urandom), settings, os.urandom, incarnation=1)
        self.driver = udp.UdpDriver(node, on_events=lambda events: self._hear(events))
        node.advertise((self.driver.address,))
        self.node = node
        self.whole = WholeNode(node, self.driver.address, self.driver.now, SERVICE_RATE)
        self.control = ControlServer(self.whole.desk, folder / f"{number}.sock", self.driver.now)
        self.worker = Worker(settings.name, SERVICE_RATE, ledger, seed=number)

    async def tick(self) -> None:
        while True:
            self.whole.tick()
            self.driver.wake()
            self.control.notify()
            await anyio.sleep(LawSettings().tick_interval)

    async def arrivals(self, rate: float, chance: random.Random) -> None:
        while True:
            await anyio.sleep(chance.expovariate(rate))
            self.worker.arrive()

    def shun(self, others: list[Host]) -> None:
        for other in others:
            self.node.block(other.driver.address)

    def greet(self, others: list[Host]) -> None:
        for other in others:
            self.node.unblock(other.driver.address)

    @property
    def neighbours(self) -> int:
        """Nodes to which jobs may go now."""
        return len(self.whole.desk.table("default")["neighbours"])

    def _hear(self, events: list[Any]) -> None:
        if self.whole.desk.take(events):
            self.control.notify()


@asynccontextmanager
async def fleet(folder: Path, ledger: Ledger) -> AsyncIterator[list[Host]]:
    """Run whole nodes that know one seed."""
    hosts = [Host(number, folder, ledger) for number in range(COUNT)]
    for host in hosts[1:]:
        host.node.connect(hosts[0].driver.address, host.driver.now())
    with ExitStack() as clients:
        async with anyio.create_task_group() as tasks:
            for host in hosts:
                await tasks.start(host.control.serve)
                tasks.start_soon(host.driver.run)
                tasks.start_soon(host.tick)
                address = await host.worker.carrier.start("127.0.0.1")
                client = clients.enter_context(Client(address=address, socket=host.control.path))
                assert await anyio.to_thread.run_sync(client.wait_ready, _PATIENCE), client.last_error
                host.worker.attach(client)
                tasks.start_soon(host.worker.serve)
                tasks.start_soon(host.worker.hand_over)
            yield hosts
            for host in hosts:
                await host.worker.close()
            tasks.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(_PATIENCE):
        while not condition():
            await anyio.sleep(_POLL)


def linked(hosts: list[Host]) -> bool:
    """Whether every node has links with every other of these, and with nobody else."""
    ids = {host.node.id for host in hosts}
    return all(set(host.node.links) == ids - {host.node.id} for host in hosts)


async def isolate(hosts: list[Host], chance: random.Random) -> None:
    """Cut one node off until it knows of nobody to send a job to, and then some."""
    alone = chance.choice(hosts)
    others = [host for host in hosts if host is not alone]
    alone.shun(others)
    await until(lambda: not alone.neighbours)
    alone.greet(others)
    await until(lambda: alone.neighbours > 0)


async def split_brain(hosts: list[Host]) -> dict[tuple[bytes, bytes], float]:
    """Cut the mesh in two, write into the books what does not fit together, and heal it.

    Returns the flow across the split by the records of both sides.
    """
    left, right = hosts[:2], hosts[2:]
    conflicts: dict[tuple[bytes, bytes], float] = {}
    for number, (a, b) in enumerate((a, b) for a in left for b in right):
        a.shun([b])
        b.shun([a])
        there, back = number + 1.0, 2.0 * number + 1.5
        a.whole.offload(BOOKS, b.whole, there)
        b.whole.offload(BOOKS, a.whole, back)
        low, high = sorted((a.node.id, b.node.id))
        conflicts[low, high] = there - back if low == a.node.id else back - there
    left[0].whole.offload(BOOKS, left[1].whole, 3.0)
    left[1].whole.offload(BOOKS, left[0].whole, 1.0)
    await until(lambda: linked(left) and linked(right))
    rotate(tuple(host.whole for host in right), BOOKS, 2.0)
    await until(lambda: all(circulation(h.whole, BOOKS, lambda edge: edge.reported) == 6.0 for h in right))
    for a in left:
        a.greet(right)
    for b in right:
        b.greet(left)
    return conflicts


async def test_five_nodes_on_lossy_sockets_are_one_mesh_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, loss, ledger = random.Random(5), Loss(seed=5), Ledger()
    monkeypatch.setattr(udp, "socket", loss.module())
    monkeypatch.setattr("shivya_daemon.services.STATED_OFFLOAD_AGE", 3600.0)  # the machine may be slow
    async with fleet(tmp_path, ledger) as hosts:
        nodes = [host.whole for host in hosts]
        await until(lambda: linked(hosts))
        for whole in nodes:
            whole.say(f"REPORT service={BOOKS} queue=0 servers=1 rate=1")
        async with anyio.create_task_group() as jobs:
            for host in hosts:
                jobs.start_soon(host.arrivals, HOT if host is hosts[0] else COOL, chance)
            await isolate(hosts, chance)
            await isolate(hosts, chance)
            await until(lambda: linked(hosts))
            conflicts = await split_brain(hosts)
            await until(lambda: linked(hosts))

            def told() -> bool:
                """Whether every node has every record of the other side."""
                return all(
                    {edge: row.reported for edge, row in whole.edges(BOOKS).items() if edge in conflicts}
                    == conflicts
                    for whole in nodes
                ) and not disagreements(nodes, BOOKS)

            await until(told)
            for whole in nodes:
                assert circulation(whole, BOOKS, lambda edge: edge.reported) > 1.0
                for service in ("default", BOOKS):
                    assert circulation(whole, service, lambda edge: edge.gradient) < REMAINING_CURL
            jobs.cancel_scope.cancel()
        await until(lambda: ledger.settled and all(host.worker.idle for host in hosts))
        assert ledger.wrong == []
        assert ledger.doubted == 0
        assert ledger.by_node["n0"] < len(ledger.made) / 2, "the hot node passed jobs on"
        await until(lambda: falls(nodes))
        for host in hosts:
            status = await anyio.to_thread.run_sync(ask, host.control.path, "STATUS")
            assert status["name"] == host.whole.name
            assert len(status["peers"]) == COUNT - 1
        finds = [(b.node.id, a.node.find(b.node.id)) for a in hosts for b in hosts if a is not b]
        for host in hosts:
            host.driver.wake()
        await until(lambda: all(find.done for _, find in finds))
        assert all(find.result is not None and find.result.id == node for node, find in finds)
    assert loss.lost > 0.1 * loss.sent
