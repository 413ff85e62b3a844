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
    """Answers lines of the control socket by a script, remembers them, and tells who watches of a change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: dict[str, Any] = {"state": "held", "reason": ""}
        self.lines: list[str] = []
        self.said: dict[str, threading.Event] = {}
        self._watchers: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def heard(self, verb: str) -> bool:
        return self.said.setdefault(verb, threading.Event()).wait(PATIENCE)

    def change(self, **state: Any) -> None:
        """Tell every connection that watches."""
        with self._lock:
            self.state = {"reason": "", **state}
            for watcher in self._watchers:
                with contextlib.suppress(OSError):  # one that has hung up, and whose thread does not know yet
                    watcher.sendall(self._answer())

    def close(self) -> None:
        for ending in (self._listener, *self._watchers):
            with contextlib.suppress(OSError):
                ending.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile() as lines, contextlib.suppress(OSError):
            for line in lines:
                with self._lock:
                    self.lines.append(line.strip())
                    connection.sendall(self._answer())
                    if " watch=1" in line:
                        self._watchers.append(connection)
                    self.said.setdefault(line.split()[0], threading.Event()).set()
        with self._lock:
            if connection in self._watchers:
                self._watchers.remove(connection)

    def _answer(self) -> bytes:
        row = {"id": ID, "resource": "millicores", "amount": 5, "provider": "cd" * 20, "name": "large"}
        lease = {**row, "price": 7, "seconds_left": 1.0, "renewing": False, **self.state}
        return json.dumps(lease if "error" in lease else {"lease": lease}).encode() + b"\n"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path / "s.sock")
    yield running
    running.close()


def allocate(daemon: Daemon, seconds: int = 1) -> leasing.Lease:
    return leasing.allocate(daemon.path, "millicores", 5, seconds, PATIENCE)


def test_what_is_open_is_renewed_and_then_given_back(daemon: Daemon) -> None:
    daemon.state = {"state": "asking", "reason": ""}
    threading.Thread(target=lambda: daemon.heard("ALLOCATE") and daemon.change(state="held")).start()
    with allocate(daemon) as lease:
        assert (lease.id, lease.name, lease.price) == (ID, "large", 7)
        assert daemon.heard("RENEW")
        assert not lease.lost.is_set()
    assert daemon.lines[0] == "ALLOCATE resource=millicores amount=5 seconds=1 watch=1"
    assert f"LEASES lease={ID} watch=1" in daemon.lines
    assert f"RENEW lease={ID} seconds=1" in daemon.lines
    assert daemon.lines[-1] == f"RELEASE lease={ID}"


@pytest.mark.parametrize(
    ("state", "reason"),
    [({"state": "over", "reason": "silent"}, "silent"), ({"error": "no such lease"}, "no such lease")],
)
def test_what_is_lost_is_known_without_asking_and_not_given_back(
    daemon: Daemon, state: dict[str, Any], reason: str
) -> None:
    with allocate(daemon, 3600) as lease:
        assert daemon.heard("LEASES")
        daemon.change(**state)
        assert lease.lost.wait(PATIENCE)
    assert lease.reason == reason
    assert not any(line.startswith(("RENEW", "RELEASE")) for line in daemon.lines)


def test_a_daemon_that_goes_takes_its_leases_with_it(daemon: Daemon) -> None:
    with allocate(daemon, 3600) as lease:
        assert daemon.heard("LEASES")
        daemon.close()
        assert lease.lost.wait(PATIENCE)
    assert "no daemon answers" in lease.reason


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
