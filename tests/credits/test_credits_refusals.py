"""Every reason to refuse is reached, by itself, and leaves the state untouched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from ledger_people import MINUTE, NOW, RICH, Book

from shivya_daemon.ledgers import credits
from shivya_daemon.ledgers.credits import (
    LIFETIME,
    LIMIT,
    Aspect,
    Buy,
    Offer,
    Open,
    Post,
    Propose,
    Publish,
    Refusal,
    Reserve,
    Score,
    Stake,
    State,
    Transfer,
    Vote,
)
from shivya_daemon.ledgers.credits.quorum import MAX_PROPOSALS, MAX_VOTING
from shivya_daemon.ledgers.credits.transfers import MAX_RESERVATION, MAX_RESERVATIONS

SPIRIT = b"\x07" * 32
NOBODY = b"\x00" * 15 + b"\x01"


def pay_all(book: Book) -> Transfer:
    amount = book.available(book.anna) * 1000 // 1001
    return Transfer(book.ben.key, amount)


def malformed(book: Book) -> Refusal:
    return book.refused(book.anna, Transfer(book.ben.key, -1))


def no_account(book: Book) -> Refusal:
    assert book.refused(book.stranger, Transfer(book.ben.key, 1)) is Refusal.NO_ACCOUNT
    return book.refused(book.anna, Transfer(book.stranger.key, 1))


def forged(book: Book) -> Refusal:
    operation = book.anna.sign(Transfer(book.ben.key, 1), book.state.ledger)
    outcome = book.apply(replace(operation, action=Transfer(book.ben.key, 2)))
    assert isinstance(outcome, credits.Refused)
    return outcome.reason


def replayed(book: Book) -> Refusal:
    operation = book.anna.sign(Transfer(book.ben.key, 5), book.state.ledger)
    first = book.apply(operation)
    book.wait(MINUTE)
    again = book.apply(operation)
    assert isinstance(again, credits.Refused) and again.first == first
    return again.reason


def id_taken(book: Book) -> Refusal:
    taken = book.do(book.anna, Transfer(book.ben.key, 5))
    assert book.refused(book.anna, Transfer(book.ben.key, 5), id=taken) is Refusal.ID_TAKEN
    return book.refused(book.ben, Transfer(book.anna.key, 5), id=taken)


def expired(book: Book) -> Refusal:
    return book.refused(book.anna, Transfer(book.ben.key, 1), expires=NOW)


def far_ahead(book: Book) -> Refusal:
    book.do(book.anna, Transfer(book.ben.key, 1), expires=NOW + LIFETIME)
    return book.refused(book.anna, Transfer(book.ben.key, 1), expires=NOW + LIFETIME + 1)


def stale(book: Book) -> Refusal:
    book.do(book.anna, Transfer(book.ben.key, 1), counter=7)
    assert book.refused(book.anna, Transfer(book.ben.key, 1), counter=7) is Refusal.STALE
    return book.refused(book.anna, Transfer(book.ben.key, 1), counter=6)


def nothing(book: Book) -> Refusal:
    return book.refused(book.anna, Transfer(book.ben.key, 0))


def to_self(book: Book) -> Refusal:
    return book.refused(book.anna, Transfer(book.anna.key, 1))


def overdrawn(book: Book) -> Refusal:
    """Double spend: the same credits, twice."""
    book.do(book.anna, pay_all(book))
    return book.refused(book.anna, Transfer(book.cleo.key, RICH // 2))


def locked(book: Book) -> Refusal:
    book.do(book.anna, Reserve(book.ben.key, RICH // 2, NOW + MINUTE, book.anna.key))
    return book.refused(book.anna, Transfer(book.ben.key, RICH // 2))


def overflow(book: Book) -> Refusal:
    account = book.state.account(book.ben.key)
    full = replace(account, credits_posted=LIMIT - 10, debits_posted=LIMIT - 10 - RICH)
    book.state = replace(book.state, accounts=book.state.accounts.set(book.ben.key, full))
    book.do(book.anna, Transfer(book.ben.key, 10))
    return book.refused(book.anna, Transfer(book.ben.key, 1))


def account_exists(book: Book) -> Refusal:
    return book.refused(book.anna, Open(book.ben.key))


def bad_deadline(book: Book) -> Refusal:
    for deadline in (NOW, NOW + MAX_RESERVATION + 1):
        action = Reserve(book.ben.key, 1, deadline, book.anna.key)
        assert book.refused(book.anna, action) is Refusal.BAD_DEADLINE
    return book.refused(book.anna, Propose("late", book.ben.key, 0, NOW + MAX_VOTING + 1))


def too_many(book: Book) -> Refusal:
    for _ in range(MAX_PROPOSALS):
        book.do(book.anna, Propose("again", book.ben.key, 0, NOW + MINUTE))
    assert book.refused(book.anna, Propose("again", book.ben.key, 0, NOW + MINUTE)) is Refusal.TOO_MANY
    reserve = Reserve(book.ben.key, 1, NOW + MINUTE, book.anna.key)
    for _ in range(MAX_RESERVATIONS):
        last = book.do(book.anna, reserve)
    assert book.refused(book.anna, reserve) is Refusal.TOO_MANY
    book.do(book.anna, Post(last, 1))
    book.do(book.anna, reserve)
    return book.refused(book.anna, reserve)


def no_reservation(book: Book) -> Refusal:
    held = book.do(book.anna, Reserve(book.ben.key, 5, NOW + MINUTE, book.anna.key))
    book.do(book.anna, Post(held, 2))
    return book.refused(book.anna, Post(held, 2))


def not_settler(book: Book) -> Refusal:
    held = book.do(book.anna, Reserve(book.ben.key, 5, NOW + MINUTE, book.cleo.key))
    assert book.refused(book.ben, Post(held, 5)) is Refusal.NOT_SETTLER
    assert book.refused(book.anna, credits.Void(held)) is Refusal.NOT_SETTLER
    return book.refused(book.anna, Post(held, 5))


def beyond_reservation(book: Book) -> Refusal:
    held = book.do(book.anna, Reserve(book.ben.key, 5, NOW + MINUTE, book.anna.key))
    return book.refused(book.anna, Post(held, 6))


def spirit_exists(book: Book) -> Refusal:
    book.do(book.anna, Publish(SPIRIT, 1))
    return book.refused(book.ben, Publish(SPIRIT, 1))


def no_spirit(book: Book) -> Refusal:
    assert book.refused(book.anna, Offer(SPIRIT, 1)) is Refusal.NO_SPIRIT
    return book.refused(book.anna, Buy(SPIRIT, 1))


def not_owner(book: Book) -> Refusal:
    book.do(book.anna, Publish(SPIRIT, 1))
    return book.refused(book.ben, Offer(SPIRIT, 0))


def not_for_sale(book: Book) -> Refusal:
    book.do(book.anna, Publish(SPIRIT, 0))
    return book.refused(book.ben, Buy(SPIRIT, 0))


def price_changed(book: Book) -> Refusal:
    book.do(book.anna, Publish(SPIRIT, 5))
    book.do(book.anna, Offer(SPIRIT, 6))
    assert book.refused(book.ben, Buy(SPIRIT, 7)) is Refusal.PRICE_CHANGED
    return book.refused(book.ben, Buy(SPIRIT, 5))


def not_witness(book: Book) -> Refusal:
    asked = book.do(book.anna, Propose("?", book.anna.key, 0, NOW + MINUTE))
    assert book.refused(book.dora, Vote(asked, True)) is Refusal.NOT_WITNESS
    assert book.refused(book.dora, Score(book.anna.key, Aspect.UPTIME, True)) is Refusal.NOT_WITNESS
    return book.refused(book.dora, Propose("?", book.anna.key, 0, NOW + MINUTE))


def unstaked(book: Book) -> Refusal:
    book.state = replace(book.state, stake=100)
    book.do(book.anna, Stake(99))
    return book.refused(book.anna, Propose("?", book.anna.key, 0, NOW + MINUTE))


def stake_in_use(book: Book) -> Refusal:
    book.do(book.anna, Stake(100))
    book.do(book.anna, Propose("?", book.anna.key, 0, NOW + MINUTE))
    return book.refused(book.anna, Stake(99))


def no_proposal(book: Book) -> Refusal:
    return book.refused(book.anna, Vote(NOBODY, True))


def decided(book: Book) -> Refusal:
    asked = book.do(book.anna, Propose("?", book.anna.key, 0, NOW + MINUTE))
    book.do(book.anna, Vote(asked, True))
    book.do(book.ben, Vote(asked, True))
    return book.refused(book.cleo, Vote(asked, True))


def voted(book: Book) -> Refusal:
    asked = book.do(book.anna, Propose("?", book.anna.key, 0, NOW + MINUTE))
    book.do(book.anna, Vote(asked, True))
    return book.refused(book.anna, Vote(asked, False))


def pool_short(book: Book) -> Refusal:
    asked = book.do(book.anna, Propose("?", book.dora.key, 1, NOW + MINUTE))
    book.do(book.anna, Vote(asked, True))
    return book.refused(book.ben, Vote(asked, True))


SCENES: dict[Refusal, Callable[[Book], Refusal]] = {
    Refusal.MALFORMED: malformed,
    Refusal.NO_ACCOUNT: no_account,
    Refusal.FORGED: forged,
    Refusal.REPLAYED: replayed,
    Refusal.ID_TAKEN: id_taken,
    Refusal.EXPIRED: expired,
    Refusal.FAR_AHEAD: far_ahead,
    Refusal.STALE: stale,
    Refusal.NOTHING: nothing,
    Refusal.SELF: to_self,
    Refusal.OVERDRAWN: overdrawn,
    Refusal.LOCKED: locked,
    Refusal.OVERFLOW: overflow,
    Refusal.ACCOUNT_EXISTS: account_exists,
    Refusal.BAD_DEADLINE: bad_deadline,
    Refusal.TOO_MANY: too_many,
    Refusal.NO_RESERVATION: no_reservation,
    Refusal.NOT_SETTLER: not_settler,
    Refusal.BEYOND_RESERVATION: beyond_reservation,
    Refusal.SPIRIT_EXISTS: spirit_exists,
    Refusal.NO_SPIRIT: no_spirit,
    Refusal.NOT_OWNER: not_owner,
    Refusal.NOT_FOR_SALE: not_for_sale,
    Refusal.PRICE_CHANGED: price_changed,
    Refusal.NOT_WITNESS: not_witness,
    Refusal.UNSTAKED: unstaked,
    Refusal.STAKE_IN_USE: stake_in_use,
    Refusal.NO_PROPOSAL: no_proposal,
    Refusal.DECIDED: decided,
    Refusal.VOTED: voted,
    Refusal.POOL_SHORT: pool_short,
}


@pytest.mark.parametrize("reason", Refusal, ids=lambda reason: reason.code)
def test_each_reason_is_reached(book: Book, reason: Refusal) -> None:
    assert SCENES[reason](book) is reason


def test_an_operation_of_another_ledger_is_forged(book: Book) -> None:
    other = State.genesis({book.anna.key: RICH, book.ben.key: RICH}, now=NOW)
    assert other.ledger != book.state.ledger
    operation = book.anna.sign(Transfer(book.ben.key, 1), other.ledger)
    assert isinstance(credits.apply(other, operation)[1], credits.Posted)
    assert credits.apply(book.state, operation)[1] == credits.Refused(Refusal.FORGED)


def test_an_old_operation_stays_refused_when_its_id_is_forgotten(book: Book) -> None:
    operation = book.anna.sign(Transfer(book.ben.key, 5), book.state.ledger, expires=NOW + LIFETIME)
    book.apply(operation)
    seen = []
    for _ in range(8):
        book.wait(LIFETIME // 2)
        outcome = book.apply(operation)
        assert isinstance(outcome, credits.Refused)
        seen.append(outcome.reason)
    assert seen[0] is Refusal.REPLAYED and seen[-1] is Refusal.EXPIRED
    assert book.state.receipt(operation.id) is None, "memory is bounded"
    assert book.balance(book.ben) == RICH + 5


def test_an_operation_that_could_still_take_effect_is_remembered(book: Book) -> None:
    for late in (0, LIFETIME // 3, LIFETIME - 2):
        book.wait(5 * LIFETIME)  # a period of memory begins, and the operation comes so late in it
        book.wait(late)
        operation = book.anna.sign(
            Transfer(book.ben.key, 5), book.state.ledger, expires=book.state.now + LIFETIME
        )
        first = book.apply(operation)
        for _ in range(7):
            book.wait(LIFETIME // 8)
            assert book.apply(operation) == credits.Refused(Refusal.REPLAYED, first)


@pytest.mark.parametrize(
    ("balances", "settings"),
    [
        ({b"\x01" * 32: -1}, {}),
        ({b"\x01" * 32: True}, {}),
        ({b"\x01" * 31: 1}, {}),
        ({b"\x01" * 32: LIMIT, b"\x02" * 32: 1}, {}),
        ({b"\x01" * 32: 1}, {"roster": [b"\x02" * 32]}),
        ({b"\x01" * 32: 1}, {"threshold": 0}),
        ({b"\x01" * 32: 1}, {"stake": -1}),
        ({b"\x01" * 32: 1}, {"now": 1.5}),
    ],
)
def test_no_ledger_begins_wrong(balances: dict[bytes, int], settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no genesis"):
        State.genesis(balances, **settings)  # type: ignore[arg-type]
