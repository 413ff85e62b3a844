"""The words of one line on the control socket, `VERB key=value ...`, read and checked one by one."""

from __future__ import annotations

import math

from shivya_daemon.services import DEFAULT_SERVICE
from shivya_daemon.settings import check_name

MAX_COUNT = 1_000_000_000
MAX_RATE = 1e9
MAX_ADDRESS_LENGTH = 64


class CommandError(ValueError):
    """A line that cannot be obeyed; the text names the field and the remedy."""


class Fields:
    """The `key=value` words of a line, taken one by one; `finish` refuses what nobody took."""

    def __init__(self, verb: str, words: list[str]) -> None:
        self._verb = verb
        self._values: dict[str, str] = {}
        for word in words:
            key, equals, value = word.partition("=")
            if not equals or not value:
                raise CommandError(f"{word[:64]!r} is not key=value")
            if key in self._values:
                raise CommandError(f"{key[:64]} is given twice")
            self._values[key] = value

    def finish(self) -> None:
        """Refuse the line if a word is left that nobody took."""
        if self._values:
            key = next(iter(self._values))
            raise CommandError(f"{self._verb} has no field {key[:64]!r}; see docs/socket.md")

    def service(self) -> str:
        """Take the name of the service meant."""
        return check_name(self._values.pop("service", DEFAULT_SERVICE))

    def required(self, key: str, meaning: str) -> str:
        """Take a word that must be there."""
        value = self._values.pop(key, None)
        if value is None:
            raise CommandError(f"{key} is missing; give {meaning}")
        return value

    def address(self) -> str | None:
        """Take where an application receives jobs."""
        value = self._values.pop("address", None)
        if value is None:
            return None
        if not value.isascii() or not value.isprintable() or len(value) > MAX_ADDRESS_LENGTH:
            raise CommandError(f"address must be at most {MAX_ADDRESS_LENGTH} printable ASCII characters")
        return value

    def count(
        self, key: str, default: int | None = None, least: int = 0, most: int = MAX_COUNT
    ) -> int | None:
        """Take a whole number."""
        text = self._values.pop(key, None)
        return default if text is None else _whole(key, text, least, most)

    def rate(self, key: str, *, zero: bool = False) -> float | None:
        """Take a number of jobs per second."""
        text = self._values.pop(key, None)
        if text is None:
            return None
        value = _number(text)
        if not 0 <= value <= MAX_RATE or (value == 0 and not zero):
            bound = "not negative" if zero else "above 0"
            raise CommandError(f"{key} must be a number of jobs per second, {bound}, not {text[:64]!r}")
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """Take a number within bounds."""
        text = self._values.pop(key, None)
        if text is None:
            return default
        if not least <= (value := _number(text)) <= most:
            raise CommandError(f"{key} must be a number from {least:g} to {most:g}, not {text[:64]!r}")
        return value

    def optional(self, key: str) -> str | None:
        """Take a word that need not be there."""
        return self._values.pop(key, None)

    def data(self, key: str) -> bytes:
        """Take bytes, written as hexadecimal digits; none if the word is not there."""
        text = self._values.pop(key, "")
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise CommandError(f"{key} must be an even number of hexadecimal digits") from None

    def counts_by_node(self, verb: str) -> dict[str, int]:
        """Take the fields `verb.<node>=n`."""
        prefix = f"{verb}."
        keys = [key for key in self._values if key.startswith(prefix)]
        return {key[len(prefix) :]: _whole(key[:64], self._values.pop(key), 0, MAX_COUNT) for key in keys}


def _whole(key: str, text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 15 and least <= int(text) <= most:
        return int(text)
    raise CommandError(f"{key} must be a whole number from {least} to {most}, not {text[:64]!r}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
