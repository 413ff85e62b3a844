"""Makes page.png, spirit.png and screen.svg: five real daemons with real load, as people see them.

    .venv/bin/python docs/images/make_screens.py [--scheme bio] [--width 1440 --height 900]

The page and the spirit are seen by a headless Chromium, the screen is what `shivya top` draws. Needs
Chromium, and pngquant to make the files small; takes about five minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import MONOKAI

from shivya_daemon.snapshot_reader import read_snapshot
from shivya_daemon.views.history import History
from shivya_daemon.views.screen import render

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "views"))
from browser import WEBGL, Tab, browsing  # noqa: E402

NAMES = ("harbour", "depot-1", "depot-2", "kiosk", "mast-7", "mast-8", "quay", "yard", "gate", "silo")
GROWN = 900.0  # seconds after which the organism should have found its food, on a busy machine too
RATES = (20.0, 40.0, 10.0, 25.0, 12.0)


class Node:
    """One daemon, its socket, and the load it is told of."""

    def __init__(self, folder: Path, i: int, seeds: list[str]) -> None:
        self.socket, self.rate = folder / f"{i}.sock", RATES[i % len(RATES)]
        flags = ["--port", "0", "--name", NAMES[i], "--socket", str(self.socket), "--no-tui"]
        flags += ["--state-dir", str(folder / str(i)), "--service-rate", str(self.rate)]
        flags += ["--visualize", "0"] if i == 0 else []
        for seed in seeds:
            flags += ["--peer", seed]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shivya", "daemon", *flags], stderr=subprocess.PIPE, text=True
        )
        self.link = ""
        self.address = ""
        assert self.process.stderr is not None
        while not self.address:
            line = self.process.stderr.readline()
            if not line:
                raise SystemExit(f"the daemon ended: {self.process.wait()}")
            self.link = found[0] if (found := re.search(r"http://\S+token=\S+", line)) else self.link
            self.address = found[1] if (found := re.search(r"on UDP (\S+),", line)) else ""

    def ask(self, line: str) -> dict[str, Any]:
        """Send one line to the control socket and return the answer."""
        with socket.socket(socket.AF_UNIX) as talk, talk.makefile() as answers:
            talk.connect(str(self.socket))
            talk.sendall(line.encode() + b"\n")
            answer: dict[str, Any] = json.loads(answers.readline())
        if "error" in answer:
            raise SystemExit(f"{line}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Stop the daemon."""
        self.process.terminate()
        self.process.communicate(timeout=30)


def load(nodes: list[Node], second: float) -> None:
    """Report queues that rise and fall, one node far above what it can do."""
    for i, node in enumerate(nodes):
        wave = 1.0 + 0.6 * math.sin(second / 9.0 + 1.7 * i)
        queue = int((5.0 if i == 0 else 0.5) * node.rate * wave)
        node.ask(f"REPORT queue={queue} servers=4 rate={node.rate}")


def run_for(nodes: list[Node], seconds: float, history: History) -> None:
    """Let the mesh work for a while, and note what the first node tells."""
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        load(nodes, passed)
        history.add(read_snapshot(nodes[0].ask("STATUS")))
        time.sleep(0.5)


def screen(node: Node, history: History, width: int, height: int) -> str:
    """Return what `shivya top` shows of a node, as SVG."""
    console = Console(
        record=True, width=width, file=io.StringIO(), color_system="truecolor", legacy_windows=False
    )
    snapshot = read_snapshot(node.ask("STATUS"))
    for line in render(snapshot, width, height, energies=history.energies):
        console.print(line, no_wrap=True, crop=True)
    svg = console.export_svg(title="shivya top", theme=MONOKAI, unique_id="screen")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # they would be fetched from elsewhere


def page(tab: Tab, node: Node, scheme: str, nodes: int) -> None:
    """Open the live page, in one scheme."""
    tab.go(node.link)
    tab.ask(f"localStorage.setItem('shivya.scheme', '{scheme}')")
    tab.go(node.link)
    tab.until(f"document.querySelectorAll('#labels button').length === {nodes}")


def grow(nodes: list[Node], history: History) -> None:
    """Summon the organism, and wait until it has found all food of the first node and is two minutes old."""
    nodes[0].ask("SUMMON name=physarum")
    end = time.monotonic() + GROWN
    while time.monotonic() < end:
        run_for(nodes, 2.0, history)
        spirit = nodes[0].ask("STATUS")["spirit"]
        if spirit and spirit["now"] > 120.0 and all(food[4] >= 0 for food in spirit["foods"]):
            return
    raise SystemExit(f"the spirit has not found its food in {GROWN:g} s")


def save(picture: bytes, name: str) -> None:
    """Write a PNG, small where pngquant is at hand, and say how large it is."""
    if shutil.which("pngquant"):
        command = ["pngquant", "256", "--speed", "1", "--strip", "-"]
        picture = subprocess.run(command, input=picture, capture_output=True, check=True).stdout
    path = HERE / name
    path.write_bytes(picture)
    sys.stdout.write(f"{name}: {path.stat().st_size} bytes\n")


def main() -> None:
    """Start the mesh and the browser, wait, and take the pictures."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--scheme", default="bio")
    options.add_argument("--nodes", type=int, default=5)
    options.add_argument("--width", type=int, default=1440)
    options.add_argument("--height", type=int, default=900)
    options.add_argument("--seconds", type=float, default=100.0, help="of work before the first picture")
    options.add_argument("--only", choices=("mesh", "spirit"), help="page and screen, or the spirit")
    given = options.parse_args()
    history = History()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o700)
        nodes: list[Node] = []
        for i in range(given.nodes):
            nodes.append(Node(folder, i, [node.address for node in nodes[:2]]))
            stack.callback(nodes[-1].close)
            # One after the other: JAX compiles on all cores.
            while nodes[-1].ask("STATUS")["law"] != "running":
                time.sleep(0.5)
        profile = folder / "profile"
        profile.mkdir()
        tab = stack.enter_context(browsing(profile, WEBGL))
        tab.size(given.width, given.height)
        page(tab, nodes[0], given.scheme, given.nodes)
        run_for(nodes, given.seconds, history)
        if given.only != "spirit":
            save(tab.picture(), "page.png")
            (HERE / "screen.svg").write_text(screen(nodes[0], history, 140, 38), encoding="utf-8")
        if given.only != "mesh":
            grow(nodes, history)
            tab.until("!document.querySelector('#show-spirit').hidden")
            tab.ask("document.querySelector('#show-spirit').click()")
            run_for(nodes, 20.0, history)
            inside = tab.inside()
            inside.until("Number(document.documentElement.dataset.painted) > 20")
            save(tab.picture(), "spirit.png")
            tab.errors += inside.errors
        if tab.errors:
            raise SystemExit("\n".join(tab.errors))


if __name__ == "__main__":
    main()
