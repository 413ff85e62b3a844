"""The embedded witness: the log in one SQLite file, for fleets that trust one node with the ledger.

Write-ahead log with synchronous=FULL, so a commit has reached the disk when it returns, and a process or
machine that dies at any moment leaves exactly the committed entries. A lock on a file beside keeps a second
writer out; readers are always welcome.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from shivya_daemon.ledgers.credits import state as states
from shivya_daemon.ledgers.credits.log import Replica
from shivya_daemon.ledgers.credits.log_witness import LogWitness, on_this_machine
from shivya_daemon.ledgers.credits.records import DecodeError
from shivya_daemon.ledgers.credits.state import State
from shivya_daemon.ledgers.credits.witness import CorruptLog, Unavailable
from shivya_daemon.ledgers.disk import exclusive, sync_folder

_SCHEMA = """
CREATE TABLE log (position INTEGER PRIMARY KEY, entry BLOB NOT NULL);
CREATE TABLE snapshot (position INTEGER PRIMARY KEY, chain BLOB NOT NULL, state BLOB NOT NULL);
"""
_PAGE = 1024
_PATIENCE = 1.0
_NEWEST = "SELECT max(position) FROM log"


class SqliteLog:
    """A `Log` in the file at `path`; see `create`. Not `writable`: a reader beside whoever writes.

    Raises `FileNotFoundError`, and `Unavailable` where another process writes.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self._path = path
        self._using = threading.Condition()
        with _unavailable(path), contextlib.ExitStack() as opened:
            if not path.is_file():
                raise FileNotFoundError(f"there is no ledger in {path}; begin one with 'shivya credits init'")
            if writable:
                opened.callback(os.close, _lock(path))
            self._file = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={'rw' if writable else 'ro'}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
            opened.callback(self._file.close)
            self._file.execute("PRAGMA synchronous = FULL")
            self._opened = opened.pop_all()

    @staticmethod
    def create(path: Path, genesis: State) -> None:
        """Begin a ledger in a new file, whole or not at all; raises `FileExistsError`, `Unavailable`."""
        with _unavailable(path), TemporaryDirectory(prefix=path.name, dir=path.parent) as folder:
            draft = Path(folder) / "draft"
            os.close(os.open(draft, os.O_CREAT | os.O_CLOEXEC, 0o600))
            with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as file:
                file.execute("PRAGMA journal_mode = WAL")
                file.execute("PRAGMA synchronous = FULL")
                file.executescript(_SCHEMA)
                _keep(file, Replica.first(genesis))
            os.link(draft, path)
            sync_folder(path.parent)

    def load(self) -> Replica:
        """See `Log.load`."""
        return self._snapshot("ORDER BY position DESC LIMIT 1")

    def genesis(self) -> Replica:
        """Return the state before the first entry."""
        return self._snapshot("WHERE position = 0")

    def entries(self, after: int) -> Sequence[bytes]:
        """See `Log.entries`."""
        with self._database() as file:
            rows = file.execute(
                "SELECT position, entry FROM log WHERE position > ? ORDER BY position LIMIT ?", (after, _PAGE)
            ).fetchall()
        for expected, (position, _) in enumerate(rows, after + 1):
            if position != expected:
                raise CorruptLog(f"{self._path} lacks entry {expected}; restore it from a copy")
        return [entry for _, entry in rows]

    def append(self, position: int, entry: bytes) -> bool:
        """See `Log.append`."""
        with self._database() as file:
            file.execute("BEGIN IMMEDIATE")
            try:
                (newest,) = file.execute(_NEWEST).fetchone()
                if position != (newest or 0) + 1:
                    return False
                file.execute("INSERT INTO log VALUES (?, ?)", (position, entry))
                file.execute("COMMIT")
            finally:
                if file.in_transaction:
                    file.execute("ROLLBACK")
            self._using.notify_all()
            return True

    def save(self, snapshot: Replica) -> None:
        """See `Log.save`; every entry stays, for the history and for audits."""
        with self._database() as file:
            _keep(file, snapshot)
            file.execute("DELETE FROM snapshot WHERE position NOT IN (0, ?)", (snapshot.position,))

    def wait(self, after: int) -> None:
        """See `Log.wait`."""
        with self._database() as file:
            (newest,) = file.execute(_NEWEST).fetchone()
            if (newest or 0) <= after:
                self._using.wait(_PATIENCE)

    def close(self) -> None:
        """See `Log.close`."""
        with self._using:
            self._opened.close()
            self._using.notify_all()

    def _snapshot(self, which: str) -> Replica:
        with self._database() as file:
            row = file.execute(f"SELECT position, chain, state FROM snapshot {which}").fetchone()
        if row is None:
            raise CorruptLog(f"{self._path} has no snapshot; restore it from a copy")
        position, chain, state = row
        try:
            return Replica(states.decode(state), position, chain)
        except DecodeError as error:
            raise CorruptLog(f"the snapshot in {self._path} is damaged: {error}") from error

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with self._using, _unavailable(self._path):
            yield self._file


def open_witness(path: Path) -> LogWitness:
    """Return the witness of the ledger in `path`, by the clock of this machine."""
    return on_this_machine(SqliteLog(path))


def _keep(file: sqlite3.Connection, snapshot: Replica) -> None:
    row = (snapshot.position, snapshot.chain, states.encode(snapshot.state))
    file.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?)", row)


def _lock(path: Path) -> int:
    try:
        return exclusive(path.with_name(f"{path.name}.lock"))
    except BlockingIOError:
        raise Unavailable(f"another process writes {path}; stop it first, or ask it") from None


@contextlib.contextmanager
def _unavailable(path: Path) -> Iterator[None]:
    """Turn what SQLite and the disk raise into `Unavailable`."""
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"cannot use {path}: {error}") from error
