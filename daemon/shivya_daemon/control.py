"""The control socket: a Unix stream socket on which applications and the command line talk to the node.

One line in, one JSON line out (`shivya_daemon.commands`); a connection that watches gets the neighbour table
each time it changes, one that watches a lease what becomes of it. A slow reader holds up nobody but itself
and gets the latest when it catches up. The socket is 0600 in a directory of the daemon's own: who can open it
acts as the daemon's user.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import anyio
from anyio.abc import TaskGroup, TaskStatus

from shivya_daemon.commands import Commands, Desk, Reply, Session, encode

MAX_CONNECTIONS = 64
MAX_LINE = 4096
_SEND_BUFFER = 32 * 1024  # bytes in the kernel: a stalled reader finds few old tables before the latest
_PUSH_INTERVAL = 0.05  # least time between two pushes on a connection
_ACCEPT_PAUSE = 0.1
_PROBE_TIMEOUT = 1.0
_log = logging.getLogger(__name__)


class ControlError(RuntimeError):
    """The socket cannot be opened; the text says why and what to do."""


class ControlServer:
    """Serves the control socket of one daemon; `desk` answers, `clock` is the one its book is kept by."""

    def __init__(self, desk: Desk, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.refused = 0
        """Connections turned away because `MAX_CONNECTIONS` were open, or no descriptor was left."""
        self._commands = Commands(desk, clock)
        self._connections: set[_Connection] = set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Open the socket and serve until cancelled; `ControlError` is raised before it has started."""
        listener = await anyio.to_thread.run_sync(_listen, self.path)
        identity = _identity(self.path)
        try:
            with listener:
                async with anyio.create_task_group() as tasks:
                    task_status.started()
                    while True:
                        await self._accept(listener, tasks)
        finally:
            if _identity(self.path) == identity:
                self.path.unlink(missing_ok=True)

    def notify(self) -> None:
        """Tell every connection that what it watches may have changed. Call it on the event loop."""
        for connection in self._connections:
            connection.changed.set()

    async def _accept(self, listener: socket.socket, tasks: TaskGroup) -> None:
        await anyio.wait_readable(listener)
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # out of descriptors: the connections that are open go on
            self.refused += 1
            await anyio.sleep(_ACCEPT_PAUSE)
            return
        client.setblocking(False)
        if len(self._connections) >= MAX_CONNECTIONS:
            self.refused += 1
            with client, contextlib.suppress(OSError):
                client.send(encode({"error": f"{MAX_CONNECTIONS} connections are open; close one"}))
            return
        connection = _Connection(client, self._commands)
        self._connections.add(connection)
        tasks.start_soon(self._attend, connection)

    async def _attend(self, connection: _Connection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


class _Connection:
    """One application: a task that obeys its lines and a task that pushes tables."""

    def __init__(self, client: socket.socket, commands: Commands) -> None:
        self.changed = anyio.Event()
        self._socket = client
        self._commands = commands
        self._session = Session()
        self._sending = anyio.Lock()
        self._silent = False
        """Whether it has closed its own direction."""

    async def run(self) -> None:
        """Attend to the connection until it is closed."""
        try:
            await self._attend()
        finally:
            self._commands.close(self._session)

    async def _attend(self) -> None:
        with self._socket:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._push, tasks.cancel_scope)
                # One that has only closed its own direction (`nc` at the end of its input) still watches.
                self._silent = await self._read()
                if not self._silent or not self._session.expects:
                    tasks.cancel_scope.cancel()

    async def _read(self) -> bool:
        """Obey lines until the end of the stream; False when the connection is of no more use."""
        buffer = b""
        try:
            while received := await self._receive():
                *lines, buffer = (buffer + received).split(b"\n")
                if len(buffer) > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
                    error = f"a line is longer than {MAX_LINE} bytes; the connection is closed"
                    await self._reply({"error": error})
                    return False
                for line in lines:
                    await self._obey(line)
            if buffer:
                await self._obey(buffer)
        except OSError:
            return False
        return True

    async def _obey(self, line: bytes) -> None:
        try:
            reply = self._commands.obey(line, self._session)
        except Exception:  # a fault of the daemon must not end it
            _log.exception("a line on the control socket failed")
            reply = {"error": "the daemon failed on this line; see its log"}
        if reply is not None:
            await self._reply(reply)

    async def _push(self, scope: anyio.CancelScope) -> None:
        while True:
            await self.changed.wait()
            self.changed = anyio.Event()
            try:
                news = self._commands.news(self._session)
            except Exception:  # as above
                _log.exception("no news for a client")
                continue
            try:
                for reply in news:
                    await self._reply(reply)
                if self._silent and not self._session.expects:
                    raise BrokenPipeError
                if news:
                    await anyio.sleep(_PUSH_INTERVAL)
            except OSError:
                scope.cancel()
                return

    async def _receive(self) -> bytes:
        """Return the next bytes, none at the end of the stream."""
        while True:
            await anyio.wait_readable(self._socket)
            with contextlib.suppress(BlockingIOError):
                return self._socket.recv(MAX_LINE)

    async def _reply(self, reply: Reply) -> None:
        async with self._sending:
            rest = memoryview(encode(reply))
            while rest:
                try:
                    rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    await anyio.wait_writable(self._socket)


def _listen(path: Path) -> socket.socket:
    """Return the listening socket; raises `ControlError`."""
    _prepare(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
    except OSError as error:
        listener.close()
        raise ControlError(f"cannot listen on {path}: {error.strerror}") from error
    return listener


def _prepare(path: Path) -> None:
    """Make the directory, and see that neither it nor the path is somebody else's."""
    directory = path.parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise ControlError(f"cannot make {directory} for the control socket: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise ControlError(f"{directory} is a symbolic link; give the real directory with --socket")
    if found.st_uid != os.geteuid():
        raise ControlError(f"{directory} belongs to another user; choose another directory with --socket")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ControlError(f"others may write to {directory}; chmod 700 it or choose another with --socket")
    _clear(path)


def _clear(path: Path) -> None:
    """Remove the socket of a daemon that has died; refuse that of a live one, and anything else."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ControlError(f"{path} exists and is no socket; move it away or choose another --socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError:  # a full backlog: somebody listens
            pass
    raise ControlError(f"a daemon already answers on {path}; stop it or choose another --port or --socket")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
