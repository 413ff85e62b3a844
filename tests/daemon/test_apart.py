"""What a daemon calls is compiled by another process, once for all, and not longer than it is wanted."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from shivya_daemon.mind import apart
from shivya_daemon.mind.apart import CompilerKilled, compiled_apart

PATIENCE = 120.0  # seconds; a bound against hanging, not a claim


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that processes were started for; each succeeds."""
    seen: list[str] = []
    monkeypatch.setattr(apart, "_run", lambda part: seen.append(part) or 0)
    return seen


def test_a_part_is_compiled_once(tmp_path: Path, runs: list[str]) -> None:
    folder = tmp_path / "not" / "there"
    assert all(compiled_apart(part, folder) for part in ("law", "law", "study", "law", "study"))
    assert runs == ["law", "study"]


def test_a_new_version_compiles_anew(
    tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled_apart("law", tmp_path)
    monkeypatch.setattr(apart, "sources", lambda: "another")
    assert compiled_apart("law", tmp_path) and runs == ["law", "law"]


def test_what_failed_is_tried_again_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter([1, -signal.SIGSEGV, 0])
    monkeypatch.setattr(apart, "_run", lambda part: next(codes))
    assert [compiled_apart("law", tmp_path) for _ in range(4)] == [False, False, True, True]


def test_without_a_place_or_a_process_the_caller_compiles(
    tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert not compiled_apart("law", tmp_path / "file") and runs == []
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    assert not compiled_apart("law", tmp_path / "cache")


def test_of_two_who_want_it_one_has_it_done_and_the_other_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_want, seen, flock = threading.Semaphore(0), [], fcntl.flock

    def wait_for_lock(file: Any, how: int) -> None:
        both_want.release()
        flock(file, how)

    def run(part: str) -> int:
        seen.append(part)
        assert both_want.acquire(timeout=PATIENCE) and both_want.acquire(timeout=PATIENCE)
        return 0

    monkeypatch.setattr(apart.fcntl, "flock", wait_for_lock)
    monkeypatch.setattr(apart, "_run", run)
    done: list[bool] = []

    def want() -> None:
        done.append(compiled_apart("law", tmp_path))

    both = [threading.Thread(target=want) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(PATIENCE)
    assert done == [True, True] and seen == ["law"]


def test_what_killed_the_other_process_does_not_kill_this_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where memory is short it would be killed for the same, and jobs would have nobody to share them."""
    killed = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    monkeypatch.setattr(apart, "_command", lambda part: killed)
    for _ in range(2):
        with pytest.raises(CompilerKilled, match="for want of memory"):
            compiled_apart("law", tmp_path)


STAND_IN = """
from shivya_daemon.mind import apart, start
def work():
    with open({fifo!r}, "w") as said:
        print("works", file=said, flush=True)
        {then}
start.compile_law = work
apart.main("law")
"""
ASKS = """
import sys
from shivya_daemon.mind import apart
apart._command = lambda part: [sys.executable, "-c", {child!r}]
raise SystemExit(apart._run("law"))
"""


@pytest.fixture
def asks(tmp_path: Path) -> Iterator[Callable[[str], tuple[subprocess.Popen[bytes], BinaryIO]]]:
    """A process that has another do a work that ends with `then`; and what that one says while it lives."""
    with ExitStack() as running:

        def start(then: str) -> tuple[subprocess.Popen[bytes], BinaryIO]:
            fifo = tmp_path / "fifo"
            os.mkfifo(fifo)
            code = ASKS.format(child=STAND_IN.format(fifo=str(fifo), then=then))
            process = running.enter_context(subprocess.Popen([sys.executable, "-c", code]))
            running.callback(process.kill)
            return process, running.enter_context(fifo.open("rb"))

        yield start


@pytest.mark.parametrize(("then", "code"), [("pass", 0), ("raise SystemExit(3)", 3)])
def test_the_process_ends_with_its_work(asks: Any, then: str, code: int) -> None:
    process, said = asks(then)
    assert said.read() == b"works\n"
    assert process.wait(PATIENCE) == code


def test_the_process_ends_when_who_asked_is_killed(asks: Any) -> None:
    process, said = asks("import time; time.sleep(3600)")
    assert said.readline() == b"works\n"
    process.kill()
    assert said.read() == b"", "its end of the pipe is closed"
