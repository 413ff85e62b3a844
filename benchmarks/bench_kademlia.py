"""Fifty nodes on loopback, one process, one event loop: values put and fetched, beside `kademlia` of PyPI.

Both have buckets of 20 and ask 3 at a time; each node is introduced to one random earlier node, values are
put and fetched at random nodes, 16 operations at a time. At 15 % loss every datagram is dropped with that
chance by its sender, from the first on; the library then waits half a second for an answer in place of its
default of five, with which the nodes do not come together in minutes. Ours moves content-addressed values
with write tokens in encrypted sessions, and gossip goes on meanwhile; the library has none of these. Links
and their heartbeats are off: the library has nothing like them, and at ten a second they would be what is
measured.

`pip install --target DIR kademlia==2.2.3` and `PYTHONPATH=DIR` make the library known. Names on the command
line (`shivya`, `kademlia`) choose who runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from typing import Any, Protocol

import anyio

from peers import load
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.links.settings import LinksSettings
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.net.udp import UdpDriver
from timing import Row, fix_environment, publish

NODES = 50
OPERATIONS = 500
AT_LOSS = 200
LOSS = 0.15
IN_FLIGHT = 16
HOST = "127.0.0.1"
LIBRARY_TIMEOUT_AT_LOSS = 0.5
LONGEST = 120.0  # seconds for all puts, or all gets; what is not done then has failed
POLL = 0.001
SETTINGS = NodeSettings(links=LinksSettings(min_links=0, target_links=0))
LIBRARY = load("kademlia", "kademlia.network")


class Wire:
    """Counts what is sent, and loses some of it."""

    def __init__(self, loss: float) -> None:
        self.loss = loss
        self._random = random.Random(11)
        self.datagrams = 0
        self.bytes = 0

    def carries(self, data: bytes) -> bool:
        self.datagrams += 1
        self.bytes += len(data)
        return self._random.random() >= self.loss


class Mesh(Protocol):
    """Nodes by number; `put` returns the key, or None when it failed."""

    async def put(self, number: int, value: bytes) -> bytes | None: ...

    async def get(self, number: int, key: bytes) -> bytes | None: ...


class LossySocket:
    """The socket of a driver, in front of which datagrams are counted and lost."""

    def __init__(self, inner: socket.socket, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sendto(self, data: bytes, address: Any) -> int:
        return self._inner.sendto(data, address) if self._wire.carries(data) else len(data)


class Ours:
    """Real nodes under the UDP driver of the daemon."""

    def __init__(self, drivers: Sequence[UdpDriver]) -> None:
        self._drivers = drivers

    async def put(self, number: int, value: bytes) -> bytes | None:
        operation = await self._done(number, self._drivers[number].node.put(value))
        return operation.key if operation.result else None

    async def get(self, number: int, key: bytes) -> bytes | None:
        result: bytes | None = (await self._done(number, self._drivers[number].node.get(key))).result
        return result

    async def _done(self, number: int, operation: Any) -> Any:
        self._drivers[number].wake()
        while not operation.done:
            await asyncio.sleep(POLL)
        return operation


@asynccontextmanager
async def ours(wire: Wire, choose: random.Random) -> AsyncIterator[Mesh]:
    drivers: list[UdpDriver] = []
    async with anyio.create_task_group() as tasks:
        for _ in range(NODES):
            node = Node(Identity.generate(os.urandom), SETTINGS, os.urandom, incarnation=1)
            driver = UdpDriver(node, HOST)
            node.advertise((driver.address,))
            driver._socket = LossySocket(driver._socket, wire)  # type: ignore[assignment]
            if drivers:
                node.connect(choose.choice(drivers).address, driver.now())
            drivers.append(driver)
            tasks.start_soon(driver.run)
        while not all(len(driver.node.members) >= NODES // 2 for driver in drivers):
            await asyncio.sleep(0.01)
        yield Ours(drivers)
        tasks.cancel_scope.cancel()


class LossyTransport:
    """The transport of a server, in front of which datagrams are counted and lost."""

    def __init__(self, inner: Any, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    def sendto(self, data: bytes, address: Any) -> None:
        if self._wire.carries(data):
            self._inner.sendto(data, address)


class Theirs:
    """Servers of the library `kademlia`."""

    def __init__(self, servers: Sequence[Any]) -> None:
        self._servers = servers

    async def put(self, number: int, value: bytes) -> bytes | None:
        key = sha256(value).digest()
        return key if await self._servers[number].set(key, value) else None

    async def get(self, number: int, key: bytes) -> bytes | None:
        result: bytes | None = await self._servers[number].get(key)
        return result


@asynccontextmanager
async def theirs(wire: Wire, choose: random.Random) -> AsyncIterator[Mesh]:
    servers: list[Any] = []
    try:
        for _ in range(NODES):
            server = LIBRARY.module.Server(ksize=20, alpha=3)
            await server.listen(0, interface=HOST)
            server.protocol.transport = LossyTransport(server.transport, wire)
            if wire.loss:
                server.protocol._wait_timeout = LIBRARY_TIMEOUT_AT_LOSS
            if servers:
                seed = choose.choice(servers).transport.get_extra_info("sockname")
                await server.bootstrap([seed])
            servers.append(server)
        yield Theirs(servers)
    finally:
        for server in servers:
            server.stop()


async def in_flight(call: Callable[[int], Awaitable[bool]], count: int) -> tuple[int, float, float]:
    """How many of `count` calls came out well, and the wall and processor seconds of all."""
    numbers = iter(range(count))
    good = 0

    async def work() -> None:
        nonlocal good
        for number in numbers:
            try:
                came_out = await call(number)
            except Exception:  # the library raises where an answer is missing
                came_out = False
            good += came_out

    wall, cpu = time.perf_counter(), time.process_time()
    workers = [asyncio.create_task(work()) for _ in range(IN_FLIGHT)]
    _, late = await asyncio.wait(workers, timeout=LONGEST)
    for worker in late:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return good, time.perf_counter() - wall, time.process_time() - cpu


async def measured(
    make: Callable[[Wire, random.Random], AbstractAsyncContextManager[Mesh]], loss: float, count: int
) -> AsyncIterator[Row]:
    """A row for the building, one for the puts and one for the gets."""
    wire, choose = Wire(loss), random.Random(7)
    values = [choose.randbytes(100) for _ in range(count)]
    keys: dict[int, bytes] = {}
    begun, cpu = time.perf_counter(), time.process_time()
    async with make(wire, choose) as mesh:

        async def put(number: int) -> bool:
            key = await mesh.put(choose.randrange(NODES), values[number])
            if key is not None:
                keys[number] = key
            return key is not None

        async def get(number: int) -> bool:
            entry = number % len(keys)
            return await mesh.get(choose.randrange(NODES), keys[entry]) == values[entry]

        yield figures("build", NODES, NODES, time.perf_counter() - begun, time.process_time() - cpu, wire)
        for name, call in (("put", put), ("get", get)):
            wire.datagrams = wire.bytes = 0
            good, wall, spent = await in_flight(call, count)
            yield figures(name, count, good, wall, spent, wire)
            if name == "put":
                values = [values[number] for number in sorted(keys)]
                keys = dict(enumerate(keys[number] for number in sorted(keys)))


def figures(phase: str, count: int, good: int, wall: float, cpu: float, wire: Wire) -> Row:
    return {
        "phase": phase,
        "asked": count,
        "good": good,
        "wall_s": wall,
        "per_s": good / wall,
        "cpu_ms_each": 1e3 * cpu / count,
        "datagrams_each": wire.datagrams / count,
        "bytes_each": wire.bytes / count,
    }


async def rows(names: Sequence[str]) -> list[Row]:
    result: list[Row] = []
    for loss, count in ((0.0, OPERATIONS), (LOSS, AT_LOSS)):
        for name, label, make in (("shivya", "shivya", ours), ("kademlia", LIBRARY.name, theirs)):
            head: Row = {"method": label, "nodes": NODES, "loss": loss}
            if name not in names:
                continue
            if name == "kademlia" and LIBRARY.module is None:
                result.append(LIBRARY.absent(head))
                continue
            result += [{**head, **row} async for row in measured(make, loss, count)]
    return result


def main() -> None:
    logging.disable(logging.CRITICAL)  # the library logs every datagram it misses
    publish("kademlia", asyncio.run(rows(sys.argv[1:] or ("shivya", "kademlia"))))


if __name__ == "__main__":
    fix_environment()
    main()
