"""A lease as an application holds it: renewed while it is open, given back, and lost with a reason."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shivya
from shivya import leasing

PATIENCE = 60.0
ID = "ab" * 16


class Daemon:
    """Answers lines of the control socket by a script, and remembers them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: dict[str, Any] = {"state": "held", "reason": ""}
        self.lines: list[str] = []
        self.said: dict[str, threading.Event] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def heard(self, verb: str) -> bool:
        return self.said.setdefault(verb, threading.Event()).wait(PATIENCE)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                line = connection.makefile().readline().strip()
                self.lines.append(line)
                connection.sendall(json.dumps(self._answer(line)).encode() + b"\n")
                self.said.setdefault(line.split()[0], threading.Event()).set()

    def _answer(self, line: str) -> dict[str, Any]:
        if "error" in self.state:
            return {"error": self.state["error"]}
        row = {"id": ID, "resource": "millicores", "amount": 5, "provider": "cd" * 20, "name": "large"}
        if line.startswith("ALLOCATE"):
            self.state.setdefault("next", self.state["state"])
        elif "next" in self.state:
            self.state["state"] = self.state.pop("next")
        return {"lease": {**row, "price": 7, "seconds_left": 1.0, "renewing": False, **self.state}}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path / "s.sock")
    yield running
    running.close()


def allocate(daemon: Daemon, seconds: int = 1) -> leasing.Lease:
    return leasing.allocate(daemon.path, "millicores", 5, seconds, PATIENCE)


def test_what_is_open_is_renewed_and_then_given_back(daemon: Daemon) -> None:
    daemon.state = {"state": "asking", "next": "held", "reason": ""}
    with allocate(daemon) as lease:
        assert (lease.id, lease.name, lease.price) == (ID, "large", 7)
        assert daemon.heard("RENEW")
        assert not lease.lost.is_set()
    assert daemon.lines[0] == "ALLOCATE resource=millicores amount=5 seconds=1"
    assert f"RENEW lease={ID} seconds=1" in daemon.lines
    assert daemon.lines[-1] == f"RELEASE lease={ID}"


@pytest.mark.parametrize(
    ("state", "reason"),
    [({"state": "over", "reason": "silent"}, "silent"), ({"error": "no such lease"}, "no such lease")],
)
def test_what_is_lost_says_why_and_is_not_given_back(
    daemon: Daemon, state: dict[str, Any], reason: str
) -> None:
    with allocate(daemon) as lease:
        daemon.state = state
        assert lease.lost.wait(PATIENCE)
    assert lease.reason == reason
    assert not any(line.startswith("RELEASE") for line in daemon.lines)


def test_a_refusal_has_the_daemons_reason(daemon: Daemon) -> None:
    daemon.state = {"state": "refused", "reason": "here 0 of 1 millicores are free"}
    with pytest.raises(shivya.LeaseRefused, match="here 0 of 1"):
        allocate(daemon)
    daemon.state = {"error": "resource must be one of millicores"}
    with pytest.raises(shivya.LeaseRefused, match="must be one of"):
        allocate(daemon)


def test_an_answer_that_never_comes_is_given_up_and_given_back(daemon: Daemon) -> None:
    daemon.state = {"state": "asking", "reason": ""}
    with pytest.raises(shivya.LeaseRefused, match=r"within 0\.2 s"):
        leasing.allocate(daemon.path, "millicores", 5, 60, 0.2)
    assert daemon.lines[-1] == f"RELEASE lease={ID}"


def test_without_a_daemon_there_is_no_lease(tmp_path: Path) -> None:

    with pytest.raises(shivya.LeaseRefused, match="no daemon answers"):
        leasing.allocate(tmp_path / "none", "millicores", 1, 1, 1.0)
