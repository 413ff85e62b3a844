"""The UDP driver: one socket, one reader, one timer. All decisions are the node's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import time
from collections.abc import Callable

from shivya_daemon.core.events import Event
from shivya_daemon.core.node import Node
from shivya_daemon.core.settings import Address

BATCH = 64  # datagrams taken per wake before other tasks get their turn
RECEIVE_BUFFER_BYTES = 1 << 20
_LONGEST_DATAGRAM = 2048  # more than any frame, so that an oversized one is seen as such

_SO_MEMINFO = 55  # of Linux; Python's socket has no name for it
_MEMINFO = struct.Struct("=9I")
_DROPS = 8  # index of SK_MEMINFO_DROPS


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
        receive_buffer: int = RECEIVE_BUFFER_BYTES,
    ) -> None:
        self.node = node
        self._on_events = on_events
        self._clock = clock
        self._ended: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        self._overrun = 0
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
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
        """Drive the node until cancelled; what it has to say last is sent before the socket closes.

        The event loop calls back for every datagram and timer, without a task switch between; what a callback
        raises ends this call.
        """
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        loop.add_reader(self._socket, self._guarded, self._receive)
        try:
            self.wake()
            await self._ended
        finally:
            self._ended = None
            loop.remove_reader(self._socket)
            self._disarm()
            self._flush()
            self.close()

    def wake(self) -> None:
        """Send at once what another task made the node say, and look at its deadline again."""
        self._flush()
        self._arm()

    def close(self) -> None:
        """Close the socket; harmless when it is closed already."""
        self._socket.close()

    def _guarded(self, do: Callable[[], None]) -> None:
        """Run a callback of the event loop; the first fault ends `run`."""
        ended = self._ended
        if ended is None or ended.done():
            return
        try:
            do()
            self._arm()
        except Exception as error:
            ended.set_exception(error)

    def _receive(self) -> None:
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

    def _tick(self) -> None:
        self._timer = self._armed_for = None
        self._count_overrun()
        self.node.handle_timer(self._clock())
        self._flush()

    def _count_overrun(self) -> None:
        """Count what the kernel had no room for since the last look.

        Asked for here, 0.5 us a time, and not with every datagram (SO_RXQ_OVFL), where recvmsg would cost a
        fifth more than recvfrom does. The kernel's count never starts again, so a late look misses nothing.
        """
        overrun = _overrun(self._socket)
        if overrun is not None and overrun != self._overrun:
            self.node.counters.drop("kernel_queue_full", (overrun - self._overrun) % (1 << 32))
            self._overrun = overrun

    def _arm(self) -> None:
        """Have the timer go off at the node's deadline."""
        if self._ended is None:
            return
        deadline = self.node.next_deadline()
        if self._timer is not None and deadline == self._armed_for:
            return
        self._disarm()
        if deadline is not None:
            self._armed_for = deadline
            pause = max(0.0, deadline - self._clock())
            self._timer = asyncio.get_running_loop().call_later(pause, self._guarded, self._tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._armed_for = None

    def _flush(self) -> None:
        events = self.node.events()
        if events and self._on_events is not None:
            self._on_events(events)  # may make the node say more
        for data, destination in self.node.datagrams():
            try:
                self._socket.sendto(data, destination)
            except OSError:
                self.node.counters.drop("send_failed")


def _overrun(udp: socket.socket) -> int | None:
    """Return how many datagrams the kernel dropped at this socket, modulo 2^32; None if it does not tell."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, struct.error):
            return int(_MEMINFO.unpack(udp.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[_DROPS])
    return None
