"""Real processes: killed in mid-write, two that write, one that reads beside a writer, a full disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import Ledger, Limits, verify
from shivya_daemon.ledgers.audit.files import Files
from shivya_daemon.ledgers.audit.reading import Walk, snapshot

PATIENCE = 60.0
LIMITS = Limits(files=3, file_bytes=1 << 16)

HEAD = """
import os, resource, sys
from pathlib import Path
from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import EntryRefused, Ledger, Limits

anna = Identity.from_private_bytes(bytes(range(32)))
path = Path(sys.argv[1])

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""
WRITER = """
with Ledger.open(path, anna, Limits(files=3, file_bytes=1 << 16)) as ledger:
    say("open", ledger.get_manifest()["chain_length"])
    number = 0
    while True:
        entry = ledger.add_entry({"number": number, "pad": "x" * 500})
        say("added", entry.index, entry.hash)
        if number % 5 == 4:
            ledger.sync()
            say("durable", ledger.durable)
        number += 1
"""
FULL = """
ledger = Ledger.open(path, anna)
resource.setrlimit(resource.RLIMIT_FSIZE, (5400, resource.RLIM_INFINITY))  # no file may grow beyond: EFBIG
accepted = 0
try:
    while True:
        ledger.add_entry({"pad": "x" * 700})
        accepted += 1
except EntryRefused as error:
    say("refused", error)
say("size", os.stat(path / "ledger.jsonl").st_size)
ledger.add_entry({"short": True})
say("whole", ledger.verify_chain(), accepted)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.add_entry({"pad": "x" * 700})
say("whole", ledger.verify_chain())
ledger.close()
"""


def run(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(process: subprocess.Popen[str]) -> list[list[str]]:
    """Kill without warning; returns what else had been said."""
    process.kill()
    out, _ = process.communicate(timeout=PATIENCE)
    return [line.split() for line in out.splitlines(keepends=True) if line.endswith("\n")]


def hashes(folder: Path) -> dict[int, str]:
    with snapshot(Files.at(folder)) as found:
        return {entry.index: entry.hash for entry in Walk.through(found).all(found)}


@pytest.mark.parametrize("after", [1, 90, 450])
def test_kill_in_mid_write_loses_nothing_that_was_acknowledged(
    tmp_path: Path, anna: Identity, after: int
) -> None:
    length = 0
    for _ in range(2):
        process = run(WRITER, tmp_path)
        assert process.stdout is not None
        said = [process.stdout.readline().split() for _ in range(after)]
        said += kill(process)
        added = {int(words[1]): words[2] for words in said if words[0] == "added"}
        durable = max((int(words[1]) for words in said if words[0] == "durable"), default=1)
        assert ["open", str(max(length, 1))] == said[0]
        assert verify(tmp_path).ok
        with Ledger.open(tmp_path, anna, LIMITS) as ledger:
            length = ledger.get_manifest()["chain_length"]
            assert ledger.durable == length >= durable
            assert ledger.verify_chain()
        kept = hashes(tmp_path)
        oldest = min(kept)
        assert all(kept[index] == added[index] for index in added if index >= oldest)
        assert length - 1 - max(added, default=0) <= 1 or not added, "at most one that it had no time to tell"
    assert after < 450 or oldest > 0, "files were begun and dropped meanwhile"


def test_the_second_writer_is_refused_and_the_third_comes_after_the_first(tmp_path):
    first = run(WRITER, tmp_path)
    assert first.stdout is not None
    assert first.stdout.readline() == "open 1\n"
    second = run(WRITER, tmp_path)
    out, err = second.communicate(timeout=PATIENCE)
    assert out == ""
    assert "LedgerBusy: another process writes the ledger" in err.splitlines()[-1]
    kill(first)
    third = run(WRITER, tmp_path)
    assert third.stdout is not None
    assert third.stdout.readline().startswith("open ")
    kill(third)
    assert verify(tmp_path).ok


def test_a_reader_beside_a_writer_that_begins_and_drops_files(tmp_path):
    process = run(WRITER, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "open 1\n"
    firsts, lengths = set(), [0]
    while len(firsts) < 5:
        for _ in range(40):
            process.stdout.readline()
        report = verify(tmp_path)
        assert report.ok, report.damage
        assert report.tip.size >= lengths[-1]
        lengths.append(report.tip.size)
        firsts.add(report.first)
    kill(process)


def test_a_disk_that_is_really_full(tmp_path):
    process = run(FULL, tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    refused, size, whole, again = out.splitlines()
    assert "cannot write the entry" in refused
    assert "File too large; free or repair the disk" in refused
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    accepted = len(lines) - 3
    assert 0 < accepted < 7
    assert int(size.split()[1]) < 5400, "the half that fitted was taken back"
    assert (whole, again) == (f"whole True {accepted}", "whole True")
    assert verify(tmp_path).tip.size == len(lines)
