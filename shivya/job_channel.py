"""The sending side of the job carrier: one connection to an address, shared by all jobs on the way there."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from shivya.job_frames import Ack, FrameError, Hello, encode, read

MAX_IN_FLIGHT = 64
_CONNECT_TIMEOUT = 2.0


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[ipv6]:port`; anything else raises `ValueError`."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError(f"{address[:80]!r} is not host:port")
    return host, int(port)


@dataclass
class Connection:
    """An open connection whose acknowledgements are read by a task."""

    writer: asyncio.StreamWriter
    incarnation: int
    """Drawn by the process at the other end: a different one is a different process."""
    waiting: dict[int, asyncio.Future[Ack | None]] = field(default_factory=dict)
    open: bool = True

    async def request(self, move: int, frame: bytes) -> Ack:
        """Send a delivery and wait for its acknowledgement; raises `OSError` when the connection breaks."""
        answer: asyncio.Future[Ack | None] = asyncio.get_running_loop().create_future()
        self.waiting[move] = answer
        try:
            self.writer.write(frame)
            await self.writer.drain()
            ack = await answer if self.open else None
        finally:
            self.waiting.pop(move, None)
        if ack is None:
            raise ConnectionResetError("the connection broke before the acknowledgement")
        return ack

    def close(self) -> None:
        """Give up the connection; every request that waits fails."""
        self.open = False
        self.writer.transport.abort()
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_result(None)


class Channel:
    """The way to one address: connects when there is something to send."""

    def __init__(self, address: str, greeting: Hello) -> None:
        self.slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self.users = 0
        """Jobs on their way through it, waiting ones included."""
        self._host, self._port = split_address(address)
        self._greeting = greeting
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> Connection:
        """Return the open connection, made at need; raises `OSError` or `FrameError`."""
        async with self._connecting:
            if self._connection is None or not self._connection.open:
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    self._connection = await self._open()
            return self._connection

    def close(self) -> None:
        """Close the connection, if any; requests that wait on it fail."""
        if self._connection is not None:
            self._connection.close()

    async def ended(self) -> None:
        """Wait until a closed connection is gone."""
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def _open(self) -> Connection:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(encode(self._greeting))
            hello = await read(reader)
            if not isinstance(hello, Hello):
                raise FrameError("the other end is no job carrier")
        except BaseException:
            writer.transport.abort()
            raise
        connection = Connection(writer, hello.incarnation)
        self._reading = asyncio.create_task(self._read(reader, connection))
        return connection

    async def _read(self, reader: asyncio.StreamReader, connection: Connection) -> None:
        try:
            while isinstance(ack := await read(reader), Ack):
                answer = connection.waiting.get(ack.move)
                if answer is not None and not answer.done():
                    answer.set_result(ack)
        except (OSError, FrameError):
            pass
        finally:
            connection.close()
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()
