"""The port behind which a ledger lives: submit an operation, read the state, watch what is accepted.

All three are linearizable. Something that was acknowledged is there for every later reader, and what a reader
saw nobody un-sees. While no majority can be reached they raise `Unavailable`, and never guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from shivya_daemon.ledgers.credits.operations import Operation
from shivya_daemon.ledgers.credits.refusals import Outcome
from shivya_daemon.ledgers.credits.state import State
from shivya_daemon.ledgers.credits.units import Time


class Unavailable(Exception):
    """The log cannot be reached or written. What was being submitted may or may not have taken effect.

    Submit the very same operation again: it takes effect once at most, and then the first outcome is given.
    """


class CorruptLog(Exception):
    """An entry of the log is not what a witness wrote; the text names its position."""


class Trimmed(Exception):
    """Entries were dropped because a snapshot holds what they did; read the state and go on from there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Operations that took effect together, in this order, at this position of the log."""

    position: int
    now: Time
    operations: tuple[Operation, ...]


class Witness(Protocol):
    """Keeps a ledger. Methods may be called from several threads at a time."""

    def submit(self, operation: Operation) -> Outcome:
        """Have an operation applied; when this returns `Posted`, it is on stable storage.

        An operation that was applied before gives its first outcome. Raises `Unavailable`.
        """

    def read(self) -> State:
        """Return the state after everything that was acknowledged before this call; raises `Unavailable`."""

    def watch(self, after: int) -> Iterator[Entry]:
        """Yield every entry after a position, in order, and wait for more until the witness is closed.

        Raises `Unavailable`, and `Trimmed` where the entries no longer exist.
        """

    def close(self) -> None:
        """Let go of the log."""
