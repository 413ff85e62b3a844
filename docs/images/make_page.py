"""Makes docs/images/page.png: five real daemons with real load, seen by a headless Chromium.

    .venv/bin/python docs/images/make_page.py [--scheme bio] [--width 1440 --height 900] [--out FILE]

Needs Chromium, and pngquant to make the file small; takes about three minutes.
"""

from __future__ import annotations

import argparse
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

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "views"))
from browser import NO_WEBGL, WEBGL, browsing  # noqa: E402

NAMES = ("harbour", "depot-1", "depot-2", "kiosk", "mast-7", "mast-8", "quay", "yard", "gate", "silo")
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


def main() -> None:
    """Start the mesh and the browser, wait, and take the picture."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scheme", default="bio")
    options.add_argument("--nodes", type=int, default=5)
    options.add_argument("--width", type=int, default=1440)
    options.add_argument("--height", type=int, default=900)
    options.add_argument("--dense", type=float, default=1.0)
    options.add_argument("--seconds", type=float, default=100.0)
    options.add_argument("--svg", action="store_true", help="as a browser without WebGL shows it")
    options.add_argument("--choose", default="", help="a node whose details are open")
    options.add_argument("--out", type=Path, default=Path(__file__).with_name("page.png"))
    given = options.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o700)
        nodes: list[Node] = []
        for i in range(given.nodes):
            nodes.append(Node(folder, i, [node.address for node in nodes[:2]]))
            stack.callback(nodes[-1].close)
            while (
                nodes[-1].ask("STATUS")["law"] != "running"
            ):  # one after the other: JAX compiles on all cores
                time.sleep(0.5)
        profile = folder / "profile"
        profile.mkdir()
        tab = stack.enter_context(browsing(profile, NO_WEBGL if given.svg else WEBGL))
        tab.size(given.width, given.height, dense=given.dense)
        tab.go(nodes[0].link)
        tab.ask(f"localStorage.setItem('shivya.scheme', '{given.scheme}')")
        tab.go(nodes[0].link)
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < given.seconds:
            load(nodes, passed)
            time.sleep(0.5)
        tab.until(f"document.querySelectorAll('#labels button').length === {given.nodes}")
        if given.choose:
            tab.ask(
                "[...document.querySelectorAll('#labels button')]"
                f".find((b) => b.textContent.startsWith('{given.choose}')).click()"
            )
            time.sleep(2.0)
        picture = tab.picture()
        if shutil.which("pngquant"):
            command = ["pngquant", "256", "--speed", "1", "--strip", "-"]
            picture = subprocess.run(command, input=picture, capture_output=True, check=True).stdout
        given.out.write_bytes(picture)
        state = tab.ask("JSON.stringify({...document.documentElement.dataset})")
        sys.stdout.write(
            f"{given.out.name}: {given.out.stat().st_size} bytes; {state}; errors: {tab.errors}\n"
        )


if __name__ == "__main__":
    main()
