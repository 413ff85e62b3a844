"""The live page: its files, and a stream of snapshots that no viewer can hold up.

A picture is made only while somebody looks, at most `RATE` a second and never for more than a twentieth of a
processor. Each viewer has room for one frame: a newer one takes its place, and the one it took is counted as
dropped. Whoever does not read at all is let go.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import anyio
import anyio.abc
import anyio.to_thread
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Response

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.views.assets import Assets
from shivya_daemon.views.frames import ROOT, Find, Frames
from shivya_daemon.views.front import listen, refused
from shivya_daemon.views.gate import loopback_gate
from shivya_daemon.views.words import finite

HOST = "127.0.0.1"
RATE = 5.0
"""Frames per second; the page moves smoothly between them."""
MAX_VIEWERS = 8
_SHARE = 20.0
_PATIENCE = 10.0
_LOST = (
    "The link lacks its token, or is from an earlier start of the daemon.\n"
    "Open the one that it printed; 'shivya visualize' prints it again.\n"
)


@dataclass
class PageCounts:
    """What became of the page's frames, since start."""

    viewers: int = 0
    sent: int = 0
    dropped: int = 0
    """Replaced by newer ones before a slow viewer took them."""
    refused: int = 0
    """Requests with a foreign Host or Origin, or without the token."""
    stuck: int = 0
    """Viewers let go because they did not read."""


class Mailbox:
    """Room for one frame."""

    def __init__(self) -> None:
        self._frame: str | None = None
        self._filled = anyio.Event()

    def put(self, frame: str) -> bool:
        """Leave a frame; return whether it replaced one."""
        replaced = self._frame is not None
        self._frame = frame
        self._filled.set()
        return replaced

    async def take(self) -> str:
        """Wait for a frame and take it."""
        await self._filled.wait()
        frame, self._frame, self._filled = self._frame, None, anyio.Event()
        assert frame is not None
        return frame


class PageServer:
    """Serves the page on 127.0.0.1.

    `look` gives the present snapshot, `clock` and `wall` the time, `find` what a spirit shows itself with.
    """

    def __init__(
        self,
        look: Callable[[], Snapshot],
        port: int,
        token: str,
        clock: Callable[[], float],
        wall: Callable[[], float],
        *,
        patience: float = _PATIENCE,
        find: Find = lambda digest: None,
    ) -> None:
        self.counts = PageCounts()
        self.port = port
        self._look = look
        self._token = token
        self._clock = clock
        self._wall = wall
        self._patience = patience
        self._assets = Assets()
        self._frames = Frames(token, find)
        self._mailboxes: set[Mailbox] = set()
        self._watched = anyio.Event()

    @property
    def url(self) -> str:
        """The link that opens the page. Whoever has it can read what this node knows."""
        return f"http://{HOST}:{self.port}/?token={self._token}"

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; raises `OSError` with what to do when the port cannot be had."""
        async with listen(
            HOST,
            self.port,
            lambda port: loopback_gate(port, self._token, self._frames.knows),
            self._answer,
            self._watch,
            flag="--visualize PORT",
            turned_away=self._turn_away,
        ) as self.port:
            task_status.started()
            await self._publish()

    def _turn_away(self) -> None:
        self.counts.refused += 1

    def _answer(self, path: str, query: str, upgrades: bool) -> Response | None:
        known = loopback_gate(self.port, self._token).knows(query)
        if upgrades:
            if path not in ("/", "/live"):
                return refused(HTTPStatus.NOT_FOUND, "The stream is at /live.\n")
            if known and len(self._mailboxes) >= MAX_VIEWERS:
                return refused(HTTPStatus.SERVICE_UNAVAILABLE, "Enough viewers; close another page.\n")
            if known:
                return None
        elif path.startswith(ROOT):
            if self._frames.knows(path):
                return self._frames.answer(path, self.port)
        elif known or path != "/":
            return self._assets.answer(path, self.port)
        self._turn_away()
        return refused(HTTPStatus.FORBIDDEN, _LOST)

    async def _watch(self, connection: ServerConnection) -> None:
        """Feed one viewer until it leaves, speaks or does not read."""
        if len(self._mailboxes) >= MAX_VIEWERS:  # two came at the same moment
            await connection.close(CloseCode.TRY_AGAIN_LATER)
            return
        mailbox = Mailbox()
        self._mailboxes.add(mailbox)
        self.counts.viewers = len(self._mailboxes)
        self._watched.set()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._feed, connection, mailbox, tasks.cancel_scope)
                async for _ in connection:
                    await connection.close(CloseCode.POLICY_VIOLATION, "this stream only tells")
                tasks.cancel_scope.cancel()
        except* ConnectionClosed:
            pass
        finally:
            self._mailboxes.discard(mailbox)
            self.counts.viewers = len(self._mailboxes)

    async def _feed(self, connection: ServerConnection, mailbox: Mailbox, scope: anyio.CancelScope) -> None:
        while True:
            frame = await mailbox.take()
            with anyio.move_on_after(self._patience) as waiting:
                await connection.send(frame)
            if waiting.cancelled_caught:
                self.counts.stuck += 1
                connection.transport.abort()
                scope.cancel()
                return
            self.counts.sent += 1

    async def _publish(self) -> None:
        """Make a picture now and then while somebody looks."""
        tick, ticked = -1, self._clock()
        while True:
            if not self._mailboxes:
                self._watched = anyio.Event()
                await self._watched.wait()
            now, spent = self._clock(), time.thread_time()
            snapshot = self._look()
            cost = time.thread_time() - spent
            if snapshot.tick != tick:
                tick, ticked = snapshot.tick, now
            # In a thread: the size of a mesh must not hold the node.
            frame, more = await anyio.to_thread.run_sync(
                _timed, snapshot, self._wall(), now - ticked, self._frames
            )
            for mailbox in self._mailboxes:
                self.counts.dropped += mailbox.put(frame)
            await anyio.sleep(max(1.0 / RATE, _SHARE * (cost + more)))


def _timed(snapshot: Snapshot, t: float, age: float, frames: Frames) -> tuple[str, float]:
    """Return the message and the processor time in seconds that it took."""
    spent = time.thread_time()
    return encode(snapshot, t, age, frames), time.thread_time() - spent


def encode(snapshot: Snapshot, t: float, age: float, frames: Frames | None = None) -> str:
    """Return one message: the status object, `t` (Unix seconds) and `age_seconds`, of its last tick.

    A spirit has `frame` besides: the path of its picture, or null where its package is not here.
    """
    document = {"t": t, "age_seconds": age, **snapshot.to_json()}
    if snapshot.spirit is not None and frames is not None:
        document["spirit"] = {**snapshot.spirit, "frame": frames.place(snapshot.spirit.get("digest"))}
    try:
        return json.dumps(document, separators=(",", ":"), allow_nan=False)
    except ValueError:  # a browser refuses a message that has NaN or an infinity anywhere in it
        return json.dumps(finite(document), separators=(",", ":"))
