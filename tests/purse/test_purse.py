"""The purse: jobs in a thread, tried until they are late, and a ledger that may be out of reach or taken."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from ledger_people import NOW, RICH, Book
from paying_fleet import Ledger

from shivya_daemon.ledgers.credits import Posted, Refusal, Refused, Transfer
from shivya_daemon.ledgers.credits.sqlite_witness import SqliteLog
from shivya_daemon.ledgers.credits.witness import Unavailable
from shivya_daemon.purse import purse as module
from shivya_daemon.purse.account import Account
from shivya_daemon.purse.purse import MAX_WAITING, Job, Purse
from shivya_daemon.purse.treasury import open_witness
from shivya_daemon.settings import CreditSettings, DaemonSettings, SettingsError
from shivya_daemon.views.words import purse as in_words

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def ledger(book: Book) -> Ledger:
    return Ledger(book.state, lambda: NOW)


@pytest.fixture
def purse(book: Book, ledger: Ledger) -> Purse:
    account = Account(ledger, book.anna.identity, ledger.clock)
    return Purse(lambda: account, "memory", book.anna.key, anyio.current_time)


@asynccontextmanager
async def running(purse: Purse) -> AsyncIterator[None]:
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(purse.run)
            yield
            tasks.cancel_scope.cancel()


async def done(purse: Purse, work: Any, until: float | None = None) -> Any:
    """Have a job done, and return what came of it."""
    found: list[Any] = []
    ended = anyio.Event()
    purse.ask(Job("tests", work, lambda result: (found.append(result), ended.set()), until))  # type: ignore[arg-type, func-returns-value]
    await ended.wait()
    return found[0]


async def test_jobs_run_in_a_thread_and_the_account_is_looked_at(purse: Purse) -> None:
    assert purse.report()["age_seconds"] is None
    async with running(purse):
        name = await done(purse, lambda account: threading.current_thread().name)
        assert name != threading.current_thread().name
        while purse.report()["age_seconds"] is None:
            await anyio.sleep(0.01)
    report = purse.report()
    assert (report["open"], report["balance"], report["available"]) == (True, RICH, RICH)
    assert in_words(report) == "1000, of that 1000 to spend"


async def test_an_operation_takes_effect_once_though_answers_are_lost(
    book: Book, ledger: Ledger, purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    moods = iter(["lost", "unanswered"])
    ledger.mood = lambda: next(moods, "well")
    pay = Transfer(book.ben.key, 5)
    async with running(purse):
        assert isinstance(await done(purse, lambda account: account.do(b"\x01" * 16, pay)), Posted)
        assert isinstance(await done(purse, lambda account: account.do(b"\x01" * 16, pay)), Posted)
    assert ledger.read().account(book.ben.key).balance == RICH + 5
    assert purse.counters["unavailable"] == 2 and purse.trouble is None


async def test_what_another_process_signed_meanwhile_is_no_obstacle(book: Book, ledger: Ledger) -> None:
    account = Account(ledger, book.anna.identity, ledger.clock)
    raced: list[int] = []

    def race() -> str:
        if not raced:
            raced.append(1)
            ledger.submit(book.anna.sign(Transfer(book.ben.key, 1), book.state.ledger))
        return "well"

    ledger.mood = race
    assert isinstance(account.do(b"\x02" * 16, Transfer(book.ben.key, 5)), Posted)
    assert ledger.read().account(book.ben.key).balance == RICH + 6


async def test_who_has_no_account_is_refused(book: Book, ledger: Ledger) -> None:
    account = Account(ledger, book.stranger.identity, ledger.clock)
    assert account.do(bytes(16), Transfer(book.ben.key, 1)) == Refused(Refusal.NO_ACCOUNT)


async def test_a_ledger_out_of_reach_is_logged_once_shown_and_given_up_in_time(
    ledger: Ledger, purse: Purse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    ledger.dark = True
    with caplog.at_level(logging.INFO):
        async with running(purse):
            now = anyio.current_time()
            assert await done(purse, Account.read, now + 0.1) is None
            assert purse.trouble == "by design" and purse.counters["late"] >= 1
            assert await done(purse, Account.read, now - 1) is None, "too late to begin"
            await purse.finish(60.0)
            ledger.dark = False
            assert await done(purse, Account.read) is not None
            assert purse.trouble is None
    said = [record.getMessage() for record in caplog.records]
    assert said == ["credits: by design", "credits: the ledger answers again"]


async def test_the_end_waits_for_what_is_left_to_do(purse: Purse) -> None:
    await purse.finish(60.0)
    may, ended = threading.Event(), []
    async with running(purse):
        for _ in range(3):
            purse.ask(Job("tests", lambda account: may.wait(60.0), ended.append))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(purse.finish, 60.0)
            await anyio.wait_all_tasks_blocked()
            assert ended == []
            may.set()
        assert ended == [True] * 3


async def test_a_fault_ends_its_job_and_nothing_else(purse: Purse) -> None:
    async with running(purse):
        assert await done(purse, lambda account: 1 / 0) is None
        assert await done(purse, lambda account: 7) == 7
    assert purse.counters["failed"] == 1


async def test_jobs_beyond_the_bound_end_at_once(purse: Purse) -> None:
    ended: list[object] = []
    for _ in range(MAX_WAITING + 3):
        purse.ask(Job("tests", lambda account: 1, ended.append))
    assert ended == [None] * 3 and purse.counters["dropped"] == 3


async def test_a_file_has_one_writer_and_the_other_says_so(book: Book, tmp_path: Path) -> None:
    path = tmp_path / "credits.db"
    SqliteLog.create(path, book.state)
    settings = CreditSettings(ledger=path)
    witness = open_witness(settings)
    with pytest.raises(Unavailable, match="another process writes"):
        open_witness(settings)
    witness.close()
    open_witness(settings).close()
    with pytest.raises(FileNotFoundError, match="shivya credits init"):
        open_witness(CreditSettings(ledger=tmp_path / "none.db"))


async def test_settings_name_one_ledger() -> None:
    assert not CreditSettings().on and CreditSettings(etcd=("http://a:2379",)).on
    for wrong, word in (
        ({"ledger": Path("x"), "etcd": ("http://a",)}, "two ledgers"),
        ({"etcd": ("a:2379",)}, "list of URLs"),
        ({"epoch_limit": -1}, "must not be negative"),
    ):
        with pytest.raises(SettingsError, match=word):
            DaemonSettings(credits=CreditSettings(**wrong))  # type: ignore[arg-type]
