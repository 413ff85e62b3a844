"""Files of a ledger that come and go, and proofs of what is and was in them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shivya_daemon.ledgers.audit import (
    Ledger,
    LedgerCorrupt,
    LedgerError,
    ProofInvalid,
    verify,
)
from shivya_daemon.ledgers.audit.files import Files, Part
from shivya_daemon.ledgers.audit.merkle import verify_consistency
from shivya_daemon.ledgers.audit.proof import MAX_PROOF_BYTES, Proof, read_proof


def stored(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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
