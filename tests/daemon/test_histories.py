"""Ledgers that only grow, shown between nodes: asked for, proven, judged; and one that was rewritten."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from shivya_daemon import histories
from shivya_daemon.core.counters import Counters
from shivya_daemon.core.events import HistoryShown, HistoryWanted
from shivya_daemon.core.identity import Identity
from shivya_daemon.histories import AGAIN, Histories
from shivya_daemon.journal import Journal
from shivya_daemon.ledgers.audit import Ledger, Limits
from shivya_daemon.ledgers.audit.witnessed import Finding

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Side:
    """A node with a ledger; what it sends is put down."""

    def __init__(self, folder: Path, name: str) -> None:
        self.identity = Identity.generate(os.urandom)
        self.path = folder / name / "ledger.jsonl"
        self.path.parent.mkdir()
        self.journal = Journal(self.path, self.identity, lambda: 1.0)
        self.now = 0.0
        self.sent: list[tuple[Any, ...]] = []
        self.members: set[bytes] = set()
        self.node: Any = SimpleNamespace(
            members=self.members,
            counters=Counters(),
            ask_history=lambda node, old, now: self.sent.append((node, old)),
            show_history=lambda node, *shown: self.sent.append((node, *shown[:3])),
        )
        self.histories = Histories(self.node, self.journal, self.path, lambda: self.now, lambda: None)

    def write(self, count: int, word: str = "x") -> Any:
        """Add entries to the ledger; returns its checkpoint."""
        ledger = Ledger.open(self.path, self.identity, Limits(), wall=lambda: 1.0)
        for number in range(count):
            ledger.add_entry({"type": "action", "action": word, "details": {"n": number}}, 1.0)
        ledger.sync()
        ledger.close()
        return ledger.checkpoint

    def look(self, at: float) -> list[tuple[Any, ...]]:
        self.now = at
        self.histories.look()
        found, self.sent[:] = list(self.sent), []
        return found

    def hear(self, other: Side, checkpoint: Any) -> Finding | None:
        self.members.add(other.identity.node_id)
        return self.journal.hear(other.identity.public_key, checkpoint.encode(), self.now)


@asynccontextmanager
async def answering(side: Side) -> AsyncIterator[Callable[..., Any]]:
    """Let a side answer; gives a function that asks it and returns what it shows."""

    async def ask(old: int) -> tuple[Any, ...]:
        side.sent.clear()
        side.histories.take([HistoryWanted(b"a" * 20, old)])
        while not side.sent:
            await anyio.sleep(0.01)
        return side.sent.pop()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(side.histories.run)
            yield ask
            tasks.cancel_scope.cancel()


async def test_who_is_ahead_is_asked_proves_it_and_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "_REST", 0.0)
    anna, ben = Side(tmp_path, "anna"), Side(tmp_path, "ben")
    first = ben.write(5)
    assert anna.hear(ben, first) is Finding.FIRST and anna.look(10.0) == []
    assert anna.hear(ben, ben.write(7)) is Finding.AHEAD
    assert anna.look(20.0) == [(ben.identity.node_id, first.size)]
    assert anna.look(40.0) == [], "not again so soon"
    async with answering(ben) as ask:
        _, old, checkpoint, path = await ask(first.size)
    shown = HistoryShown(ben.identity.node_id, ben.identity.public_key, old, checkpoint, path)
    anna.histories.take([shown])
    assert anna.journal.wanted() == [] and anna.look(30.0 + AGAIN) == []


async def test_a_size_that_is_not_there_gets_no_answer_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "_REST", 0.0)
    ben = Side(tmp_path, "ben")
    ben.write(5)
    async with answering(ben) as ask:
        ben.histories.take([HistoryWanted(b"a" * 20, 999)])
        assert (await ask(3))[1] == 3


def test_questions_that_find_no_room_are_counted(tmp_path: Path) -> None:
    ben = Side(tmp_path, "ben")
    ben.histories.take(HistoryWanted(bytes([n]) * 20, 1) for n in range(11))
    assert ben.node.counters.drops["histories_full"] == 3


async def test_a_rewritten_ledger_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "_REST", 0.0)
    anna, ben = Side(tmp_path, "anna"), Side(tmp_path, "ben")
    anna.hear(ben, ben.write(5, "honest"))
    for file in ben.path.parent.iterdir():
        file.unlink()
    assert anna.hear(ben, ben.write(9, "changed")) is Finding.AHEAD
    ((_, old),) = anna.look(10.0)
    async with answering(ben) as ask:
        _, _, checkpoint, path = await ask(old)
    key = ben.identity.public_key
    assert anna.journal.shown(key, old, checkpoint, path, 11.0) is Finding.UNPROVEN
    assert anna.journal.wanted() != [], "it still owes the proof"
