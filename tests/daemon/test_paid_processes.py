"""Leases paid for between three real daemons on one etcd: used and posted, given back, a provider killed."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx", reason="no etcd witness without httpx: pip install 'shivya[credits]'")
sys.path.append(str(Path(__file__).parents[1] / "credits"))
import shivya
from etcd_cluster import Cluster

from shivya_daemon.identityfile import load_or_create_identity
from shivya_daemon.ledgers import credits
from shivya_daemon.ledgers.credits.etcd_gateway import Gateway
from shivya_daemon.ledgers.credits.etcd_witness import EtcdLog
from shivya_daemon.ledgers.credits.log_witness import on_this_machine

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("etcd") is None, reason="no etcd here: apt-get install etcd-server"),
]
PATIENCE = 180.0  # seconds; a bound against hanging, not a claim
RICH = 1000 * credits.CREDIT
NAMES = ("small", "large", "spare")


class Ledger:
    """The ledger of the fleet, seen from outside."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.keys = {name: load_or_create_identity(folder / name).public_key for name in NAMES}
        genesis = credits.State.genesis(
            dict.fromkeys(self.keys.values(), RICH),
            roster=self.keys.values(),
            now=time.time_ns() // 1_000_000,
        )
        log = EtcdLog(Gateway(cluster.endpoints))
        log.create(genesis)
        self.witness = on_this_machine(log)

    def until(self, holds: Callable[[credits.State], bool]) -> credits.State:
        end = time.monotonic() + PATIENCE
        while not holds(state := self.witness.read()):
            assert time.monotonic() < end, state
            time.sleep(0.2)
        assert credits.violations(state) == []
        return state

    def account(self, name: str) -> credits.Account:
        return self.witness.read().account(self.keys[name])


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    (tmp_path / "etcd").mkdir()
    cluster = Cluster(tmp_path / "etcd")
    monkeypatch.setenv("SHIVYA_CREDITS_ETCD", ",".join(cluster.endpoints))
    monkeypatch.setenv("SHIVYA_QUOTA_LEASE_TTL", "8")
    monkeypatch.setenv("SHIVYA_QUOTA_MAX_LATENCY", "30")  # a busy machine answers late
    made = Ledger(cluster, tmp_path)
    yield made
    made.witness.close()
    cluster.close()


def patiently(allocate: Callable[[], shivya.leasing.Lease]) -> shivya.leasing.Lease:
    """Allocate, again until gossip has told what others have."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return allocate()
        except shivya.LeaseRefused as error:
            assert time.monotonic() < end, error
            time.sleep(0.5)


def test_what_is_used_is_paid_once_though_a_provider_is_killed(
    ledger: Ledger, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIVYA_QUOTA_MILLICORES", "1000")
    small = start("small", flags=("--no-law",))
    monkeypatch.setenv("SHIVYA_QUOTA_MILLICORES", "8000")
    others = {name: start(name, small.address, flags=("--no-law",)) for name in NAMES[1:]}
    for daemon in (small, *others.values()):
        daemon.until(lambda status: len(status["peers"]) == 2)
        daemon.until(lambda status: status["credits"]["open"] and status["credits"]["balance"] == RICH)
    client = shivya.Client(socket=small.socket)

    lease = patiently(lambda: client.allocate("millicores", 4000, 600))
    whole = lease.price
    assert lease.name in others and whole == 3200 * 600 * 1_000_000 // (1000 * 3600) + 1
    assert ledger.account("small").debits_pending == whole + credits.fee(whole)
    lease.release()
    state = ledger.until(lambda state: not state.reservations)
    paid = ledger.account(lease.name).credits_posted - RICH
    assert 0 < paid < whole, "what was used, and no more"
    assert ledger.account("small").balance == RICH - paid - credits.fee(paid)
    small.until(lambda status: status["credits"]["balance"] == RICH - paid - credits.fee(paid))

    with client.allocate("millicores", 4000, 600) as second:
        killed = others.pop(second.name)
        killed.stop(signal.SIGKILL)
        assert second.lost.wait(PATIENCE) and second.reason == "silent"
    (left,) = others
    third = patiently(lambda: client.allocate("millicores", 4000, 600))
    assert third.name == left, "the other one lends, and is paid"
    assert len(ledger.witness.read().reservations) == 2
    ledger.until(lambda state: state.reputation(ledger.keys[second.name]).delivery < 500_000_000)
    others[second.name] = start(second.name, small.address, flags=("--no-law",))
    state = ledger.until(lambda state: len(state.reservations) == 1)
    assert next(iter(state.reservations.values())).payee == ledger.keys[left]
    third.release()
    state = ledger.until(lambda state: not state.reservations)
    balances = [state.account(key).balance for key in ledger.keys.values()]
    assert sum(balances) + state.pool.balance == state.minted == 3 * RICH
    answer = small.ask("CREDITS")
    assert answer["on"] and answer["account"] == ledger.keys["small"].hex() and answer["trouble"] is None


def test_a_relieved_node_pays_its_helper_what_both_agree_on_to_the_last_unit(
    ledger: Ledger, start: Callable[..., Any]
) -> None:
    hot = start("small")
    cold = start("large", hot.address, flags=("--no-law",))
    hot.until(lambda status: status["law"] == "running")  # it computes who is owed what
    for daemon in (hot, cold):
        daemon.until(lambda status: status["credits"]["open"])
        daemon.until(lambda status: any(link["state"] == "established" for link in status["links"]))
    cold.ask("REPORT queue=0 servers=1 rate=20")
    end = time.monotonic() + PATIENCE
    while not hot.ask("CREDITS")["paid_to_helpers"]:
        assert time.monotonic() < end, hot.ask("STATUS")
        hot.ask("REPORT queue=40 servers=1 rate=10")
        moved = sum(hot.ask("ROUTE")["to"] is not None for _ in range(5))
        if moved:
            cold.ask(f"ACCEPT from=small count={moved}")
            cold.ask(f"DONE count={moved}")
            cold.ask("REPORT queue=0")
        time.sleep(0.1)
    hot.process.send_signal(signal.SIGSTOP)
    state = ledger.until(lambda state: True)
    relieved, helper = (state.account(ledger.keys[name]) for name in ("small", "large"))
    assert helper.balance > RICH
    assert relieved.balance + helper.balance + state.pool.balance == 2 * RICH, "what one lost the other got"
    assert relieved.debits_posted == helper.balance - RICH + state.pool.balance
    hot.process.send_signal(signal.SIGCONT)
