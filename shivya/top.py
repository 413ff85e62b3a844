"""`shivya top`: the screen of a running daemon, over its control socket."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from shivya.ask import ask
from shivya.errors import CommandError, ExitCode
from shivya_daemon.snapshot import Snapshot
from shivya_daemon.snapshot_reader import UnknownDocument, read_snapshot
from shivya_daemon.views import keys
from shivya_daemon.views.pace import Pace
from shivya_daemon.views.screen import render
from shivya_daemon.views.strokes import ASCII
from shivya_daemon.views.tui import Tui, frame, glyphs_for

_UNMEASURED = (80, 50)  # columns and lines of what is no terminal
_ENDS = (signal.SIGTERM, signal.SIGHUP)


def run(path: Path, *, once: bool, ascii_only: bool) -> int:
    """Show the node whose control socket is `path` until a person leaves, or one frame of it."""
    if not once and not keys.drawable(sys.stdout):
        raise CommandError(
            ExitCode.USAGE, "standard output is no terminal to draw on; print one frame with --once"
        )
    first = _look(path)
    if once:
        _print(first, ascii_only=ascii_only)
        return ExitCode.OK
    with _signals() as signalled, Tui(ascii_only=ascii_only) as tui:
        _follow(path, first, tui, signalled)
    return ExitCode.OK


def _look(path: Path) -> Snapshot:
    """Ask for the state of the node; raises `CommandError`."""
    try:
        return read_snapshot(ask(path, "STATUS"))
    except UnknownDocument as error:
        raise CommandError(
            ExitCode.FAILED, f"the daemon on {path} is of another version ({error}); see 'shivya status'"
        ) from None


def _print(snapshot: Snapshot, *, ascii_only: bool) -> None:
    console = Console()
    glyphs = ASCII if ascii_only else glyphs_for(console)
    size = shutil.get_terminal_size(_UNMEASURED)
    lines = [line for line in render(snapshot, *size, glyphs=glyphs) if line.plain.strip()]
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in frame(console, lines)))


def _follow(path: Path, first: Snapshot, tui: Tui, signalled: int) -> None:
    pace = Pace()
    spent, seen = time.process_time(), time.monotonic()
    tui.show(first)
    with _Asker(path, pace) as asker:
        watched = [asker.bell, signalled, *([] if tui.keyboard is None else [tui.keyboard])]
        while not tui.view.done:
            ready, _, _ = select.select(watched, [], [])
            if signalled in ready:
                _obey(os.read(signalled, 64), tui)
            if asker.bell in ready:
                answer = asker.answer()
                if isinstance(answer, Snapshot):
                    seen, tui.gone = time.monotonic(), None
                    tui.show(answer)
                elif answer.code == ExitCode.NO_DAEMON:  # it may come back
                    tui.gone = time.monotonic() - seen
                    tui.draw()
                else:
                    raise answer
                spent, before = time.process_time(), spent
                pace.spent(spent - before)
            if tui.keyboard in ready and keys.in_front(sys.stdin):
                try:
                    data = os.read(tui.keyboard or 0, keys.READ_AT_ONCE)
                except OSError:
                    return
                if not data:  # the terminal has gone
                    return
                tui.press(data)


def _obey(numbers: bytes, tui: Tui) -> None:
    """Do what the signals ask for: another size; or Ctrl-Z, for which the shell gets its terminal."""
    if signal.SIGTSTP in numbers:
        tui.close()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # stands still here until it is continued
        signal.signal(signal.SIGTSTP, before)
        tui.open()
    tui.draw()


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Have signals of the terminal written to the descriptor this gives, and others end what runs inside."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    heard: tuple[signal.Signals, ...] = (signal.SIGWINCH, signal.SIGTSTP)
    before = {number: signal.getsignal(number) for number in (*heard, *_ENDS)}
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        for number in heard:
            signal.signal(number, lambda *_: None)
        for number in _ENDS:
            signal.signal(number, _end)
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


class _Asker:
    """A thread that asks again and again, so that keys are answered while the daemon is not."""

    def __init__(self, path: Path, pace: Pace) -> None:
        self._path, self._pace = path, pace
        self._answers: queue.SimpleQueue[Snapshot | CommandError] = queue.SimpleQueue()
        self._taken, self._stop = threading.Event(), threading.Event()
        self.bell, self._ring = os.pipe()
        """Readable when there is an answer."""
        self._thread = threading.Thread(target=self._run, name="asker", daemon=True)

    def __enter__(self) -> _Asker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._taken.set()

    def answer(self) -> Snapshot | CommandError:
        """Take the answer that the bell told of; only then is the next question asked."""
        os.read(self.bell, 1)
        answer = self._answers.get()
        self._taken.set()
        return answer

    def _run(self) -> None:
        while not self._stop.wait(self._pace.interval):
            try:
                self._answers.put(_look(self._path))
            except CommandError as error:
                self._answers.put(error)
            self._taken.clear()
            os.write(self._ring, b"\0")
            self._taken.wait()
