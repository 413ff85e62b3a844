"""Ends the work of an event loop on a signal, in order."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal ended the work, which has cleaned up after itself."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


async def until_signalled(work: Coroutine[Any, Any, T]) -> T:
    """Do `work`; the first of `SIGNALS` cancels it, and later ones do not disturb its cleaning up.

    Raises `Interrupted` when a signal came before the work was done. Away from the main thread, where no
    signal can be handled, it only does the work.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not received:
            received.append(number)
            task.cancel()

    here = SIGNALS if threading.current_thread() is threading.main_thread() else ()
    # nohup: who asked to outlive the terminal shall.
    handled = [n for n in here if n is not signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
    for number in handled:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise Interrupted(received[0]) from None
        raise
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
