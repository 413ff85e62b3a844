"""The daemon's journal: what is noted is in the ledger afterwards, and a bad disk takes nothing down."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.journal import MAX_WAITING, Journal
from shivya_daemon.ledgers.audit import Ledger, Limits, verify
from shivya_daemon.ledgers.audit.checkpoint import decode, sign
from shivya_daemon.ledgers.audit.witnessed import Finding

IDENTITY = Identity.generate(random.Random(1).randbytes)


def live(journal: Journal, scene: Callable[[], Awaitable[None]], patience: float = 30.0) -> None:
    """Run the journal beside a scene, and close it."""

    async def both() -> None:
        with anyio.fail_after(patience):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(journal.run)
                await scene()
                tasks.cancel_scope.cancel()
        journal.close("STOP")

    anyio.run(both)


def actions(path: Path) -> list[str]:
    lines = path.read_text().splitlines()[1:]
    return [line.split('"action":"')[1].split('"')[0] for line in lines]


def test_notes_are_in_the_ledger_with_the_time_they_were_made(tmp_path: Path) -> None:
    path, told = tmp_path / "ledger" / "ledger.jsonl", list[bytes]()
    clock = iter(float(n) for n in range(100, 200))
    journal = Journal(path, IDENTITY, lambda: next(clock), told.append)
    journal.note("START", {"version": "1"})

    async def scene() -> None:
        while len(told) < 2:
            await anyio.sleep(0.01)
        journal.note("PEER_JOINED", {"peer": "ab"})

    live(journal, scene)
    assert actions(path) == ["START", "PEER_JOINED", "STOP"]
    assert verify(path).ok and journal.lost == 0 and journal.trouble is None
    assert decode(told[-1]).size == 2 and decode(told[-1]).signed_by(IDENTITY.public_key)
    with Ledger.open(path, IDENTITY) as ledger:
        assert ledger.get_manifest()["chain_length"] == 4
    assert '"timestamp":100.0' in path.read_text().splitlines()[1], "when it was noted, not when written"


def test_a_daemon_that_is_killed_has_lost_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes are in the file before the next sync is due, however soon they follow on others."""
    monkeypatch.setattr("shivya_daemon.journal._LIMITS", Limits(batch_seconds=3600.0))
    path = tmp_path / "ledger.jsonl"
    journal = Journal(path, IDENTITY, lambda: 1.0)

    async def scene() -> None:
        for count, action in enumerate(("START", "PEER_JOINED", "LINKED"), start=1):
            journal.note(action)
            while not path.exists() or path.read_bytes().count(b"\n") <= count:
                await anyio.sleep(0.01)
        assert actions(path) == ["START", "PEER_JOINED", "LINKED"]

    live(journal, scene)


def test_too_many_notes_lose_the_oldest_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    journal = Journal(path, IDENTITY, lambda: 1.0)
    for number in range(MAX_WAITING + 5):
        journal.note(f"A{number}")

    async def scene() -> None:
        while journal.manifest() is None or journal.manifest()["length"] < MAX_WAITING:  # type: ignore[index,operator]
            await anyio.sleep(0.01)

    live(journal, scene)
    assert journal.lost == 5
    assert actions(path)[0] == "A5" and len(actions(path)) == MAX_WAITING + 1


def test_a_ledger_of_another_process_is_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger.open(path, IDENTITY), caplog.at_level(logging.ERROR):
        journal = Journal(path, IDENTITY, lambda: 1.0)
        journal.note("START")

        async def scene() -> None:
            while journal.trouble is None:
                await anyio.sleep(0.01)

        live(journal, scene)
    assert journal.manifest() is None
    assert "another process" in str(journal.trouble) and "another process" in caplog.text


def test_a_rewritten_ledger_of_another_node_is_found_out_and_written_down(tmp_path: Path) -> None:
    """Its two signatures under one size are the evidence; a checkpoint that is late convicts nobody."""
    other = Identity.generate(random.Random(2).randbytes)
    path, journal = tmp_path / "ledger.jsonl", Journal(tmp_path / "ledger.jsonl", IDENTITY, lambda: 1.0)
    told = [sign(other, size, bytes([byte]) * 32).encode() for size, byte in ((5, 1), (4, 9), (5, 1), (5, 2))]
    key = other.public_key
    found = [journal.hear(key, checkpoint, now) for now, checkpoint in enumerate([*told, told[-1], b"?"])]
    assert found == [Finding.FIRST, Finding.OLDER, Finding.KNOWN, Finding.FORKED, Finding.FORKED, None]

    async def scene() -> None:
        while journal.manifest() is None or journal.manifest()["length"] < 2:  # type: ignore[index,operator]
            await anyio.sleep(0.01)

    live(journal, scene)
    assert actions(path) == ["LEDGER_FORK", "STOP"]
    assert told[-1].hex() in path.read_text()
