"""`python -m shivya.demo.worker`: the application on one node, a single server and its queue.

Without `--socket` every job is served where it arrives. With it the worker asks the mesh: `route()` for each
job that arrives or is relayed to it, `handover()` every few hundredths of a second for jobs that wait; and it
asks the others for jobs while it has none.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import selectors
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from shivya.demo.messages import MAX_LINE, Done, Finish, Message, Ready, Task, decode, encode
from shivya.demo.server import Server

if TYPE_CHECKING:
    from shivya.demo.exchange import Exchange

HANDOVER_INTERVAL = 0.05
MAX_REMEMBERED = 1 << 16
"""Hand-overs remembered to drop duplicates; a duplicate follows its original within seconds."""


class Worker:
    """Takes tasks, serves them or passes them on through `exchange`, and says so through `tell`."""

    def __init__(self, rate: float, burn: bool, tell: Callable[[Message], None]) -> None:
        self.exchange: Exchange | None = None
        self._tell = tell
        self._server = Server(rate, burn, self._finished)
        self._seen: OrderedDict[tuple[int, int, int], None] = OrderedDict()

    def take(self, task: Task) -> None:
        """A job arrives, from the generator or another worker: here or onwards; a duplicate is dropped."""
        hand_over = (task.id, task.attempt, task.hops)
        if hand_over in self._seen:
            return
        self._seen[hand_over] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        born = asyncio.get_running_loop().time() - task.age
        if self.exchange is None or not self.exchange.pass_on(task, born, self._server.ahead(born)):
            self.keep(task, born)

    def keep(self, task: Task, born: float) -> None:
        """Serve a job here, after all that were born before it."""
        self._server.add(task, born)

    def give_up(self) -> tuple[Task, float] | None:
        """Let go of the job in the middle of the line; None when no job waits."""
        return self._server.take_middle()

    async def serve(self) -> None:
        """Serve jobs until cancelled."""
        await self._server.run()

    async def hand_over(self) -> None:
        """Keep the mesh informed and pass on what it says, until cancelled."""
        while self.exchange is not None:
            self.exchange.hand_over(self._server.held)
            await asyncio.sleep(HANDOVER_INTERVAL)

    async def pull(self) -> None:
        """Ask for jobs while there are none here, until cancelled."""
        if self.exchange is not None:
            await self.exchange.pull(self._server.idle)

    async def finish(self) -> None:
        """Return when nothing is left here."""
        while self._server.held or (self.exchange is not None and self.exchange.sending):
            await asyncio.sleep(HANDOVER_INTERVAL)

    def _finished(self, task: Task) -> None:
        self._tell(Done(task.id))
        if self.exchange is not None:
            self.exchange.done()


async def _work(name: str, rate: float, burn: bool, socket: Path | None) -> None:
    """Be the worker of one node until the generator says to finish or is gone."""
    worker = Worker(rate, burn, _tell)
    async with AsyncExitStack() as stack:
        address = None
        if socket is not None:
            from shivya.demo.exchange import Exchange

            exchange = await stack.enter_async_context(Exchange(name, socket, worker, _tell))
            worker.exchange, address = exchange, exchange.address
        reader = asyncio.StreamReader(limit=MAX_LINE)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(run()) for run in (worker.serve, worker.hand_over, worker.pull)]
            _tell(Ready(address))
            if await _listen(reader, worker):
                await worker.finish()
            for task in background:
                task.cancel()


async def _listen(reader: asyncio.StreamReader, worker: Worker) -> bool:
    """Take what the generator sends; True when it says to finish, False when it is gone."""
    while line := await reader.readline():
        message = decode(line)
        if isinstance(message, Task):
            worker.take(message)
        elif isinstance(message, Finish):
            return True
    return False


def _exact_loop() -> asyncio.AbstractEventLoop:
    """An event loop that wakes to the microsecond: the usual one rounds up to a thousandth of a second."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def _tell(message: Message) -> None:
    """Write straight to the pipe: what a worker has said survives its sudden death."""
    sys.stdout.buffer.write(encode(message))
    sys.stdout.buffer.flush()


def _rate(text: str) -> float:
    """A positive number, for argparse."""
    rate = float(text)
    if not 0.0 < rate < math.inf:
        raise ValueError(text)
    return rate


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m shivya.demo.worker", description=__doc__)
    parser.add_argument("--name", required=True, help="name of the node")
    parser.add_argument("--rate", type=_rate, required=True, help="jobs of mean size per second")
    parser.add_argument("--burn", action="store_true", help="spend CPU time instead of waiting")
    parser.add_argument("--socket", type=Path, help="control socket of the node's daemon")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=_exact_loop) as runner:
        runner.run(_work(given.name, given.rate, given.burn, given.socket))


if __name__ == "__main__":
    main()
