"""The generator's end of a worker process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from shivya.demo import children
from shivya.demo.children import Child, StartError
from shivya.demo.messages import MAX_LINE, Message, Ready, decode, encode


class WorkerProcess:
    """A worker that takes tasks; see `generator.WorkerLink`."""

    def __init__(self, child: Child, address: str | None) -> None:
        self.child = child
        self.garbled = 0
        """Lines from the worker that were no message."""
        self._address = address

    @property
    def address(self) -> str | None:
        """Where other workers reach it; None without the mesh."""
        return self._address

    def send(self, message: Message) -> None:
        """Send a message; to a dead worker it is lost, and `next_message` tells of the death."""
        stdin = self.child.process.stdin
        if stdin is not None and self.child.alive and not stdin.is_closing():
            stdin.write(encode(message))  # what may pile up here is bounded by the plan

    async def next_message(self) -> Message | None:
        """What the worker says next; None, for good, once it is dead."""
        message = await self._read()
        if message is None:
            await self.child.kill()  # a worker that closed its pipe but runs on would do jobs twice
        return message

    async def _read(self) -> Message | None:
        stdout = self.child.process.stdout
        assert stdout is not None
        while True:
            try:
                line = await stdout.readline()
            except ValueError:  # longer than the limit
                self.garbled += 1
                continue
            if not line.endswith(b"\n"):
                return None
            try:
                return decode(line)
            except ValueError:
                self.garbled += 1


async def start_worker(
    name: str,
    rate: float,
    *,
    burn: bool,
    socket: Path | None,
    log: Path,
    started: list[Child],
    patience: float,
) -> WorkerProcess:
    """Start a worker and wait until it is ready; every process goes into `started` first. StartError."""
    command = [sys.executable, "-m", "shivya.demo.worker", "--name", name, "--rate", str(rate)]
    if burn:
        command.append("--burn")
    if socket is not None:
        command += ["--socket", str(socket)]
    child = await children.start(f"worker {name}", command, log, pipes=True, limit=4 * MAX_LINE)
    started.append(child)
    first = None
    try:
        async with asyncio.timeout(patience):
            first = await WorkerProcess(child, None).next_message()
    except TimeoutError:
        raise StartError(f"worker {name} was not ready within {patience:g} s\n{child.last_words()}") from None
    if not isinstance(first, Ready):
        raise StartError(f"worker {name} did not start\n{child.last_words()}")
    return WorkerProcess(child, first.address)


async def start_workers(
    rates: Sequence[float],
    *,
    burn: bool,
    sockets: Sequence[Path | None],
    logs: Path,
    started: list[Child],
    patience: float = 60.0,
) -> list[WorkerProcess]:
    """Start one worker for each node, side by side."""
    return await children.side_by_side(
        start_worker(
            node_name(node),
            rate,
            burn=burn,
            socket=socket,
            log=logs / f"{node_name(node)}.worker.log",
            started=started,
            patience=patience,
        )
        for node, (rate, socket) in enumerate(zip(rates, sockets, strict=True))
    )


def node_name(node: int) -> str:
    """The name of a node in the mesh and in messages: n1, n2, ..."""
    return f"n{node + 1}"
