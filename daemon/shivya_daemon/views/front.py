"""An HTTP listener that only tells: GET requests with an answer at hand, WebSockets where one is wanted.

It is the `websockets` server with its hook for plain requests. Every request passes a `Gate` first; every
answer forbids what a page of ours never needs.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import anyio
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from shivya_daemon.views.gate import Gate

_MOST_HEARD = 1024
"""Bytes of the longest message that a client may send; it has nothing to say."""
_SEND_BUFFER = 262_144
"""Bytes that the kernel keeps for a client that does not read; left alone, it would keep many MiB."""
_OPEN_TIMEOUT = 5.0
_CLOSE_TIMEOUT = 0.5
_MAX_CONNECTIONS = 64
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Answer = Callable[[str, str, bool], Response | None]
"""(path, query, whether it asks for a WebSocket) -> the answer; None opens the WebSocket."""
Handler = Callable[[ServerConnection], Awaitable[None]]

# What strangers send is no news of ours, and a request line can hold a token.
_silent = logging.getLogger("shivya_daemon.views.protocol")
_silent.setLevel(logging.CRITICAL + 1)


def response(
    status: HTTPStatus, body: bytes, kind: str = "text/plain", more: Mapping[str, str] | None = None
) -> Response:
    """Return an answer of the media type `kind`, with every header that makes it harmless."""
    headers = {
        "Content-Type": kind if ";" in kind else f"{kind}; charset=utf-8",
        "Content-Length": str(len(body)),
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Connection": "close",
        **_SAFE,
        **(more or {}),
    }
    return Response(status.value, status.phrase, Headers(headers), body)


def refused(status: HTTPStatus, text: str) -> Response:
    """Return an answer of one line that says what to do."""
    return response(status, text.encode())


@asynccontextmanager
async def listen(
    host: str,
    port: int,
    gate: Callable[[int], Gate],
    answer: Answer,
    handler: Handler,
    *,
    flag: str,
    turned_away: Callable[[], None],
) -> AsyncIterator[int]:
    """Serve on one address while the context is open; yields the port.

    `gate` makes the gate from the port, `turned_away` is told of each refusal. Raises `OSError` with what to
    do if the address cannot be had; `flag` is the option that chooses another.
    """
    gates: list[Gate] = []
    crowd: set[ServerConnection] = set()

    class Counted(ServerConnection):
        """One connection from its first moment on; the library knows it when its request has come."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            crowd.add(self)
            if len(crowd) > _MAX_CONNECTIONS:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            crowd.discard(self)
            super().connection_lost(exc)

    def reply(_connection: ServerConnection, request: Request) -> Response | None:
        path, _, query = request.path.partition("?")
        headers = request.headers
        why = gates[0].refusal(headers.get_all("Host"), headers.get_all("Origin"), path)
        if why is not None:
            turned_away()
            return refused(*why)
        if request.method != "GET":
            return response(HTTPStatus.METHOD_NOT_ALLOWED, b"Read only: GET.\n", more={"Allow": "GET"})
        upgrades = "websocket" in ",".join(headers.get_all("Upgrade")).lower()
        return answer(path, query, upgrades)

    try:
        server = await serve(
            handler,
            host,
            port,
            process_request=reply,
            compression=None,  # loopback is faster than any compression
            server_header=None,
            open_timeout=_OPEN_TIMEOUT,
            close_timeout=_CLOSE_TIMEOUT,
            max_size=_MOST_HEARD,
            max_queue=1,
            create_connection=Counted,
            logger=_silent,
            start_serving=False,
        )
    except OSError as error:
        remedy = f"choose another with {flag}" if error.errno == errno.EADDRINUSE else f"check {flag}"
        raise OSError(f"cannot serve on {host} port {port}: {_said(error)}; {remedy}") from error
    bound: int = next(iter(server.sockets)).getsockname()[1]
    for listening in server.sockets:  # what is accepted inherits it
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    gates.append(gate(bound))
    try:
        await server.start_serving()
        yield bound
    finally:
        server.close()
        with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await server.wait_closed()
        for left in tuple(crowd):
            left.transport.abort()
        with anyio.CancelScope(shield=True):
            while crowd:  # aborted ones go in the next round of the loop
                await anyio.sleep(0)


def _said(error: OSError) -> str:
    return "another program uses it" if error.errno == errno.EADDRINUSE else str(error.strerror)
