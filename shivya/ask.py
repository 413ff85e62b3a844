"""Questions to a running daemon over its control socket: a line out, a JSON object back, or several."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from shivya.errors import CommandError, ExitCode

ANSWER_LIMIT = 16 * 2**20
"""Largest answer that is read, in bytes; a full mesh table is far below it."""
PATIENCE = 5.0
"""Seconds in which a daemon that runs accepts a connection and answers."""


class Talk:
    """One connection, on which a daemon may say more than one thing; a context manager.

    Raises `CommandError` everywhere: NO_DAEMON when nothing answers, REFUSED when the daemon says no, FAILED
    for an answer that is none.
    """

    def __init__(self, path: Path, timeout: float = PATIENCE) -> None:
        self._path = path
        self._received = bytearray()
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(timeout)
        try:
            self._connection.connect(str(path))
        except OSError as error:
            self._connection.close()
            raise self._trouble(error, timeout) from None

    def __enter__(self) -> Talk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def say(self, line: bytes) -> None:
        """Send a line (`line_of`)."""
        try:
            self._connection.sendall(line)
        except OSError as error:
            raise self._trouble(error, self._connection.gettimeout() or 0.0) from None

    def hear(self, timeout: float) -> dict[str, Any] | None:
        """Return the next thing that the daemon says; None when it says nothing for `timeout` seconds."""
        end = time.monotonic() + timeout
        while b"\n" not in self._received and len(self._received) < ANSWER_LIMIT:
            self._connection.settimeout(max(1e-3, end - time.monotonic()))
            try:
                chunk = self._connection.recv(65536)
            except TimeoutError:
                return None
            except OSError as error:
                self._received.clear()
                raise self._trouble(error, timeout) from None
            if not chunk:
                break
            self._received += chunk
        if not self._received:
            raise self._nobody()
        answer, _, rest = bytes(self._received).partition(b"\n")
        self._received[:] = rest
        return self._document(answer)

    def interrupt(self) -> None:
        """End the connection; from another thread, what waits in `hear` hears of nobody."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _document(self, answer: bytes) -> dict[str, Any]:
        try:
            document = json.loads(answer)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise CommandError(
                ExitCode.FAILED,
                f"what answers on {self._path} is not a shivya daemon; check --socket and --port",
            )
        if "error" in document:
            raise CommandError(ExitCode.REFUSED, str(document["error"]))
        return document

    def _trouble(self, error: OSError, timeout: float) -> CommandError:
        if isinstance(error, TimeoutError):
            return silent(self._path, timeout)
        if isinstance(error, PermissionError):
            return CommandError(
                ExitCode.REFUSED, f"may not open {self._path}; run this as the user who started the daemon"
            )
        return self._nobody()  # refused, absent, or closed in our face: there is no daemon to talk to

    def _nobody(self) -> CommandError:
        return CommandError(
            ExitCode.NO_DAEMON,
            f"no daemon answers on {self._path}; start one with 'shivya daemon', "
            "or choose another with --port or --socket",
        )


def ask(path: Path, verb: str, timeout: float = PATIENCE, **values: object) -> dict[str, Any]:
    """Send one line to the daemon on `path` and return its answer; raises as `Talk` and `line_of` do."""
    line = line_of(verb, **values)
    with Talk(path, timeout) as talk:
        talk.say(line)
        answer = talk.hear(timeout)
    if answer is None:
        raise silent(path, timeout)
    return answer


def silent(path: Path, timeout: float) -> CommandError:
    """Return the error of a daemon that runs and does not answer."""
    return CommandError(
        ExitCode.NO_DAEMON, f"the daemon on {path} did not answer within {timeout:g} s; is it stopped?"
    )


def line_of(verb: str, **values: object) -> bytes:
    """Return ``VERB key=value ...``, without the values that are None; raises `CommandError`, USAGE."""
    words = [verb]
    for key, value in values.items():
        text = str(value)
        if value is None:
            continue
        if not text or not text.isprintable() or any(c.isspace() for c in text):
            raise CommandError(ExitCode.USAGE, f"{key} {text!r} must be one word without spaces")
        words.append(f"{key}={text}")
    return (" ".join(words) + "\n").encode("utf-8", "replace")
