from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shivya
from shivya import simulate
from shivya.cli import main, parser

DOCS = Path(__file__).resolve().parents[2] / "docs" / "simulate.md"
FIELDS = ("law", "load", "seed", "mean", "p50", "p99", "p999", "moves_per_job")
COUNTS = ("jobs_submitted", "jobs_done", "jobs_lost", "jobs_refused", "jobs_left")
CRASH = "[crash]\nstart = 2\nend = 4\n"

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


def block(language: str) -> str:
    """The only block of code of the documentation in that language."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    return str(code)


@pytest.fixture(autouse=True)
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.toml"
    path.write_text(block("toml"))
    return path


def rows(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    assert main(["simulate", *argv, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    document = json.loads(out)
    assert set(document) == {"rows"}
    found: list[dict[str, Any]] = document["rows"]
    return found


def test_rows_are_those_of_the_contract_and_laws_get_the_same_jobs(capsys, tmp_path):
    found = rows(
        capsys,
        "scenario.toml",
        "--laws",
        "sed,none",
        "--load",
        ".85,.5",
        "--csv",
        "rows.csv",
        "--plot",
        "p.svg",
    )
    assert [(row["load"], row["law"], row["seed"]) for row in found] == [
        (load, law, seed) for load in (0.85, 0.5) for law in ("sed", "none") for seed in range(3)
    ]
    assert all(tuple(row) == FIELDS + COUNTS for row in found)
    for row in found:
        assert row["jobs_submitted"] == row["jobs_done"] > 0
        assert 0 < row["p50"] <= row["p99"] <= row["p999"]
        assert (row["moves_per_job"] > 0) == (row["law"] == "sed")
    submitted = [[row["jobs_submitted"] for row in found if row["law"] == law] for law in ("sed", "none")]
    assert submitted[0] == submitted[1]
    assert len(set(submitted[0])) > 1
    with (tmp_path / "rows.csv").open(newline="") as stream:
        written = list(csv.DictReader(stream))
    assert [{key: str(value) for key, value in row.items()} for row in found] == written
    plot = (tmp_path / "p.svg").read_text()
    assert plot.count("<polyline") == 2


def test_the_example_of_the_documentation_runs(capsys):
    names: dict[str, Any] = {}
    exec(compile(block("python"), str(DOCS), "exec"), names)
    mine, sed = names["mine"], names["sed"]
    assert "beside sed:" in capsys.readouterr().out
    assert (mine.law, sed.law) == ("least_work", "sed")
    assert [row["jobs_submitted"] for row in mine.rows] == [row["jobs_submitted"] for row in sed.rows]
    assert all(row["jobs_submitted"] == row["jobs_done"] for row in mine.rows)
    assert all(row["moves_per_job"] > 0 for row in mine.rows)
    fleet = np.asarray(mine.trace.fleet)
    assert [int((fleet == b).sum()) for b in range(3)] == [row["jobs_submitted"] for row in mine.rows]
    again = shivya.experiments.run(names["scenario"], law=names["least_work"], seeds=range(3))
    assert again.rows == mine.rows


def test_the_same_seeds_give_the_same_rows_in_another_process(capsys):
    argv = ["scenario.toml", "--laws", "sed", "--seeds", "3", "--seed0", "7", "--json"]
    here = rows(capsys, *argv)
    there = subprocess.run(
        [sys.executable, "-m", "shivya", "simulate", *argv], capture_output=True, text=True, check=True
    )
    assert there.stderr == ""
    assert json.loads(there.stdout)["rows"] == here
    assert [row["seed"] for row in here] == [7, 8, 9]
    assert rows(capsys, *argv[:-2], "8")[0] == here[1]


def test_losses_by_a_crash_are_reported_not_failed(capsys, scenario):
    scenario.write_text(scenario.read_text() + CRASH)
    found = rows(capsys, "scenario.toml", "--laws", "sed")
    for row in found:
        assert row["jobs_submitted"] == row["jobs_done"] + row["jobs_lost"] + row["jobs_refused"]
    assert sum(row["jobs_refused"] for row in found) > 0
    assert main(["simulate", "scenario.toml", "--laws", "sed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[-2:] == ["LOST", "REFUSED"]
    totals = [sum(row[key] for row in found) for key in ("jobs_lost", "jobs_refused")]
    assert [int(cell) for cell in lines[3].split()[-2:]] == totals


def test_a_recorded_trace_is_what_arrives(capsys, tmp_path, scenario):
    jobs = "\n".join(f"{i % 8},{0.5 + i * 0.01:.2f},{1 + i % 3}" for i in range(500))
    (tmp_path / "jobs.csv").write_text(f"node,time,size\n{jobs}\n")
    scenario.write_text(
        scenario.read_text().replace("load = 0.85", 'trace = "jobs.csv"\nrates = [20]\nshares = [1]')
    )
    found = rows(capsys, "scenario.toml", "--laws", "none")
    assert [row["jobs_done"] for row in found] == [500] * 3
    work = sum(1 + i % 3 for i in range(500))
    assert [row["load"] for row in found] == pytest.approx([work / (8 * 20 * 6)] * 3)
    assert main(["simulate", "scenario.toml", "--load", ".5"]) == 2
    assert "leave one out" in capsys.readouterr().err


def test_the_table_compares_with_sed_on_the_same_jobs(capsys):
    found = rows(capsys, "scenario.toml", "--laws", "sed,none")
    assert main(["simulate", "scenario.toml", "--laws", "none,sed"]) == 0
    title, _, heads, none, sed, _, note = capsys.readouterr().out.splitlines()
    assert title == "8 nodes, 5 s, load 0.85, seeds 0 to 2"
    assert re.split(r"  +", heads)[4:7] == ["P99.9", "P99/SED", "95 %"]
    p99 = {law: [row["p99"] for row in found if row["law"] == law] for law in ("sed", "none")}
    expected = math.prod(a / b for a, b in zip(p99["none"], p99["sed"], strict=True)) ** (1 / 3)
    ratio, interval = re.split(r"  +", none)[5:7]
    low, high = map(float, interval.split(" - "))
    assert float(ratio) == pytest.approx(expected, abs=0.006)
    assert low < expected < high
    assert re.split(r"  +", sed)[5:7] == ["1.00", "-"]
    assert note.startswith("means over 3 seeds")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_on_a_terminal_only(capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["simulate", "scenario.toml", "--laws", "none", "--json"]) == 0
    assert "draining none" in terminal.getvalue() and "100%" in terminal.getvalue()
    assert json.loads(capsys.readouterr().out)["rows"]


def test_progress_moves_within_a_run(capsys, monkeypatch):
    shown: list[tuple[str, float]] = []

    @contextmanager
    def watched():
        yield lambda what, share: shown.append((what, share))

    monkeypatch.setattr(simulate, "progress", watched)
    rows(capsys, "scenario.toml", "--laws", "none,sed")
    assert [what for what, _ in groupby(shown, lambda item: item[0])] == [
        f"{what} {law}" for law in ("none", "sed") for what in ("compiling", "simulating", "draining")
    ]
    shares = [share for _, share in shown]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert len({share for share in shares if 0 < share < 0.5}) >= 4
    assert len({share for share in shares if 0.5 < share < 1}) >= 4


INTERRUPTED = """
import os, signal, sys, threading
from shivya import experiments
from shivya.cli import main

measure, calls = experiments.measure, []

def stuck_at_the_second(fleets, law, params=None, told=None):
    calls.append(law)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait()
    return measure(fleets, law, params, told)

experiments.measure = stuck_at_the_second
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupt_ends_it_with_what_is_known():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "simulate", "scenario.toml", "--laws", "none,sed", "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130
    assert [row["law"] for row in json.loads(done.stdout)["rows"]] == ["none"] * 3
    assert done.stderr == "shivya simulate: interrupted, 1 of 2 runs are done\n"


def test_names_of_laws_are_those_of_the_kernels():
    from shivya_kernels.fleet import LAWS

    assert tuple(LAWS) == simulate.LAWS


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--laws", "sed,best"], "no law 'best'; there are none, random"),
        (["--plot", "p99.png"], "SVG only"),
        (["--plot", "absent/p99.svg"], "--plot cannot be written"),
        (["--csv", "."], "--csv cannot be written"),
        (["absent.toml"], "cannot read absent.toml"),
        (["--seconds", "1e6"], "below 2000 s"),
        (["--nodes", "100000"], "fewer --seeds"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_simulated_is_told_in_one_line(capsys, argv, words):
    assert main(["simulate", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--load", ".5,,.7"], "--load: must be a number greater than 0"),
        (["--load", "nan"], "--load"),
        (["--seeds", "0"], "--seeds: must be a whole number, 1 or more"),
        (["--seed0", "-1"], "--seed0"),
        (["--nodes", "many"], "--nodes"),
        (["--seconds", "0"], "--seconds"),
    ],
    ids=" ".join,
)
def test_flags_out_of_range(capsys, argv, words):
    with pytest.raises(SystemExit) as caught:
        main(["simulate", *argv])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_mistakes_are_told_before_jax_is_imported(scenario):
    scenario.write_text("[scenario]\nlaod = 1\n")
    program = (
        "import sys\nfrom shivya.cli import main\n"
        "codes = [main(['simulate', *argv]) for argv in (['--laws', 'x'], ['scenario.toml'])]\n"
        "assert codes == [2, 2], codes\n"
        "sys.exit(' '.join({'jax', 'numpy', 'rich'} & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_has_an_example_that_parses(capsys):
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    out = capsys.readouterr().out
    example = next(line for line in out.splitlines() if line.startswith("example: shivya "))
    options = parser().parse_args(example.removeprefix("example: shivya ").split())
    assert (options.command, options.load) == ("simulate", [0.5, 0.85])
