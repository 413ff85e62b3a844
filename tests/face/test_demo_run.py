"""The whole demo with real daemons, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from shivya.demo import children, run
from shivya.demo.children import Child
from shivya.demo.fleet import Fleet
from shivya.demo.generator import Outcome
from shivya.demo.plan import make_plan
from shivya.demo.report import Display

DEMO = "from shivya.demo import run; raise SystemExit(run(3, 5.0, seed=1, kill=True, as_json=True))"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder with a path that is short enough for sockets, for all that the demo makes."""
    with tempfile.TemporaryDirectory(prefix="d-", dir="/tmp") as name:
        yield Path(name)


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DEMO],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that work in `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_both_phases_lose_nothing_though_a_node_is_killed(folder: Path) -> None:
    with start(folder) as demo:
        output, errors = demo.communicate()
    assert demo.returncode == 0, errors
    found = json.loads(output)
    assert found["jobs_submitted"] == found["jobs_done"] == 2 * len(make_plan(3, 5.0, 1).arrivals)
    assert (found["nodes"], found["jobs_lost"], found["jobs_twice"]) == (3, 0, 0)
    assert (found["killed"], found["workers_ended"]) == ("n3", 2)
    assert found["mesh"]["moves_per_job"] > 0
    assert found["mesh"]["p99"] > 0 and found["baseline"]["p99"] > 0
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []


@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_an_interrupt_leaves_nothing_behind(folder: Path) -> None:
    with start(folder) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if line.startswith("starting 2 more"):
                break
        assert processes_of(folder)
        demo.send_signal(signal.SIGINT)
        output, errors = demo.communicate()
    assert demo.returncode == 130, errors
    assert output == ""
    assert "stopped by SIGINT" in errors
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []


@pytest.mark.parametrize(("nodes", "seconds", "named"), [(1, 30.0, "--nodes"), (5, 1.0, "--seconds")])
def test_bad_arguments_start_nothing(
    nodes: int, seconds: float, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(nodes, seconds, 0, False, False) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and named in captured.err


@pytest.mark.processes
def test_twelve_nodes_start_though_none_links_with_all_others(folder: Path) -> None:
    async def meshed() -> Outcome:
        started: list[Child] = []
        display = Display(Console(quiet=True))
        fleet = Fleet(make_plan(12, 5.0, 0), False, False, display, folder, started, ("--no-law",))
        try:
            await fleet.daemons.start_all(display.say)
            return await fleet.phase("", meshed=True)
        finally:
            await children.stop(started)

    outcome = asyncio.run(meshed())
    assert outcome.done == outcome.submitted > 0 and outcome.twice == 0
    assert outcome.moves > 0
