"""The ready-made carrier of jobs between the applications of a mesh: asyncio, TCP, standard library only.

The mesh decides where a job should run; a `Carrier` takes it there. The sender keeps a job until the receiver
has acknowledged it, and tries the same move again when the connection breaks; the receiver drops what it has.
A move therefore happens exactly once as long as both processes live. When the receiver cannot be reached
again after a job may have been delivered, the truth is unknown here: `TransferInDoubt`. Running the job
elsewhere may then run it twice, dropping it may lose it, and only the application can know which is worse.

An idle node asks a busy neighbour for a job (`pull`). What it is given comes as any other job does: the
request itself carries none, and may be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, TypeVar

from shivya.client import Client, Peer
from shivya.job_channel import Channel
from shivya.job_frames import (
    ID_BYTES,
    MAX_AGE,
    MAX_HOPS,
    Ack,
    Ask,
    Delivery,
    FrameError,
    Hello,
    Job,
    check_name,
    encode,
    read,
)

__all__ = ["Carrier", "Job", "Receipt", "TransferError", "TransferFailed", "TransferInDoubt"]

PATIENCE = 3.0
"""Seconds after which a job that may have been delivered is in doubt."""
REMEMBERED = 65_536
"""Jobs and moves that a receiver knows again."""
MAX_CONNECTIONS = 256
MAX_CHANNELS = 256
_MAX_SENDERS = 256
_HELLO_TIMEOUT = 5.0
_IDLE_TIMEOUT = 120.0
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.5
_ASK_TIMEOUT = 1.0
_log = logging.getLogger(__name__)

_K = TypeVar("_K")
_V = TypeVar("_V")
Accept = Callable[[Job, str], Awaitable[None] | None]
Give = Callable[[Peer], bool]


class TransferError(Exception):
    """A job was not handed over; `job` is as it was given to `send`."""

    def __init__(self, job: Job, reason: str) -> None:
        super().__init__(reason)
        self.job = job


class TransferFailed(TransferError):
    """The receiver surely does not have the job: it is still the sender's."""


class TransferInDoubt(TransferError):
    """The receiver may have the job, and cannot be asked."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the receiver said when it took a job. Its load is None while it does not know it."""

    queue: int | None
    service_rate: float | None
    """Jobs per second."""
    potential: float | None
    """Waiting time that it would advertise, seconds."""
    accepted: int
    """Jobs that it has accepted from this sender since it started."""
    duplicate: bool
    """It had this job already."""


class Carrier:
    """Sends jobs to other carriers and takes theirs; an async context manager, for one event loop.

    Args:
        accept: called with each job taken and the name of the node it came from, once per move; may be a
            coroutine function. If it raises, the job is refused and stays with its sender.
        name: this node's name or id, as the mesh knows it.
        client: told of accepted jobs, and asked for the load that goes into acknowledgements.
        patience: seconds to go on trying a receiver that may have the job.
        give: called when an idle neighbour is to get a waiting job, counted as sent already: begin to `send`
            it the one in the middle of the line and return True, or return False when none waits after all.
            None: requests are refused.
    """

    def __init__(
        self,
        accept: Accept,
        *,
        name: str,
        client: Client | None = None,
        patience: float = PATIENCE,
        give: Give | None = None,
    ) -> None:
        self.malformed = 0
        """Connections closed because they did not speak this protocol."""
        self.turned_away = 0
        """Connections closed because `MAX_CONNECTIONS` were open."""
        self.duplicates = 0
        """Deliveries of jobs that were here already."""
        self.client = client
        """May be set later: a client is made with the address that `start` returns."""
        self._accept, self._patience, self._give = accept, patience, give
        self._hello = Hello(int.from_bytes(os.urandom(8)), check_name("name", name))
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._channels: OrderedDict[str, Channel] = OrderedDict()
        self._closed = False
        self._moves: OrderedDict[tuple[bytes, int], None] = OrderedDict()
        """Moves taken: the same one again is a repetition."""
        self._held: OrderedDict[bytes, int] = OrderedDict()
        """Jobs taken and not passed on, with their hops then."""
        self._taking: dict[bytes, asyncio.Future[None]] = {}
        self._accepted: OrderedDict[str, int] = OrderedDict()
        """Jobs taken, by sender."""
        self._news = asyncio.Event()
        """Set when an idle node should look again whom to ask."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self, host: str, port: int = 0) -> str:
        """Listen for jobs; return `host:port` with the port that was given by the system for 0."""
        self._server = await asyncio.start_server(self._serve, host, port)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def close(self) -> None:
        """Stop listening and close all connections; jobs on their way end as failed or in doubt."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        for channel in self._channels.values():
            channel.close()
            await channel.ended()
        if self._server is not None:
            await self._server.wait_closed()

    async def send(self, address: str, job: Job) -> Receipt:
        """Hand a job over; it arrives with one hop more, and older by the time that this took here.

        Returns when the receiver has it. Raises `TransferFailed` when it surely has not, `TransferInDoubt`
        when that cannot be known.
        """
        if job.hops >= MAX_HOPS:
            raise TransferFailed(job, f"the job has made {job.hops} moves")
        try:
            channel = self._channel(address)
        except ValueError as error:
            raise TransferFailed(job, str(error)) from None
        born = asyncio.get_running_loop().time() - job.age
        channel.users += 1
        try:
            async with channel.slots:
                ack = await self._deliver(channel, job, born)
        except TransferInDoubt:
            self._pass_on(job)
            raise
        finally:
            channel.users -= 1
        if ack.refused:
            raise TransferFailed(job, f"{address} refused the job")
        self._pass_on(job)
        queue, rate, potential = ack.load or (None, None, None)
        return Receipt(queue, rate, potential, ack.accepted, ack.duplicate)

    async def pull(self, idle: asyncio.Event) -> None:
        """Ask busy neighbours for jobs while `idle` is set, that is while a server is here, until cancelled.

        One at a time is asked, the one that `Client.whom_to_ask` names; again when the daemon has told
        something new, or a job has come. Takes `Client.heard` for that. Raises `ValueError` without a client.
        """
        client, loop = self.client, asyncio.get_running_loop()
        if client is None:
            raise ValueError("a carrier without a client knows nobody to ask; set `client` first")

        def look_again() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._news.set)

        client.heard = look_again
        try:
            while True:
                await idle.wait()
                self._news.clear()
                peer = client.whom_to_ask()
                if peer is not None and peer.address is not None:
                    await self.ask(peer.address)
                await self._news.wait()
        finally:
            client.heard = None

    async def ask(self, address: str) -> bool:
        """Ask for a waiting job, once; True when the one asked said that it sends one."""
        move = int.from_bytes(os.urandom(8))
        try:
            channel = self._channel(address)
            channel.users += 1
            try:
                async with asyncio.timeout(_ASK_TIMEOUT), channel.slots:
                    connection = await channel.connect()
                    ack = await connection.request(move, encode(Ask(move)))
            finally:
                channel.users -= 1
        except (OSError, ValueError):  # broken, too late, no such address, or no carrier there
            return False
        return not ack.refused

    async def _deliver(self, channel: Channel, job: Job, born: float) -> Ack:
        """Try one move until it is acknowledged, surely failed, or in doubt for too long."""
        loop = asyncio.get_running_loop()
        move = int.from_bytes(os.urandom(8))
        deadline = loop.time() + self._patience
        reached: int | None = None
        pause = _FIRST_PAUSE
        while True:
            connection = None
            try:
                async with asyncio.timeout_at(deadline):
                    connection = await channel.connect()
                    if reached not in (None, connection.incarnation):
                        raise TransferInDoubt(job, "the receiver restarted before it acknowledged the job")
                    reached = connection.incarnation
                    age = min(loop.time() - born, MAX_AGE)
                    delivery = Delivery(move, replace(job, hops=job.hops + 1, age=age))
                    return await connection.request(move, encode(delivery))
            except (OSError, FrameError) as error:
                if connection is not None:
                    connection.close()
                reason = str(error) or type(error).__name__
                if reached is None:
                    raise TransferFailed(job, reason) from error
                if self._closed or deadline - loop.time() <= pause:
                    raise TransferInDoubt(job, reason) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    def _channel(self, address: str) -> Channel:
        """Return the way to an address; one that nothing uses makes room when there are too many.

        Raises `ValueError` when there is none.
        """
        if self._closed:
            raise ValueError("the carrier is closed")
        channel = self._channels.get(address)
        if channel is None:
            if len(self._channels) >= MAX_CHANNELS:
                idle = next((key for key, other in self._channels.items() if not other.users), None)
                if idle is None:
                    raise ValueError(f"jobs are on their way to {MAX_CHANNELS} addresses already")
                self._channels.pop(idle).close()
            channel = self._channels[address] = Channel(address, self._hello)
        self._channels.move_to_end(address)
        return channel

    def _pass_on(self, job: Job) -> None:
        """Forget that a job is here, so that it may come back; unless it has come back already."""
        if self._held.get(job.id) == job.hops:
            del self._held[job.id]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._serving) >= MAX_CONNECTIONS:
            self.turned_away += 1
            writer.transport.abort()
            return
        self._serving.add(task)
        try:
            await self._receive(reader, writer)
        except FrameError:
            self.malformed += 1
        except (OSError, asyncio.CancelledError):  # broken, idle too long, or closing: the sender tries again
            pass
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HELLO_TIMEOUT):
            hello = await read(reader)
        if not isinstance(hello, Hello):
            raise FrameError("no greeting")
        writer.write(encode(self._hello))
        while True:
            async with asyncio.timeout(_IDLE_TIMEOUT):
                frame = await read(reader)
            match frame:
                case None:
                    return
                case Delivery():
                    ack = await self._take(frame, hello.name)
                case Ask(move):
                    ack = self._grant(move, hello.name)
                case _:
                    raise FrameError("neither a delivery nor a request")
            writer.write(encode(ack))
            await writer.drain()

    def _grant(self, move: int, asker: str) -> Ack:
        """Give an idle neighbour a job if the mesh says that it gains by it, and say whether."""
        peer = self.client.give(asker) if self.client is not None and self._give is not None else None
        given = False
        if peer is not None:
            assert self.client is not None and self._give is not None
            try:
                given = self._give(peer)
            except Exception:  # the application's: it keeps its carrier and its job
                _log.exception("no job for %s", asker)
            if not given:
                self.client.unsent(peer)
        return self._ack(bytes(ID_BYTES), move, asker, duplicate=False, refused=not given)

    async def _take(self, delivery: Delivery, sender: str) -> Ack:
        """Take a job unless it is here, and say so."""
        job = delivery.job
        while (other := self._taking.get(job.id)) is not None:
            await asyncio.wait([other])
        duplicate = self._known(delivery)
        refused = False
        if duplicate:
            self.duplicates += 1
        else:
            self._taking[job.id] = asyncio.get_running_loop().create_future()
            try:
                outcome = self._accept(job, sender)
                if inspect.isawaitable(outcome):
                    await outcome
            except Exception:  # the application's: it keeps its carrier, the sender its job
                _log.exception("a job from %s was refused", sender)
                refused = True
            else:
                self._note(delivery, sender)
            finally:
                self._taking.pop(job.id).set_result(None)
        return self._ack(job.id, delivery.move, sender, duplicate=duplicate, refused=refused)

    def _ack(self, job: bytes, move: int, sender: str, *, duplicate: bool, refused: bool) -> Ack:
        load = self.client.load() if self.client is not None else None
        numbers = (min(load.queue, 0xFFFFFFFF), load.service_rate, load.potential) if load else None
        return Ack(job, move, duplicate, refused, numbers, self._accepted.get(sender, 0))

    def _known(self, delivery: Delivery) -> bool:
        """Whether this move was made before, or the job has been here since an equal or later move.

        A job that comes with more hops than it had here has left, though our own acknowledgement for that may
        still be under way: it is back.
        """
        job = delivery.job
        held = self._held.get(job.id)
        return (job.id, delivery.move) in self._moves or (held is not None and job.hops <= held)

    def _note(self, delivery: Delivery, sender: str) -> None:
        job = delivery.job
        _remember(self._moves, (job.id, delivery.move), None, REMEMBERED)
        _remember(self._held, job.id, job.hops, REMEMBERED)
        _remember(self._accepted, sender, self._accepted.get(sender, 0) + 1, _MAX_SENDERS)
        if self.client is not None:
            self.client.accepted(sender)
        self._news.set()


def _remember(memory: OrderedDict[_K, _V], key: _K, value: _V, limit: int) -> None:
    """Store a value as the newest; beyond `limit` the oldest is forgotten."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > limit:
        memory.popitem(last=False)
