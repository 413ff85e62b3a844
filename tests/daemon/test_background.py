"""Daemons in the background and on terminals: started, seen by `shivya top`, told of, stopped."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from on_terminal import PATIENCE, OnTerminal

pytestmark = pytest.mark.processes
SHIVYA = (sys.executable, "-m", "shivya")
Start = Callable[..., Any]


def background(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    place = ("--socket", str(folder / "c.sock"), "--state-dir", str(folder / "state"))
    return subprocess.run(
        [*SHIVYA, "daemon", "--daemon", "--port", "0", *place, *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def ended(process: int) -> bool:
    """Wait until a process that is no child of ours has gone."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system cannot wait for another's process")
def test_a_daemon_in_the_background_says_where_it_is_and_refuses_a_second(tmp_path: Path) -> None:
    first = background(tmp_path)
    assert first.returncode == 0, first.stderr
    found = re.search(r"pid (\d+), socket (\S+), log (\S+)\n$", first.stdout)
    assert found, first.stdout
    process, log = int(found[1]), Path(found[3])
    try:
        assert found[2] == str(tmp_path / "c.sock")
        assert (tmp_path / "state" / "daemon.pid").read_text() == f"{process}\n"
        assert os.getsid(process) == process, "of its own session"
        status = subprocess.run(
            [*SHIVYA, "top", "--once", "--socket", found[2]],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        assert "CELL" in status.stdout and "\x1b" not in status.stdout

        second = background(tmp_path)
        assert second.returncode == 4
        assert found[2] in second.stderr and not second.stdout
    finally:
        os.kill(process, signal.SIGTERM)
    assert ended(process)
    assert not (tmp_path / "state" / "daemon.pid").exists()
    assert "SIGTERM: leaving the mesh" in log.read_text()


def test_what_keeps_a_daemon_from_starting_is_said_at_once(tmp_path: Path) -> None:
    done = background(tmp_path, "--peer", "no-such-host.invalid:1")
    assert done.returncode == 1
    assert "no-such-host.invalid" in done.stderr and not done.stdout
    refused = background(tmp_path, "--tui")
    assert refused.returncode == 2 and "--tui" in refused.stderr


def test_a_service_manager_hears_of_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE)
        manager.bind(str(tmp_path / "notify"))
        daemon = subprocess.Popen(
            [*SHIVYA, "daemon", "--no-tui", "--port", "0", "--socket", str(tmp_path / "c.sock")],
            env={
                **os.environ,
                "STATE_DIRECTORY": str(tmp_path / "state"),
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": "500000",
            },
            stderr=subprocess.DEVNULL,
        )
        try:
            assert manager.recv(4096).decode().startswith("READY=1\nSTATUS=starting; 0 peers, 0 links")
            assert manager.recv(4096).startswith(b"WATCHDOG=1\n")
            daemon.terminate()
            while not manager.recv(4096).startswith(b"STOPPING=1\n"):
                pass
            assert daemon.wait(PATIENCE) == 0
        finally:
            daemon.kill()
            daemon.wait()


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., OnTerminal]]:
    running: list[OnTerminal] = []

    def starter(*command: str, **size: int) -> OnTerminal:
        running.append(OnTerminal(*command, **size))
        return running[-1]

    yield starter
    for command in running:
        command.close()


def test_top_follows_keys_sizes_and_the_death_of_its_daemon(
    start: Start, on_terminal: Callable[..., OnTerminal]
) -> None:
    daemon = start("watched")
    daemon.until(lambda s: s["law"] == "running")  # JAX comes in then, and nothing else answers fast
    top = on_terminal(*SHIVYA, "top", "--socket", str(daemon.socket))
    top.until("\x1b[24;1H")
    assert not termios.tcgetattr(top.terminal)[3] & termios.ECHO
    top.type("?")
    top.until("stand still")
    top.type("?")
    top.size(200, 50)
    top.until("\x1b[50;1H")
    daemon.stop(signal.SIGKILL)
    top.until("GONE")
    top.type("q")
    assert top.ends() == 0
    assert top.written.endswith(b"\x1b[?1049l")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_top_gives_the_terminal_back_when_it_is_ended(
    start: Start, on_terminal: Callable[..., OnTerminal], number: signal.Signals
) -> None:
    daemon = start("watched")
    daemon.until(lambda s: s["law"] == "running")  # JAX comes in then, and nothing else answers fast
    top = on_terminal(*SHIVYA, "top", "--socket", str(daemon.socket))
    top.until("\x1b[24;1H")
    top.process.send_signal(number)
    assert top.ends() == 128 + number
    assert b"\x1b[?1049l" in top.written


def test_a_daemon_on_a_terminal_stops_at_the_second_q(
    tmp_path: Path, on_terminal: Callable[..., OnTerminal]
) -> None:
    place = ("--socket", str(tmp_path / "c.sock"), "--state-dir", str(tmp_path / "state"))
    daemon = on_terminal(*SHIVYA, "daemon", "--port", "0", *place)
    daemon.until("\x1b[24;1H")
    daemon.type("q")
    daemon.until("again stops this node")
    daemon.type("q")
    assert daemon.ends() == 0
    assert daemon.written.count(b"\x1b[?1049l") == 1


def test_top_without_a_daemon_or_a_terminal(start: Start, tmp_path: Path) -> None:
    def top(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [*SHIVYA, "top", *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    nobody = top("--once", "--socket", str(tmp_path / "none.sock"))
    assert nobody.returncode == 3 and "none.sock" in nobody.stderr
    piped = top("--socket", str(tmp_path / "none.sock"))
    assert piped.returncode == 2 and "--once" in piped.stderr
