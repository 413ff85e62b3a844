"""Leases between real daemons: more than fits here, a holder that is killed, a provider that is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shivya

pytestmark = pytest.mark.processes
Start = Callable[..., Any]
PATIENCE = 120.0


@pytest.fixture
def pair(start: Start, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A node that lends little, and one that lends more, linked and ready to lend."""
    monkeypatch.setenv("SHIVYA_QUOTA_LEASE_TTL", "3")
    monkeypatch.setenv("SHIVYA_QUOTA_MAX_LATENCY", "30")  # a busy machine answers late
    monkeypatch.setenv("SHIVYA_QUOTA_MILLICORES", "1000")
    small = start("small")
    monkeypatch.setenv("SHIVYA_QUOTA_MILLICORES", "8000")
    large = start("large", small.address)
    for daemon in (small, large):
        daemon.until(lambda status: any(link["state"] == "established" for link in status["links"]))
        settled(daemon)
    return small, large


def settled(daemon: Any) -> None:
    """Wait until a daemon lends: it has run for longer than a lease can stay silent."""
    daemon.until(lambda status: status["uptime_seconds"] > 4.0)


def allocate(daemon: Any, amount: int, seconds: int = 600) -> dict[str, Any]:
    """Lease through the command line, again until gossip has told of the other node."""
    end = time.monotonic() + PATIENCE
    while True:
        command = [sys.executable, "-m", "shivya", "allocate", "millicores", str(amount)]
        command += ["--seconds", str(seconds), "--socket", str(daemon.socket), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode == 0:
            row: dict[str, Any] = json.loads(done.stdout)
            return row
        assert done.returncode == 4 and "\n" not in done.stderr.strip(), done.stderr
        assert time.monotonic() < end, done.stderr


def test_more_than_fits_here_is_held_there_and_comes_back(pair: tuple[Any, Any]) -> None:
    small, large = pair
    row = allocate(small, 2000)
    assert (row["state"], row["name"]) == ("held", "large")
    lent = large.ask("LEASES")["granted"]
    assert [(r["id"], r["name"], r["amount"]) for r in lent] == [(row["id"], "small", 2000)]
    assert small.ask("STATUS")["leases"]["held"][0]["id"] == row["id"]
    refused = small.ask("ALLOCATE resource=millicores amount=128000 seconds=5")["lease"]
    assert refused["state"] == "refused" and "free" in refused["reason"]
    with shivya.Client(socket=small.socket) as client:
        with client.allocate("millicores", 3000, seconds=6) as lease:
            assert lease.name == "large"
            assert sum(r["amount"] for r in large.ask("LEASES")["granted"]) == 5000
            assert not lease.lost.wait(8.0), "it is renewed while it is open"
        with pytest.raises(shivya.LeaseRefused, match="free"):
            client.allocate("millicores", 100_000)
    assert small.ask(f"RELEASE lease={row['id'][:8]}")["lease"]["reason"] == "released"
    large.until(lambda status: not status["leases"]["granted"])


def test_a_holder_that_is_killed_loses_its_lease(pair: tuple[Any, Any], tmp_path: Path) -> None:
    small, large = pair
    row = allocate(small, 2000)
    small.stop(signal.SIGKILL)
    status = large.until(lambda status: not status["leases"]["granted"])
    assert status["leases"]["quota"] == [{"resource": "millicores", "capacity": 8000, "taken": 0}]
    large.stop()
    ledger = [
        json.loads(line)["data"] for line in (tmp_path / "large").rglob("*.jsonl") for line in line.open()
    ]
    told = [entry for entry in ledger if entry.get("action") in ("LEASE_GRANTED", "LEASE_ENDED")]
    assert [(e["action"], e["details"]["lease"]) for e in told] == [
        ("LEASE_GRANTED", row["id"]),
        ("LEASE_ENDED", row["id"]),
    ]
    assert told[1]["details"]["reason"] == "silent"


def test_the_holder_is_told_when_the_provider_is_killed(pair: tuple[Any, Any]) -> None:
    small, large = pair
    with (
        shivya.Client(socket=small.socket) as client,
        client.allocate("millicores", 2000, seconds=60) as lease,
    ):
        assert lease.name == "large"
        large.stop(signal.SIGKILL)
        assert lease.lost.wait(PATIENCE)
        assert lease.reason == "silent"
    (row,) = small.ask("LEASES")["held"]
    assert (row["state"], row["reason"]) == ("over", "silent")
