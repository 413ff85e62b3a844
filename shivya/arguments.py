"""What command lines have in common: how a command is added, and the kinds of its values."""

from __future__ import annotations

import argparse
from typing import Any, Protocol


class AddCommand(Protocol):
    """How `shivya.cli` adds a command."""

    def __call__(self, verbs: Any, name: str, run: Any, *, example: str) -> argparse.ArgumentParser:
        """Add to a group the command `name` and the function that runs it."""


def choose_json(command: argparse.ArgumentParser) -> None:
    """Let the user ask for JSON."""
    command.add_argument("--json", action="store_true", help="print JSON with stable field names")


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
