"""What command lines have in common: how a command is added, and the kinds of its values."""

from __future__ import annotations

import argparse
import math
from typing import Any, Protocol


class AddCommand(Protocol):
    """How `shivya.cli` adds a command."""

    def __call__(self, verbs: Any, name: str, run: Any, *, example: str) -> argparse.ArgumentParser:
        """Add to a group the command `name` and the function that runs it."""


def choose_json(command: argparse.ArgumentParser) -> None:
    """Let the user ask for JSON."""
    command.add_argument("--json", action="store_true", help="print JSON with stable field names")


def choose_daemon(command: argparse.ArgumentParser) -> None:
    """Let the user name the daemon to ask."""
    command.add_argument("--port", help="port of the daemon to ask (default 8085)")
    command.add_argument("--socket", metavar="PATH", help="control socket of the daemon to ask")


def whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, not {text!r}")
    return int(text)


def counting(text: str) -> int:
    """A whole number, 1 or more."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, not {text!r}")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    if not 0 < (value := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number greater than 0, not {text!r}")
    return value


def not_negative(text: str) -> float:
    """A finite number, 0 or more."""
    if not 0 <= (value := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number, 0 or more, not {text!r}")
    return value


def positives(text: str) -> list[float]:
    """Numbers above 0, between commas."""
    return [positive(part) for part in text.split(",")]


def names(text: str) -> list[str]:
    """Words between commas."""
    return text.split(",")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
