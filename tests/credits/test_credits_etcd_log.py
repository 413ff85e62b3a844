"""The log in etcd, on a gateway in memory: lost answers, rivals, members that fail, snapshots in parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("httpx", reason="no etcd witness without httpx: pip install 'shivya[credits]'")

import httpx
from fake_etcd import FakeEtcd
from ledger_people import NOW, RICH, Book, Person

from shivya_daemon.ledgers.credits import Operation, Posted, Refusal, Refused, Transfer, etcd_witness
from shivya_daemon.ledgers.credits import state as states
from shivya_daemon.ledgers.credits.audit import audit
from shivya_daemon.ledgers.credits.etcd_gateway import Gateway, Patience
from shivya_daemon.ledgers.credits.etcd_witness import EtcdLog
from shivya_daemon.ledgers.credits.log import Replica
from shivya_daemon.ledgers.credits.log_witness import LogWitness
from shivya_daemon.ledgers.credits.witness import CorruptLog, Trimmed, Unavailable

HOSTS = ["http://one:2379", "http://two:2379", "http://three:2379/"]


def log(etcd: FakeEtcd, deadline: float = 60.0, tail: int = 1000) -> EtcdLog:
    return EtcdLog(Gateway(HOSTS, patience=Patience(deadline=deadline), transport=etcd), tail=tail)


def witness(where: EtcdLog, **settings: int) -> LogWitness:
    return LogWitness(where, clock=lambda: NOW, **settings)


@pytest.fixture
def etcd(book: Book) -> FakeEtcd:
    made = FakeEtcd()
    log(made).create(book.state)
    return made


def pay(book: Book, amount: int = 1000, payer: Person | None = None) -> Operation:
    return (payer or book.anna).sign(Transfer(book.ben.key, amount), book.state.ledger)


def once(error: Exception, on: str) -> Callable[[str, str], None]:
    """Raise `error` at the first call of this name."""
    left = [error]

    def trouble(host: str, call: str) -> None:
        if call == on and left:
            raise left.pop()

    return trouble


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_append_whose_answer_is_lost_is_repeated(book: Book, etcd: FakeEtcd, moment: str) -> None:
    keeper = witness(log(etcd))
    setattr(etcd, moment, once(httpx.ReadTimeout("no answer"), "kv/txn"))
    assert keeper.submit(pay(book)) == Posted(1, 1)
    hosts = [host for host, call in etcd.requests if call == "kv/txn"]
    assert hosts[-2] != hosts[-1], "the next member was asked"
    assert keeper.read().account(book.ben.key).balance == RICH + 1000
    assert audit(log(etcd), Replica.first(book.state)).position == 1


def test_a_rival_takes_the_position(book: Book, etcd: FakeEtcd) -> None:
    one, two = witness(log(etcd)), witness(log(etcd))
    assert one.submit(pay(book)) == Posted(1, 1)
    assert two.submit(pay(book)) == Posted(2, 1)
    assert one.read() == two.read()
    assert one.replica().position == 2


def test_an_answer_lost_and_a_rival_next(book: Book, etcd: FakeEtcd) -> None:
    """Our entry was written, the answer lost, and a rival wrote the next before we asked again."""
    one, two = witness(log(etcd)), witness(log(etcd))
    mine = pay(book)

    def rival(host: str, call: str) -> None:
        if call == "kv/txn":
            etcd.after = lambda host, call: None
            assert two.submit(pay(book, payer=book.cleo)) == Posted(2, 1)
            raise httpx.RemoteProtocolError("gone")

    etcd.after = rival
    assert one.submit(mine) == Posted(1, 1)
    assert two.submit(mine) == Posted(1, 1)
    assert one.read().sequence == 2


def test_nobody_answers(book: Book, etcd: FakeEtcd) -> None:
    keeper = witness(log(etcd, deadline=0.2))
    operation = pay(book)
    etcd.status = 503
    with pytest.raises(Unavailable, match=r"no member of etcd answers .*no leader.*majority"):
        keeper.submit(operation)
    with pytest.raises(Unavailable, match="no member"):
        keeper.read()
    assert {host for host, _ in etcd.requests[-6:]} == {"one", "two", "three"}
    etcd.status = 200
    assert keeper.submit(operation) == Posted(1, 1)


def test_a_request_that_is_wrong_is_not_repeated(book: Book, etcd: FakeEtcd) -> None:
    where = log(etcd)
    etcd.status, count = 429, len(etcd.requests)
    with pytest.raises(Unavailable, match="etcd refuses"):
        where.load()
    assert len(etcd.requests) == count + 1
    where.close()
    with pytest.raises(Unavailable, match="closed"):
        where.load()
    with pytest.raises(ValueError, match="at least one"):
        Gateway([])


def test_snapshots_come_in_parts_and_trim_what_they_hold(
    book: Book, etcd: FakeEtcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_witness, "_PART", 1000)
    keeper = witness(log(etcd, tail=2), snapshot_every=5)
    late, watcher = witness(log(etcd)), witness(log(etcd))
    for _ in range(13):
        keeper.submit(pay(book))
    names = [key.removeprefix(b"/shivya/credits/") for key in sorted(etcd.keys)]
    assert [int(name[4:]) for name in names if name.startswith(b"log/")] == list(range(8, 14))
    parts = [name for name in names if name.startswith(b"snapshot/")]
    assert len(parts) > 2 and len({name.split(b"/")[1] for name in parts}) == 1, "of one snapshot only"
    assert ("one", "kv/compaction") in etcd.requests
    assert late.read() == keeper.read() == witness(log(etcd)).read()
    assert late.submit(pay(book)) == Posted(14, 1)
    with pytest.raises(Trimmed):
        next(watcher.watch(3))
    assert [next(watcher.watch(after)).position for after in (7, 12)] == [8, 13]


def test_a_witness_that_slept_cannot_take_a_trimmed_position(book: Book, etcd: FakeEtcd) -> None:
    asleep, keeper = log(etcd), witness(log(etcd, tail=1), snapshot_every=2)
    for _ in range(6):
        keeper.submit(pay(book))
    assert not asleep.append(1, b"an entry from long ago")
    assert not asleep.append(3, b"an entry from long ago")
    assert not asleep.append(9, b"an entry from the future")
    assert keeper.submit(pay(book)) == Posted(7, 1)


def test_of_two_snapshots_at_a_time_one_stays(book: Book, etcd: FakeEtcd) -> None:
    where, keeper = log(etcd), witness(log(etcd))
    replicas = []
    for _ in range(3):
        keeper.submit(pay(book))
        replicas.append(keeper.replica())
    rival = log(etcd)

    def faster(host: str, call: str) -> None:
        if call == "kv/txn":
            etcd.before = lambda host, call: None
            rival.save(replicas[2])

    etcd.before = faster
    where.save(replicas[1])
    assert where.load() == replicas[2]
    assert sum(b"snapshot/" in key for key in etcd.keys) == 1, "nothing is left behind"
    where.save(replicas[0])
    assert where.load() == replicas[2], "an older one changes nothing"


def test_it_is_begun_once(book: Book, etcd: FakeEtcd) -> None:
    log(etcd).create(book.state)  # the same again is no other ledger
    with pytest.raises(FileExistsError, match="there is a ledger"):
        log(etcd).create(Book(stake=5).state)
    assert log(etcd).load() == Replica.first(book.state)
    assert sum(b"snapshot/" in key for key in etcd.keys) == 1
    with pytest.raises(FileNotFoundError, match="shivya credits init"):
        log(FakeEtcd()).load()


def test_damage_is_named(book: Book, etcd: FakeEtcd) -> None:
    keeper = witness(log(etcd))
    for _ in range(3):
        keeper.submit(pay(book))
    entry = etcd.keys[b"/shivya/credits/log/%020d" % 2]
    entry.data = entry.data.replace(b'"amount":1000', b'"amount":9999')
    with pytest.raises(CorruptLog, match="entry 2 of the log is damaged"):
        witness(log(etcd))
    part = next(value for key, value in etcd.keys.items() if b"snapshot/" in key)
    part.data = states.encode(book.state).replace(b'"minted"', b'"mintes"')
    with pytest.raises(CorruptLog, match="the snapshot at position 0 is damaged"):
        log(etcd).load()
    etcd.keys[b"/shivya/credits/snapshot"].data = b"{}"
    with pytest.raises(CorruptLog, match="snapshot in etcd is damaged"):
        log(etcd).load()
    etcd.keys.clear()
    with pytest.raises(Unavailable, match="no log"):
        keeper.read()


def test_refusals_need_the_latest_state(book: Book, etcd: FakeEtcd) -> None:
    one, two = witness(log(etcd)), witness(log(etcd))
    everything = book.ben.sign(Transfer(book.cleo.key, RICH + 500), book.state.ledger)
    assert two.submit(everything) == Refused(Refusal.OVERDRAWN)
    one.submit(pay(book, RICH // 2))
    assert two.submit(everything) == Posted(2, 1_000_001)
