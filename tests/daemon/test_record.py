"""A record reads back bit for bit, replays to the same digests, and says so when it cannot."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from shivya.cli import main

from shivya_daemon.mind import record as record_module
from shivya_daemon.mind.law import Law
from shivya_daemon.mind.record import Recorder, RecordError, conditions, read
from shivya_daemon.mind.replay import Mismatch, replay
from shivya_daemon.settings import LawSettings
from shivya_daemon.world import Link, Vertex, World

OWN, B = b"\x01" * 20, b"\x02" * 20
HOST = (0.1 + 0.2, 1 / 3, 1e5 / 7)


def world(tick: int) -> World:
    own = Vertex(OWN, 3 * tick, 1, 10.0, 1 / 3, 0.0)
    other = Vertex(B, 2, 1, 20.0, 0.0, 0.05, True, 0.1 + tick / 7, 0.05, 1, 0.001)
    return World("default", (own, other), (Link(OWN, B, 0.002, None, tick / 3),), 1.0)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("record") / "a.gz"
    settings = LawSettings()
    law = Law(settings, seed=int.from_bytes(OWN[:4]))
    recorder = Recorder(path, conditions(settings, OWN))
    recorder.tick(0.0, HOST, (world(0),), {})
    for tick in range(1, 8):
        worlds = (world(tick),)
        recorder.tick(tick / 10, HOST, worlds, law.judge(worlds, *HOST))
    recorder.close()
    return path


def test_what_is_written_reads_back_bit_for_bit(recorded: Path) -> None:
    head, ticks = read(recorded)
    assert head["node_id"] == OWN.hex()
    listed = list(ticks)
    assert [tick.worlds for tick in listed] == [(world(n),) for n in range(8)]
    assert all(tick.host == HOST for tick in listed)
    assert [bool(tick.digest) for tick in listed] == [False] + [True] * 7


def test_a_replay_gives_the_same_bits(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recorded), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ticks": 8, "judged": 7, "different": []}


def rewritten(source: Path, target: Path, old: str, new: str) -> Path:
    text = gzip.decompress(source.read_bytes()).decode()
    assert old in text
    target.write_bytes(gzip.compress(text.replace(old, new).encode()))
    return target


def test_one_changed_bit_shows(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    potential = 0.1 + 4 / 7
    changed = rewritten(recorded, tmp_path / "b.gz", repr(potential), repr(potential + 2**-53))
    assert main(["replay", str(changed)]) == 1
    assert "first different at tick 5" in capsys.readouterr().out


def test_a_record_of_another_machine_is_refused(recorded: Path, tmp_path: Path) -> None:
    head = json.loads(gzip.decompress(recorded.read_bytes()).splitlines()[0])
    foreign = rewritten(recorded, tmp_path / "c.gz", head["cpu"], "other-cpu")
    with pytest.raises(Mismatch, match="replay it there"):
        replay(foreign)
    assert main(["replay", str(foreign)]) == 4


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"{}\n", mtime=0), gzip.compress(b"[]\n", mtime=0)],
    ids=["empty", "no gzip", "object", "list"],
)
def test_what_is_no_record_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.gz"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"d\.gz"):
        list(read(path)[1])
    assert main(["replay", str(path)]) == 2


def test_a_cut_record_is_whole_up_to_its_last_line(recorded: Path, tmp_path: Path) -> None:
    cut = tmp_path / "e.gz"
    cut.write_bytes(recorded.read_bytes()[:-200])
    assert 0 < len(list(read(cut)[1])) < 8


def test_recording_ends_at_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "MAX_BYTES", 600)
    recorder = Recorder(tmp_path / "f.gz", conditions(LawSettings(), OWN))
    for tick in range(20):
        recorder.tick(tick / 10, HOST, (world(tick),), {})
    recorder.close()
    assert recorder.full
    assert len(list(read(tmp_path / "f.gz")[1])) < 5


def test_an_old_record_is_never_written_over(recorded: Path) -> None:
    with pytest.raises(FileExistsError):
        Recorder(recorded, {})
