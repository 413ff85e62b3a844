"""The ledger as the daemon uses it: entries, batches, files, proofs."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import (
    EntryRefused,
    Ledger,
    LedgerBusy,
    LedgerCorrupt,
    LedgerError,
    Limits,
    ProofInvalid,
    entry_hash,
    merkle_root,
    verify,
)
from shivya_daemon.ledgers.audit.chain import MAX_LINE_BYTES
from shivya_daemon.ledgers.audit.files import Files, Part
from shivya_daemon.ledgers.audit.merkle import verify_consistency
from shivya_daemon.ledgers.audit.proof import MAX_PROOF_BYTES, Proof, read_proof


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


def test_old_files_are_dropped_and_what_is_left_still_verifies(tmp_path, write):
    with write(200) as ledger:
        everything = stored(tmp_path / "ledger.jsonl.000000000000")
        assert verify(tmp_path).first == 0
        before = ledger.checkpoint
        for number in range(300):
            ledger.add_entry({"number": number, "pad": "x" * 700})
            names = {path.name for path in tmp_path.iterdir()}
            assert len([name for name in names if name.count(".") == 1 or name[-1].isdigit()]) <= 4
        report = ledger.verify()
        assert report.ok
        assert report.first > before.size > len(everything)
        assert report.tip.genesis_hash == everything[0]["hash"]
        assert not Files.at(tmp_path).older(0).exists()
        assert ledger.get_manifest()["chain_length"] == 501
        manifest = ledger.get_manifest()

        for index in (report.first, report.first + 1, 400, 500):
            assert ledger.prove(index).check().index == index
        with pytest.raises(LedgerError, match=f"the oldest one is {report.first}"):
            ledger.prove(report.first - 1)
        with pytest.raises(LedgerError, match=f"are {report.first} to 500, not 501"):
            ledger.prove(501)
        old = ledger.checkpoint
        ledger.add_entry({})
        new, path = ledger.prove_consistency(old.size)
        assert verify_consistency(old.size, old.root, new.size, new.root, path)
        with pytest.raises(LedgerError, match="can be compared with its sizes"):
            ledger.prove_consistency(before.size)
    with write(0) as ledger:
        assert ledger.get_manifest()["genesis_hash"] == manifest["genesis_hash"]
        assert ledger.verify_chain()


def test_a_reader_whose_files_are_exchanged_under_its_hands_looks_again(tmp_path, write, monkeypatch):
    real, looks = Files.parts, []

    with write(200) as ledger:

        def parts(files: Files) -> list[Part]:
            found = real(files)
            looks.append(found)
            if len(looks) in (1, 3):  # just when it has seen which files there are
                with monkeypatch.context() as patch:
                    patch.setattr(Files, "parts", real)
                    for number in range(100 if len(looks) == 1 else 300):
                        ledger.add_entry({"number": number, "pad": "x" * 700})
            return found

        monkeypatch.setattr(Files, "parts", parts)
        report = verify(tmp_path)
        monkeypatch.undo()
        assert report.ok, report.damage
        assert report.tip.size == 601
        assert len(looks) == 6


def test_every_file_is_within_its_bound_and_numbered_by_its_first_entry(tmp_path, write):
    write(300).close()
    files = Files.at(tmp_path)
    parts = files.parts()
    assert len(parts) == 4 and parts[-1].path == files.newest
    for part in parts:
        assert part.path.stat().st_size <= 1 << 16
        assert stored(part.path)[0]["index"] == part.first


def test_proofs_travel_as_json(tmp_path, write, ben):
    with write(5) as ledger:
        proof = ledger.prove(3)
    document = json.loads(json.dumps(proof.to_json()))
    again = Proof.from_json(document)
    assert again == proof
    assert again.check() == proof.check()
    assert again.check().data["number"] == 2
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(document))
    assert read_proof(path) == proof

    entry = document["entry"]
    stolen = ben.public_key.hex()
    for change, reason in [
        ({"entry": entry.replace('"number":2', '"number":7')}, "path does not lead"),
        ({"entry": entry.replace('"index":3', '"index":2')}, "path does not lead"),
        ({"entry": entry.replace(",", ", ", 1)}, "canonical"),
        ({"entry": '{"index":3}'}, "four fields"),
        ({"entry": entry.replace('"index":3', '"index":"3"')}, "four fields"),
        ({"path": document["path"][1:]}, "path does not lead"),
        ({"path": [*document["path"], "00" * 32]}, "path does not lead"),
        ({"size": 7}, "not signed by the key"),
        ({"root": "00" * 32}, "path does not lead"),
        ({"public_key": stolen}, "not signed by the key"),
        ({"public_key": ""}, "nobody vouches"),
        ({"signature": "00" * 64}, "not signed by the key"),
        ({"signature": 1}, "is damaged"),
        ({"size": True}, "is damaged"),
        ({"path": None}, "is damaged"),
        ({"entry": "é"}, "is damaged"),
        ({"format": "2"}, "this is no proof"),
    ]:
        with pytest.raises(ProofInvalid, match=reason):
            Proof.from_json({**document, **change}).check()
    for text in ("[]", "{", "[" * 10**5, "x" * (MAX_PROOF_BYTES + 1)):
        path.write_text(text)
        with pytest.raises(ProofInvalid):
            read_proof(path)


def test_a_proof_of_an_unsigned_ledger_convinces_nobody(tmp_path):
    with Ledger.open(tmp_path) as ledger, pytest.raises(ProofInvalid, match="nobody vouches"):
        ledger.prove(0).check()


def test_a_proof_from_a_damaged_ledger_is_refused(tmp_path, write):
    write(5).close()
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"number":3', b'"number":4'))
    with write(0) as ledger:
        with pytest.raises(LedgerCorrupt, match="entry 4 does not have the hash"):
            ledger.prove(1)
        assert ledger.verify_chain() is False


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


def test_the_checker_in_the_documentation(tmp_path, write):
    page = (Path(__file__).resolve().parents[2] / "docs" / "ledger.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    with write(5) as ledger:
        latest = ledger.get_manifest()["latest_hash"]
    path = tmp_path / "ledger.jsonl"
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == latest
    path.write_text(path.read_text().replace('"number":2', '"number":3'))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
