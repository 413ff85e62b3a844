"""The daemons of the demo: one for each node, on free ports of the loopback interface."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shivya.demo import children
from shivya.demo.children import Child, StartError
from shivya.demo.links import node_name

PATIENCE = 120.0
"""Seconds for a daemon or the mesh to come up; the first compilation takes the longest."""
LINKS = 6
"""That a daemon seeks, unless told otherwise."""
_MISSING = 2
"""Those that it asks may have theirs; with so many fewer it shares load as well."""
COMMAND = (sys.executable, "-m", "shivya", "daemon")
_POLL = 0.1
_MAX_LINE = 1 << 20


class Daemons:
    """Starts, asks, kills and restarts the daemons; all go into `started`."""

    def __init__(
        self,
        rates: Sequence[float],
        folder: Path,
        started: list[Child],
        options: Sequence[str] = (),
        links: int = LINKS,
    ) -> None:
        """`options` are further flags of the daemons; each seeks `links` others."""
        self.sockets = tuple(folder / f"{node_name(i)}.sock" for i in range(len(rates)))
        self._rates = rates
        self._folder = folder
        self._started = started
        self._options = ("--links", str(links), *options)
        self._enough = min(len(rates) - 1, max(links - _MISSING, 2))
        self._running: dict[int, Child] = {}

    async def start_all(self, say: Callable[[str], None]) -> None:
        """The first alone, so that it fills the compile cache; then the rest, which join it. StartError."""
        say("starting the first daemon (the first time ever it compiles the control step)")
        await self._start(0, ())
        first = await self._wait_until(0, _law_settled, "to run its control step")
        say(f"starting {len(self._rates) - 1} more")
        entry = (f"127.0.0.1:{first['port']}",)
        await children.side_by_side(self._start(node, entry) for node in range(1, len(self._rates)))
        await self.wait_whole()

    async def wait_whole(self) -> None:
        """Until every daemon runs its control step and lists all others. StartError."""
        others = len(self._rates) - 1
        for node in range(len(self._rates)):
            await self._wait_until(
                node,
                lambda status: _law_settled(status) and len(status.get("peers", ())) >= others,
                f"to list {others} peers",
            )

    async def wait_offered(self) -> None:
        """Until every daemon tells its clients a worker's address for each of its neighbours. StartError."""
        await children.side_by_side(self._wait_addresses(node) for node in range(len(self._rates)))

    async def kill(self, node: int) -> None:
        """SIGKILL."""
        await self._running.pop(node).kill()

    async def restart(self, node: int) -> None:
        """Start a killed daemon again with the same state; it joins through any other. StartError."""
        other = next(iter(self._running))
        status = await self._wait_until(other, _law_settled, "to run its control step")
        await self._start(node, (f"127.0.0.1:{status['port']}",))

    def ended(self) -> list[Child]:
        """Daemons that stopped running without being killed by us."""
        return [child for child in self._running.values() if not child.alive]

    async def _start(self, node: int, peers: Sequence[str]) -> None:
        name = node_name(node)
        command = [*COMMAND, "--no-tui", "--name", name]
        command += ["--port", "0", "--socket", str(self.sockets[node])]
        command += ["--state-dir", str(self._folder / name), "--service-rate", str(self._rates[node])]
        command += self._options
        for peer in peers:
            command += ["--peer", peer]
        log = self._folder / f"{name}.daemon.log"
        child = await children.start(f"daemon {name}", command, log, pipes=False)
        self._started.append(child)
        self._running[node] = child

    async def _wait_until(
        self, node: int, holds: Callable[[dict[str, Any]], bool], what: str
    ) -> dict[str, Any]:
        child = self._running[node]
        try:
            async with asyncio.timeout(PATIENCE):
                while child.alive:
                    status = await ask(self.sockets[node], "STATUS")
                    if status is not None and holds(status):
                        return status
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise StartError(f"waited {PATIENCE:g} s for {child.name} {what}\n{child.last_words()}") from None
        raise StartError(f"{child.name} ended with status {child.process.returncode}\n{child.last_words()}")

    async def _wait_addresses(self, node: int) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_unix_connection(self.sockets[node], limit=_MAX_LINE)
                try:
                    writer.write(b"WATCH service=default\n")
                    while line := await reader.readline():
                        rows = json.loads(line).get("table", {}).get("neighbours", ())
                        if len(rows) >= self._enough and all(row["address"] is not None for row in rows):
                            return
                finally:
                    writer.close()
        except TimeoutError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StartError(f"daemon {node_name(node)} does not answer its clients: {error}") from None
        raise StartError(
            f"daemon {node_name(node)} did not hear of {self._enough} workers within {PATIENCE:g} s"
        )


async def ask(socket: Path, line: str) -> dict[str, Any] | None:
    """Send one line to a control socket; the answer, or None when nobody answers (yet)."""
    try:
        async with asyncio.timeout(5.0):
            reader, writer = await asyncio.open_unix_connection(socket, limit=_MAX_LINE)
            try:
                writer.write(line.encode() + b"\n")
                answer = json.loads(await reader.readline())
            finally:
                writer.close()
    except (OSError, ValueError):  # a timeout is an OSError
        return None
    return answer if isinstance(answer, dict) else None


def _law_settled(status: dict[str, Any]) -> bool:
    return status.get("law") in ("running", "off")
