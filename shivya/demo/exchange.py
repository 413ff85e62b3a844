"""A worker's side of the mesh: what the daemon advises, and the jobs that go to other workers for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from shivya.client import Client, Peer
from shivya.demo.messages import Message, Moved, Task
from shivya.transfer import Carrier, Job, TransferFailed, TransferInDoubt

MAX_SENDING = 256
"""Jobs being handed over at once; beyond that they stay."""
PATIENCE = 30.0
"""Seconds to wait for the daemon's first table."""


class Holder(Protocol):
    """Who owns the jobs of this node."""

    def take(self, task: Task) -> None:
        """A job that another worker handed over."""

    def keep(self, task: Task, born: float) -> None:
        """A job that could not be handed over."""

    def give_up(self) -> tuple[Task, float] | None:
        """Let go of the job in the middle of the line, with its birth; None when no job waits."""


class Exchange:
    """One worker's connection to its daemon and to the other workers; an async context manager.

    `name` is the node's; jobs that arrive or come back go to `holder`, news of moves to `tell`.
    """

    def __init__(self, name: str, socket: Path, holder: Holder, tell: Callable[[Message], None]) -> None:
        self._name = name
        self._socket = socket
        self._holder = holder
        self._tell = tell
        self._sending: set[asyncio.Task[None]] = set()
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Listen for other workers, then join the mesh; OSError or TimeoutError when either fails."""
        async with AsyncExitStack() as stack:
            self._carrier = Carrier(self._on_job, name=self._name, give=self._give)
            self.address = await self._carrier.start("127.0.0.1")
            stack.push_async_callback(self._carrier.close)
            self._mesh = stack.enter_context(Client(address=self.address, socket=self._socket))
            self._carrier.client = self._mesh
            if not await asyncio.to_thread(self._mesh.wait_ready, PATIENCE):
                raise TimeoutError(f"no table from the daemon at {self._socket}: {self._mesh.last_error}")
            self._mesh.report(queue=0)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sending in self._sending:
            sending.cancel()
        await self._closing.aclose()

    @property
    def sending(self) -> int:
        """Jobs on their way to other workers."""
        return len(self._sending)

    def done(self) -> None:
        """A job was served here."""
        self._mesh.done()

    def pass_on(self, task: Task, born: float, ahead: int) -> bool:
        """Ask where a job that is here now should run; True when it is on its way there.

        Here it would have `ahead` waiting jobs before it.
        """
        peer = self._mesh.route(hops=task.hops, ahead=ahead)
        if peer is None:
            return False
        self._send(task, born, peer)
        return True

    def hand_over(self, held: int) -> None:
        """Report the queue, and send away the waiting jobs that the mesh wants elsewhere."""
        self._mesh.report(queue=held)
        for peer, count in self._mesh.handover():
            for left in range(count, 0, -1):
                if not self._give(peer):
                    self._mesh.unsent(peer, left)
                    break

    async def pull(self, idle: asyncio.Event) -> None:
        """Ask other workers for jobs while the server here has none, until cancelled."""
        await self._carrier.pull(idle)

    def _give(self, peer: Peer) -> bool:
        taken = self._holder.give_up()
        if taken is None:
            return False
        self._send(*taken, peer)
        return True

    def _send(self, task: Task, born: float, peer: Peer) -> None:
        if peer.address is None or len(self._sending) >= MAX_SENDING:
            self._came_back(task, born, peer)
            return
        sending = asyncio.create_task(self._hand_to(task, born, peer, peer.address))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _hand_to(self, task: Task, born: float, peer: Peer, address: str) -> None:
        sure = True
        age = asyncio.get_running_loop().time() - born
        try:
            await self._carrier.send(address, Job(task.attempt_id, task.payload, task.hops, age=age))
        except TransferFailed:
            self._came_back(task, born, peer)
            return
        except TransferInDoubt:
            sure = False  # the generator knows who is alive, and decides
        self._tell(Moved(task.id, task.attempt, task.hops + 1, address, sure))

    def _came_back(self, task: Task, born: float, peer: Peer) -> None:
        self._mesh.unsent(peer)
        self._holder.keep(task, born)

    def _on_job(self, job: Job, source: str) -> None:
        # Raises what is no task of ours; the carrier then refuses it.
        self._holder.take(Task.from_transfer(job.id, job.payload, job.hops, job.age))
