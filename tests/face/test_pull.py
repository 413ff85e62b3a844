"""Requests of idle nodes: jobs move by them exactly once, whatever becomes of the requests."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from relay import HOST, Relay
from shivya.client import Client, Load, Peer
from shivya.demo import children
from shivya.demo.children import Child
from shivya.demo.generator import Generator, Outcome
from shivya.demo.links import start_workers
from shivya.demo.plan import Arrival, Plan
from shivya.job_frames import Ack, Ask, Hello, Job, encode, read
from shivya.transfer import Carrier, TransferError
from shivya.waiting import Waiting


class Advice(Client):
    """A client that advises what a test wants, and writes down what it is told."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(socket=tmp_path / "none.sock")
        self.asked: Peer | None = None
        self.idle = False
        self.given: dict[str, Peer] = {}
        self.taken_back = 0

    def whom_to_ask(self) -> Peer | None:
        return self.asked

    def give(self, asker: str) -> Peer | None:
        return self.given.get(asker)

    def unsent(self, peer: Peer, n: int = 1) -> None:
        self.taken_back += n

    def load(self) -> Load:
        return Load(3, 20.0, 0.2)


class Node:
    """A line of jobs with a carrier in front of it."""

    def __init__(self, name: str, tmp_path: Path, jobs: int = 0) -> None:
        self.line: Waiting[Job] = Waiting()
        for number in range(jobs):
            self.line.add(Job(number.to_bytes(16), b"work"), float(number))
        self.advice = Advice(tmp_path)
        self.carrier = Carrier(self.take, name=name, client=self.advice, give=self.give, patience=20.0)
        self.idle = asyncio.Event()
        self.idle.set()
        self.taken: list[bytes] = []
        self.sending: set[asyncio.Task[None]] = set()
        self.arrived = asyncio.Event()

    def take(self, job: Job, _: str) -> None:
        self.taken.append(job.id)
        self.line.add(job, 0.0)
        self.arrived.set()

    def give(self, peer: Peer) -> bool:
        if not self.line:
            return False
        job, born = self.line.pop_middle()
        task = asyncio.create_task(self._send(job, born, peer))
        self.sending.add(task)
        task.add_done_callback(self.sending.discard)
        return True

    async def _send(self, job: Job, born: float, peer: Peer) -> None:
        assert peer.address is not None
        try:
            await self.carrier.send(peer.address, job)
        except TransferError:
            self.line.add(job, born)


@asynccontextmanager
async def couple(tmp_path: Path, jobs: int) -> AsyncIterator[tuple[Node, Node]]:
    """A busy node `a` that gives to the idle node `b`, which asks it."""
    a, b = Node("a", tmp_path, jobs), Node("b", tmp_path)
    async with asyncio.timeout(60), a.carrier, b.carrier:
        address_a, address_b = await a.carrier.start(HOST), await b.carrier.start(HOST)
        b.advice.asked = Peer("aa" * 20, "a", address_a)
        a.advice.given = {"b": Peer("bb" * 20, "b", address_b)}
        yield a, b


def test_what_is_asked_for_comes_from_the_middle_as_any_job_does(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with couple(tmp_path, 5) as (a, b):
            assert await b.carrier.ask(a.carrier._hello.name) is False, "no address"
            address = b.advice.asked
            assert address is not None and address.address is not None
            assert await b.carrier.ask(address.address)
            await b.arrived.wait()
            assert b.taken == [(2).to_bytes(16)]
            assert [job.hops for job in b.line] == [1]
            assert len(a.line) == 4 and a.advice.taken_back == 0

    asyncio.run(scenario())


def test_requests_that_nobody_grants_move_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with couple(tmp_path, 3) as (a, b):
            assert b.advice.asked is not None and (address := b.advice.asked.address) is not None
            granted, a.advice.given = a.advice.given, {}
            assert not await b.carrier.ask(address)
            a.advice.given = granted
            a.line = Waiting()
            assert not await b.carrier.ask(address), "there was nothing left after all"
            assert a.advice.taken_back == 1

            def fail(_: Peer) -> bool:
                raise RuntimeError("not now")

            a.carrier._give = fail
            assert not await b.carrier.ask(address)
            assert a.advice.taken_back == 2
            a.carrier._give = None
            assert not await b.carrier.ask(address), "an application that gives nothing away"
            await a.carrier.close()
            assert not await b.carrier.ask(address), "nobody there"
            assert b.taken == []

    asyncio.run(scenario())


def test_an_idle_node_pulls_until_it_has_everything_and_a_busy_one_asks_for_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with couple(tmp_path, 8) as (a, b):
            b.idle.clear()
            pulling = asyncio.create_task(b.carrier.pull(b.idle))
            await asyncio.sleep(0)
            assert b.advice.heard is not None
            b.advice.heard()
            await asyncio.sleep(0)
            assert not b.taken
            asked, b.advice.asked = b.advice.asked, None
            b.idle.set()
            await asyncio.sleep(0)
            b.advice.asked = asked
            b.advice.heard()
            while len(b.taken) < 8:
                b.arrived.clear()
                await b.arrived.wait()
            pulling.cancel()
            await asyncio.wait([pulling])
            assert b.advice.heard is None
            assert sorted(b.taken) == [n.to_bytes(16) for n in range(8)] and not a.line

    asyncio.run(scenario())


def test_no_job_is_lost_or_taken_twice_though_requests_and_jobs_are_cut_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        rng = random.Random(3)
        async with couple(tmp_path, 60) as (a, b):
            assert b.advice.asked is not None and b.advice.asked.address is not None
            to_a, to_b = Relay(b.advice.asked.address), Relay(a.advice.given["b"].address or "")
            to_a.cut_after = to_b.cut_after = lambda: (rng.randint(30, 400), rng.randint(30, 400))
            async with to_a as asking, to_b as giving:
                a.advice.given["b"] = Peer("bb" * 20, "b", giving)
                while len(b.taken) < 60:  # what comes back to `a` is asked for again
                    await b.carrier.ask(asking)
                while a.sending:
                    await asyncio.wait(a.sending)
            assert to_a.cuts > 3 and to_b.cuts > 3
            assert sorted(b.taken) == [n.to_bytes(16) for n in range(60)]
            assert sorted([*(job.id for job in a.line), *b.taken]) == sorted(b.taken)

    asyncio.run(scenario())


def test_a_request_is_answered_in_order_with_the_load(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with couple(tmp_path, 1) as (a, b):
            assert b.advice.asked is not None and b.advice.asked.address is not None
            host, port = b.advice.asked.address.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(encode(Hello(7, "stranger")) + encode(Ask(1)) + encode(Ask(2)))
            assert isinstance(await read(reader), Hello)
            expected = (3, 20.0, 0.2)
            assert [await read(reader) for _ in range(2)] == [
                Ack(bytes(16), move, False, True, expected, 0) for move in (1, 2)
            ]
            writer.close()
            assert a.carrier.malformed == 0

    asyncio.run(scenario())


# Real workers, a mesh that only ever says who is busy


class Tables:
    """Control sockets of two nodes: `n1` always seems busy, so that only requests move its jobs to `n2`."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / "n1.sock", folder / "n2.sock"]
        self._addresses: dict[int, str] = {}
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listeners: list[socket.socket] = []

    def __enter__(self) -> Tables:
        for node, path in enumerate(self.paths):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen(1)
            self._listeners.append(listener)
            self._start(self._accept, node, listener)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, what: Any, *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=what, args=arguments))
        self._threads[-1].start()

    def _accept(self, node: int, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(0.05)
            while not self._over.is_set():
                try:
                    received = connection.recv(65536)
                except TimeoutError:
                    pass
                except OSError:
                    return
                else:
                    if not received:
                        return
                    for word in received.split():
                        if word.startswith(b"address="):
                            self._addresses[node] = word[8:].decode()
                try:
                    connection.sendall(json.dumps({"table": self._table(node)}).encode() + b"\n")
                except OSError:
                    return

    def _table(self, node: int) -> dict[str, Any]:
        other = 1 - node
        row = {
            "id": f"{other + 1:040x}",
            "name": f"n{other + 1}",
            "address": self._addresses.get(other),
            "potential": 1e3,
            "slope": 0.1,
            "service_rate": 200.0,
            "queue": 100 if other == 0 else 0,
            "servers": 1,
            "hop": 0.001,
            "age": 0.0,
            "out": 0,
            "flow": 0,
        }
        return {
            "service": "default", "tick": 1, "gap": 0.005, "hop_limit": 8, "stale_after": 60.0,
            "service_rate": 200.0, "servers": 1, "pull_wait": 0.06, "neighbours": [row],
        }  # fmt: skip


def run_pair(folder: Path, *, kill: bool) -> Outcome:
    jobs = 160
    arrivals = tuple(Arrival(k / 1000, 0, 1.0, k) for k in range(jobs))
    # Two seconds of work for one worker; the kill comes after one, when the idle one has long asked.
    plan = Plan(2.0, (80.0, 80.0), (80.0, 0.0), hot=0, victim=1, arrivals=arrivals)
    started: list[Child] = []

    async def phase(paths: list[Path]) -> Outcome:
        try:
            workers = await start_workers(
                plan.service_rates, burn=False, sockets=paths, logs=folder, started=started
            )
            return await Generator(plan, workers).run(workers[1].child.kill if kill else None)
        finally:
            await children.stop(started)

    with ExitStack() as stack:
        tables = stack.enter_context(Tables(folder))
        return asyncio.run(phase(tables.paths))


@pytest.mark.processes
@pytest.mark.parametrize("kill", [False, True])
def test_an_idle_worker_pulls_jobs_and_none_is_lost_or_done_twice(tmp_path: Path, kill: bool) -> None:
    outcome = run_pair(tmp_path, kill=kill)
    assert (outcome.submitted, outcome.done, outcome.lost, outcome.twice) == (160, 160, 0, 0)
    assert outcome.moves > 0, "nobody but the one that asks moves anything here"
    assert outcome.dead == ({1} if kill else set())
