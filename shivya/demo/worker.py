"""`python -m shivya.demo.worker`: the application on one node, a single server and its queue.

Without `--socket` every job is served where it arrives. With it the worker asks the mesh: `route()` for each
job that arrives or is relayed to it, `handover()` every few hundredths of a second for jobs that already wait.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from shivya.client import Client, Peer
from shivya.demo.messages import MAX_LINE, Done, Message, Moved, Ready, Task, decode, encode
from shivya.demo.server import Server
from shivya.transfer import Carrier, Job, TransferFailed, TransferInDoubt

HANDOVER_INTERVAL = 0.05
MAX_REMEMBERED = 1 << 16
"""Hand-overs remembered to drop duplicates; a duplicate follows its original within seconds."""
MAX_SENDING = 256
"""Jobs being handed over at once; beyond that they stay."""


class Worker:
    """Takes tasks, serves them or hands them over, and says so through `tell`."""

    def __init__(self, rate: float, burn: bool, tell: Callable[[Message], None]) -> None:
        self._tell = tell
        self._server = Server(rate, burn, lambda task: self._finished(task))
        self._mesh: Client | None = None
        self._carrier: Carrier | None = None
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._sending: set[asyncio.Task[None]] = set()

    def join(self, mesh: Client, carrier: Carrier) -> None:
        """From now on ask `mesh` where jobs go, and send them by `carrier`."""
        self._mesh, self._carrier = mesh, carrier

    def take(self, task: Task) -> None:
        """A job arrives, from the generator or from another worker: here or onwards; a duplicate is dropped."""
        if task.transfer_id in self._seen:
            return
        self._seen[task.transfer_id] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        peer = self._mesh.route(hops=task.hops) if self._mesh is not None else None
        if peer is None:
            self._server.add(task)
        else:
            self._send(task, peer)

    async def serve(self) -> None:
        """Serve jobs until cancelled."""
        await self._server.run()

    async def hand_over(self) -> None:
        """Keep the mesh informed and pass on what it says, until cancelled."""
        while self._mesh is not None:
            self._report()
            for peer, count in self._mesh.handover():
                for left in range(count, 0, -1):
                    task = self._server.take_last()
                    if task is None:
                        self._mesh.unsent(peer, left)
                        break
                    self._send(task, peer)
            await asyncio.sleep(HANDOVER_INTERVAL)

    def _report(self) -> None:
        if self._mesh is not None:
            self._mesh.report(queue=self._server.held)

    def _finished(self, task: Task) -> None:
        self._tell(Done(task.id))
        if self._mesh is not None:
            self._mesh.done()

    def _send(self, task: Task, peer: Peer) -> None:
        if peer.address is None or len(self._sending) >= MAX_SENDING:
            self._keep(task, peer)
            return
        sending = asyncio.create_task(self._hand_to(task, peer, peer.address))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _hand_to(self, task: Task, peer: Peer, address: str) -> None:
        assert self._carrier is not None
        moved = task.moved()
        sure = True
        try:
            await self._carrier.send(address, Job(moved.transfer_id, moved.payload, moved.hops, peer.id))
        except TransferFailed:
            self._keep(task, peer)
            return
        except TransferInDoubt:
            sure = False  # the generator knows who is alive, and decides
        self._tell(Moved(task.id, task.attempt, moved.hops, address, sure))

    def _keep(self, task: Task, peer: Peer) -> None:
        """The job never left."""
        assert self._mesh is not None
        self._mesh.unsent(peer)
        self._server.add(task)
        self._report()
