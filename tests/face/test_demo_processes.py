"""Real workers as processes, without a mesh; and what is left when their parent ends."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path

import pytest
from shivya.demo import children
from shivya.demo.children import Child, StartError
from shivya.demo.generator import Generator, Outcome
from shivya.demo.links import start_workers
from shivya.demo.messages import Done, Finish, Task
from shivya.demo.plan import Arrival, Plan

pytestmark = pytest.mark.processes

PARENT = """
    import asyncio, sys
    from pathlib import Path
    from shivya.demo import children
    from shivya.demo.interrupt import Interrupted, until_signalled
    from shivya.demo.links import start_workers

    async def main():
        started = []
        try:
            logs = Path(sys.argv[1])
            await start_workers((10.0, 20.0), burn=False, sockets=(None, None), logs=logs, started=started)
            print(*(child.process.pid for child in started), flush=True)
            await asyncio.Event().wait()
        finally:
            await children.stop(started)

    try:
        asyncio.run(until_signalled(main()))
    except Interrupted as stop:
        sys.exit(128 + stop.number)
"""


def quick_plan(jobs: int = 40) -> Plan:
    """Jobs for three nodes within a fifth of a second, most of them for the last, which is slow."""
    arrivals = tuple(Arrival(k / 200, min(k % 5, 2), 1.0, k) for k in range(jobs))
    return Plan(jobs / 200, (200.0, 200.0, 50.0), (40.0, 40.0, 120.0), hot=0, victim=2, arrivals=arrivals)


def run_phase(folder: Path, *, burn: bool = False, kill: bool = False) -> tuple[Outcome, list[Child]]:
    plan = quick_plan()
    started: list[Child] = []

    async def phase() -> Outcome:
        try:
            workers = await start_workers(
                plan.service_rates, burn=burn, sockets=(None, None, None), logs=folder, started=started
            )
            victim = workers[plan.victim].child
            return await Generator(plan, workers).run(victim.kill if kill else None)
        finally:
            await children.stop(started)

    return asyncio.run(phase()), started


@pytest.mark.parametrize("burn", [False, True])
def test_jobs_in_are_jobs_done(tmp_path: Path, burn: bool) -> None:
    outcome, started = run_phase(tmp_path, burn=burn)
    assert (outcome.submitted, outcome.done, outcome.lost, outcome.twice) == (40, 40, 0, 0)
    assert (outcome.resubmitted, outcome.moves) == (0, 0)
    assert [child.process.returncode for child in started] == [0, 0, 0], "each finished and ended by itself"
    assert min(outcome.waits) >= 1 / 200, "no job is done before its service time"


def test_killing_a_worker_loses_nothing(tmp_path: Path) -> None:
    outcome, started = run_phase(tmp_path, kill=True)
    assert (outcome.submitted, outcome.done, outcome.lost, outcome.twice) == (40, 40, 0, 0)
    assert outcome.dead == {2}
    assert outcome.resubmitted > 0, "the victim had a queue"
    assert started[2].process.returncode == -signal.SIGKILL


def test_a_worker_serves_a_hand_over_once(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        started: list[Child] = []
        try:
            (worker,) = await start_workers(
                (500.0,), burn=False, sockets=(None,), logs=tmp_path, started=started
            )
            task = Task(5, 1.0, attempt=0, hops=1)
            for sent in (task, task, Task(5, 1.0, attempt=1), task):
                worker.send(sent)
            worker.send(Finish())
            done = []
            while (message := await worker.next_message()) is not None:
                assert isinstance(message, Done)
                done.append(message.id)
            return done
        finally:
            await children.stop(started)

    assert asyncio.run(scenario()) == [5, 5], "the same hand-over once, another attempt once more"


def test_a_worker_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        started: list[Child] = []
        try:
            await start_workers(
                (float("nan"), 1.0), burn=False, sockets=(None, None), logs=tmp_path, started=started
            )
        finally:
            await children.stop(started)
            assert not any(child.alive for child in started)

    with pytest.raises(StartError, match=r"(?s)worker n1 did not start.*--rate"):
        asyncio.run(scenario())


def test_a_child_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"

    async def scenario() -> int | None:
        child = await children.start("deaf", [sys.executable, "-c", script], tmp_path / "log", pipes=True)
        assert child.process.stdout is not None
        await child.process.stdout.readline()
        await children.stop([child], grace=0.05)
        return child.process.returncode

    assert asyncio.run(scenario()) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="process file descriptors are Linux's")
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_no_process_survives_its_parent(tmp_path: Path, number: signal.Signals, status: int) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent, ExitStack() as stack:
        stack.callback(parent.kill)
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        ends = []
        for pid in pids:
            ends.append(os.pidfd_open(pid))
            stack.callback(os.close, ends[-1])
        parent.send_signal(number)
        assert parent.wait() == status
        for end in ends:  # readable once its process has ended
            assert select.select([end], [], [], 30)[0], "a worker runs on"
