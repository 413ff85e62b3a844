"""How a command ends when it cannot do what it was asked, and the exit codes of all commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command; scripts rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_DAEMON = 3
    REFUSED = 4
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class CommandError(Exception):
    """One line for standard error, which says what to do, and the code to exit with."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
