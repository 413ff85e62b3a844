"""How a command ends when it cannot do what it was asked, and the exit codes of all commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command; scripts rely on them."""

    OK = 0
    """What was asked for was done."""
    FAILED = 1
    """It was tried and did not work, or what was examined is not as it should be."""
    USAGE = 2
    """The command line, a setting or an input file is wrong; nothing was done."""
    NO_DAEMON = 3
    """No daemon answers on the control socket."""
    REFUSED = 4
    """The daemon, a ledger or a file that exists refuses; the line says why."""
    INTERRUPTED = 130
    """It was ended by Ctrl-C."""
    BROKEN_PIPE = 141
    """Whoever read the output has left."""


class CommandError(Exception):
    """One line for standard error, which says what to do, and the code to exit with."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
