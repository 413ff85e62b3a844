"""What does a decision cost the application, and what does the command line cost at start?

`place()` is the rule alone; `Client.route()` is what an application calls: rule, lock, clock and counts, with
the background thread that tells a daemon what was decided. The daemon here is a thread that sends one table
and swallows what it is told.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from shivya.client import Client

from shivya_daemon import placement
from timing import Row, Timing, fix_environment, least, measure, publish, run_process

NEIGHBOURS = (4, 12)
STARTS = 9
HELD = 5
"""Jobs held when a decision is asked for: more than servers, so that neighbours are looked at."""


def main() -> None:
    rows = [row for count in NEIGHBOURS for row in decision_rows(count)]
    publish("placement", [*rows, *start_rows()])


def decision_rows(count: int) -> Iterator[Row]:
    """Microseconds per decision beside `count` neighbours."""
    table = placement.parse_table(document(count))
    out = [neighbour.out for neighbour in table.neighbours]
    spent = measure(lambda: placement.place(table, HELD, 1, 20.0, out, 0.01, 0), repeats=25)
    yield _row("place()", spent, 1e6, "us", count)
    line = json.dumps({"table": document(count)}).encode() + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "node.sock"
        with Daemon(path, line), Client("resize", socket=path) as client:
            if not client.wait_ready(30.0):
                raise RuntimeError("the client got no table")
            client.report(HELD, 1, 20.0)
            yield _row("Client.route()", measure(client.route, repeats=25), 1e6, "us", count)


def start_rows() -> Iterator[Row]:
    """Processor time of whole processes; the interpreter alone comes first, to compare with."""
    absent = str(Path(tempfile.gettempdir()) / "shivya-bench-no-daemon.sock")
    for what, command, expected in (
        ("python -c pass", ["-c", "pass"], 0),
        ("python -c 'import shivya'", ["-c", "import shivya"], 0),
        ("python -c 'import shivya.client'", ["-c", "import shivya.client"], 0),
        ("shivya status, no daemon", ["-m", "shivya", "status", "--socket", absent], 3),
    ):
        spent = least([run_process([sys.executable, *command], expected=expected)[1] for _ in range(STARTS)])
        yield _row(what, spent, 1e3, "ms")


def document(count: int) -> dict[str, Any]:
    """A table as the daemon sends it; its neighbours cost about the same, and it does not go stale."""
    potentials = cycle((0.1, 0.12, 0.09, 0.15))
    rows = [
        {
            "id": f"{index + 1:040x}",
            "name": f"n{index}",
            "address": f"127.0.0.1:{7000 + index}",
            "potential": next(potentials),
            "slope": 0.02,
            "service_rate": 40.0,
            "queue": 3,
            "servers": 1,
            "hop": 0.001,
            "age": 0.05,
            "out": index % 3,
            "seen": 0,
            "flow": 0,
        }
        for index in range(count)
    ]
    return {
        "service": "resize",
        "tick": 1,
        "gap": 0.05,
        "hop_limit": 8,
        "stale_after": 3600.0,
        "service_rate": 20.0,
        "servers": 1,
        "neighbours": rows,
    }


class Daemon:
    """A socket that answers its one connection with `line` and reads on until that closes."""

    def __init__(self, path: Path, line: bytes) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._line = line
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Daemon:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(self._line)
            while connection.recv(65536):
                time.sleep(0.001)  # what waits meanwhile is read at once: the reader is not what is measured


def _row(what: str, spent: Timing, scale: float, unit: str, neighbours: int | None = None) -> Row:
    return {
        "what": what,
        "neighbours": neighbours,
        "unit": unit,
        "cpu": scale * spent.cpu,
        "cpu_median": scale * spent.cpu_median,
        "wall": scale * spent.wall,
    }


if __name__ == "__main__":
    fix_environment()
    main()
