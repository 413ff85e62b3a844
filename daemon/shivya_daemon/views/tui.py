"""The live screen on a terminal: `Tui` takes snapshots and keys, and keeps the terminal drawn.

It owns the alternate screen while its context lasts, writes only the lines that have changed, and gives the
terminal back however the context ends. Nothing here waits; whoever drives it (a daemon, `shivya top`) does.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from types import TracebackType
from typing import Self

from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.views import keys
from shivya_daemon.views.history import History
from shivya_daemon.views.looking import View, press
from shivya_daemon.views.screen import render
from shivya_daemon.views.strokes import ASCII, BLOCKS, Glyphs

# Alternate screen, no cursor, no wrapping at the right edge; and back.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_CLEAR = "\x1b[2J"
_COLOURS = {
    "standard": ColorSystem.STANDARD,
    "256": ColorSystem.EIGHT_BIT,
    "truecolor": ColorSystem.TRUECOLOR,
    "windows": ColorSystem.WINDOWS,
}
_SMALLEST, _LARGEST = (20, 4), (500, 200)


def glyphs_for(console: Console) -> Glyphs:
    """Return the characters that the terminal of `console` can show."""
    utf8 = console.encoding.lower().replace("-", "").startswith("utf8")
    return BLOCKS if utf8 and os.environ.get("TERM") != "linux" else ASCII


def frame(console: Console, lines: list[Text]) -> list[str]:
    """Return lines as the terminal of `console` takes them; without colour where NO_COLOR says so."""
    system = None if console.color_system is None else _COLOURS[console.color_system]
    found = []
    for text in lines:
        segments = text.render(console)
        if console.no_color:
            segments = Segment.remove_color(segments)
        styled = (
            part.style.render(part.text, color_system=system) if part.style else part.text
            for part in segments
        )
        found.append("".join(styled).encode(console.encoding, "replace").decode(console.encoding))
    return found


class Tui:
    """The screen of one node on a terminal.

    `owner`: to leave it stops the node, so that takes a second `q`. All methods write to the terminal and may
    block while that is held (Ctrl-S), so call them outside an event loop.
    """

    def __init__(
        self, console: Console | None = None, *, owner: bool = False, ascii_only: bool = False
    ) -> None:
        self._console = console or Console()
        self._glyphs = ASCII if ascii_only else glyphs_for(self._console)
        self.keyboard = sys.stdin.fileno() if keys.drawable(sys.stdin) else None
        """The descriptor on which keys come, None where there are none."""
        self.view = View(keys=self.keyboard is not None, owner=owner)
        self.gone: float | None = None
        """Seconds since the node last answered; None while it does."""
        self._history = History()
        self._latest: Snapshot | None = None
        self._shown: list[str] = []
        self._size = (0, 0)
        self._lock = threading.Lock()
        self._undo: contextlib.ExitStack | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Take the terminal."""
        with self._lock, contextlib.ExitStack() as undo:
            if self.keyboard is not None and keys.in_front(sys.stdin):
                undo.enter_context(keys.cbreak(self.keyboard))
            undo.callback(self._write, _LEAVE)
            self._write(_ENTER + _CLEAR)
            self._shown = []
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Give the terminal back; nothing is drawn after that."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            keys.release(self._console.file.fileno())
        with self._lock:
            undo, self._undo = self._undo, None
            if undo is not None:
                undo.close()

    def show(self, snapshot: Snapshot) -> None:
        """Draw the node as it is now, unless the view is paused."""
        self._history.add(snapshot)
        if not self.view.paused or self._latest is None:
            self._latest = snapshot
        self.draw()

    def press(self, data: bytes) -> None:
        """Do what the keys in `data` ask for; whether to leave is in `view.done` then."""
        for key in keys.pressed(data):
            self.view = press(self.view, key)
        self.draw()

    def resume(self) -> None:
        """Take the terminal again, and draw it anew, after another program has had it."""
        self.close()
        self.open()
        self.draw()

    def draw(self) -> None:
        """Draw one frame in the terminal's present size: the lines that differ from those on it."""
        with self._lock:
            if self._latest is None or self._undo is None or self._hidden():
                return
            size = self._measure()
            if size != self._size:
                self._size, self._shown = size, []
            screen = render(
                self._latest,
                *size,
                view=self.view,
                energies=self._history.energies,
                glyphs=self._glyphs,
                gone=self.gone,
            )
            lines = frame(self._console, screen)
            before: list[str | None] = [*self._shown] or [None] * len(lines)
            changed = [
                f"\x1b[{row};1H{new}"
                for row, (old, new) in enumerate(zip(before, lines, strict=True), 1)
                if new != old
            ]
            if changed:
                self._write(("" if self._shown else _CLEAR) + "".join(changed))
            self._shown = lines

    def _hidden(self) -> bool:
        """Whether the terminal shows somebody else now: this process has been sent to the background."""
        file = self._console.file
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return os.isatty(file.fileno()) and not keys.in_front(file)
        return False

    def _measure(self) -> tuple[int, int]:
        """Return columns and lines of the terminal that is written to, whatever the environment says."""
        try:
            size = os.get_terminal_size(self._console.file.fileno())
            found = (size.columns, size.lines)
        except (OSError, ValueError, AttributeError):
            found = self._console.size
        if not all(found):
            found = (80, 24)
        return (
            min(max(found[0], _SMALLEST[0]), _LARGEST[0]),
            min(max(found[1], _SMALLEST[1]), _LARGEST[1]),
        )

    def _write(self, text: str) -> None:
        """Write to the terminal; that it has gone is no reason to fail."""
        file = self._console.file
        with contextlib.suppress(OSError, ValueError):
            file.write(text)
            file.flush()
