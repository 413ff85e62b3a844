"""A way between two carriers that breaks when a test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

HOST = "127.0.0.1"


class Relay:
    """A relay that can cut, after so many bytes of one direction, or stop to forward."""

    def __init__(self, target: str) -> None:
        self.host, port = target.rsplit(":", 1)
        self.port = int(port)
        self.cut_after: Callable[[], tuple[int, int]] = lambda: (1 << 60, 1 << 60)
        """Draws, per connection, how many bytes pass to and fro before both are cut."""
        self.refusing = False
        self.cuts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> str:
        self.server = await asyncio.start_server(self._relay, HOST, 0)
        return f"{HOST}:{self.server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()
        while self._tasks:
            await asyncio.sleep(0)
            for task in list(self._tasks):
                task.cancel()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back = None
        try:
            if self.refusing:
                return
            up_reader, back = await asyncio.open_connection(self.host, self.port)
            to, fro = self.cut_after()
            flows = [
                asyncio.create_task(self._forward(reader, back, to)),
                asyncio.create_task(self._forward(up_reader, writer, fro)),
            ]
            try:
                await asyncio.wait(flows, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for flow in flows:
                    flow.cancel()
                await asyncio.wait(flows)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
            if back is not None:
                back.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
        try:
            while left > 0 and (data := await reader.read(min(left, 4096))):
                writer.write(data)
                await writer.drain()
                left -= len(data)
            self.cuts += left <= 0
        except (OSError, asyncio.CancelledError):
            pass
