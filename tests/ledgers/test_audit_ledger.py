"""The ledger as the daemon uses it: entries, batches, locks, faults."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import (
    EntryRefused,
    Ledger,
    LedgerBusy,
    LedgerError,
    Limits,
    entry_hash,
    merkle_root,
    verify,
)
from shivya_daemon.ledgers.audit.chain import MAX_LINE_BYTES


def stored(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Fsyncs:
    """Counts what is made durable, by name of file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        real = os.fsync

        def fsync(descriptor: int) -> None:
            self.names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)


def test_golden_entries_in_a_file(tmp_path, golden):
    document = json.loads((golden / "ledger.json").read_text())
    first, *others = document["entries"]
    path = tmp_path / "audit"
    with Ledger.open(path, wall=lambda: first["timestamp"]) as ledger:
        for expected in others:
            assert ledger.add_entry(expected["data"], expected["timestamp"]).hash == expected["hash"]
        assert ledger.verify_chain() is True
        assert ledger.get_manifest() == {
            "chain_length": 5,
            "genesis_hash": first["hash"],
            "latest_hash": others[-1]["hash"],
            "merkle_root": document["merkle_rfc6962_sha3_256_over_raw_hash_bytes_prefix"][5],
            "timestamp": first["timestamp"],
        }
        lines = [f'{entry["canonical"][:-1]},"hash":"{entry["hash"]}"}}' for entry in document["entries"]]
        assert path.read_text() == "\n".join(lines) + "\n"


def test_entries_of_the_guard(tmp_path, golden):
    document = json.loads((golden / "ledger.json").read_text())
    with Ledger.open(tmp_path) as ledger:
        noop = ledger.record_action("NOOP", document["entries"][1]["data"]["details"])
        pulse = ledger.record_pulse(document["entries"][2]["data"]["pulse"])
        result = ledger.record_flow_result("R", document["entries"][3]["data"]["result"])
        alert = ledger.record_action("ALERT")
    for entry, expected in zip((noop, pulse, result, alert), document["entries"][1:], strict=True):
        assert entry.data == expected["data"]
        assert entry_hash(entry.fields()) == entry.hash
    assert [row["hash"] for row in stored(tmp_path / "ledger.jsonl")][1:] == [
        entry.hash for entry in (noop, pulse, result, alert)
    ]


def test_a_ledger_goes_on_where_it_was_left(tmp_path, anna):
    lengths, roots = [], []
    for _ in range(4):
        with Ledger.open(tmp_path, anna) as ledger:
            lengths.append(ledger.get_manifest()["chain_length"])
            roots.append(ledger.compute_merkle_root())
            ledger.add_entry({"n": 1})
            ledger.add_entry({"n": 2})
    assert lengths == [1, 3, 5, 7]
    hashes = [row["hash"] for row in stored(tmp_path / "ledger.jsonl")]
    assert roots == [merkle_root(hashes[:length]) for length in lengths]
    assert verify(tmp_path).tip.size == 9


def test_an_entry_is_with_the_kernel_before_add_entry_returns(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        for number in range(3):
            entry = ledger.add_entry({"number": number})
            assert stored(tmp_path / "ledger.jsonl")[-1]["hash"] == entry.hash


def test_batches_by_the_time_that_is_handed_in(tmp_path, anna, monkeypatch):
    now = [100.0]
    with Ledger.open(tmp_path, anna, monotonic=lambda: now[0]) as ledger:
        fsyncs = Fsyncs(monkeypatch)
        assert (ledger.durable, ledger.next_deadline()) == (1, None)
        for now[0] in (200.0, 200.5, 200.9):
            ledger.add_entry({})
        assert (ledger.durable, ledger.next_deadline(), fsyncs.names) == (1, 201.0, [])
        assert ledger.checkpoint.size == 1
        ledger.handle_timer(200.99)
        assert fsyncs.names == []
        ledger.handle_timer(201.0)
        assert fsyncs.names == ["ledger.jsonl", "ledger.jsonl.head.new", tmp_path.name], (
            "data before its head"
        )
        assert (ledger.durable, ledger.next_deadline()) == (4, None)
        assert ledger.checkpoint.size == 4
        assert ledger.checkpoint.signed_by(anna.public_key)
        assert ledger.checkpoint.root.hex() == ledger.compute_merkle_root()
        ledger.handle_timer(300.0)
        ledger.sync()
        assert len(fsyncs.names) == 3, "nothing new, nothing to do"

        ledger.add_entry({})
        now[0] = 250.0
        ledger.add_entry({})
        assert (ledger.durable, ledger.next_deadline()) == (5, 251.0), (
            "without a timer the next entry sees to it"
        )


def test_a_batch_is_bounded_in_bytes_too(tmp_path):
    with Ledger.open(tmp_path, limits=Limits(batch_bytes=10_000), monotonic=lambda: 0.0) as ledger:
        for number in range(100):
            ledger.add_entry({"pad": "x" * 1000})
            assert ledger.durable >= number - 9


def test_closing_is_durable_and_final(tmp_path):
    ledger = Ledger.open(tmp_path)
    ledger.add_entry({})
    ledger.close()
    ledger.close()
    assert verify(tmp_path).head is not None
    assert verify(tmp_path).head.tip.size == 2
    with pytest.raises(LedgerError, match="closed"):
        ledger.add_entry({})
    with pytest.raises(LedgerError, match="closed"):
        ledger.sync()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"a": float("nan")}, "not JSON"),
        ({1: 2}, "key that is no text"),
        ([1], "is no object"),
        ("text", "is no object"),
        ({"a": "x" * MAX_LINE_BYTES}, f"at most {MAX_LINE_BYTES}"),
    ],
    ids=["nan", "key", "list", "text", "long"],
)
def test_a_refused_entry_leaves_no_trace(tmp_path, data, reason):
    with Ledger.open(tmp_path) as ledger:
        before = (tmp_path / "ledger.jsonl").read_bytes(), ledger.get_manifest()["latest_hash"]
        with pytest.raises(EntryRefused, match=reason):
            ledger.add_entry(data)
        assert ((tmp_path / "ledger.jsonl").read_bytes(), ledger.get_manifest()["latest_hash"]) == before
        assert ledger.add_entry({"a": 1}).index == 1
        assert ledger.verify_chain()


def test_the_longest_entry_is_read_back(tmp_path):
    with Ledger.open(tmp_path, wall=lambda: 1.5) as ledger:
        spare = MAX_LINE_BYTES - len(json.dumps(ledger.add_entry({"a": ""}).fields())) - 200
        while True:
            try:
                ledger.add_entry({"a": "x" * spare})
            except EntryRefused:
                break
            spare += 1
        assert ledger.verify_chain()
    lines = (tmp_path / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    assert max(map(len, lines)) == MAX_LINE_BYTES


def test_one_writer(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        with pytest.raises(LedgerBusy, match="another process"):
            Ledger.open(tmp_path)
        ledger.add_entry({})
        assert verify(tmp_path).tip.size == 2, "readers need no lock"
    with Ledger.open(tmp_path) as ledger:
        assert ledger.verify_chain()


def test_a_lock_is_let_go_when_opening_fails(tmp_path, anna, ben):
    Ledger.open(tmp_path, anna).close()
    with pytest.raises(LedgerError, match=f"signed by node {anna.node_id.hex()}"):
        Ledger.open(tmp_path, ben)
    with pytest.raises(LedgerError, match="signed by node"):
        Ledger.open(tmp_path)
    Ledger.open(tmp_path, anna).close()


def test_an_unsigned_ledger_is_not_signed_afterwards(tmp_path, anna):
    """Else whoever can write the files strips the signature, rewrites the entries, and has them signed."""
    Ledger.open(tmp_path).close()
    with pytest.raises(LedgerError, match="not signed"):
        Ledger.open(tmp_path, anna)


def test_files_are_the_owners_alone(tmp_path):
    folder = tmp_path / "state" / "ledger"
    Ledger.open(folder / "ledger.jsonl").close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_folder_that_cannot_be_used_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot use the ledger"):
        Ledger.open(tmp_path / "file" / "ledger.jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerError, match="cannot use the ledger"):
        Ledger.open(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(LedgerError, match="no ledger at"):
        verify(tmp_path / "nothing")


def test_many_threads(tmp_path):
    with Ledger.open(tmp_path, limits=Limits(batch_bytes=1000)) as ledger:
        threads = [
            threading.Thread(target=lambda: [ledger.add_entry({"n": n}) for n in range(50)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert ledger.verify_chain(), "others go on writing meanwhile"
        for thread in threads:
            thread.join()
        assert ledger.verify_chain()
        assert ledger.get_manifest()["chain_length"] == 201


def test_a_ledger_sees_that_its_own_file_was_exchanged(tmp_path, anna):
    """The other one is in order, too: signed, whole, and as long."""
    for folder, word in ((tmp_path / "a", "a"), (tmp_path / "b", "b")):
        folder.mkdir()
        with Ledger.open(folder, anna) as ledger:
            ledger.add_entry({"word": word})
    with Ledger.open(tmp_path / "a", anna) as ledger:
        for path in (tmp_path / "b").iterdir():
            (tmp_path / "a" / path.name).write_bytes(path.read_bytes())
        assert verify(tmp_path / "a").ok
        assert ledger.verify_chain() is False


def test_a_ledger_that_was_deleted_is_not_whole(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        for path in tmp_path.iterdir():
            path.unlink()
        assert ledger.verify_chain() is False


def test_a_disk_that_is_full_at_birth_lets_go_of_everything(tmp_path, monkeypatch):
    def full(descriptor: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    descriptors = Path("/proc/self/fd")
    open_before = len(list(descriptors.iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(LedgerError, match="No space left on device"):
            Ledger.open(tmp_path)
    assert len(list(descriptors.iterdir())) == open_before
    with Ledger.open(tmp_path) as ledger:
        assert ledger.verify_chain()


@pytest.mark.parametrize("wrong", [{"files": 1}, {"file_bytes": MAX_LINE_BYTES - 1}, {"batch_seconds": -1}])
def test_limits_that_cannot_be_kept_are_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        Limits(**wrong)


def test_identities_are_those_of_nodes(tmp_path, anna: Identity) -> None:
    Ledger.open(tmp_path, anna).close()
    report = verify(tmp_path)
    assert report.head is not None
    assert report.head.node == anna.node_id.hex()
