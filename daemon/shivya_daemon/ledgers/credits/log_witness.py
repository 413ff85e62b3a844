"""A witness over any log: concurrent submissions are committed in groups, in the order of their arrival.

Whoever finds the log free commits for all who wait (group commit; DeWitt et al. 1984), so that a flush to the
disk, or a round of consensus, is shared by up to 64 operations.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from shivya_daemon.ledgers.credits.log import MAX_BATCH, Log, Replica, decode
from shivya_daemon.ledgers.credits.operations import Operation
from shivya_daemon.ledgers.credits.refusals import Outcome, Refused
from shivya_daemon.ledgers.credits.state import State
from shivya_daemon.ledgers.credits.units import Time
from shivya_daemon.ledgers.credits.witness import Entry, Trimmed, Unavailable

SNAPSHOT_EVERY = 10_000
"""Operations between two snapshots."""
MAX_WAITING = 4096
MAX_ATTEMPTS = 64
"""To append one batch, while other witnesses append theirs."""


class _Ticket:
    """An operation under way; it is answered before the log is free again."""

    __slots__ = ("answer", "operation")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.answer: Outcome | Exception | None = None


class LogWitness:
    """A `Witness` whose entries are in `log`; `clock` gives milliseconds since 1970."""

    def __init__(self, log: Log, *, clock: Callable[[], Time], snapshot_every: int = SNAPSHOT_EVERY) -> None:
        self._log = log
        self._clock = clock
        self._snapshot_every = snapshot_every
        self._free = threading.Lock()  # whoever holds it has the log and the replica
        self._waiting: deque[_Ticket] = deque()
        self._closed = threading.Event()
        self._replica = log.load()
        self._saved = self._replica.state.sequence
        self._catch_up()

    def submit(self, operation: Operation) -> Outcome:
        """See `Witness.submit`."""
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable(f"{MAX_WAITING} operations wait already; submit it again later")
        ticket = _Ticket(operation)
        self._waiting.append(ticket)
        with self._free:
            while ticket.answer is None:
                self._commit_group()
        if isinstance(ticket.answer, Exception):
            raise ticket.answer
        return _first(ticket.answer)

    def read(self) -> State:
        """See `Witness.read`."""
        return self.replica().state

    def replica(self) -> Replica:
        """Return what `read` returns, with its position in the log."""
        with self._free:
            self._catch_up()
            return self._replica

    def watch(self, after: int) -> Iterator[Entry]:
        """See `Witness.watch`."""
        try:
            while True:
                entries = self._log.entries(after)
                for entry in entries:
                    after += 1
                    batch = decode(entry)
                    yield Entry(after, batch.now, batch.operations)
                if not entries:
                    self._log.wait(after)
        except Unavailable:
            if not self._closed.is_set():
                raise

    def close(self) -> None:
        """See `Witness.close`; submissions under way are finished first."""
        self._closed.set()
        with self._free:
            self._log.close()

    def _commit_group(self) -> None:
        group = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
        answers: Sequence[Outcome | Exception] = [Unavailable("interrupted; submit it again")] * len(group)
        try:
            answers = self._commit([ticket.operation for ticket in group])
        except Exception as error:
            answers = [error] * len(group)
        finally:
            for ticket, answer in zip(group, answers, strict=True):
                ticket.answer = answer

    def _commit(self, operations: Sequence[Operation]) -> Sequence[Outcome]:
        if self._closed.is_set():
            raise Unavailable("the witness is closed")
        seen_all = False
        for _ in range(MAX_ATTEMPTS):
            replica, outcomes, entry = self._replica.attempt(operations, self._clock())
            if entry is not None and self._log.append(replica.position, entry):
                self._replica = replica
                self._snapshot()
                return outcomes
            if entry is None and seen_all:
                return outcomes  # a refusal counts only in the latest state
            self._catch_up()
            seen_all = True
        raise Unavailable(f"other witnesses were faster {MAX_ATTEMPTS} times; submit it again")

    def _catch_up(self) -> None:
        """Follow the log to its end."""
        while True:
            try:
                entries = self._log.entries(self._replica.position)
            except Trimmed:
                self._replica = self._log.load()
                self._saved = self._replica.state.sequence
                continue
            if not entries:
                return
            for entry in entries:
                self._replica = self._replica.follow(entry)

    def _snapshot(self) -> None:
        if self._replica.state.sequence - self._saved < self._snapshot_every:
            return
        with contextlib.suppress(Unavailable):  # the log is whole without it; the next batch tries again
            self._log.save(self._replica)
            self._saved = self._replica.state.sequence


def on_this_machine(log: Log) -> LogWitness:
    """Return a witness over `log`, by the clock of this machine; a log it cannot use is closed."""
    try:
        return LogWitness(log, clock=lambda: time.time_ns() // 1_000_000)
    except BaseException:
        log.close()
        raise


def _first(outcome: Outcome) -> Outcome:
    """Return the outcome of an operation that is submitted once more: what it was at first."""
    return outcome.first if isinstance(outcome, Refused) and outcome.first is not None else outcome
