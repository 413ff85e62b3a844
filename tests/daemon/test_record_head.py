"""The head of a record: where the bits cannot be the same the replay says why, and a damaged one is named."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from shivya.cli import main

from shivya_daemon.mind import head as head_module
from shivya_daemon.mind import law as law_module
from shivya_daemon.mind import replay as replay_module
from shivya_daemon.mind.head import conditions, head
from shivya_daemon.mind.law import CAPACITY, Law
from shivya_daemon.mind.record import FORMAT, Mismatch, RecordError, read
from shivya_daemon.mind.replay import replay
from shivya_daemon.settings import DaemonSettings, LawSettings
from shivya_daemon.startup import open_record

sys.path.insert(0, str(Path(__file__).parent))
from recording import OWN, recording, rewritten

Document = dict[str, Any]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(tmp_path_factory.mktemp("record") / "a.gz", LawSettings())


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[Callable[[Document], object]], Path]:
    """A record of no tick whose head was changed."""

    def edit(change: Callable[[Document], object]) -> Path:
        document = {"format": FORMAT, **head(LawSettings(), OWN)}
        change(document)
        path = tmp_path / "b.gz"
        path.write_bytes(gzip.compress(json.dumps(document).encode() + b"\n"))
        return path

    return edit


def test_a_daemon_records_the_head_that_a_replay_reads(tmp_path: Path) -> None:
    law = LawSettings(gap=0.07, hop_limit=5)
    path = tmp_path / "c.gz"
    recorder = open_record(DaemonSettings(record=path, law=law), OWN)
    assert recorder is not None
    recorder.close()
    found, ticks = read(path)
    assert (found.node_id, found.law, list(ticks)) == (OWN, law, [])
    assert found.conditions == conditions()
    assert found.conditions["capacity"] == asdict(CAPACITY)


@pytest.mark.parametrize(
    "key", [*sorted({*conditions()} - {"capacity"}), *(f"capacity.{name}" for name in asdict(CAPACITY))]
)
def test_whatever_is_otherwise_here_is_told_with_both_values(
    edited: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    key: str,
) -> None:
    monkeypatch.delattr(replay_module, "start_law")
    table, _, name = key.rpartition(".")
    now = conditions()[table][name] if table else conditions()[key]
    was = 7 if isinstance(now, int) else "of old"

    def change(document: Document) -> None:
        (document[table] if table else document)[name] = was

    assert main(["replay", str(edited(change))]) == 4
    said = capsys.readouterr().err
    assert f" {was}, here is {now}: replay it there" in said
    assert said.count("here is") == 1 and said.count("\n") == 1


def test_every_difference_is_named(edited: Callable[..., Path]) -> None:
    def change(document: Document) -> None:
        document["jaxlib"] = "0.1"
        document["xla_flags"] = ""
        document["capacity"]["edges"] = 12

    words = r"jaxlib 0\.1, here is .*; XLA_FLAGS none, here is .*; capacity\.edges 12, here is 256: "
    with pytest.raises(Mismatch, match=words):
        replay(edited(change))


@pytest.mark.parametrize("variable", ["XLA_FLAGS", "JAX_PLATFORMS"])
def test_another_environment_is_noticed(
    edited: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    path = edited(lambda document: None)
    monkeypatch.setenv(variable, "--xla_cpu_enable_fast_math=true")
    with pytest.raises(Mismatch, match=f"{variable}.*here is .*fast_math"):
        replay(path)


def test_another_capacity_here_is_noticed(
    edited: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = edited(lambda document: None)
    monkeypatch.setattr(head_module, "SIZES", {**asdict(CAPACITY), "vertices": 128})
    with pytest.raises(Mismatch, match=r"capacity\.vertices 64, here is 128"):
        replay(path)


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, 3),
        ({"OPENBLAS_NUM_THREADS": "2"}, 2),
        ({"OPENBLAS_NUM_THREADS": "9"}, 3),
        ({"OPENBLAS_NUM_THREADS": "0", "OMP_NUM_THREADS": "1"}, 1),
        ({"OPENBLAS_NUM_THREADS": "many"}, 3),
    ],
)
def test_threads_of_blas_are_those_of_numpy(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], threads: int
) -> None:
    """How OpenBLAS counts them: Green's operator has other bits by one thread than by two."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert conditions()["blas_threads"] == threads


def test_flags_count_by_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    one = "--xla_cpu_multi_thread_eigen=false"
    said = []
    for flags in (
        "",
        one,
        f"--xla_a=1 {one}",
        f"{one} --xla_a=1",
        f"--xla_a=2 {one} --xla_a=1",
        f"--xla_a=2 {one}",
    ):
        monkeypatch.setenv("XLA_FLAGS", flags)
        said.append(conditions()["xla_flags"])
    assert said[0] == said[1]
    assert said[2] == said[3] == said[4]
    assert len(set(said)) == 3


@pytest.mark.parametrize("number", [FORMAT - 1, FORMAT + 1, 0])
def test_another_format_is_for_the_version_that_wrote_it(edited: Callable[..., Path], number: int) -> None:
    def change(document: Document) -> None:
        document.clear()
        document["format"] = number

    path = edited(change)
    with pytest.raises(
        Mismatch, match=f"format {number}, here is format {FORMAT}; replay it with the version"
    ):
        replay(path)
    assert main(["replay", str(path)]) == 4


KEYS = [*head(LawSettings(), OWN)]
WRONG: dict[str, tuple[Callable[[Document], object], str]] = {
    **{f"no {key}": (lambda document, key=key: document.pop(key), f"lacks {key}") for key in KEYS},
    **{
        f"{key} {value!r}": (lambda document, key=key, value=value: document.update({key: value}), key)
        for key in KEYS
        for value in (None, 2.5, True, [], {}, [["jax"]])
    },
    "unknown": (lambda document: document.update(colour="red"), "the key 'colour', which is not known"),
    "no size": (lambda document: document["capacity"].pop("edges"), "capacity in its head lacks edges"),
    "a size more": (lambda document: document["capacity"].update(holes=3), "'holes'"),
    "half a vertex": (
        lambda document: document["capacity"].update(vertices=64.5),
        "a whole number, not 64.5",
    ),
    "a short id": (lambda document: document.update(node_id="0101"), "'0101' is no node id"),
    "an id of letters": (lambda document: document.update(node_id="z" * 40), "is no node id"),
    "no gap": (lambda document: document["law"].pop("gap"), "law in its head lacks gap"),
    "a parameter more": (lambda document: document["law"].update(speed=1.0), "'speed'"),
    "a gap of text": (
        lambda document: document["law"].update(gap="wide"),
        "gap in law in its head .* 'wide'",
    ),
    "a gap of nan": (lambda document: document["law"].update(gap=float("nan")), "a number, not nan"),
    "a gap beyond floats": (lambda document: document["law"].update(gap=10**400), "a number, not 1000"),
    "a gap of true": (lambda document: document["law"].update(gap=True), "a number, not True"),
    "half a hop": (lambda document: document["law"].update(hop_limit=8.5), "a whole number, not 8.5"),
    "a format of text": (lambda document: document.update(format=str(FORMAT)), "is no record"),
    "a format of true": (lambda document: document.update(format=True), "is no record"),
    "no format": (lambda document: document.pop("format"), "is no record"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_a_damaged_head_is_named(
    edited: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Document], object],
    words: str,
) -> None:
    path = edited(change)
    with pytest.raises(RecordError, match=words) as caught:
        replay(path)
    assert not isinstance(caught.value, Mismatch)
    assert main(["replay", str(path)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and said.count("\n") == 1


def test_whole_numbers_may_stand_for_settings(edited: Callable[..., Path]) -> None:
    path = edited(lambda document: document["law"].update(gap=1))
    assert read(path)[0].law == replace(LawSettings(), gap=1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"gap":0.05', '"gap":0.1'),
        ('"slope_share":1.0', '"slope_share":0.7'),
        ('"tick_interval":0.1', '"tick_interval":0.2'),
    ],
)
def test_a_replay_goes_by_the_parameters_of_the_head(
    recorded: Path, tmp_path: Path, old: str, new: str
) -> None:
    assert replay(recorded).different == ()
    assert replay(rewritten(recorded, tmp_path / "d.gz", old, new)).different


def test_keys_of_randomness_are_those_of_the_node_in_the_head(
    edited: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    class Seen(Law):
        def __init__(self, settings: LawSettings, seed: int) -> None:
            seeds.append(seed)
            super().__init__(settings, seed)

    monkeypatch.setattr(law_module, "Law", Seen)
    for digits in ("a1b2c3d4" + "00" * 16, "00000007" + "ff" * 16):
        replay(edited(lambda document, digits=digits: document.update(node_id=digits)))
    assert seeds == [0xA1B2C3D4, 7]


def test_other_parameters_replay_to_the_bit(tmp_path: Path) -> None:
    law = LawSettings(
        gap=0.2, slope_share=0.6, drift=0.9, drift_fade=1.1, drift_share=0.3, tick_interval=0.25
    )
    found = replay(recording(tmp_path / "e.gz", law))
    assert (found.judged, found.different) == (7, ())
