"""Audit a ledger: follow its log from an earlier state, and believe nothing that was not checked.

Following checks the form of every entry, its place in the chain, every signature, and that every operation is
one that the state machine accepts there. The audit adds that the books balance, and that the latest snapshot
is what the log leads to.
"""

from __future__ import annotations

from collections.abc import Iterator

from shivya_daemon.ledgers.credits.log import Log, Replica, decode
from shivya_daemon.ledgers.credits.machine import violations
from shivya_daemon.ledgers.credits.witness import CorruptLog, Entry


def audit(log: Log, start: Replica) -> Replica:
    """Return the replica at the end of the log; raises `CorruptLog` with what is wrong, and where."""
    saved, replica = log.load(), start
    _compare(replica, saved)
    while entries := log.entries(replica.position):
        for entry in entries:
            replica = replica.follow(entry)
            _compare(replica, saved)
        for problem in violations(replica.state):
            raise CorruptLog(f"at entry {replica.position} {problem}")
    if replica.position < saved.position:
        raise CorruptLog(f"the log ends at {replica.position}, before the snapshot at {saved.position}")
    return replica


def history(log: Log, after: int) -> Iterator[Entry]:
    """Yield the entries after a position up to the end of the log as it is now; raises `Trimmed`."""
    while entries := log.entries(after):
        for entry in entries:
            after += 1
            batch = decode(entry)
            yield Entry(after, batch.now, batch.operations)


def _compare(replica: Replica, saved: Replica) -> None:
    if replica.position == saved.position and replica != saved:
        raise CorruptLog(f"the snapshot at position {saved.position} is not what the log leads to")
