"""Keys of a terminal: its mode while they are read, and the names of what was pressed.

Only what every terminal sends is used: letters, tab, enter, escape and backspace.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Any

ESCAPE, ENTER, TAB, ERASE = "escape", "enter", "tab", "erase"
READ_AT_ONCE = 256
"""Bytes; more than that was not typed."""
_NAMES = {"\x1b": ESCAPE, "\r": ENTER, "\n": ENTER, "\t": TAB, "\x7f": ERASE, "\x08": ERASE}


def in_front(stream: IO[str]) -> bool:
    """Return whether `stream` is a terminal that this process is in the foreground of.

    To read or change it from the background would stop the process, to draw on it would disturb the shell.
    """
    try:
        descriptor = stream.fileno()
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False


def drawable(stream: IO[str]) -> bool:
    """Return whether `stream` is a terminal that is ours to draw on, and one whose cursor moves."""
    return in_front(stream) and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


@contextlib.contextmanager
def cbreak(descriptor: int) -> Iterator[None]:
    """Have keys arrive as they are pressed, and not shown; on the way out the mode is what it was.

    Ctrl-C and Ctrl-Z go on to send their signals. A terminal that has gone is left alone.
    """
    import termios

    try:
        before = termios.tcgetattr(descriptor)
        apply(descriptor)
    except termios.error:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def apply(descriptor: int) -> None:
    """Turn off the line editor and the echo of a terminal; raises `termios.error`."""
    import termios

    mode: list[Any] = termios.tcgetattr(descriptor)
    mode[3] &= ~(termios.ICANON | termios.ECHO)
    mode[6] = [*mode[6]]
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)


def release(descriptor: int) -> None:
    """Let a terminal that is held (Ctrl-S) go on, so that a last word to it does not wait for ever."""
    import termios

    with contextlib.suppress(termios.error, OSError):
        termios.tcflow(descriptor, termios.TCOON)


def pressed(data: bytes) -> list[str]:
    """Return the keys in what was read: characters as they are, others by name.

    Sequences of arrow and function keys, and what is no text, are left out.
    """
    text = data.decode("utf-8", "ignore")
    if len(text) > 1 and text[0] == "\x1b":
        return []  # a sequence: the terminal sends it as one piece
    return [_NAMES.get(c, c) for c in text if c in _NAMES or c.isprintable()]
