"""Real daemons as processes on loopback: they meet, share load, notice a death, leave, survive noise."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes
Start = Callable[..., Any]
PATIENCE = 120.0  # seconds; a bound against hanging, not a claim


def names(status: dict[str, Any]) -> set[str]:
    return {peer["name"] for peer in status["peers"]}


def test_three_daemons_share_load_and_survive_a_death(start: Start) -> None:
    a = start("a")
    b = start("b", a.address)
    c = start("c", a.address)
    for daemon, others in ((a, {"b", "c"}), (b, {"a", "c"}), (c, {"a", "b"})):
        daemon.until(lambda s, others=others: names(s) == others)

    assert a.ask("REPORT queue=200 rate=10") == {"ok": True}
    status = a.until(lambda s: s["law"] == "running" and len(s["flows"]) == 2)
    assert sum(flow["rate"] for flow in status["flows"]) == pytest.approx(400 / 3, rel=0.01)
    assert status["cells"][0]["queue"] == 200, "what was reported stays as reported"
    b.until(lambda s: any(p["name"] == "a" and p["queue"] == 200 for p in s["peers"]))
    moves = a.ask("HANDOVER")["moves"]
    assert {move["name"] for move in moves} == {"b", "c"}
    assert 0 < sum(move["count"] for move in moves) <= 134

    c.stop(signal.SIGKILL)
    a.until(lambda s: names(s) == {"b"})
    a.until(lambda s: {flow["name"] for flow in s["flows"]} == {"b"})
    a.until(lambda s: s["traffic"].get("peers_silent") == 1)  # gossip takes longer to give a node up

    assert b.stop(signal.SIGTERM) == 0
    status = a.until(lambda s: not s["peers"])
    assert status["traffic"]["peers_left"] == 1, "told, not timed out"
    assert not b.socket.exists()
    assert a.stop(signal.SIGINT) == 0


def test_noise_is_counted_and_the_daemon_keeps_ticking(start: Start) -> None:
    daemon = start("noisy")
    host, port = daemon.address.rsplit(":", 1)
    before = daemon.until(lambda s: s["law"] == "running")["tick"]
    dice = random.Random(4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        for _ in range(3000):
            data = dice.randbytes(dice.randrange(200))
            attacker.sendto(data if dice.random() < 0.5 else b"SHVY" + data, (host, int(port)))
    status = daemon.until(lambda s: s["tick"] >= before + 5)
    assert status["drops"]["unknown_type"] > 0
    assert sum(status["drops"].values()) <= 3000
    assert status["peers"] == []


def test_a_port_and_a_socket_in_use_are_refused_with_a_remedy(start: Start, tmp_path: Path) -> None:
    daemon = start("first")
    port = int(daemon.address.rsplit(":", 1)[1])
    second = start("second", port=port)
    assert "--port" in second.first_line
    assert second.wait() == 1

    environment = {**os.environ, "SHIVYA_SOCKET": str(daemon.socket)}
    third = subprocess.run(
        [
            sys.executable,
            "-m",
            "shivya",
            "daemon",
            "--port",
            "0",
            "--state-dir",
            str(tmp_path / "third"),
            "--no-tui",
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert third.returncode == 4
    assert str(daemon.socket) in third.stderr
    assert daemon.ask("STATUS")["name"] == "first", "the one that was there still answers"


def test_the_identity_outlives_the_process(start: Start) -> None:
    first = start("same")
    node_id = first.ask("STATUS")["node_id"]
    first.stop()
    assert start("same").ask("STATUS")["node_id"] == node_id


def test_without_the_law_jobs_go_to_the_shortest_expected_delay_and_jax_stays_out(start: Start) -> None:
    a = start("a", flags=("--no-law",))
    b = start("b", a.address, flags=("--no-law",))
    assert b.ask("REPORT queue=0 rate=10") == a.ask("REPORT queue=1 rate=10") == {"ok": True}
    a.until(lambda s: a.ask("ROUTE")["to"] is not None)
    sent = [a.ask("ROUTE")["to"] for _ in range(20)]
    assert {to["name"] for to in sent if to} == {"b"} and None in sent, "both get some of twenty"
    status = a.ask("STATUS")
    assert (status["law"], status["status"], status["flows"]) == ("off", [], [])
    assert "jaxlib" not in Path(f"/proc/{a.process.pid}/maps").read_text()
