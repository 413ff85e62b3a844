"""The terminal of a daemon that was started on one: the screen in a thread, keys and signals on the loop."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import anyio
import anyio.to_thread

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.views import keys
from shivya_daemon.views.pace import Pace
from shivya_daemon.views.tui import Tui

_PATIENCE = 1.0  # seconds for a terminal to take the last word
_BACKGROUND = 0.5


async def show(look: Callable[[], Snapshot], leave: Callable[[], None]) -> None:
    """Keep the screen until cancelled; `leave` is called when a person asks the node to stop."""
    tui, pace = Tui(owner=True), Pace()
    await _outside(tui.open)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_heed, tui)
            if tui.keyboard is not None:
                tasks.start_soon(_listen, tui, tui.keyboard, leave)
            while True:
                started = time.thread_time()
                snapshot = look()
                spent = time.thread_time() - started
                pace.spent(
                    spent + await anyio.to_thread.run_sync(_draw, tui, snapshot, abandon_on_cancel=True)
                )
                await anyio.sleep(pace.interval)
    finally:
        with anyio.move_on_after(_PATIENCE, shield=True):
            await _outside(tui.close)


async def _outside(function: Callable[[], None]) -> None:
    """Call in a thread: a terminal that is held (Ctrl-S) must not hold the node."""
    await anyio.to_thread.run_sync(function, abandon_on_cancel=True)


def _draw(tui: Tui, snapshot: Snapshot) -> float:
    started = time.thread_time()
    tui.show(snapshot)
    return time.thread_time() - started


async def _listen(tui: Tui, keyboard: int, leave: Callable[[], None]) -> None:
    while True:
        await anyio.wait_readable(keyboard)
        if not keys.in_front(sys.stdin):  # what is typed is for the shell
            await anyio.sleep(_BACKGROUND)
            continue
        try:
            data = os.read(keyboard, keys.READ_AT_ONCE)
        except OSError:
            return
        if not data:
            return
        await _outside(lambda data=data: tui.press(data))  # type: ignore[misc]
        if tui.view.done:
            leave()
            return


async def _heed(tui: Tui) -> None:
    with anyio.open_signal_receiver(signal.SIGWINCH, signal.SIGCONT) as signals:
        async for number in signals:
            resumed = number == signal.SIGCONT and keys.in_front(sys.stdout)
            await _outside(tui.resume if resumed else tui.draw)
