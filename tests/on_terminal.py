"""A command on a terminal of its own: what is typed there, and what it writes."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping

import pytest

PATIENCE = 120.0  # seconds; a bound against hanging, not a claim

_LEAD = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class OnTerminal:
    """A command on a terminal of its own, as its session's leader, with what it has written."""

    def __init__(
        self, *command: str, columns: int = 80, lines: int = 24, env: Mapping[str, str] = os.environ
    ) -> None:
        self.terminal, theirs = pty.openpty()
        self.size(columns, lines)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LEAD, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**env, "TERM": "xterm-256color"},
        )
        os.close(theirs)
        self.written = b""

    def size(self, columns: int, lines: int) -> None:
        termios.tcsetwinsize(self.terminal, (lines, columns))

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def until(self, text: str) -> None:
        """Read until `text` has been written since the last call."""
        end, found = time.monotonic() + PATIENCE, b""
        while text.encode() not in found:
            if not select.select([self.terminal], [], [], max(0.0, end - time.monotonic()))[0]:
                pytest.fail(f"never wrote {text!r}; wrote {found[-2000:]!r}")
            try:
                found += os.read(self.terminal, 65536)
            except OSError:
                pytest.fail(f"ended before it wrote {text!r}; wrote {found[-2000:]!r}")
        self.written += found

    def ends(self) -> int:
        """Read to the end; return the exit code, negative for a signal."""
        while True:
            try:
                received = os.read(self.terminal, 65536)
            except OSError:
                break
            if not received:
                break
            self.written += received
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)
