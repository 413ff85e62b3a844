"""A finding of `shivya doctor`: how bad it is, what it is about, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad; an error makes the command fail."""

    OK = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    level: Level
    check: str
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the row of `shivya doctor --json`."""
        return {
            "level": self.level.name.lower(),
            "check": self.check,
            "text": self.text,
            "remedy": self.remedy,
        }


def ok(check: str, text: str) -> Finding:
    """Return what is as it should be."""
    return Finding(Level.OK, check, text)


def note(check: str, text: str, remedy: str = "") -> Finding:
    """Return what is worth knowing."""
    return Finding(Level.NOTE, check, text, remedy)


def warning(check: str, text: str, remedy: str) -> Finding:
    """Return what costs performance or safety."""
    return Finding(Level.WARNING, check, text, remedy)


def error(check: str, text: str, remedy: str) -> Finding:
    """Return what keeps the node from its work."""
    return Finding(Level.ERROR, check, text, remedy)
