"""Child processes that cannot be left behind: tied to this one, in sessions of their own, with logs in files.

A session of its own keeps Ctrl-C at the terminal with the parent, which then stops the children in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""


class StartError(RuntimeError):
    """A part of the demo did not come up; the text says which, and what it said last."""


@dataclass(frozen=True)
class Child:
    """A started process, its name for messages, and the file that holds what it wrote to stderr."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.returncode is None

    async def kill(self) -> None:
        """SIGKILL to the process and whatever it started; returns when it is dead."""
        self.signal(signal.SIGKILL)
        await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child's process group, if it still lives."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


async def start(name: str, command: Sequence[str], log: Path, *, pipes: bool, limit: int = 1 << 16) -> Child:
    """Start `command`; with `pipes` its stdin and stdout are pipes to us, else stdout goes to the log too."""
    tethered = [sys.executable, "-m", "shivya.demo.tether", str(os.getpid()), *command]
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            *tethered,
            stdin=asyncio.subprocess.PIPE if pipes else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if pipes else sink,
            stderr=sink,
            start_new_session=True,
            limit=limit,
        )
    return Child(name, process, log)


async def stop(children: Sequence[Child], grace: float = GRACE) -> None:
    """Ask all to end, wait up to `grace` seconds, kill the rest; none is alive afterwards."""
    for child in children:
        child.signal(signal.SIGTERM)
    living = [asyncio.create_task(child.process.wait()) for child in children if child.alive]
    try:
        if living:
            await asyncio.wait(living, timeout=grace)
    finally:  # also when this is cancelled while it waits
        for child in children:
            child.signal(signal.SIGKILL)
    if living:
        await asyncio.wait(living)


async def side_by_side(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of `work` at once; the first error ends the others before it is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(item) for item in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
