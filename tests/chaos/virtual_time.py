"""An asyncio loop whose time is virtual, and TCP on a network that loses segments and can be cut.

What runs on it is the program as it is: nothing waits, every `sleep` is over as soon as nobody has anything
to do before it, and the order of events is that of a seed. `HOST` says on which machine a task runs.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from types import SimpleNamespace
from typing import Any

HOST: ContextVar[str] = ContextVar("HOST")
_FIRST_RETRY, _LAST_RETRY = 0.2, 2.0  # between two transmissions of a segment (RFC 6298, capped)
_GIVE_UP = 15.0  # a connection ends when a segment was not taken for this long (RFC 5482)
_FIRST_PORT = 49152


class _Clock(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """A selector that advances time instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("every task waits for another, and no timer is set")
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop from time 0, and the streams between the hosts on it.

    `reachable(source, destination)` is asked for each segment, `loss` is the probability that one is lost,
    `delay` bounds its one-way delay in seconds.
    """

    def __init__(
        self, seed: int, reachable: Callable[[str, str], bool], loss: float, delay: tuple[float, float]
    ) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)
        self._clock_resolution = 1e-9  # sums of time-outs are exact to this, not to a tick of the kernel's
        self._random = random.Random(seed)
        self._reachable, self._loss, self._delay = reachable, loss, delay
        self._listeners: dict[tuple[str, int], tuple[Callable[[], Any], Context]] = {}
        self._ends: set[_End] = set()

    def time(self) -> float:
        return self._clock.now

    async def create_server(self, factory: Callable[[], Any], host: str, port: int, **_: Any) -> Any:
        address = (host, port or _FIRST_PORT + len(self._listeners))
        self._listeners[address] = (factory, copy_context())

        async def closed() -> None:
            pass

        return SimpleNamespace(
            sockets=[SimpleNamespace(getsockname=lambda: address)],
            close=lambda: self._listeners.pop(address, None),
            wait_closed=closed,
        )

    async def create_connection(self, factory: Callable[[], Any], host: str, port: int, **_: Any) -> Any:
        source, pause = HOST.get(), _FIRST_RETRY
        while not self.carries(source, host) or not self.carries(host, source):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_RETRY)
        await asyncio.sleep(self.draw_delay() + self.draw_delay())
        listener = self._listeners.get((host, port))
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens on {host}:{port}")
        make, context = listener
        self._ends = {end for end in self._ends if end.open}
        here = _End(self, source, host, factory())
        there = _End(self, host, source, make())
        here.peer, there.peer = there, here
        self._ends |= {here, there}
        here.protocol.connection_made(here)
        context.copy().run(there.protocol.connection_made, there)  # what it starts runs on that host
        return here, here.protocol

    def break_streams(self) -> None:
        """Reset every connection at both ends at once, as a middlebox that restarts does."""
        for end in list(self._ends):
            end.reset()

    def carries(self, source: str, destination: str) -> bool:
        """Whether one segment gets through now."""
        return self._reachable(source, destination) and self._random.random() >= self._loss

    def draw_delay(self) -> float:
        return self._random.uniform(*self._delay)


class _End(asyncio.Transport):
    """One end of a connection: a segment at a time, repeated until it is taken."""

    peer: _End

    def __init__(self, loop: VirtualLoop, source: str, destination: str, protocol: Any) -> None:
        super().__init__({"peername": (destination, 0), "sockname": (source, 0)})
        self.protocol = protocol
        self.open = True
        self._loop, self._source, self._destination = loop, source, destination
        self._waiting = bytearray()
        self._in_flight = False

    def write(self, data: Any) -> None:
        if self.open:
            self._waiting += data
            self._send_next()

    def is_closing(self) -> bool:
        return not self.open

    def abort(self) -> None:
        """Forget what was not taken; the other end learns of it when it next sends, or by our goodbye."""
        if self.open:
            self._lose(None)
            if self._loop.carries(self._source, self._destination):
                self._loop.call_later(self._loop.draw_delay(), self.peer.reset)

    close = abort

    def reset(self) -> None:
        if self.open:
            self._lose(ConnectionResetError("reset by peer"))

    def _lose(self, error: Exception | None) -> None:
        self.open = False
        self._waiting.clear()
        self._loop.call_soon(self.protocol.connection_lost, error)

    def _send_next(self) -> None:
        if self._waiting and not self._in_flight:
            self._in_flight = True
            segment = bytes(self._waiting)
            self._waiting.clear()
            self._transmit(segment, self._loop.time(), _FIRST_RETRY)

    def _transmit(self, segment: bytes, since: float, pause: float) -> None:
        if not self.open:
            return
        if self._loop.carries(self._source, self._destination):
            self._loop.call_later(self._loop.draw_delay(), self._arrive, segment)
        elif self._loop.time() - since >= _GIVE_UP:
            self._lose(TimeoutError("the connection timed out"))
        else:
            self._loop.call_later(pause, self._transmit, segment, since, min(2 * pause, _LAST_RETRY))

    def _arrive(self, segment: bytes) -> None:
        self._in_flight = False
        if self.peer.open:
            self.peer.protocol.data_received(segment)
            self._send_next()
        else:
            self.reset()
