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
PATIENCE = 120.0  # seconds; a bound against hanging, not a claim
TTL = 12.0  # long enough that a busy machine silences nobody


@pytest.fixture
def pair(start: Start, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A node that lends little, and one that lends more, linked and ready to lend."""
    monkeypatch.setenv("SHIVYA_QUOTA_LEASE_TTL", str(TTL))
    monkeypatch.setenv("SHIVYA_QUOTA_MAX_LATENCY", "30")  # a busy machine answers late
    monkeypatch.setenv("SHIVYA_QUOTA_MILLICORES", "1000")
    small = start("small")
    monkeypatch.setenv("SHIVYA_QUOTA_MILLICORES", "8000")
    large = start("large", small.address)
    for daemon in (small, large):
        daemon.until(lambda status: any(link["state"] == "established" for link in status["links"]))
        daemon.until(lambda status: status["uptime_seconds"] > TTL + 1)
    return small, large


def patiently(allocate: Callable[[], Any]) -> Any:
    """Allocate, again until gossip has told what the other node has."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return allocate()
        except shivya.LeaseRefused as error:
            assert time.monotonic() < end, error
            time.sleep(0.2)


def by_command(daemon: Any, amount: int) -> dict[str, Any]:
    """Lease through the command line."""
    command = [sys.executable, "-m", "shivya", "allocate", "millicores", str(amount), "--seconds", "600"]
    done = subprocess.run(
        [*command, "--socket", str(daemon.socket), "--json"], capture_output=True, text=True, timeout=PATIENCE
    )
    if done.returncode:
        assert done.returncode == 4 and done.stderr.count("\n") == 1, done.stderr
        raise shivya.LeaseRefused(done.stderr)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def test_more_than_fits_here_is_held_there_and_comes_back(pair: tuple[Any, Any]) -> None:
    small, large = pair
    row = patiently(lambda: by_command(small, 2000))
    assert (row["state"], row["name"]) == ("held", "large")
    lent = large.ask("LEASES")["granted"]
    assert [(r["id"], r["name"], r["amount"]) for r in lent] == [(row["id"], "small", 2000)]
    assert small.ask("STATUS")["leases"]["held"][0]["id"] == row["id"]
    refused = small.ask("ALLOCATE resource=millicores amount=128000 seconds=5")["lease"]
    assert refused["state"] == "refused" and "free" in refused["reason"]
    with shivya.Client(socket=small.socket) as client:
        with patiently(lambda: client.allocate("millicores", 3000, 600)) as lease:
            assert lease.name == "large"
            assert sum(r["amount"] for r in large.ask("LEASES")["granted"]) == 5000
            lease.renew(900)
            large.until(lambda status: status["leases"]["granted"][-1]["seconds_left"] > 600)
        with pytest.raises(shivya.LeaseRefused, match="free"):
            client.allocate("millicores", 100_000)
    assert small.ask(f"RELEASE lease={row['id'][:8]}")["lease"]["reason"] == "released"
    large.until(lambda status: not status["leases"]["granted"])


def test_a_holder_that_is_killed_loses_its_lease(pair: tuple[Any, Any], tmp_path: Path) -> None:
    small, large = pair
    row = patiently(lambda: by_command(small, 2000))
    small.stop(signal.SIGKILL)
    status = large.until(lambda status: not status["leases"]["granted"])
    assert status["leases"]["quota"] == [{"resource": "millicores", "capacity": 8000, "taken": 0}]
    large.stop()
    told = [
        entry["details"] | {"action": entry["action"]}
        for file in (tmp_path / "large").rglob("ledger.jsonl")
        for line in file.read_text().splitlines()
        if str((entry := json.loads(line)["data"]).get("action")).startswith("LEASE_")
        if entry["details"]["lease"] == row["id"]
    ]
    assert [e["action"] for e in told] == ["LEASE_GRANTED", "LEASE_ENDED"]
    assert told[1]["reason"] == "silent"


def test_the_holder_is_told_when_the_provider_is_killed(pair: tuple[Any, Any]) -> None:
    small, large = pair
    with (
        shivya.Client(socket=small.socket) as client,
        patiently(lambda: client.allocate("millicores", 2000, 600)) as lease,
    ):
        assert lease.name == "large"
        large.stop(signal.SIGKILL)
        assert lease.lost.wait(PATIENCE)
        assert lease.reason == "silent"
    (row,) = [row for row in small.ask("LEASES")["held"] if row["id"] == lease.id]
    assert (row["state"], row["reason"]) == ("over", "silent")
