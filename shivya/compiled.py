"""Compiled work inside a command: the user's compile cache, and a Ctrl-C that is heard while it runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import NoReturn, Self, TypeVar, cast

from shivya.errors import CommandError, ExitCode

T = TypeVar("T")

Show = Callable[[str, float], None]
"""Shows what is done now, and the share of all that is; any thread may call it."""


class Interrupted(Exception):
    """Ctrl-C came while compiled code ran; the process must now end with `leave`."""


class Apart:
    """Compiled work in a thread, because a compiled run does not listen to signals.

    A context in which Ctrl-C is heard: raised inside a callback of JAX's, it would be lost.
    """

    def __init__(self) -> None:
        self._news: SimpleQueue[tuple[str, object]] = SimpleQueue()
        self._before = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> Self:
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda number, frame: self._news.put(("interrupted", None)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def each(self, work: Callable[[], Iterable[T]]) -> Iterator[T]:
        """Yield what `work` yields, which no other thread runs; the thread does not outlive the process.

        Raises what `work` raises; `Interrupted` at the next item after Ctrl-C; `CommandError` where memory
        does not suffice, or for a `ValueError`: something asked for cannot be.
        """

        def report() -> None:
            try:
                for item in work():
                    self._news.put(("item", item))
                self._news.put(("end", None))
            except BaseException as error:  # raised where the command waits for it
                self._news.put(("failed", error))

        thread = Thread(target=report, name="compiled", daemon=True)
        thread.start()
        while (event := self._news.get())[0] == "item":
            yield cast(T, event[1])
        if event[0] == "interrupted":
            raise Interrupted
        thread.join()
        if event[0] == "failed":
            raise _in_words(cast(BaseException, event[1]))


def keep_what_is_compiled() -> None:
    """Name the user's cache to JAX, which asks when it is imported, that is from here on."""
    from shivya_daemon.mind.start import compile_cache

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compile_cache()))


@contextmanager
def progress() -> Iterator[Show]:
    """A bar while the context lasts, where a person looks."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compiling", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)


def _in_words(error: BaseException) -> BaseException:
    """Return a failure as one that a person can act on, if it is one; any other as it is."""
    if "RESOURCE_EXHAUSTED" in str(error):
        return CommandError(ExitCode.FAILED, "too little memory; ask for fewer fleets or shorter ones")
    if isinstance(error, ValueError):
        return CommandError(ExitCode.USAGE, str(error))
    return error


def leave(code: ExitCode) -> NoReturn:
    """End the process at once: its thread is inside compiled code, and survives no orderly shutdown."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
