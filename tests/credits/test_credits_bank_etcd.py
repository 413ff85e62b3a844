"""Three witnesses over three members of etcd: the bank, while leaders are killed and frozen."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import pytest

pytest.importorskip("httpx", reason="no etcd witness without httpx: pip install 'shivya[credits]'")

from bank import PATIENCE, Bank, Counter, check
from etcd_cluster import SHORT, Cluster, Member
from ledger_people import Book
from ledger_shell import Shell, leave_settings

from shivya_daemon.ledgers.credits import Operation, Posted, State, Transfer, etcd_witness, violations
from shivya_daemon.ledgers.credits.audit import audit
from shivya_daemon.ledgers.credits.etcd_gateway import Gateway
from shivya_daemon.ledgers.credits.etcd_witness import EtcdLog
from shivya_daemon.ledgers.credits.log_witness import LogWitness, on_this_machine
from shivya_daemon.ledgers.credits.witness import Trimmed

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if shutil.which("etcd") is None:
        pytest.skip("no etcd: apt-get install etcd-server")
    made = Cluster(tmp_path_factory.mktemp("etcd"))
    yield made
    made.close()


def log(cluster: Cluster, prefix: str, first: int = 0, **settings: int) -> EtcdLog:
    """Each witness begins with another member."""
    endpoints = cluster.endpoints[first:] + cluster.endpoints[:first]
    return EtcdLog(Gateway(endpoints, patience=SHORT), prefix, **settings)


def begin(cluster: Cluster, prefix: str, genesis: State) -> None:
    where = log(cluster, prefix)
    where.create(genesis)
    where.close()


class Nemesis:
    """Does one harm after the other to whoever leads, and undoes it before the next."""

    def __init__(self, cluster: Cluster) -> None:
        self.harms: Queue[bool] = Queue()
        self.done = 0
        self._cluster = cluster
        self._undo: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def close(self) -> None:
        self.harms.put(False)
        self._thread.join()

    def _work(self) -> None:
        harms = itertools.cycle([self._kill, self._freeze])
        while self.harms.get():
            self._undo()
            next(harms)(self._cluster.leader())
            self.done += 1
        self._undo()

    def _kill(self, leader: Member) -> None:
        self._cluster.kill(leader)
        self._undo = lambda: self._cluster.start(leader)

    def _freeze(self, leader: Member) -> None:
        self._cluster.stop(leader)
        self._undo = lambda: self._cluster.resume(leader)


def campaign(cluster: Cluster, prefix: str, transfers: int, every: int) -> None:
    nemesis = Nemesis(cluster)

    def deed(count: int) -> None:
        if count % every == every // 2:
            nemesis.harms.put(True)

    bank = Bank(transfers, deed, seed=1)
    begin(cluster, prefix, bank.genesis)
    keepers = [on_this_machine(log(cluster, prefix, first)) for first in range(3)]
    watching = on_this_machine(log(cluster, prefix))
    order = follow(watching)
    try:
        bank.run([Counter(keeper) for keeper in keepers])
    finally:
        nemesis.close()
    states = [keeper.read() for keeper in keepers]
    assert states[0] == states[1] == states[2]
    assert violations(states[0]) == []
    assert states[0].sequence == transfers == len(bank.sent)
    check(bank, [order.get(timeout=PATIENCE) for _ in range(transfers)])
    where = log(cluster, prefix)
    assert audit(where, where.load()).state == states[0]
    assert len(bank.reads) > transfers // 20
    assert nemesis.done >= 4
    for closing in (*keepers, watching, where):
        closing.close()


def follow(watching: LogWitness) -> Queue[Operation]:
    """All that takes effect, in order, while it does: snapshots trim the log."""
    order: Queue[Operation] = Queue()

    def work() -> None:
        for entry in watching.watch(0):
            for operation in entry.operations:
                order.put(operation)

    threading.Thread(target=work, daemon=True).start()
    return order


def test_no_transfer_is_lost_or_doubled(cluster: Cluster) -> None:
    campaign(cluster, "/bank/", transfers=2_000, every=450)


@pytest.mark.soak
def test_no_transfer_is_lost_or_doubled_in_a_long_run(cluster: Cluster) -> None:
    campaign(cluster, "/long/", transfers=20_000, every=1_000)


def test_watchers_wake_and_snapshots_trim(
    cluster: Cluster, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_witness, "_PART", 1_000)
    prefix, now = "/watched/", State.genesis({}).now
    begin(cluster, prefix, State.genesis({person.key: 10**9 for person in book.people}, now=now))
    keeper = LogWitness(
        log(cluster, prefix, tail=5),
        clock=lambda: now,
        snapshot_every=8,
    )
    watching = on_this_machine(log(cluster, prefix, 1))
    seen: Queue[int] = Queue()

    def watch() -> None:
        for entry in watching.watch(0):
            seen.put(entry.position)
            if entry.position == 20:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    ledger = keeper.read().ledger
    for position in range(1, 21):
        outcome = keeper.submit(book.anna.sign(Transfer(book.ben.key, 5), ledger, now))
        assert outcome == Posted(position, 1)
        assert seen.get(timeout=60) == position
    watcher.join()
    assert watching.read() == keeper.read()
    late = log(cluster, prefix, 2)
    assert late.load().position == 16
    with pytest.raises(Trimmed, match="entry 1 "):
        late.entries(0)
    assert not late.append(3, b"an entry from long ago")
    assert len(late.entries(10)) == 10
    early = log(cluster, prefix, tail=100)
    early.save(keeper.replica())
    assert early.load().position == 20 and len(early.entries(10)) == 10, "nothing to trim yet"
    early.close()
    for closing in (keeper, watching, late):
        closing.close()


def test_commands_speak_with_etcd(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_settings(tmp_path, monkeypatch)
    shell = Shell(capsys, ["--etcd", ",".join(cluster.endpoints)])
    with pytest.raises(FileNotFoundError, match="shivya credits init"):
        shell.run("anna", "credits", "history")
    shell.run("anna", "credits", "init", "--supply", "1000", "--witness", "me")
    ben = "ab" * 32
    shell.run("anna", "credits", "open", ben)
    shell.run("anna", "credits", "transfer", ben[:8], "10")
    monkeypatch.setenv("SHIVYA_ETCD", cluster.endpoints[1])
    other = Shell(capsys, [])
    (row,) = other.json("anna", "credits", "balance", ben)["accounts"]
    assert row["balance"] == row["available"] == 10_000_000
    assert [entry["sequence"] for entry in other.json("anna", "credits", "history")] == [1, 2]
    assert other.json("anna", "credits", "audit")["entries"] == 2
    asked = other.json("anna", "quorum", "propose", "shall we?")
    other.run("anna", "quorum", "vote", asked["id"], "no")
    assert other.json("anna", "quorum", "show")[0]["decision"] == "rejected"
