"""A whole node as a program holds it: mesh node, desk, control commands, law; and an application's worker.

`WholeNode` leaves out sockets only. `Worker` is an application as the documentation tells one to
be: a `Client` decides, a `Carrier` moves, and a ledger knows every job that was ever made.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from shivya.client import Client, Peer
from shivya.transfer import Carrier, Job, TransferFailed, TransferInDoubt

from shivya_daemon.commands import Commands, Session
from shivya_daemon.core.node import Node
from shivya_daemon.desk import NodeDesk
from shivya_daemon.mind.start import start_law
from shivya_daemon.operations import NodeOperations, Place
from shivya_daemon.services import ServiceBook
from shivya_daemon.settings import DaemonSettings, LawSettings
from shivya_daemon.verdict import EdgeVerdict, Verdict

HANDOVER_INTERVAL = 0.05
_PATIENCE = 120.0  # longer than any cut: what is in doubt is asked again until it is known
_CPU, _MEMORY, _NETWORK = 0.2, 0.3, 1000.0  # telemetry of a machine that does nothing else


class WholeNode:
    """Everything of one daemon but its sockets; `tick` is its control step."""

    def __init__(self, node: Node, address: tuple[str, int], clock: Callable[[], float], rate: float) -> None:
        self.node = node
        self.name = node.settings.name
        book = ServiceBook(rate)
        operations = NodeOperations(node, book, DaemonSettings(), Place(Path("/"), address, None), clock)
        self.desk = NodeDesk(node, book, LawSettings(), address, "0", clock, operations)
        self.commands = Commands(self.desk, clock)
        self.verdicts: dict[str, Verdict] = {}
        self.energies: list[float] = []
        """Collective free energy of the service `default`, step by step."""
        self._law = start_law(LawSettings(), node.id)
        self._clock = clock

    def tick(self) -> None:
        worlds = self.desk.worlds(self._clock())
        self.verdicts = self._law.judge(tuple(world for world, _ in worlds), _CPU, _MEMORY, _NETWORK)
        self.desk.conclude(worlds, self.verdicts, self._clock())
        energy = self.verdicts["default"].collective_free_energy
        assert energy is not None
        self.energies.append(energy)

    def say(self, line: str) -> dict[str, Any]:
        """Say a line as on the control socket; an error is a failure of the test."""
        reply = self.commands.obey(line.encode(), Session())
        assert reply is not None and "error" not in reply, f"{self.name}: {line} -> {reply}"
        return reply

    def offload(self, service: str, target: WholeNode, rate: float) -> None:
        """State by hand that this node sends `rate` jobs per second to `target`."""
        self.say(f"OFFLOAD service={service} from={self.name} to={target.node.id.hex()} rate={rate}")

    def edges(self, service: str) -> dict[tuple[bytes, bytes], EdgeVerdict]:
        """Return what this node knows of each link, as of its last step."""
        return {(edge.tail, edge.head): edge for edge in self.verdicts[service].edges}


class Ledger:
    """Every job that was made, how often it was served, and where."""

    def __init__(self) -> None:
        self.made: list[bytes] = []
        self.served: Counter[bytes] = Counter()
        self.by_node: Counter[str] = Counter()
        self.doubted = 0

    def make(self, source: str) -> Job:
        job = Job(len(self.made).to_bytes(16), b"work", source=source)
        self.made.append(job.id)
        return job

    @property
    def wrong(self) -> list[bytes]:
        """Jobs that were lost, or served twice."""
        return [job for job in self.made if self.served[job] != 1]

    @property
    def settled(self) -> bool:
        """Whether every job was served."""
        return len(self.served) >= len(self.made)


class Worker:
    """One server with a queue, on the node `name`; jobs take a random time of mean `1 / rate`."""

    def __init__(self, name: str, rate: float, ledger: Ledger, seed: int) -> None:
        self.carrier = Carrier(self._take, name=name, patience=_PATIENCE)
        self._name, self._rate, self._ledger = name, rate, ledger
        self._random = random.Random(seed)
        self._queue: deque[Job] = deque()
        self._serving = 0
        self._changed = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._client: Client

    def attach(self, client: Client) -> None:
        """Begin to use the mesh."""
        self._client = self.carrier.client = client
        client.report(queue=0, service_rate=self._rate)

    @property
    def idle(self) -> bool:
        """Whether no job is here, or on its way from here."""
        return not (self._queue or self._serving or self._sending)

    def arrive(self) -> None:
        """A new job arrives from outside the mesh."""
        self._place(self._ledger.make(self._name))

    async def serve(self) -> None:
        while True:
            while not self._queue:
                self._changed.clear()
                await self._changed.wait()
            job = self._queue.popleft()
            self._serving = 1
            await asyncio.sleep(self._random.expovariate(self._rate))
            self._serving = 0
            self._ledger.served[job.id] += 1
            self._ledger.by_node[self._name] += 1
            self._client.done()

    async def hand_over(self) -> None:
        while True:
            self._client.report(queue=len(self._queue) + self._serving)
            for peer, count in self._client.handover():
                given = [self._queue.pop() for _ in range(min(count, len(self._queue)))]
                for job in given:
                    self._send(job, peer)
                self._client.unsent(peer, count - len(given))
            await asyncio.sleep(HANDOVER_INTERVAL)

    async def close(self) -> None:
        await self.carrier.close()
        for task in self._sending:
            task.cancel()

    def _take(self, job: Job, _: str) -> None:
        self._place(job)

    def _place(self, job: Job) -> None:
        peer = self._client.route(hops=job.hops)
        if peer is None:
            self._keep(job)
        else:
            self._send(job, peer)

    def _keep(self, job: Job) -> None:
        self._queue.append(job)
        self._changed.set()

    def _send(self, job: Job, peer: Peer) -> None:
        if peer.address is None:
            self._came_back(job, peer)
            return
        task = asyncio.create_task(self._hand_to(job, peer, peer.address))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _hand_to(self, job: Job, peer: Peer, address: str) -> None:
        try:
            await self.carrier.send(address, job)
        except TransferFailed:
            self._came_back(job, peer)
        except TransferInDoubt:
            self._ledger.doubted += 1

    def _came_back(self, job: Job, peer: Peer) -> None:
        self._client.unsent(peer)
        self._keep(job)


def rotate(nodes: tuple[WholeNode, ...], service: str, rate: float) -> None:
    """Have each of the nodes say that it sends `rate` to the next: all are busy, and nobody gains."""
    for node, following in zip(nodes, (*nodes[1:], nodes[0]), strict=True):
        node.offload(service, following, rate)


def disagreements(nodes: list[WholeNode], service: str) -> list[str]:
    """Return the links of which two nodes know different numbers, or one none, though both hear its ends."""
    listed = {(whole.node.id, other) for whole in nodes for other in whole.node.links}
    links = {(a, b) for a, b in listed if a < b and (b, a) in listed}
    links |= {edge for whole in nodes for edge in whole.edges(service)}
    found = []
    for edge in links:
        hearing = [whole for whole in nodes if {whole.node.id, *whole.node.links}.issuperset(edge)]
        said = {whole.name: whole.edges(service).get(edge) for whole in hearing}
        numbers = {name: None if verdict is None else verdict.reported for name, verdict in said.items()}
        if len(set(numbers.values())) > 1 or None in numbers.values():
            found.append(f"{edge[0].hex()[:8]}-{edge[1].hex()[:8]}: {numbers}")
    return found


def circulation(whole: WholeNode, service: str, value: Callable[[EdgeVerdict], float]) -> float:
    """Return the largest sum of `value` around a triangle of links, by definition and not by any matrix."""
    edges = whole.edges(service)
    largest = 0.0
    for u, v in edges:
        for w in {head for tail, head in edges if tail == v}:
            if (u, w) in edges:
                turn = value(edges[u, v]) + value(edges[v, w]) - value(edges[u, w])
                largest = max(largest, abs(turn))
    return largest


def falls(nodes: list[WholeNode], steps: int = 10) -> bool:
    """Whether the fleet's mean free energy of the last steps is below that of the first."""
    first = fmean(energy for whole in nodes for energy in whole.energies[:steps])
    return fmean(energy for whole in nodes for energy in whole.energies[-steps:]) < first
