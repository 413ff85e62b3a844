"""The UDP driver: one socket, one receive loop, one timer. All decisions are the node's."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import anyio
import anyio.lowlevel

from shivya_daemon.core.events import Event
from shivya_daemon.core.node import Node
from shivya_daemon.core.settings import Address

BATCH = 64  # datagrams taken per wake before other tasks get their turn
RECEIVE_BUFFER_BYTES = 1 << 20
_LONGEST_DATAGRAM = 2048  # more than any frame, so that an oversized one is seen as such


class UdpDriver:
    """Runs `node` on a UDP socket.

    The socket is bound on construction (`OSError` if it cannot be), so `address` is known at once; port 0
    lets the system choose. `on_events` is called with what happened after each batch and each timer.
    """

    def __init__(
        self,
        node: Node,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        on_events: Callable[[list[Event]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node = node
        self._on_events = on_events
        self._clock = clock
        self._changed = anyio.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            if family == socket.AF_INET6:
                # Mapped IPv4 addresses have two spellings, and a peer is known by one.
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self.address: Address = self._socket.getsockname()[:2]

    def now(self) -> float:
        """Return the time on the node's clock, in seconds."""
        return self._clock()

    async def run(self) -> None:
        """Drive the node until cancelled; what it has to say last is sent before the socket closes."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._receive)
                tasks.start_soon(self._keep_time)
        finally:
            self._flush()
            self.close()

    def wake(self) -> None:
        """Send at once what another task made the node say, and look at its deadline again."""
        self._flush()
        self._changed.set()

    def close(self) -> None:
        """Close the socket; harmless when it is closed already."""
        self._socket.close()

    async def _receive(self) -> None:
        while True:
            await anyio.wait_readable(self._socket)
            deadline = self.node.next_deadline()
            for _ in range(BATCH):
                try:
                    data, source = self._socket.recvfrom(_LONGEST_DATAGRAM)
                except BlockingIOError:
                    break
                except OSError:
                    # An earlier send that the far host refused is reported here; the socket still works.
                    self.node.counters.drop("receive_failed")
                    continue
                self.node.receive(data, source[:2], self._clock())
            self._flush()
            if self.node.next_deadline() != deadline:
                self._changed.set()
            await anyio.lowlevel.checkpoint()

    async def _keep_time(self) -> None:
        while True:
            self._changed = anyio.Event()
            deadline = self.node.next_deadline()
            pause = None if deadline is None else max(0.0, deadline - self._clock())
            with anyio.move_on_after(pause):
                await self._changed.wait()
            self.node.handle_timer(self._clock())
            self._flush()

    def _flush(self) -> None:
        events = self.node.events()
        if events and self._on_events is not None:
            self._on_events(events)  # may make the node say more
        for data, destination in self.node.datagrams():
            try:
                self._socket.sendto(data, destination)
            except OSError:
                self.node.counters.drop("send_failed")
