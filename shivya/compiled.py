"""Compiled work inside a command: the user's compile cache, and a Ctrl-C that is heard while it runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import NoReturn, TypeVar, cast

from shivya.errors import CommandError, ExitCode

T = TypeVar("T")


class Interrupted(Exception):
    """Ctrl-C came while compiled code ran; the process must now end with `leave`."""


def keep_what_is_compiled() -> None:
    """Name the user's cache to JAX, which asks when it is imported, that is from here on."""
    from shivya_daemon.mind.start import compile_cache

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compile_cache()))


@contextmanager
def interrupts(heed: Callable[[], None]) -> Iterator[None]:
    """Call `heed` at Ctrl-C while the context lasts: raised inside a callback of JAX's, it would be lost."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: heed())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_apart(work: Callable[[], T]) -> T:
    """Do `work` in a thread, because a compiled run does not listen to signals; raises what it raises.

    Raises `Interrupted` at Ctrl-C, and `CommandError` when memory does not suffice.
    """
    news: SimpleQueue[tuple[str, object]] = SimpleQueue()

    def report() -> None:
        try:
            news.put(("done", work()))
        except BaseException as error:  # raised where the command waits for it
            news.put(("failed", error))

    with interrupts(lambda: news.put(("interrupted", None))):
        Thread(target=report, name="compiled", daemon=True).start()
        event, value = news.get()
    if event == "interrupted":
        raise Interrupted
    if event == "failed":
        raise memory_in_words(cast(BaseException, value))
    return cast(T, value)


def memory_in_words(error: BaseException) -> BaseException:
    """Return a failure of XLA's to find memory as one that a person can act on; any other as it is."""
    if "RESOURCE_EXHAUSTED" in str(error):
        return CommandError(ExitCode.FAILED, "too little memory; ask for fewer fleets or shorter ones")
    return error


def leave(code: ExitCode) -> NoReturn:
    """End the process at once: its thread is inside compiled code, and survives no orderly shutdown."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
