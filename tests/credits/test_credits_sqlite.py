"""The embedded witness: durable, exclusive, readable by others, honest about damage and full disks."""

from __future__ import annotations

import random
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ledger_people import NOW, RICH, Book

from shivya_daemon.ledgers.credits import Posted, State, Transfer
from shivya_daemon.ledgers.credits.audit import audit
from shivya_daemon.ledgers.credits.log_witness import LogWitness
from shivya_daemon.ledgers.credits.sqlite_witness import SqliteLog, open_witness
from shivya_daemon.ledgers.credits.witness import CorruptLog, Unavailable


def keep(path: Path, **settings: int) -> LogWitness:
    return LogWitness(SqliteLog(path), clock=lambda: NOW, **settings)


@pytest.fixture
def path(tmp_path: Path, book: Book) -> Path:
    SqliteLog.create(tmp_path / "credits.db", book.state)
    return tmp_path / "credits.db"


@pytest.fixture
def keeper(path: Path) -> Iterator[LogWitness]:
    made = keep(path, snapshot_every=4)
    yield made
    made.close()


def pay(book: Book, keeper: LogWitness, count: int) -> list[State]:
    states = []
    for n in range(count):
        outcome = keeper.submit(book.anna.sign(Transfer(book.ben.key, 5 + n), book.state.ledger))
        assert isinstance(outcome, Posted)
        states.append(keeper.read())
    return states


def test_what_was_acknowledged_is_there_after_the_next_start(
    book: Book, path: Path, keeper: LogWitness
) -> None:
    *_, last = pay(book, keeper, 10)
    log = keeper._log
    assert isinstance(log, SqliteLog)
    file = log._file
    pragmas = [file.execute(f"PRAGMA {name}").fetchone() for name in ("synchronous", "journal_mode")]
    assert pragmas == [(2,), ("wal",)], "a commit is flushed before it is acknowledged"
    keeper.close()
    again = keep(path)
    assert again.read() == last
    assert [entry.position for _, entry in zip(range(10), again.watch(0), strict=False)] == list(range(1, 11))
    again.close()
    reader = SqliteLog(path, writable=False)
    assert reader.load().position == 8, "most of it comes from a snapshot"
    assert audit(reader, reader.genesis()).state == last
    reader.close()


def test_the_clock_of_this_machine(book: Book, path: Path) -> None:
    """The genesis of these tests lies in the past of whoever runs them, or else time stands still."""
    SqliteLog.create(path.with_name("now.db"), replace(book.state, now=0))
    with_both = open_witness(path.with_name("now.db"))
    now = time.time_ns() // 1_000_000
    assert isinstance(
        with_both.submit(book.anna.sign(Transfer(book.ben.key, 5), book.state.ledger, now)), Posted
    )
    assert with_both.read().now >= now
    assert next(with_both.watch(0)).now == with_both.read().now
    with_both.close()


def test_one_writes_and_anybody_reads(book: Book, path: Path, keeper: LogWitness) -> None:
    with pytest.raises(Unavailable, match="another process writes"):
        SqliteLog(path)
    reader = SqliteLog(path, writable=False)
    *_, last = pay(book, keeper, 3)
    assert audit(reader, reader.genesis()).state == last
    with pytest.raises(Unavailable, match="readonly"):
        reader.append(4, b"entry")
    reader.close()
    with pytest.raises(Unavailable, match="closed"):
        reader.load()
    keeper.close()
    SqliteLog(path).close()


def test_a_watcher_is_woken(
    book: Book, path: Path, keeper: LogWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shivya_daemon.ledgers.credits.sqlite_witness._PATIENCE", 3600.0)
    seen, ended = threading.Semaphore(0), threading.Event()

    def watch() -> None:
        for _ in keeper.watch(0):
            seen.release()
        ended.set()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    for _ in range(3):
        pay(book, keeper, 1)
        assert seen.acquire(timeout=60)
    keeper.close()
    assert ended.wait(60)


def test_a_position_is_taken_once_and_in_order(book: Book, path: Path, keeper: LogWitness) -> None:
    pay(book, keeper, 3)
    keeper.close()
    log = SqliteLog(path)
    assert not log.append(3, b"another") and not log.append(5, b"after a gap") and not log.append(0, b"")
    assert len(log.entries(0)) == 3
    assert log.append(4, b"next") and log.entries(3) == [b"next"]
    log.close()


def test_it_is_begun_once_and_only_for_its_owner(book: Book, path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        SqliteLog.create(path, book.state)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["credits.db"], "no draft stays"
    with pytest.raises(FileNotFoundError, match="shivya credits init"):
        SqliteLog(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database, but long enough to be taken for one" * 100)
    for _ in range(2):  # the lock is not kept
        with pytest.raises(Unavailable, match="not a database"):
            SqliteLog(tmp_path / "text.db")


def test_a_full_disk_refuses_and_recovers(book: Book, path: Path) -> None:
    log = SqliteLog(path)
    keeper = LogWitness(log, clock=lambda: NOW)
    pay(book, keeper, 3)
    (pages,) = log._file.execute("PRAGMA page_count").fetchone()
    log._file.execute(f"PRAGMA max_page_count = {pages}")
    refused = None
    for _ in range(20):
        operation = book.anna.sign(Transfer(book.ben.key, 5, "x" * 250), book.state.ledger)
        before = keeper.read()
        try:
            keeper.submit(operation)
        except Unavailable as error:
            refused = error
            break
    assert refused is not None and "full" in str(refused)
    assert keeper.read() == before, "nothing half-written"
    log._file.execute("PRAGMA max_page_count = 1000000")
    assert keeper.submit(operation) == Posted(before.sequence + 1, 1)
    assert audit(log, log.genesis()).state == keeper.read()
    keeper.close()


def test_a_tail_that_never_reached_the_disk_leaves_whole_entries(
    book: Book, path: Path, tmp_path: Path, keeper: LogWitness
) -> None:
    """Whatever part of the write-ahead log survives, the ledger is one of its own past states."""
    states = [keeper.read(), *pay(book, keeper, 12)]
    journal = path.with_name("credits.db-wal")
    length, dice = journal.stat().st_size, random.Random(1)
    found = []
    for number in range(24):
        place = tmp_path / f"copy{number}" / "credits.db"
        place.parent.mkdir()
        shutil.copy(path, place)
        data = bytearray(journal.read_bytes()[: dice.randrange(length + 1)])
        if data and number % 2:  # the last sector is torn
            data[-min(512, len(data)) :] = dice.randbytes(min(512, len(data)))
        place.with_name(journal.name).write_bytes(data)
        log = SqliteLog(place)
        end = audit(log, log.genesis())
        assert end.state == states[end.position]
        found.append(end.position)
        log.close()
    assert len(set(found)) > 5


def test_damage_is_named(book: Book, path: Path, keeper: LogWitness) -> None:
    pay(book, keeper, 6)
    keeper.close()

    def damaged(statement: str) -> str:
        copy = path.with_name("damaged.db")
        copy.unlink(missing_ok=True)
        shutil.copy(path, copy)
        with sqlite3.connect(copy) as file:
            file.execute(statement)
        file.close()
        log = SqliteLog(copy)
        with pytest.raises(CorruptLog) as caught:
            audit(log, log.genesis())
        log.close()
        return str(caught.value)

    assert "lacks entry 3" in damaged("DELETE FROM log WHERE position = 3")
    text = damaged("UPDATE log SET entry = replace(entry, '\"amount\":7', '\"amount\":9') WHERE position = 3")
    assert "entry 3 of the log is damaged" in text
    text = damaged("UPDATE log SET entry = (SELECT entry FROM log WHERE position = 4) WHERE position = 5")
    assert "entry 5 of the log is damaged: it does not follow" in text
    assert "snapshot" in damaged("DELETE FROM snapshot WHERE position = 0")
    assert "snapshot" in damaged("UPDATE snapshot SET state = '{}' WHERE position = 4")
    assert "is not what the log leads to" in damaged(
        "UPDATE snapshot SET chain = zeroblob(32) WHERE position = 4"
    )
    assert str(RICH) in path.read_bytes().decode(errors="ignore")
