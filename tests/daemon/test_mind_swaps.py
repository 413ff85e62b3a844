"""A law learned while the daemon runs: it is installed between two ticks, surprises less, and replays."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from shivya.cli import main

from shivya_daemon.mind.head import head
from shivya_daemon.mind.law import CAPACITY, Law
from shivya_daemon.mind.learn import Learner
from shivya_daemon.mind.lesson import LEAST
from shivya_daemon.mind.programs import AS_BEFORE, Programs
from shivya_daemon.mind.record import Recorder, RecordError, read
from shivya_daemon.mind.replay import replay
from shivya_daemon.mind.study import study
from shivya_daemon.services import ServiceBook
from shivya_daemon.settings import LawSettings
from shivya_daemon.status import Judged, cell_rows
from shivya_daemon.verdict import Verdict
from shivya_daemon.world import Vertex, World
from shivya_kernels.complex import Capacity

OWN = b"\x01" * 20
HOST = (0.1, 0.2, 1000.0)
SMALL = Capacity(vertices=24, edges=20, triangles=12, program=CAPACITY.program)
DAMPED: Programs = (((1, 0, 0, 0.0), (0, 0, 0, 0.9), (4, 0, 1, 0.0)), (), (), ())
"""The wait falls by a tenth."""


def world(queue: int) -> World:
    return World("default", (Vertex(OWN, queue, 1, 100.0, 0.0, 0.0),), (), 1.0)


def swinging(ticks: int) -> list[int]:
    """Queues that swing up and down, with noise."""
    dice = np.random.default_rng(0)
    wait = 1.0 + 0.8 * np.sin(2 * np.pi * np.arange(ticks) / 30) + 0.02 * dice.standard_normal(ticks)
    return [int(x) for x in np.round(100 * np.expm1(np.maximum(wait, 0.0)))]


def judge(law: Law, queue: int) -> Verdict:
    return law.judge((world(queue),), *HOST)["default"]


def test_the_law_learns_while_it_runs_and_is_surprised_less(compilations: list[str]) -> None:
    law, still = Law(LawSettings(), 7, SMALL), Law(LawSettings(), 7, SMALL)
    *past, last = swinging(LEAST)
    with ThreadPoolExecutor(1) as threads:
        learner = Learner(lambda: partial(study, CAPACITY.program, 7), threads, lambda: 0.0, lambda _: None)
        verdict = judge(law, past[0])
        for tick, queue in enumerate(past):
            senses = (float(np.log1p((queue + 1) / 100)), *verdict.senses[1:])
            learner.advance({"default": replace(verdict, senses=senses)}, tick / 10)
        learner.advance({"default": judge(law, last)}, LEAST / 10)
    learner.advance({"default": judge(law, last)}, LEAST / 10)
    swaps = learner.swaps()
    assert swaps["default"][0] and swaps["default"][1:] == AS_BEFORE[1:]
    compilations.clear()
    law.install("default", swaps["default"])
    energies = np.array([[judge(one, q).free_energy for one in (law, still)] for q in swinging(330)])
    assert compilations == [], "another law is no other program"
    learning, staying = energies[30:].mean(axis=0)
    assert learning < staying

    row = learner.learned()["default"]
    assert (row.searches, row.failed) == (1, 0) and row.accepted >= 1
    assert row.error_ratio["wait"] < 0.5
    view = ServiceBook(100.0).view("default", 0.0)
    cell = cell_rows(OWN, [Judged(world(3), view, judge(law, 3))], learner.learned())[0]
    assert cell.predictor is not None and cell.predictor["laws"] == row.laws
    assert "last" in row.laws["wait"] and row.laws["cpu"] == "last"


def test_a_law_for_nobody_is_passed_over_and_one_too_long_refused() -> None:
    law = Law(LawSettings(), 7, SMALL)
    law.install("default", DAMPED)
    before = judge(law, 5)
    assert before.belief == judge(Law(LawSettings(), 7, SMALL), 5).belief
    with pytest.raises(ValueError, match="33 instructions and 32"):
        law.install("default", (DAMPED[0] * 11, (), (), ()))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("record") / "a.gz"
    settings = LawSettings()
    law = Law(settings, seed=int.from_bytes(OWN[:4]))
    recorder = Recorder(path, head(settings, OWN))
    for tick, queue in enumerate(swinging(20)):
        swaps = {8: {"default": DAMPED}, 14: {"default": AS_BEFORE, "gone": DAMPED}}.get(tick, {})
        for service, programs in swaps.items():
            law.install(service, programs)
        worlds = (world(queue),)
        recorder.tick(tick / 10, HOST, worlds, law.judge(worlds, *HOST), swaps)
    recorder.close()
    return path


def test_a_record_with_swaps_replays_to_the_bit(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swaps = [tick.swaps for tick in read(recorded)[1]]
    assert swaps[8] == {"default": DAMPED} and swaps[14] == {"default": AS_BEFORE, "gone": DAMPED}
    assert not any(swaps[:8]) and not any(swaps[9:14]) and not any(swaps[15:])
    assert main(["replay", str(recorded), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ticks": 20, "judged": 20, "different": []}


def rewritten(source: Path, target: Path, old: str, new: str) -> Path:
    text = gzip.decompress(source.read_bytes()).decode()
    assert old in text
    target.write_bytes(gzip.compress(text.replace(old, new).encode()))
    return target


def test_without_the_swap_or_with_another_the_replay_differs(recorded: Path, tmp_path: Path) -> None:
    other = rewritten(recorded, tmp_path / "b.gz", "[0,0,0,0.9]", "[0,0,0,0.8]")
    assert replay(other).different[0] == 9
    without = rewritten(recorded, tmp_path / "c.gz", '"laws"', '"lost"')
    assert replay(without).different[0] == 9


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[0,0,0,0.9]", "[0,0,0]"),
        ("[0,0,0,0.9]", ",".join(["[0,0,0,0.9]"] * 40)),
        ('{"default":[[[1', '[1],"more":{"default":[[[1'),
    ],
)
def test_a_damaged_swap_is_named(recorded: Path, tmp_path: Path, old: str, new: str) -> None:
    damaged = rewritten(recorded, tmp_path / "d.gz", old, new)
    with pytest.raises(RecordError, match=r"d\.gz"):
        replay(damaged)
    assert main(["replay", str(damaged)]) == 2


def test_a_program_that_makes_no_sense_foretells_nothing(recorded: Path, tmp_path: Path) -> None:
    """Opcode 77: the machine refuses it, the last value stands, and nothing raises."""
    unsound = rewritten(recorded, tmp_path / "e.gz", "[0,0,0,0.9]", "[77,0,0,0.9]")
    assert replay(unsound).judged == 20
