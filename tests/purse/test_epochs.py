"""Helpers are paid by Shapley shares, from what was set aside, exactly and once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ledger_people import NOW, RICH, Book, Person
from paying_fleet import Ledger

from shivya_daemon.core.identity import node_id
from shivya_daemon.ledgers.credits import fee
from shivya_daemon.ledgers.credits.witness import Unavailable
from shivya_daemon.mind.pooling import pooling_shares
from shivya_daemon.purse.account import Account
from shivya_daemon.purse.epochs import EPOCH, Epochs, Outcome, settle_epoch
from shivya_daemon.purse.purse import Job

LIMIT = 1_000_000


def halves(players: Any) -> list[float]:
    """A game whose gain is the first backlog: half to who was relieved, the rest to the helpers alike."""
    gain = players[0][0]
    return [gain / 2, *(gain / 2 / (len(players) - 1) for _ in players[1:])]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Book().state, lambda: NOW)


def account(ledger: Ledger, person: Person) -> Account:
    return Account(ledger, person.identity, ledger.clock)


def game(book: Book, backlog: float) -> Any:
    return ((book.anna.key, backlog, 1.0), (book.ben.key, 0.0, 1.0), (book.cleo.key, 0.0, 1.0))


def settle(book: Book, ledger: Ledger, reserved: tuple[bytes, ...], number: int, **changes: Any) -> Outcome:
    given: dict[str, Any] = {"games": [game(book, 400.0)], "share": halves, "limit": LIMIT} | changes
    return settle_epoch(account(ledger, book.anna), reserved=reserved, number=number, **given)


def test_an_epoch_pays_from_what_was_set_aside_before_it(book: Book, ledger: Ledger) -> None:
    first = settle(book, ledger, (), 1)
    assert first.gain == 400.0 and first.paid == {} and len(first.reserved) == 2, "nothing was set aside yet"
    second = settle(book, ledger, first.reserved, 2)
    part = 400 * 1_000_000 // 7200 // 4 + 1  # half of the gain is waiting; two helpers have a half of it
    assert all(abs(paid - part) <= 1 for paid in second.paid.values()) and len(second.paid) == 2
    state = ledger.read()
    total = sum(second.paid.values())
    fees = sum(fee(paid) for paid in second.paid.values())
    assert state.account(book.anna.key).balance == RICH - total - fees
    assert state.account(book.ben.key).balance == RICH + second.paid[book.ben.key]
    assert state.pool.balance == fees and set(state.reservations) == set(second.reserved)


def test_the_same_epoch_twice_pays_and_reserves_once(book: Book, ledger: Ledger) -> None:
    first = settle(book, ledger, (), 1)
    settle(book, ledger, first.reserved, 2)
    before = ledger.read()
    again = settle(book, ledger, first.reserved, 2)
    assert ledger.read() == before and again.paid == {}


def test_an_answer_that_is_lost_changes_nothing_of_what_is_paid(book: Book, ledger: Ledger) -> None:
    first = settle(book, ledger, (), 1)
    moods = iter(["unanswered", "lost", "well", "unanswered"])
    ledger.mood = lambda: next(moods, "well")
    for _ in range(10):
        try:
            settle(book, ledger, first.reserved, 2)
            break
        except Unavailable:
            continue
    state = ledger.read()
    paid = sum(state.account(key).balance - RICH for key in (book.ben.key, book.cleo.key))
    assert paid == round(400 * 1_000_000 / 7200) - round(400 * 1_000_000 / 7200 / 2), "each once"
    assert len(state.reservations) == 2


def test_an_epoch_costs_no_more_than_its_limit_and_bad_shares_are_none(book: Book, ledger: Ledger) -> None:
    reserved: tuple[bytes, ...] = ()
    for number in range(1, 4):
        reserved = settle(book, ledger, reserved, number, games=[game(book, 1e9)]).reserved
        spent = ledger.read().account(book.anna.key).debits_pending
        assert 0 < spent <= LIMIT
    assert ledger.read().account(book.anna.key).debits_posted <= 2 * LIMIT
    nothing = settle(book, ledger, (), 9, share=lambda players: [float("nan")] * len(players))
    assert nothing == Outcome(0.0, {}, ())


def test_a_helper_without_an_account_is_left_out(book: Book, ledger: Ledger) -> None:
    stranger = ((book.anna.key, 40.0, 1.0), (book.stranger.key, 0.0, 1.0))
    assert settle(book, ledger, (), 1, games=[stranger]).reserved == ()


def test_what_is_passed_on_in_an_epoch_makes_its_game(book: Book) -> None:
    now, asked = [0.0], []
    helper = SimpleNamespace(id=node_id(book.ben.key), direct=True, service_rate=2.0, queue=3)
    idle = SimpleNamespace(id=node_id(book.cleo.key), direct=True, service_rate=2.0, queue=0)
    world = SimpleNamespace(vertices=(None, helper, idle))
    sent = {helper.id: 5}
    view = SimpleNamespace(name="default", sent=sent, queue=4, service_rate=1.0)
    keys = {helper.id: book.ben.key, idle.id: book.cleo.key}
    node: Any = SimpleNamespace(identity=book.anna.identity, public_key=keys.get)
    purse: Any = SimpleNamespace(ask=asked.append)
    epochs = Epochs(node, purse, lambda: now[0], lambda: NOW, LIMIT)

    def look(at: float) -> list[Job]:
        now[0] = at
        epochs.look([(world, view)])  # type: ignore[list-item]
        return asked

    assert look(0.0) == [], "no law runs"
    epochs.share = halves
    look(1.0)
    assert look(1.0 + EPOCH) == [], "nothing was passed on since the epoch began"
    sent[helper.id] = 12
    (job,) = look(1.0 + 2 * EPOCH)
    (found,) = job.work.keywords["games"]  # type: ignore[attr-defined]
    assert found == ((book.anna.key, 11.0, 1.0), (book.ben.key, 0.0, 2.0))
    assert look(90.0) == [job], "one at a time"
    job.done(Outcome(1.0, {book.ben.key: 7}, ()))
    assert epochs.paid == 7


def test_shares_of_the_law_are_those_of_pooling() -> None:
    shares = pooling_shares([(10.0, 1.0), (0.0, 1.0)])
    assert shares == pytest.approx([25.0, 25.0]) and sum(shares) == pytest.approx(50.0)
