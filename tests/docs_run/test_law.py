"""Commands of the pages about a mesh whose law runs: one node with it, two without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest
from scripts import SCRIPTS
from terminal import Run, Terminal

from on_terminal import OnTerminal

pytestmark = pytest.mark.processes

COMPILED = 600.0  # seconds; a bound, too: without a compile cache a busy machine compiles for minutes
PORTS = ("8085", "8086", "8087")


def work_comes(terminal: Terminal) -> None:
    """A job a second and node, to be known for the next minute."""
    for port in PORTS:
        for service in ("default", "resize"):
            for _ in range(60):
                terminal.ask(port, f"ROUTE service={service}")


@pytest.fixture
def mesh(terminal: Terminal) -> Terminal:
    """The node of docs/configuration.md with its law, between two without one; all three have work."""
    terminal.type("export SHIVYA_NO_LAW=1")
    terminal.type("shivya daemon --port 8086 --name edge-2 --visualize", "node edge-2 ")
    terminal.type("shivya daemon --port 8087 --name edge-3 --peer 127.0.0.1:8086", "node edge-3 ")
    terminal.type("unset SHIVYA_NO_LAW; export SHIVYA_RECORD=$HOME/edge-1.record.gz")
    terminal.play(SCRIPTS["EDGE"])
    terminal.until(lambda: terminal.ask("8085", "STATUS")["law"] == "running", COMPILED)
    for port, queue in zip(PORTS, (40, 3, 3), strict=True):
        for service in ("default", "resize"):
            terminal.ask(port, f"REPORT queue={queue} rate=20 service={service}")
    terminal.until(lambda: len(terminal.ask("8085", "STATUS")["flows"]) > 0)
    return terminal


def test_a_mesh_with_its_law(mesh: Terminal, inside: Callable[[Terminal], Run]) -> None:
    for name in ("MESH", "GUARD"):
        mesh.play(SCRIPTS[name])
    look_into_the_ledger(mesh)
    look_on_screens(mesh)
    summon(mesh)
    work_comes(mesh)
    mesh.inside(inside(mesh), SCRIPTS["WHATIF"])
    for service in ("default", "resize"):
        mesh.ask("8085", f"REPORT queue=0 service={service}")
    mesh.play(SCRIPTS["DRAIN"])
    mesh.inside(inside(mesh), SCRIPTS["REPLAY"])


def look_into_the_ledger(mesh: Terminal) -> None:
    mesh.ask("8085", "INJECT anomalies=32")  # more than suspicion, less than what keeps a peer out
    ledger = mesh.home / ".local" / "state" / "shivya" / "8085" / "ledger"

    def proven() -> bool:
        entries = (ledger / "ledger.jsonl").read_text().splitlines()
        alert = next((i for i, entry in enumerate(entries) if '"ALERT"' in entry), len(entries))
        return bool(json.loads(mesh.type("shivya ledger verify --json"))["signed_length"] > alert)

    mesh.until(proven)
    shutil.copytree(ledger, mesh.home / "backup" / "edge-1" / "ledger")
    mesh.play(SCRIPTS["LEDGER"])


def look_on_screens(mesh: Terminal) -> None:
    for line, sign in SCRIPTS["TOP"].items():
        screen = OnTerminal("/bin/sh", "-c", f"exec {line}", env=mesh.variables)
        try:
            screen.until(sign)
            mesh.known["top"] = str(screen.process.pid)
            mesh.play(SCRIPTS["PERCENT"])
            screen.type("q")
            assert screen.ends() == 0
        finally:
            screen.close()


def summon(mesh: Terminal) -> None:
    mesh.play(SCRIPTS["SPIRIT"])
    mesh.until(lambda: mesh.ask("8085", "SPIRIT")["spirit"] is not None, COMPILED)
    mesh.play(SCRIPTS["ALIVE"])


def test_the_demo(terminal: Terminal) -> None:
    terminal.play(SCRIPTS["DEMO"])
