"""Runs both phases one after the other and cleans up whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from shivya.demo import children
from shivya.demo.children import Child, StartError
from shivya.demo.daemons import Daemons
from shivya.demo.generator import Generator, Outcome
from shivya.demo.links import node_name, start_workers
from shivya.demo.plan import Plan, make_plan
from shivya.demo.report import Display, closing_table, introduction, succeeded, summarize, verdict

_LONGEST_FOLDER = 60
"""Bytes of a temporary folder's path; a Unix socket inside must fit in about 100."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_demo(nodes: int, seconds: float, seed: int, kill: bool, as_json: bool) -> int:
    """See `shivya.demo.run`."""
    try:
        plan = make_plan(nodes, seconds, seed)
    except ValueError as error:
        sys.stderr.write(f"shivya demo: {error}\n")
        return 2
    burn = (os.cpu_count() or 1) >= 2 * nodes
    display = Display(Console(stderr=as_json))
    try:
        baseline, mesh = asyncio.run(_until_signalled(_both_phases(plan, burn, kill, display)))
    except StartError as error:
        sys.stderr.write(f"shivya demo: {error}\n")
        return 1
    except _Signalled as stop:
        sys.stderr.write(f"shivya demo: stopped by {stop.number.name}; all processes have ended\n")
        return 128 + stop.number
    summary = summarize(
        baseline,
        mesh,
        nodes=nodes,
        seconds=seconds,
        seed=seed,
        mode="burn" if burn else "wait",
        killed=node_name(plan.victim) if kill else None,
    )
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
    else:
        display.console.print(closing_table(summary))
        display.say(verdict(summary))
    return 0 if succeeded(summary) else 1


class _Signalled(Exception):
    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


async def _until_signalled(work: Coroutine[Any, Any, T]) -> T:
    """Do `work`; the first signal cancels it, and later ones do not disturb the cleaning up."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        received.append(number)
        if len(received) == 1:
            task.cancel()

    handled = _SIGNALS if threading.current_thread() is threading.main_thread() else ()
    for number in handled:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise _Signalled(received[0]) from None
        raise
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


async def _both_phases(plan: Plan, burn: bool, kill: bool, display: Display) -> tuple[Outcome, Outcome]:
    """Phase one without the mesh's advice, phase two with it; the daemons run in both."""
    started: list[Child] = []
    with tempfile.TemporaryDirectory(
        prefix="shivya-demo-", dir=_folder_for_sockets(), ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        daemons = Daemons(plan.service_rates, folder, started)
        try:
            with display.running():
                display.say(introduction(plan, burn, node_name(plan.victim) if kill else None))
                await daemons.start_all(display.say)
                baseline = await _phase("without the mesh", plan, burn, kill, daemons, False, display, started)
                if kill:
                    display.say(f"starting {node_name(plan.victim)} again")
                    await daemons.restart(plan.victim)
                    await daemons.wait_whole()
                mesh = await _phase("with the mesh", plan, burn, kill, daemons, True, display, started)
                return baseline, mesh
        finally:
            await children.stop(started)


async def _phase(
    label: str,
    plan: Plan,
    burn: bool,
    kill: bool,
    daemons: Daemons,
    meshed: bool,
    display: Display,
    started: list[Child],
) -> Outcome:
    """One phase with workers of its own, stopped at its end."""
