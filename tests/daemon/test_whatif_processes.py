"""`shivya whatif` asks daemons that run: before any report, then with two nodes that have work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.processes


def whatif(daemon: Any, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shivya", "whatif", "--socket", str(daemon.socket), "--twins", "4"]
    return subprocess.run([*command, "--seconds", "2", *argv], capture_output=True, text=True)


def test_a_mesh_of_two_is_asked_what_if_one_fails(start: Any) -> None:
    a = start("a")
    refused = whatif(a)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "no reports yet" in refused.stderr and refused.stderr.count("\n") == 1

    b = start("b", a.address)
    for daemon in (a, b):
        daemon.until(lambda status: any(link["state"] == "established" for link in status["links"]))
        for _ in range(12):
            daemon.ask("ROUTE")
        assert daemon.ask("REPORT queue=3 servers=2") == {"ok": True}
    # b's flow may be announced a moment before the queue it reported after it: both have to be known
    a.until(lambda _: all(row["arrival_rate"] and row["queue"] for row in a.ask("KNOWN")["nodes"]))
    known = a.ask("KNOWN")
    assert [(row["name"], row["links_away"]) for row in known["nodes"]] == [("a", 0), ("b", 1)]
    assert [row["queue"] for row in known["nodes"]] == [3, 3] and known["unknown"] == []
    assert len(known["links"]) == 1

    done = whatif(a, "--fail", "b", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failed"] == [known["nodes"][1]["id"]]
    assert found["then"]["p99"]["median"] > 0 and found["then"]["moves_per_job"]["median"] >= 0
    assert [row["servers"] for row in found["nodes"]] == [2, 2]

    wrong = whatif(a, "--fail", "c")
    assert wrong.returncode == 2 and "known here are a, b" in wrong.stderr
    b.stop(signal.SIGKILL)
    a.until(lambda _: [row["name"] for row in a.ask("KNOWN")["unknown"]] == ["b"])
    assert [row["name"] for row in a.ask("KNOWN")["nodes"]] == ["a"]
