"""The servers under test on ports that the system chooses, and clients that speak HTTP by hand."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
from pictures import picture

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.views.web import PageServer

TOKEN = "a-token-of-this-test"
PATIENCE = 300.0  # seconds; a bound against hanging, not a claim


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ticking(make: Callable[[int], Snapshot] = lambda tick: picture(tick=tick)) -> Callable[[], Snapshot]:
    """What to look at: one tick further at each look."""
    ticks = itertools.count(1)
    return lambda: make(next(ticks))


@asynccontextmanager
async def running(server: Any) -> AsyncIterator[Any]:
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            await tasks.start(server.serve)
            yield server
            tasks.cancel_scope.cancel()


def page(look: Callable[[], Snapshot] | None = None, **options: Any) -> PageServer:
    return PageServer(look or ticking(), 0, TOKEN, time.monotonic, time.time, **options)


async def ask(port: int, path: str = "/", *lines: str, method: str = "GET", host: str | None = "") -> Reply:
    """Send one request by hand; `lines` are more header lines, `host` "" the right one, None none at all."""
    if host == "":
        host = f"127.0.0.1:{port}"
    head = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *lines, "", ""]
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send("\r\n".join(head).encode("latin-1"))
        data = b""
        try:
            while not (b"\r\n\r\n" in data and data.startswith(b"HTTP/1.1 101")):
                data += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
    top, _, body = data.partition(b"\r\n\r\n")
    first, *rest = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Reply(int(first.split()[1]) if first else 0, headers, body)


UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


def deaf(port: int) -> socket.socket:
    """Open a stream of the page, and never read from it."""
    viewer = socket.socket()
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    viewer.connect(("127.0.0.1", port))
    lines = (f"GET /live?token={TOKEN} HTTP/1.1", f"Host: 127.0.0.1:{port}", *UPGRADE, "", "")
    viewer.sendall("\r\n".join(lines).encode())
    return viewer
