"""The bank against the embedded witness, whose process is killed again and again."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from bank import PATIENCE, Bank, Glance, Read, Sent, check

from shivya_daemon.ledgers.credits import (
    Operation,
    Outcome,
    Posted,
    Refusal,
    Refused,
    Transfer,
    apply,
    violations,
)
from shivya_daemon.ledgers.credits.audit import audit
from shivya_daemon.ledgers.credits.log import decode
from shivya_daemon.ledgers.credits.operations import pack
from shivya_daemon.ledgers.credits.sqlite_witness import SqliteLog
from shivya_daemon.ledgers.credits.witness import Unavailable

SERVER = Path(__file__).with_name("bank_server.py")


class Server:
    """The witness as a process, and the teller that talks to it; killed once for each item in `deaths`."""

    def __init__(self, database: Path, address: Path) -> None:
        self._database, self._address = database, address
        self._up = threading.Event()
        self._lines = threading.local()
        self.deaths: Queue[bool] = Queue()
        self._start()
        self._reaper = threading.Thread(target=self._kill_and_restart)
        self._reaper.start()

    def submit(self, operation: Operation) -> Outcome:
        answer = json.loads(self._ask(pack(operation)))
        return Posted(*answer) if isinstance(answer, list) else Refused(Refusal[answer.upper()])

    def look(self) -> Glance:
        sequence, balances, pool = json.loads(self._ask(None))
        return Glance(sequence, {bytes.fromhex(key): n for key, n in balances.items()}, pool)

    def close(self) -> None:
        self.deaths.put(False)
        self._reaper.join()
        self._end()

    def _ask(self, request: dict[str, Any] | None) -> bytes:
        """A line there and a line back, over this thread's connection."""
        assert self._up.wait(PATIENCE)
        try:
            if not hasattr(self._lines, "file"):
                line = socket.socket(socket.AF_UNIX)
                with line:
                    line.connect(str(self._address))
                    self._lines.file = line.makefile("rwb")
            self._lines.file.write(json.dumps(request).encode() + b"\n")
            self._lines.file.flush()
            answer = self._lines.file.readline()
            if answer.endswith(b"\n"):
                return bytes(answer[:-1])
            raise ConnectionResetError
        except OSError as error:
            self._hang_up()
            raise Unavailable("the witness died") from error

    def _hang_up(self) -> None:
        file = self._lines.__dict__.pop("file", None)
        if file is not None:
            with contextlib.suppress(OSError):  # what was not yet sent has nobody to go to
                file.close()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), str(self._database), str(self._address)], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self._up.set()

    def _end(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _kill_and_restart(self) -> None:
        while self.deaths.get():
            self._up.clear()
            self._end()
            self._start()


def campaign(folder: Path, transfers: int, every: int) -> None:
    kills = itertools.count()

    def deed(count: int) -> None:
        if count % every == every // 2:
            next(kills)
            server.deaths.put(True)

    bank = Bank(transfers, deed)
    database = folder / "credits.db"
    SqliteLog.create(database, bank.genesis)
    server = Server(database, folder / "socket")
    try:
        bank.run([server])
    finally:
        server.close()
    log = SqliteLog(database)
    end = audit(log, log.genesis())
    check(bank, operations(log))
    log.close()
    assert len(bank.sent) == transfers == end.state.sequence
    assert len(bank.reads) > transfers // 20
    assert violations(end.state) == []
    assert next(kills) >= 5


def operations(log: SqliteLog) -> Iterator[Operation]:
    position = 0
    while entries := log.entries(position):
        for entry in entries:
            yield from decode(entry).operations
        position += len(entries)


def test_no_transfer_is_lost_or_doubled(tmp_path: Path) -> None:
    campaign(tmp_path, transfers=2_000, every=330)


@pytest.mark.soak
def test_no_transfer_is_lost_or_doubled_in_a_long_run(tmp_path: Path) -> None:
    campaign(tmp_path, transfers=20_000, every=400)


def history() -> Bank:
    """A short, correct history of three transfers and one read, one after the other."""
    bank = Bank(0, lambda count: None)
    a, b = bank.people[0], bank.people[1]
    state = bank.genesis
    for n in range(3):
        operation = a.sign(Transfer(b.key, 1000), bank.genesis.ledger, bank.genesis.now)
        state, outcome = apply(state, operation)
        bank.sent.append(Sent(operation, n, n + 0.5, outcome))
    bank.reads.append(Read(3.0, 3.5, Glance.of(state)))
    return bank


def test_the_checker_sees_what_is_wrong() -> None:
    bank = history()
    order = [sent.operation for sent in bank.sent]
    check(bank, order)
    wrong = {
        "took effect twice": (bank.sent, bank.reads, [*order, order[0]]),
        "an acknowledged transfer is lost": (bank.sent, bank.reads, order[:2]),
        "what was refused took effect": (
            [replace(bank.sent[0], outcome=Refused(Refusal.OVERDRAWN)), *bank.sent[1:]], bank.reads, order,
        ),
        "that nobody sent": (bank.sent[:2], [], order),
        "before something began": (
            [replace(bank.sent[0], invoked=9.0, returned=9.5), *bank.sent[1:]], bank.reads, order,
        ),
        "shows no state": (bank.sent, [Read(1.0, 3.5, replace(bank.reads[0].seen, sequence=2))], order),
    }  # fmt: skip
    for message, (sent, reads, log) in wrong.items():
        broken = history()
        broken.sent, broken.reads = sent, reads
        with pytest.raises(AssertionError, match=message):
            check(broken, log)
