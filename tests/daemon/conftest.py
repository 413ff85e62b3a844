"""A desk that a control socket can speak to, without a node behind it; and real daemons as processes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shivya_daemon.core.leases.leases import LeaseRefused
from shivya_daemon.core.signals.frame import ActionPotential, Kind
from shivya_daemon.core.signals.signals import SignalRefused
from shivya_daemon.services import ServiceBook

B = b"\xbb" * 20
PATIENCE = 120.0  # seconds; a bound against hanging, not a claim


class Allocations:
    """Leases, written down instead of made."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.row: dict[str, Any] = {}
        """What there is to see of a lease."""
        self.forgotten = False

    def allocate(self, resource: str, amount: int, seconds: int) -> dict[str, Any]:
        if resource != "millicores":
            raise LeaseRefused("by design")
        self.asked.append((resource, amount, seconds))
        return {"id": "ab" * 16, "state": "held", **self.row}

    def renew(self, lease: str, seconds: int) -> dict[str, Any]:
        self.asked.append((lease, seconds))
        return {"id": lease}

    def release(self, lease: str) -> dict[str, Any]:
        self.asked.append((lease,))
        return {"id": lease}

    def look(self, lease: str) -> dict[str, Any]:
        if self.forgotten:
            raise LeaseRefused("by design")
        return {"id": lease, **self.row}

    def report(self) -> dict[str, Any]:
        return {"held": []}


class Operations:
    """What an operator asks, written down instead of done."""

    def __init__(self) -> None:
        self.sent: list[tuple[Kind, str, bytes, int | None]] = []
        self.drained: list[float] = []
        self.leases = Allocations()

    def drain(self, wait: float) -> dict[str, Any]:
        self.drained.append(wait)
        return {"draining": True, "wait_seconds": wait}

    def signals(self) -> dict[str, Any]:
        return {"signals": [], "counts": {}}

    def signal(self, kind: Kind, name: str, payload: bytes, ttl: int | None) -> bytes:
        if isinstance(kind, ActionPotential) and any(row[1] == name for row in self.sent):
            raise SignalRefused("refractory", f"{name!r} fired; it can again in 1.00 s")
        self.sent.append((kind, name, payload, ttl))
        return b"\x01" * 16

    def node(self, name_or_id: str) -> bytes | None:
        return B if name_or_id == "b" else None

    def facts(self) -> dict[str, Any]:
        return {"wire": "secure"}

    def credits(self) -> dict[str, Any]:
        return {"on": False}

    def inject(self, anomalies: float, weight: float | None, peer: bytes | None) -> dict[str, Any]:
        if weight == 10.0:
            raise ValueError("by design")
        return {"drill": True, "anomalies": anomalies, "weight": weight, "peer": peer and peer.hex()}


class Desk:
    """A desk whose neighbour `b` is idle and wants three jobs a tick."""

    def __init__(self) -> None:
        self.book = ServiceBook(20.0)
        self.tick = 1
        self.operations = Operations()

    def status(self) -> dict[str, Any]:
        return {"name": "a", "node_id": "aa" * 20}

    def settle(self, service: str) -> list[dict[str, Any]]:
        return [{"from": "a", "to": "b", "service": service, "recommended": 1.5}]

    def peer_id(self, name_or_id: str) -> bytes | None:
        return B if name_or_id in ("b", B.hex()) else None

    def table(self, service: str) -> dict[str, Any]:
        view = self.book.view(service, time.monotonic())
        neighbour = {
            "id": B.hex(),
            "name": "b",
            "address": "127.0.0.1:7001",
            "potential": 0.05,
            "slope": 0.02,
            "service_rate": 40.0,
            "queue": 0,
            "servers": 1,
            "hop": 0.001,
            "age": 0.05,
            "out": view.out.get(B, 0),
            "flow": 3,
        }
        return {
            "service": service,
            "tick": self.tick,
            "gap": 0.05,
            "hop_limit": 8,
            "stale_after": 1.0,
            "service_rate": view.service_rate,
            "servers": view.servers,
            "neighbours": [neighbour],
        }


@pytest.fixture
def desk() -> Desk:
    return Desk()


class RunningDaemon:
    """One `shivya daemon` process and a connection that watches it."""

    def __init__(
        self, folder: Path, name: str, *peers: str, port: int = 0, flags: tuple[str, ...] = ()
    ) -> None:
        self.socket = folder / f"{name}.sock"
        arguments = ["--port", str(port), "--name", name, "--socket", str(self.socket), "--no-tui"]
        arguments += ["--state-dir", str(folder / name), "--service-rate", "10"]
        arguments += flags
        for peer in peers:
            arguments += ["--peer", peer]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shivya", "daemon", *arguments], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.first_line = self.process.stderr.readline()

    def ask(self, line: str) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.socket))
            connection.sendall(line.encode() + b"\n")
            with connection.makefile() as lines:
                return json.loads(lines.readline())

    @property
    def address(self) -> str:
        return str(self.ask("STATUS")["address"])

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask for the status each time the daemon pushes a table, until it `holds`."""
        with socket.socket(socket.AF_UNIX) as watch:
            watch.settimeout(PATIENCE)
            watch.connect(str(self.socket))
            watch.sendall(b"WATCH service=default\n")
            with watch.makefile() as lines:
                for _ in range(int(PATIENCE * 20)):
                    assert lines.readline(), f"the daemon has gone: {self.process.poll()}"
                    status: dict[str, Any] = self.ask("STATUS")
                    if holds(status):
                        return status
        pytest.fail(f"never held; last status {status}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode


Start = Callable[..., RunningDaemon]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[RunningDaemon] = []

    def starter(name: str, *peers: str, port: int = 0, flags: tuple[str, ...] = ()) -> RunningDaemon:
        running.append(RunningDaemon(tmp_path, name, *peers, port=port, flags=flags))
        return running[-1]

    yield starter
    for daemon in running:
        daemon.stop(signal.SIGKILL)


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """What XLA compiles, or loads from the cache on disk, while the test runs: one entry each."""
    import jax.monitoring

    seen: list[str] = []

    def note(event: str, _: float, **__: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield seen
    jax.monitoring.unregister_event_duration_listener(note)
