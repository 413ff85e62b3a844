"""A record reads back bit for bit and replays to the same digests; test_record_head.py is about its head."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
from shivya.cli import main

from shivya_daemon.mind import record as record_module
from shivya_daemon.mind.head import head
from shivya_daemon.mind.record import Recorder, RecordError, read
from shivya_daemon.mind.replay import replay
from shivya_daemon.settings import LawSettings

sys.path.insert(0, str(Path(__file__).parent))
from recording import HOST, OWN, recording, rewritten, world


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(tmp_path_factory.mktemp("record") / "a.gz", LawSettings())


def test_what_is_written_reads_back_bit_for_bit(recorded: Path) -> None:
    found, ticks = read(recorded)
    assert (found.node_id, found.law) == (OWN, LawSettings())
    listed = list(ticks)
    assert [tick.worlds for tick in listed] == [(world(n),) for n in range(8)]
    assert all(tick.host == HOST for tick in listed)
    assert [bool(tick.digest) for tick in listed] == [False] + [True] * 7


def test_a_replay_gives_the_same_bits(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recorded), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ticks": 8, "judged": 7, "different": []}


def test_one_changed_bit_shows(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    potential = 0.1 + 4 / 7
    changed = rewritten(recorded, tmp_path / "b.gz", repr(potential), repr(potential + 2**-53))
    assert main(["replay", str(changed)]) == 1
    assert "first different at tick 5" in capsys.readouterr().out


def test_a_tick_without_services_is_judged_again(tmp_path: Path) -> None:
    """The law forgets what is no longer offered: when it comes again, it begins anew."""
    path = recording(tmp_path / "g.gz", LawSettings(), without=4)
    assert [tick.digest for tick in read(path)[1]][4] == ""
    found = replay(path)
    assert (found.ticks, found.judged, found.different) == (8, 6, ())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        gzip.compress(b"{}\n", mtime=0),
        gzip.compress(b"[]\n", mtime=0),
        gzip.compress(b"[" * 100_000, mtime=0),
        gzip.compress(b"", mtime=0)[:10] + b"\xff" * 30,
    ],
    ids=["empty", "no gzip", "object", "list", "deep", "no deflate"],
)
def test_what_is_no_record_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.gz"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"d\.gz"):
        list(read(path)[1])
    assert main(["replay", str(path)]) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"t":0.3', '"t":"soon"'),
        ('"digest":"', '"digest":5,"old":"'),
        ('"vertices":[[', '"vertices":[[],['),
        ('"default","stale_after":1.0', '"default","stale_after":"long"'),
        ('"host":[', '"host":["warm",'),
        ('"host":[0.30000000000000004,', '"host":["warm",'),
    ],
)
def test_a_damaged_tick_is_named(recorded: Path, tmp_path: Path, old: str, new: str) -> None:
    damaged = rewritten(recorded, tmp_path / "h.gz", old, new)
    with pytest.raises(RecordError, match=r"h\.gz.* tick"):
        replay(damaged)


def test_a_cut_record_is_whole_up_to_its_last_line(recorded: Path, tmp_path: Path) -> None:
    cut = tmp_path / "e.gz"
    cut.write_bytes(recorded.read_bytes()[:-200])
    assert 0 < len(list(read(cut)[1])) < 8


def test_recording_ends_at_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "MAX_BYTES", 600)
    recorder = Recorder(tmp_path / "f.gz", head(LawSettings(), OWN))
    for tick in range(20):
        recorder.tick(tick / 10, HOST, (world(tick),), {})
    recorder.close()
    assert recorder.full
    assert len(list(read(tmp_path / "f.gz")[1])) < 5


def test_an_old_record_is_never_written_over(recorded: Path) -> None:
    with pytest.raises(FileExistsError):
        Recorder(recorded, {})
