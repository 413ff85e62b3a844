"""A shell in which the commands of a page are typed one after the other, in a home folder of its own."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from altered import altered

Run = Callable[[list[str]], tuple[int, str]]
"""Runs a command, without the word `shivya`, for its exit code and what it wrote."""
PATIENCE = 300.0  # seconds; a bound against hanging, not a claim

_READ_AND_RUN = """
while IFS= read -r line; do
  eval "$line" >"$HOME/.said/$((++typed))" 2>&1 </dev/null
  echo $?
done
"""
_FOREIGN = ("SHIVYA_", "XDG_", "RUNTIME_DIRECTORY", "STATE_DIRECTORY")
"""Variables of whoever runs the tests that a fresh home would not have."""
_DAEMON = re.compile(r"shivya (?:daemon|start)\b.*/(\d+)\.sock")
PROGRAMS = {
    "curl": "curl",
    "jq": "jq",
    "man": "man-db",
    "nc": "netcat-openbsd",
    "pgrep": "procps",
    "socat": "socat",
    "sqlite3": "sqlite3",
}
"""Programs that some lines need besides Shivya and a shell, and their packages in Debian."""


def variables(home: Path) -> dict[str, str]:
    """The environment of a fresh home; `shivya` is the one under test."""
    program = home / "bin" / "shivya"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m shivya "$@"\n')
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    own = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    return {**kept, **own, "MANPAGER": "cat", "TERM": "xterm-256color"}


class Terminal:
    """A bash that runs lines as pages show them, but for what `altered` replaces."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.known: dict[str, str] = {}
        """What was learnt on the way and stands in later lines: ids, addresses, ports."""
        self.lacking: list[str] = []
        """Programs that lines were left out for."""
        self.variables = variables(home)
        self._typed = 0
        (home / ".said").mkdir()
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-c", _READ_AND_RUN],
            cwd=home,
            env=self.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def play(self, script: Mapping[str, str]) -> None:
        """Type every line of a script; each must succeed and show its sign, a regular expression.

        What the named groups of a sign match stands for %name% in later lines.
        """
        for line, sign in script.items():
            lacking = [program for program in PROGRAMS if re.search(rf"\b{program} ", line)]
            lacking = [program for program in lacking if shutil.which(program) is None]
            if lacking:
                self.lacking += lacking
            else:
                self.type(line, sign)

    def type(self, line: str, sign: str = "") -> str:
        """Type one line, altered; return what it wrote. A daemon is waited for until it answers."""
        typed = self.altered(line)
        said = self.home / ".said" / str(self._typed + 1)
        code = self._run(typed)
        daemon = _DAEMON.search(typed)
        if daemon:
            self._until_said(said, sign)
            self._until_said(said, rf"socket \S+/{daemon[1]}\.sock")  # what is served besides is told before
            address = str(self.ask(daemon[1], "STATUS")["address"])
            self.known[daemon[1]] = address.rpartition(":")[2]
        text = said.read_text(encoding="utf-8")
        self.judge(line, sign, code, text)
        return text

    def inside(self, run: Run, script: Mapping[str, str]) -> None:
        """Like `play`, but by `run` instead of the shell."""
        for line, sign in script.items():
            code, text = run(shlex.split(self.altered(line))[1:])
            self.judge(line, sign, code, text)

    def altered(self, line: str) -> str:
        """What is typed for a line of a page."""
        return re.sub(r"%(\w+)%", lambda found: self.known[found[1]], altered(line))

    def judge(self, line: str, sign: str, code: int, text: str) -> None:
        """Whether a line did as its page says; what is learnt from it is kept."""
        found = re.search(sign, text, re.MULTILINE)
        assert code == 0, f"{line!r}, typed as {self.altered(line)!r}, exits with {code}: {text[-2000:]}"
        assert found, f"{line!r}, typed as {self.altered(line)!r}, does not show {sign!r}: {text[-2000:]}"
        self.known |= {name: value for name, value in found.groupdict().items() if value}

    def stop(self) -> None:
        """End the daemon that was started last, as a user would."""
        self.type("kill $!; wait $!")

    def ask(self, port: str, line: str) -> Any:
        """What the daemon of a port answers on its control socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.home / "shivya" / f"{port}.sock"))
            connection.sendall(line.encode() + b"\n")
            with connection.makefile() as lines:
                return json.loads(lines.readline())

    def until(self, holds: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Look again and again; to watch a daemon instead would give it the service that is watched."""
        end = time.monotonic() + patience
        while not holds():
            assert time.monotonic() < end, self._last_said()
            time.sleep(0.1)

    def _last_said(self) -> list[str]:
        """The ends of what the last lines wrote, to see why something never held."""
        files = sorted((self.home / ".said").iterdir(), key=lambda said: int(said.name))
        return [said.read_text(encoding="utf-8")[-2000:] for said in files[-4:]]

    def until_linked(self, *ports: str, to: int) -> None:
        """Wait until each of these daemons has so many neighbours."""
        for port in ports:
            self.until(
                lambda port=port: (
                    sum(link["state"] == "established" for link in self.ask(port, "STATUS")["links"]) >= to
                )
            )

    def close(self) -> None:
        """End everything that was started here, also what left the shell's process group."""
        for file in self.home.rglob("daemon.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()

    def _run(self, typed: str) -> int:
        assert self._shell.stdin and self._shell.stdout
        self._typed += 1
        self._shell.stdin.write(typed + "\n")
        ready = select.select([self._shell.stdout], [], [], PATIENCE)[0]
        assert ready, f"{typed!r} goes on for ever"
        return int(self._shell.stdout.readline())

    def _until_said(self, said: Path, sign: str) -> None:
        """Wait until the daemon started last has written its sign."""

        def written() -> bool:
            if re.search(sign, said.read_text(encoding="utf-8"), re.MULTILINE):
                return True
            assert not self._run("[ -z $! ] || kill -0 $!"), said.read_text(encoding="utf-8")
            return False

        self.until(written)
