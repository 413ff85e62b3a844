"""One question to a running daemon over its control socket: one line out, one JSON object back."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from shivya.errors import CommandError, ExitCode

ANSWER_LIMIT = 16 * 2**20
"""Largest answer that is read, in bytes; a full mesh table is far below it."""


def ask(path: Path, verb: str, timeout: float = 5.0, **values: object) -> dict[str, Any]:
    """Send ``VERB key=value ...`` to the daemon on `path` and return its answer.

    Values that are None are left out. Raises `CommandError`: NO_DAEMON when nothing answers within `timeout`
    seconds, REFUSED when the daemon says no, USAGE for a value that cannot stand in a line, FAILED for an
    answer that is none.
    """
    answer = _exchange(path, _line(verb, values), timeout)
    try:
        document = json.loads(answer)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CommandError(
            ExitCode.FAILED, f"what answers on {path} is not a shivya daemon; check --socket and --port"
        )
    if "error" in document:
        raise CommandError(ExitCode.REFUSED, str(document["error"]))
    return document


def _line(verb: str, values: dict[str, object]) -> bytes:
    words = [verb]
    for key, value in values.items():
        text = str(value)
        if value is None:
            continue
        if not text or not text.isprintable() or any(c.isspace() for c in text):
            raise CommandError(ExitCode.USAGE, f"{key} {text!r} must be one word without spaces")
        words.append(f"{key}={text}")
    return (" ".join(words) + "\n").encode("utf-8", "replace")


def _exchange(path: Path, line: bytes, timeout: float) -> bytes:
    received = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
            connection.sendall(line)
            while b"\n" not in received and len(received) < ANSWER_LIMIT:
                chunk = connection.recv(65536)
                if not chunk:
                    break
                received += chunk
        except TimeoutError:
            raise CommandError(
                ExitCode.NO_DAEMON,
                f"the daemon on {path} did not answer within {timeout:g} s; is it stopped?",
            ) from None
        except PermissionError:
            raise CommandError(
                ExitCode.REFUSED, f"may not open {path}; run this as the user who started the daemon"
            ) from None
        except OSError:
            received.clear()  # refused, absent, or closed in our face: there is no daemon to talk to
    if not received:
        raise CommandError(
            ExitCode.NO_DAEMON,
            f"no daemon answers on {path}; start one with 'shivya daemon', "
            "or choose another with --port or --socket",
        )
    return bytes(received)
