"""The thread that keeps a client connected to its daemon: tables in, counts out, reconnection.

It sleeps in `select` while nothing happens, and reports at most every `FLUSH_INTERVAL`.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from shivya_daemon.placement import Table, parse_table

FLUSH_INTERVAL = 0.02
_BACKOFF_FIRST, _BACKOFF_LAST = 0.05, 1.0
_SEND_TIMEOUT = 1.0
_JOIN_TIMEOUT = 2.0
_MAX_BUFFER = 256 * 1024


class DaemonLink:
    """Connection of one client, run by a daemon thread.

    Args:
        path: the control socket.
        greeting: lines sent on every new connection.
        opened: called when connected; counts made before mean nothing to this daemon.
        collect: called for the lines to send since the last call.
        deliver: called with each table.
        lost: called when the connection has ended.
    """

    def __init__(
        self,
        path: Path,
        greeting: bytes,
        *,
        opened: Callable[[], None],
        collect: Callable[[], bytes],
        deliver: Callable[[Table], None],
        lost: Callable[[], None],
    ) -> None:
        self.connected = False
        self.last_error: str | None = None
        """What the daemon last objected to."""
        self.malformed = 0
        """Lines of the daemon that could not be read."""
        self._path, self._greeting = path, greeting
        self._opened, self._collect, self._deliver, self._lost = opened, collect, deliver, lost
        self._stop = threading.Event()
        self._signalled = False
        self._backoff = _BACKOFF_FIRST
        self._thread: threading.Thread | None = None
        self._ring: socket.socket | None = None
        """Our end of the pair that wakes the thread."""

    def start(self) -> None:
        """Start the thread."""
        bell, self._ring = socket.socketpair()
        bell.setblocking(False)
        self._ring.setblocking(False)
        self._thread = threading.Thread(target=self._run, args=(bell,), name="shivya-client", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something to collect. Cheap when that is known already."""
        if not self._signalled and self._ring is not None:
            self._signalled = True
            with contextlib.suppress(OSError):  # full: it will wake; closed: it has ended
                self._ring.send(b"\0")

    def close(self) -> None:
        """Send what is left and end the thread."""
        if self._thread is None or self._ring is None:
            return
        self._stop.set()
        with contextlib.suppress(OSError):
            self._ring.send(b"\0")
        self._thread.join(_JOIN_TIMEOUT)
        self._ring.close()

    def _run(self, bell: socket.socket) -> None:
        with bell:
            while not self._stop.is_set():
                with contextlib.suppress(OSError):
                    self._converse(bell)
                if self.connected:
                    self.connected = False
                    self._lost()
                self._stop.wait(self._backoff)
                self._backoff = min(2 * self._backoff, _BACKOFF_LAST)

    def _converse(self, bell: socket.socket) -> None:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon,
            selectors.DefaultSelector() as selector,
        ):
            daemon.settimeout(_SEND_TIMEOUT)
            daemon.connect(str(self._path))
            daemon.sendall(self._greeting)
            self._opened()
            self.connected = True
            selector.register(daemon, selectors.EVENT_READ)
            selector.register(bell, selectors.EVENT_READ)
            self._exchange(daemon, bell, selector)

    def _exchange(self, daemon: socket.socket, bell: socket.socket, selector: selectors.BaseSelector) -> None:
        buffer, due, flush_at = b"", True, time.monotonic()
        while True:
            wait = max(0.0, flush_at - time.monotonic()) if due else None
            for key, _ in selector.select(wait):
                if key.fileobj is daemon:
                    received = daemon.recv(65536)
                    buffer = self._read(buffer + received)
                    if not received or len(buffer) > _MAX_BUFFER:
                        return
                else:
                    bell.recv(4096)
                    self._signalled = False  # before collecting: what comes later rings again
                    due = True
            now = time.monotonic()
            if due and (now >= flush_at or self._stop.is_set()):
                if lines := self._collect():
                    daemon.sendall(lines)
                due, flush_at = False, now + FLUSH_INTERVAL
            if self._stop.is_set():
                return

    def _read(self, data: bytes) -> bytes:
        """Take the newest table of the complete lines; return what is left of the last one."""
        *lines, rest = data.split(b"\n")
        newest: Table | None = None
        for line in lines:
            try:
                document = json.loads(line)
                if not isinstance(document, dict):
                    raise ValueError("not an object")
                if isinstance(document.get("table"), dict):
                    newest = parse_table(document["table"])
                elif "error" in document:
                    self.last_error = str(document["error"])
                else:
                    raise ValueError("neither a table nor an error")
            except (ValueError, RecursionError):
                self.malformed += 1
        if newest is not None:
            self._backoff = _BACKOFF_FIRST
            self._deliver(newest)
        return rest
