"""The log: batches of accepted operations, each chained to the one before, and the replica that follows it.

A witness tries operations on its replica and appends a batch of those that were accepted, so that an entry
of the log never holds anything that its state refuses. Whoever follows the log checks just that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from shivya_daemon.ledgers.credits import machine, operations, records
from shivya_daemon.ledgers.credits.operations import Operation
from shivya_daemon.ledgers.credits.records import Digest, Kind
from shivya_daemon.ledgers.credits.refusals import Outcome, Posted
from shivya_daemon.ledgers.credits.signing import digest
from shivya_daemon.ledgers.credits.state import State
from shivya_daemon.ledgers.credits.units import Time
from shivya_daemon.ledgers.credits.witness import CorruptLog

MAX_BATCH = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """One entry; `previous` is `Replica.chain` before it."""

    previous: Digest
    now: Time
    operations: tuple[Operation, ...]


_KINDS = records.KINDS | {
    "tuple[Operation, ...]": Kind(
        lambda v: 0 < len(v) <= MAX_BATCH and all(map(operations.well_formed, v)),
        lambda v: [operations.pack(operation) for operation in v],
        lambda packed: tuple(map(operations.unpack, packed)),
    )
}


def decode(entry: bytes) -> Batch:
    """Return the batch in an entry; raises `records.DecodeError`."""
    return records.decode(Batch, entry, _KINDS)


class Log(Protocol):
    """Where entries are kept: positions from 1 without gaps, and snapshots of the state.

    Every method raises `Unavailable` when it cannot know. Methods may be called from several threads.
    """

    def load(self) -> Replica:
        """Return the latest snapshot."""

    def entries(self, after: int) -> Sequence[bytes]:
        """Return the entries from position `after` + 1 on, the first few; none if there are none yet.

        Linearizable: an entry that was appended before this call is not missed. Raises `Trimmed`.
        """

    def append(self, position: int, entry: bytes) -> bool:
        """Make `entry` the one at `position`, on stable storage, unless there is one already.

        False: there is. It may be this one, where an answer got lost; the caller reads it and knows.
        """

    def save(self, snapshot: Replica) -> None:
        """Keep a snapshot; entries before it may go."""

    def wait(self, after: int) -> None:
        """Return when there may be an entry after this position, or after a second."""

    def close(self) -> None:
        """Let go of the storage."""


@dataclass(frozen=True, slots=True)
class Replica:
    """The state after the entry at `position`, and the digest that chains all entries up to there."""

    state: State
    position: int
    chain: Digest

    @classmethod
    def first(cls, state: State) -> Replica:
        """Return the replica that has followed nothing yet."""
        return cls(state, 0, state.ledger)

    def attempt(
        self, submitted: Sequence[Operation], now: Time
    ) -> tuple[Replica, list[Outcome], bytes | None]:
        """Try operations in this order at time `now`.

        Returns the replica after the accepted ones, every outcome, and the entry to append; no entry if
        nothing was accepted.
        """
        state = machine.advance(self.state, now)
        outcomes: list[Outcome] = []
        accepted: list[Operation] = []
        for operation in submitted:
            state, outcome = machine.apply(state, operation)
            outcomes.append(outcome)
            if isinstance(outcome, Posted):
                accepted.append(operation)
        if not accepted:
            return self, outcomes, None
        entry = records.encode(Batch(self.chain, state.now, tuple(accepted)), _KINDS)
        return self._after(state, entry), outcomes, entry

    def follow(self, entry: bytes) -> Replica:
        """Return the replica after the entry at the next position; raises `CorruptLog`."""
        try:
            batch = decode(entry)
        except records.DecodeError as error:
            raise self._corrupt(str(error)) from error
        if batch.previous != self.chain:
            raise self._corrupt("it does not follow from the entry before")
        state = machine.advance(self.state, batch.now)
        if state.now != batch.now:
            raise self._corrupt("its time lies before that of the entry before")
        for operation in batch.operations:
            state, outcome = machine.apply(state, operation)
            if not isinstance(outcome, Posted):
                raise self._corrupt(f"operation {operation.id.hex()} is refused: {outcome.reason.value}")
        return self._after(state, entry)

    def _after(self, state: State, entry: bytes) -> Replica:
        return replace(self, state=state, position=self.position + 1, chain=digest(self.chain + entry))

    def _corrupt(self, why: str) -> CorruptLog:
        return CorruptLog(f"entry {self.position + 1} of the log is damaged: {why}; restore it from a copy")
