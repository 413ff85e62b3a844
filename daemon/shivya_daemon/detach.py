"""`shivya daemon --daemon`: a process of its own session, which says that it serves before the shell goes on.

The process forks before there is an event loop, a thread or JAX in it. What goes wrong until it serves
is said by the process that was started; after that all goes to the log in the state directory.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shivya_daemon.settings import DaemonSettings, socket_path, state_directory

LOG_FILE, PID_FILE = "daemon.log", "daemon.pid"
_READY = b"\0"
_PATIENCE = 60.0
_PROBE_TIMEOUT = 1.0
_LONGEST = 64 * 1024
_FAILED, _REFUSED = 1, 4


@dataclass(frozen=True)
class Background:
    """What a daemon without a terminal has to do besides: say when it serves, and clean up."""

    directory: Path

    def ready(self, control: Path) -> None:
        """Tell the process that waits, and let go of it."""
        (self.directory / PID_FILE).write_text(f"{os.getpid()}\n")
        log = os.open(self.directory / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # it has gone
            os.write(2, _READY + os.fsencode(control))
        os.dup2(log, 2)
        os.close(log)

    def end(self) -> None:
        """Remove the file with the process id."""
        (self.directory / PID_FILE).unlink(missing_ok=True)


def start(settings: DaemonSettings, run: Callable[[DaemonSettings, Background], int]) -> int:
    """Have `run` called in a new process; return the exit code for the one that asked for it.

    Raises `SettingsError` for settings that name no state directory or socket.
    """
    directory = state_directory(settings).absolute()
    if settings.port and _answers(path := socket_path(settings.socket, settings.port)):
        remedy = "stop it or choose another --port or --socket"
        sys.stderr.write(f"shivya daemon: a daemon already answers on {path}; {remedy}\n")
        return _REFUSED
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            return _tell(child, _hear(pipe.fileno()), directory)
    try:
        os.close(reading)
        os.setsid()
        os.chdir("/")
        _redirect(writing)
        os._exit(run(settings, Background(directory)))
    except BaseException:  # whatever it is must not go on as a second copy of the command
        traceback.print_exc()
    finally:
        os._exit(_FAILED)


def _redirect(errors: int) -> None:
    """Point the standard descriptors away from the terminal; errors still go to the process that waits."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard, instead in enumerate((nothing, nothing, errors)):
        os.dup2(instead, standard)
    for spare in (nothing, errors):
        if spare > 2:
            os.close(spare)


def _hear(pipe: int) -> bytes | None:
    """Return all that the new process said until it served or ended; None if it did neither in time."""
    heard, end = b"", time.monotonic() + _PATIENCE
    while len(heard) < _LONGEST:
        readable, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
        if not readable:
            return None
        received = os.read(pipe, 4096)
        if not received:
            break
        heard += received
    return heard


def _tell(child: int, heard: bytes | None, directory: Path) -> int:
    log = directory / LOG_FILE
    if heard is None:
        sys.stderr.write(
            f"shivya daemon: process {child} does not come up; see {log}, or end it: kill {child}\n"
        )
        return _FAILED
    said, ready, control = heard.partition(_READY)
    sys.stderr.write(said.decode(errors="replace"))
    if ready:
        sys.stdout.write(f"shivya daemon runs: pid {child}, socket {os.fsdecode(control)}, log {log}\n")
        return 0
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) or _FAILED


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False
        return True
