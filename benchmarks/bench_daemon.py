"""What does a running daemon cost: processor time, memory, and the time until it answers and judges?

Real daemons on loopback, on the secure wire under one mesh key, each with one idle service: ten ticks a
second, and a heartbeat to every link each .3 s, as nothing changes. Once all have the law running and all
their links, the processor time (user and system, all threads) of each over a minute is taken: the median and
the greatest of them, in per cent of one core. "no law" is the same daemon whose law could not start, so the
difference is the law's; its lessons begin after five minutes of history and are held to one per cent, so none
falls into the minute. Nine daemons are told to seek eight links instead of six. Starts are of one daemon
alone, one with an empty compile cache and then five with a full one, of which the medians are told: wall time
from its start to an answer on the control socket, and to the first tick that the law judged; the processor
time is that of the daemon and of the process that compiles for it. Python finds its bytecode, as in any
installed package.
"""

from __future__ import annotations

import compileall
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import shivya

import shivya_daemon
import shivya_kernels
from shivya_daemon.keyfile import KEY_BYTES, create_key
from timing import Row, fix_environment, publish

WINDOW = 60.0
SETTLE = 10.0
"""Seconds between the last link and the window, so that what joining costs is over."""
PATIENCE = 300.0
STARTS = 5  # with a full compile cache
_POLL = 0.02

_DAEMON = "from shivya.cli import main; raise SystemExit(main())"
_EIGHT_LINKS = """
from functools import partial
from shivya_daemon import startup
from shivya_daemon.core.links.settings import LinksSettings
startup.NodeSettings = partial(startup.NodeSettings, links=LinksSettings(target_links=8))
"""
_NO_LAW = """
from shivya_daemon import daemon
def fail(*_): raise RuntimeError("not wanted here")
daemon._make_law = fail
"""


@dataclass(frozen=True)
class Case:
    """One fleet, and what its daemons are told before they start."""

    what: str
    nodes: int
    before: str
    law: str = "running"


CASES = (
    Case("8 links", 9, _EIGHT_LINKS),
    Case("8 links, no law", 9, _EIGHT_LINKS + _NO_LAW, "failed"),
    Case("4 links", 5, ""),
    Case("4 links, no law", 5, _NO_LAW, "failed"),
)


class Process:
    """One daemon as a process, and its control socket."""

    def __init__(
        self, folder: Path, name: str, environment: dict[str, str], before: str, *peers: str
    ) -> None:
        self.socket = folder / f"{name}.sock"
        arguments = ["daemon", "--no-tui", "--name", name, "--port", "0", "--socket", str(self.socket)]
        arguments += ["--state-dir", str(folder / name), "--mesh-key-file", str(folder / "mesh.key")]
        for peer in peers:
            arguments += ["--peer", peer]
        self.started = time.perf_counter()
        self._child = subprocess.Popen(
            [sys.executable, "-c", before + _DAEMON, *arguments], env=environment, stderr=subprocess.DEVNULL
        )
        self.usage = psutil.Process(self._child.pid)

    def status(self) -> dict[str, Any]:
        """Ask for STATUS; an object with no fields while nobody answers."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(str(self.socket))
                connection.sendall(b"STATUS\n")
                with connection.makefile() as lines:
                    return dict(json.loads(lines.readline()))
        except (FileNotFoundError, ConnectionRefusedError):
            return {}

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> float:
        """Ask until the status `holds`; returns the seconds since the start."""
        while time.perf_counter() - self.started < PATIENCE:
            if (status := self.status()) and holds(status):
                return time.perf_counter() - self.started
            if self._child.poll() is not None:
                raise RuntimeError(f"the daemon ended with {self._child.returncode}")
            time.sleep(_POLL)
        raise RuntimeError(f"after {PATIENCE:.0f} s the daemon is still not as it should be")

    def processor_seconds(self) -> float:
        """User and system time so far, that of processes which ended for it included."""
        return sum(self.usage.cpu_times()[:4])

    def resident_mib(self) -> float:
        """Memory in use, shared pages included."""
        return self.usage.memory_info().rss / 2**20

    def stop(self) -> None:
        """End it."""
        self._child.kill()
        self._child.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        create_key(folder / "mesh.key", os.urandom(KEY_BYTES))
        environment = {
            k: v for k, v in os.environ.items() if k not in ("JAX_ENABLE_COMPILATION_CACHE", "XLA_FLAGS")
        }
        environment["XDG_CACHE_HOME"] = name
        environment["XDG_CONFIG_HOME"] = name
        for package in (shivya, shivya_daemon, shivya_kernels):
            compileall.compile_dir(*package.__path__, quiet=1)
        first = start(folder, environment)
        warm = [start(folder, environment) for _ in range(STARTS)]
        rows = [
            {"what": "start, empty compile cache", "daemons": 1, **first},
            {"what": "start, warm compile cache", "daemons": 1}
            | {name: statistics.median(row[name] for row in warm) for name in first},
        ]
        publish("daemon", [*(fleet(folder, environment, case) for case in CASES), *rows])


def start(folder: Path, environment: dict[str, str]) -> Row:
    """One daemon alone, from its start to its first judged tick."""
    with running(folder, environment, 1, "") as (daemon,):
        answers = daemon.until(bool)
        judged = daemon.until(lambda status: status["tick_seconds_p50"] is not None)
        spent = daemon.processor_seconds()
        time.sleep(SETTLE)
        return {
            "resident_mib": daemon.resident_mib(),
            "answers_after_s": answers,
            "first_judged_tick_after_s": judged,
            "cpu_s_until_then": spent,
        }


def fleet(folder: Path, environment: dict[str, str], case: Case) -> Row:
    """A minute in the life of a fleet in which each is linked with all others."""
    with running(folder, environment, case.nodes, case.before) as daemons:
        for daemon in daemons:
            daemon.until(lambda status: status["law"] == case.law and linked(status) == case.nodes - 1)
        time.sleep(SETTLE)
        first = [daemon.status() for daemon in daemons]
        began, before = time.perf_counter(), [daemon.processor_seconds() for daemon in daemons]
        time.sleep(WINDOW)
        spent = [daemon.processor_seconds() - old for daemon, old in zip(daemons, before, strict=True)]
        seconds = time.perf_counter() - began
        last = [daemon.status() for daemon in daemons]
        shares = [100.0 * used / seconds for used in spent]
        return {
            "what": case.what,
            "daemons": case.nodes,
            "links": statistics.median(map(linked, last)),
            "cpu_percent": statistics.median(shares),
            "cpu_percent_greatest": max(shares),
            "ticks_per_s": statistics.median(each(first, last, lambda status: status["tick"])) / seconds,
            "datagrams_in_per_s": statistics.median(
                each(first, last, lambda status: status["traffic"]["datagrams_received"])
            )
            / seconds,
            "resident_mib": statistics.median(daemon.resident_mib() for daemon in daemons),
        }


@contextmanager
def running(folder: Path, environment: dict[str, str], nodes: int, before: str) -> Iterator[list[Process]]:
    """Daemons that join by the first, each started when the one before answers."""
    daemons: list[Process] = []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        (place / "mesh.key").hardlink_to(folder / "mesh.key")
        try:
            for number in range(nodes):
                peers = [daemons[0].status()["address"]] if daemons else []
                daemons.append(Process(place, f"n{number}", environment, before, *peers))
                daemons[-1].until(bool)
            yield daemons
        finally:
            for daemon in daemons:
                daemon.stop()


def linked(status: dict[str, Any]) -> int:
    """Links that stand."""
    return sum(link["state"] == "established" for link in status["links"])


def each(
    first: list[dict[str, Any]], last: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]
) -> list[float]:
    """How much a count of each daemon grew."""
    return [value(after) - value(before) for before, after in zip(first, last, strict=True)]


if __name__ == "__main__":
    fix_environment()
    main()
