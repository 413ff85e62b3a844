"""Records what real daemons see under varied load, for the predictor of L2 to be judged on.

    python benchmarks/record_traces.py OUT --minutes 32

Four daemons on loopback, each with a client and a single-server queue in this process. Jobs move between the
queues as `route()` and `handover()` say. Every node has its own rhythm: a slow wave, bursts, a batch every
20 s, a daily ramp in miniature. Each daemon writes OUT/<name>.gz with `--record`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from shivya.client import Client

RATES = {"wave": 20.0, "burst": 20.0, "batch": 40.0, "ramp": 10.0}


def rhythms(seconds: float, dice: random.Random) -> dict[str, Callable[[float], float]]:
    """Arrivals per second of each node as a function of time."""
    flips: list[float] = [0.0]
    while flips[-1] < seconds:
        flips.append(flips[-1] + dice.expovariate(1 / (2.0 if len(flips) % 2 else 6.0)))

    def burst(t: float) -> float:
        return 35.0 if sum(1 for f in flips if f <= t) % 2 else 7.0

    return {
        "wave": lambda t: 14.0 * (1 + 0.8 * math.sin(2 * math.pi * t / 60)),
        "burst": burst,
        "batch": lambda t: 80.0 if t % 20 < 2 else 14.0,
        "ramp": lambda t: 4.0 + 16.0 * (t % 300) / 300,
    }


class Queue:
    """A single server that waits out each job's service time."""

    def __init__(self, name: str, rate: float, path: Path) -> None:
        self.name, self.rate = name, rate
        self.jobs: asyncio.Queue[tuple[float, int]] = asyncio.Queue()
        self.client = Client(address=f"{name}:1", socket=path)
        self.held = 0
        self.finished = 0

    def take(self, size: float, hops: int, fleet: dict[str, Queue], source: str | None) -> None:
        if source is not None:
            self.client.accepted(source)
        peer = self.client.route(hops)
        if peer is not None and peer.name in fleet:
            asyncio.get_running_loop().call_later(
                0.002, fleet[peer.name].take, size, hops + 1, fleet, self.name
            )
            return
        self.held += 1
        self.jobs.put_nowait((size, hops))

    async def serve(self) -> None:
        while True:
            size, _ = await self.jobs.get()
            await asyncio.sleep(size / self.rate)
            self.held -= 1
            self.finished += 1
            self.client.done()

    async def hand_over(self, fleet: dict[str, Queue]) -> None:
        while True:
            await asyncio.sleep(0.1)
            self.client.report(self.held, service_rate=self.rate)
            for peer, count in self.client.handover():
                for _ in range(count):
                    if self.jobs.empty():
                        self.client.unsent(peer)
                        continue
                    size, hops = self.jobs.get_nowait()
                    self.held -= 1
                    fleet[peer.name].take(size, hops + 1, fleet, self.name)


async def arrive(
    queue: Queue, rate: Callable[[float], float], seconds: float, seed: str, fleet: dict[str, Queue]
) -> None:
    """Poisson arrivals at a rate that changes, by thinning."""
    dice, loop = random.Random(seed), asyncio.get_running_loop()
    start, t, top = loop.time(), 0.0, 90.0
    while t < seconds:
        t += dice.expovariate(top)
        if dice.random() < rate(t) / top:
            await asyncio.sleep(max(0.0, start + t - loop.time()))
            queue.take(dice.expovariate(1.0), 0, fleet, None)


def ask(path: Path) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"STATUS\n")
        with connection.makefile() as lines:
            answer: dict[str, object] = json.loads(lines.readline())
            return answer


async def record(out: Path, folder: Path, seconds: float, seed: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    daemons: list[subprocess.Popen[str]] = []
    peers: list[str] = []
    fleet: dict[str, Queue] = {}
    try:
        for name, rate in RATES.items():
            path = folder / f"{name}.sock"
            command = [sys.executable, "-m", "shivya", "daemon", "--no-tui", "--port", "0", "--name", name]
            command += ["--socket", str(path), "--state-dir", str(folder / name), "--service-rate", str(rate)]
            command += ["--record", str(out / f"{name}.gz"), *peers]
            daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            daemons.append(daemon)
            assert daemon.stderr is not None
            daemon.stderr.readline()
            peers += ["--peer", str(ask(path)["address"])]
            fleet[name] = Queue(name, rate, path)
        for queue in fleet.values():
            queue.client.__enter__()
            await asyncio.to_thread(queue.client.wait_ready, 60)
            queue.client.report(0, service_rate=queue.rate)
        shapes = rhythms(seconds, random.Random(seed))
        background = [
            asyncio.create_task(task) for q in fleet.values() for task in (q.serve(), q.hand_over(fleet))
        ]
        await asyncio.gather(*(arrive(q, shapes[n], seconds, f"{seed}/{n}", fleet) for n, q in fleet.items()))
        for task in background:
            task.cancel()
        print({name: queue.finished for name, queue in fleet.items()})
    finally:
        for queue in fleet.values():
            queue.client.__exit__(None, None, None)
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            daemon.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=32.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shivya-trace-") as folder:
        asyncio.run(record(given.out, Path(folder), given.minutes * 60, given.seed))


if __name__ == "__main__":
    main()
