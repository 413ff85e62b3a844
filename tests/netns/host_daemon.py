"""A `shivya daemon` process on a host of the lab, and how to read what it says."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from namespaces import Host
from shivya.ask import ask

PATIENCE = 150.0  # seconds; a bound against hanging, not a claim: a cold compile cache takes a minute
Status = dict[str, Any]


class Daemon:
    """One `shivya daemon` process on a host; its control socket is a file, which needs no network."""

    def __init__(self, host: Host, folder: Path, key: Path, *flags: str) -> None:
        self.host = host
        self.socket = folder / f"{host.name}.sock"
        arguments = ["--name", host.name, "--socket", str(self.socket), "--no-tui", "--port", "0"]
        arguments += ["--state-dir", str(folder / host.name), "--mesh-key-file", str(key), *flags]
        self._process = subprocess.Popen(
            host.command(sys.executable, "-m", "shivya", "daemon", *arguments),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        self._log = self._process.stderr.readline()
        assert " on UDP " in self._log, self._log

    def ask(self, verb: str, **values: object) -> Any:
        return ask(self.socket, verb, PATIENCE, **values)

    @property
    def address(self) -> str:
        return str(self.ask("STATUS")["address"])

    @property
    def drops(self) -> dict[str, int]:
        return dict(self.ask("STATUS")["drops"])

    def until(self, holds: Callable[[Status], bool]) -> Status:
        """Ask for the status each time the daemon pushes a table, until it `holds`."""
        deadline = time.monotonic() + PATIENCE
        with socket.socket(socket.AF_UNIX) as watch:
            watch.settimeout(PATIENCE)
            watch.connect(str(self.socket))
            watch.sendall(b"WATCH service=default\n")
            with watch.makefile() as lines:
                while lines.readline():
                    status: Status = self.ask("STATUS")
                    if holds(status):
                        return status
                    if time.monotonic() > deadline:
                        pytest.fail(f"{self.host.name} never held; it said last: {json.dumps(status)}")
        pytest.fail(f"{self.host.name} has gone: {self._process.poll()}")

    def knows(self, *others: str) -> Status:
        """Await that it speaks with exactly these."""
        return self.until(lambda status: names(status["peers"]) == set(others))

    def linked(self, *others: str) -> Status:
        """Await that it has links with exactly these."""
        return self.until(lambda status: names(established(status)) == set(others))

    def stop(self) -> str:
        """Tell it to leave; returns what it logged."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            _, log = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        self._log += log or ""
        return self._log


def names(rows: list[Status]) -> set[str]:
    """Return the names in rows of peers, links or flows."""
    return {row["name"] for row in rows}


def established(status: Status) -> list[Status]:
    """Return the links that both ends agreed upon."""
    return [row for row in status["links"] if row["state"] == "established"]
