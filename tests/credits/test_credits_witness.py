"""A witness over a log that fails: nothing twice, nothing lost, refusals only in the latest state."""

from __future__ import annotations

import itertools
import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from faulty_log import FaultyLog
from ledger_people import NOW, RICH, Book, Person

from shivya_daemon.ledgers import credits
from shivya_daemon.ledgers.credits import Operation, Outcome, Posted, Refusal, Refused, Transfer
from shivya_daemon.ledgers.credits.audit import audit
from shivya_daemon.ledgers.credits.log import MAX_BATCH, Replica
from shivya_daemon.ledgers.credits.log_witness import LogWitness
from shivya_daemon.ledgers.credits.witness import CorruptLog, Trimmed, Unavailable


@pytest.fixture
def log(book: Book) -> FaultyLog:
    return FaultyLog(book.state)


def witness(log: FaultyLog, **settings: int) -> LogWitness:
    return LogWitness(log, clock=lambda: NOW, **settings)


def fail(message: str) -> Callable[[], None]:
    def now() -> None:
        raise Unavailable(message)

    return now


def pay(book: Book, payer: Person, payee: Person, amount: int) -> Operation:
    return payer.sign(Transfer(payee.key, amount), book.state.ledger)


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_an_operation_whose_answer_is_lost_takes_effect_once(book: Book, log: FaultyLog, lost: str) -> None:
    keeper = witness(log)
    operation = pay(book, book.anna, book.ben, 1000)
    if lost == "request":
        log.before = fail("no answer")
    else:
        log.after = fail("no answer")
    with pytest.raises(Unavailable, match="no answer"):
        keeper.submit(operation)
    log.before = log.after = lambda: None
    first = keeper.submit(operation)
    assert first == keeper.submit(operation) == Posted(1, 1)
    assert keeper.read().account(book.ben.key).balance == RICH + 1000
    assert len(log.kept) == 1


def test_a_refusal_counts_only_in_the_latest_state(book: Book, log: FaultyLog) -> None:
    one, other = witness(log), witness(log)
    everything = pay(book, book.ben, book.cleo, RICH + 400)
    assert other.submit(everything) == Refused(Refusal.OVERDRAWN)
    assert one.submit(pay(book, book.anna, book.ben, 3 * RICH // 4)) == Posted(1, 750_000)
    assert other.submit(everything) == Posted(2, 1_000_001), "it knows what the other has just written"
    assert one.read() == other.read()
    assert len(log.kept) == 2, "what is refused is not written"


class Announced(deque[Any]):
    """A queue that says when it grows."""

    def __init__(self) -> None:
        super().__init__()
        self.grown = threading.Semaphore(0)

    def append(self, item: object) -> None:
        super().append(item)
        self.grown.release()


def test_concurrent_operations_share_a_flush(book: Book, log: FaultyLog) -> None:
    keeper, started, go = witness(log), threading.Event(), threading.Event()

    def stall() -> None:
        started.set()
        assert go.wait(60)

    log.before = stall
    keeper._waiting = queue = Announced()
    operations = [pay(book, book.anna, book.ben, 1 + n) for n in range(MAX_BATCH + 2)]
    with ThreadPoolExecutor(len(operations)) as pool:
        answers = [pool.submit(keeper.submit, operations[0])]
        assert started.wait(60) and queue.grown.acquire(timeout=60)
        for operation in operations[1:]:
            answers.append(pool.submit(keeper.submit, operation))
            assert queue.grown.acquire(timeout=60)  # in this order: the counters of one sender must rise
        go.set()
    assert [answer.result() for answer in answers] == [Posted(n, 1) for n in range(1, len(operations) + 1)]
    entries = list(itertools.islice(keeper.watch(0), 3))
    assert [len(entry.operations) for entry in entries] == [1, MAX_BATCH, 1]


def test_too_many_waiting_are_turned_away(
    book: Book, log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shivya_daemon.ledgers.credits.log_witness.MAX_WAITING", 0)
    with pytest.raises(Unavailable, match="submit it again later"):
        witness(log).submit(pay(book, book.anna, book.ben, 1))


def test_witnesses_that_race_agree(book: Book, log: FaultyLog) -> None:
    """Three witnesses, twelve threads, faults at random: every acknowledged transfer once, none twice."""
    dice = random.Random(5)
    keepers = [witness(log, snapshot_every=50) for _ in range(3)]
    posted: list[tuple[Operation, Posted]] = []

    def unlucky() -> None:
        if dice.random() < 0.1:
            raise Unavailable("bad luck")

    log.before = log.after = unlucky
    operations = [
        (payer, [pay(book, payer, payee, 1 + n) for n in range(50)])
        for payer, payee in zip(book.people, book.people[1:] + book.people[:1], strict=True)
    ]

    def client(number: int, mine: list[Operation]) -> None:
        for turn, operation in enumerate(mine):
            for attempt in itertools.count():
                try:
                    outcome: Outcome = keepers[(number + turn + attempt) % 3].submit(operation)
                except Unavailable:
                    continue
                assert isinstance(outcome, Posted)
                posted.append((operation, outcome))
                break

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(client, n, mine) for n, (_, mine) in enumerate(operations)]:
            done.result()
    log.before = log.after = lambda: None
    states = [keeper.read() for keeper in keepers]
    assert states[0] == states[1] == states[2]
    assert credits.violations(states[0]) == [] and states[0].sequence == 200
    assert sorted(outcome.sequence for _, outcome in posted) == list(range(1, 201))
    assert audit(log, Replica.first(book.state)).state == states[0]
    order = [
        op.id for entry in itertools.islice(keepers[0].watch(0), len(log.kept)) for op in entry.operations
    ]
    assert all(order[outcome.sequence - 1] == operation.id for operation, outcome in posted)


def test_a_snapshot_is_where_others_go_on(book: Book, log: FaultyLog) -> None:
    keeper, late = witness(log, snapshot_every=4), witness(log)
    for _ in range(10):
        keeper.submit(pay(book, book.anna, book.ben, 5))
    assert log.saved.position == 8
    log.trimmed = 7
    assert late.read() == keeper.read() == witness(log).read()
    with pytest.raises(Trimmed, match="entry 1"):
        next(keeper.watch(0))
    assert next(keeper.watch(8)).position == 9


def test_a_snapshot_that_fails_does_not_fail_the_transfer(book: Book, log: FaultyLog) -> None:
    keeper = witness(log, snapshot_every=1)
    save, log.save = log.save, lambda snapshot: fail("no space")()  # type: ignore[method-assign]
    assert keeper.submit(pay(book, book.anna, book.ben, 5)) == Posted(1, 1)
    log.save = save  # type: ignore[method-assign]
    assert keeper.submit(pay(book, book.anna, book.ben, 5)) == Posted(2, 1)
    assert log.saved.position == 2


def test_watching_wakes_and_ends(book: Book, log: FaultyLog) -> None:
    keeper = witness(log)
    seen: list[int] = []
    came, ended = threading.Semaphore(0), threading.Event()

    def watch() -> None:
        for entry in keeper.watch(0):
            seen.append(entry.position)
            came.release()
        ended.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        keeper.submit(pay(book, book.anna, book.ben, 5))
        assert came.acquire(timeout=60)
    keeper.close()
    watcher.join(60)
    assert ended.is_set() and seen == [1, 2, 3]
    with pytest.raises(Unavailable, match="closed"):
        keeper.submit(pay(book, book.anna, book.ben, 5))


def test_damage_is_named(book: Book, log: FaultyLog) -> None:
    keeper = witness(log)
    for _ in range(4):
        keeper.submit(pay(book, book.anna, book.ben, 5))
    dice = random.Random(3)
    found = 0
    for _ in range(200):
        number = dice.randrange(3)
        good = log.kept[number]
        place = dice.randrange(len(good))
        log.kept[number] = good[:place] + bytes([good[place] ^ 1 << dice.randrange(8)]) + good[place + 1 :]
        with pytest.raises(CorruptLog, match=r"entry \d of the log") as caught:
            audit(log, Replica.first(book.state))
        named = int(str(caught.value).split()[1])
        assert number + 1 <= named <= number + 2, "it, or the next one, which no longer follows from it"
        found += named == number + 1
        log.kept[number] = good
    assert found > 150
    assert audit(log, Replica.first(book.state)).state == keeper.read()


def test_an_audit_sees_a_snapshot_that_lies(book: Book, log: FaultyLog) -> None:
    keeper = witness(log, snapshot_every=2)
    for _ in range(3):
        keeper.submit(pay(book, book.anna, book.ben, 5))
    start = Replica.first(book.state)
    honest = log.saved
    log.saved = Replica(honest.state.book(book.dora.key, credits_posted=1), honest.position, honest.chain)
    with pytest.raises(CorruptLog, match="the snapshot at position 2 is not what the log leads to"):
        audit(log, start)
    log.saved = honest
    del log.kept[1:]
    with pytest.raises(CorruptLog, match="the log ends at 1, before the snapshot at 2"):
        audit(log, start)
    start = log.saved = Replica(book.state.book(book.dora.key, credits_posted=1), 0, start.chain)
    with pytest.raises(CorruptLog, match="at entry 1 balances and pool add up to"):
        audit(log, start)


def test_an_entry_out_of_its_time_is_damage(book: Book, log: FaultyLog) -> None:
    keeper = witness(log)
    keeper.submit(pay(book, book.anna, book.ben, 5))
    behind = keeper.replica()
    _, _, entry = Replica(book.state, behind.position, behind.chain).attempt(
        [pay(book, book.anna, book.ben, 5)], NOW
    )
    assert entry is not None
    later = Replica(credits.advance(behind.state, NOW + 1), behind.position, behind.chain)
    with pytest.raises(CorruptLog, match="its time lies before"):
        later.follow(entry)
    richer = pay(book, book.ben, book.anna, RICH + 2)
    _, _, forged = Replica(book.state.book(book.ben.key, credits_posted=RICH), 1, behind.chain).attempt(
        [richer], NOW
    )
    assert forged is not None
    with pytest.raises(CorruptLog, match="is refused: the balance is less"):
        behind.follow(forged)
