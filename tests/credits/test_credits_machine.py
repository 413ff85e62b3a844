"""The state machine: transfers in two phases, fees, spirits, time; whatever happens, the books balance."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ledger_people import MINUTE, NOW, RICH, Book, Person

from shivya_daemon.ledgers import credits
from shivya_daemon.ledgers.credits import (
    LIMIT,
    Account,
    Action,
    Aspect,
    Buy,
    Offer,
    Open,
    Operation,
    Outcome,
    Post,
    Posted,
    Propose,
    Publish,
    Refusal,
    Refused,
    Reserve,
    Score,
    Spirit,
    Stake,
    Transfer,
    Void,
    Vote,
    fee,
)
from shivya_daemon.ledgers.credits import state as states
from shivya_daemon.ledgers.credits.units import OPENING_FEE, PUBLISHING_FEE

SPIRITS = [bytes([n]) * 32 for n in range(3)]


@pytest.mark.parametrize(("amount", "expected"), [(1, 1), (999, 1), (1000, 1), (1001, 2), (10**12, 10**9)])
def test_the_fee_is_a_thousandth_rounded_up(book: Book, amount: int, expected: int) -> None:
    assert fee(amount) == expected
    if amount <= RICH // 2:
        outcome = book.attempt(book.anna, Transfer(book.ben.key, amount))
        assert outcome == Posted(sequence=1, fee=expected)
        assert book.balance(book.anna) == RICH - amount - expected
        assert book.balance(book.ben) == RICH + amount
        assert book.state.pool.balance == expected


def test_everything_can_be_spent_and_not_one_unit_more(book: Book) -> None:
    amount = RICH * 1000 // 1001
    while amount + 1 + fee(amount + 1) <= RICH:
        amount += 1
    assert book.refused(book.anna, Transfer(book.ben.key, amount + 1)) is Refusal.OVERDRAWN
    book.do(book.anna, Transfer(book.ben.key, amount))
    assert 0 <= book.balance(book.anna) <= 1


def test_reserve_then_post_in_part(book: Book) -> None:
    held = book.do(book.anna, Reserve(book.ben.key, 10_000, NOW + MINUTE, settler=book.ben.key))
    assert book.balance(book.anna) == RICH and book.available(book.anna) == RICH - 10_010
    assert book.state.account(book.ben.key).credits_pending == 10_000
    assert book.available(book.ben) == RICH, "what is promised cannot be spent"
    book.do(book.ben, Post(held, 2_001))
    assert book.balance(book.anna) == book.available(book.anna) == RICH - 2_001 - 3
    assert book.state.account(book.ben.key) == Account(
        credits_posted=RICH + 2_001, counter=book.ben.counter
    ), "nothing stays pending"
    assert book.state.pool == Account(credits_posted=3)


def test_a_void_or_late_reservation_costs_nothing(book: Book) -> None:
    voided = book.do(book.anna, Reserve(book.ben.key, 10_000, NOW + MINUTE, settler=book.ben.key))
    late = book.do(book.anna, Reserve(book.ben.key, 10_000, NOW + MINUTE, settler=book.ben.key))
    lasting = book.do(book.anna, Reserve(book.ben.key, 10_000, NOW + 2 * MINUTE, settler=book.ben.key))
    book.do(book.ben, Void(voided))
    book.wait(MINUTE - 1)
    assert list(book.state.reservations) == sorted([late, lasting])
    book.wait(1)
    assert list(book.state.reservations) == [lasting], "its time is over at the deadline, not after it"
    assert book.available(book.anna) == RICH - 10_010
    assert book.refused(book.ben, Post(late, 1)) is Refusal.NO_RESERVATION
    book.do(book.ben, Post(lasting, 10_000))
    assert book.available(book.anna) == RICH - 10_010 == book.balance(book.anna)


def test_an_account_is_opened_by_somebody_who_has_one(book: Book) -> None:
    book.do(book.anna, Open(book.stranger.key))
    assert book.balance(book.anna) == RICH - OPENING_FEE
    book.do(book.anna, Transfer(book.stranger.key, 5_000))
    book.do(book.stranger, Transfer(book.ben.key, 4_000))
    assert book.balance(book.stranger) == 996


def test_ownership_moves_with_the_payment_or_not_at_all(book: Book) -> None:
    spirit = SPIRITS[0]
    book.do(book.anna, Publish(spirit, price=2_000))
    assert book.balance(book.anna) == RICH - PUBLISHING_FEE
    book.do(book.ben, Stake(RICH - 2_001))
    assert book.refused(book.ben, Buy(spirit, 2_000)) is Refusal.LOCKED
    assert book.state.spirits.get(spirit) == Spirit(book.anna.key, 2_000)
    assert book.refused(book.anna, Buy(spirit, 2_000)) is Refusal.SELF
    book.do(book.ben, Stake(RICH - 2_002))
    book.do(book.ben, Buy(spirit, 2_000))
    assert book.state.spirits.get(spirit) == Spirit(book.ben.key, 0), "sold once, and off the market"
    assert book.balance(book.anna) == RICH - PUBLISHING_FEE + 2_000 and book.available(book.ben) == 0
    assert book.refused(book.cleo, Buy(spirit, 2_000)) is Refusal.NOT_FOR_SALE
    book.do(book.ben, Offer(spirit, 7))
    book.do(book.cleo, Buy(spirit, 7))


def test_the_example_of_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "credits.md").read_text()
    found: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], found)
    assert found["outcome"] == Posted(sequence=1, fee=5000)


def test_time_never_goes_back(book: Book) -> None:
    assert credits.advance(book.state, NOW - 1) is book.state
    assert credits.advance(book.state, NOW + 5).now == NOW + 5


@pytest.mark.parametrize("field", ["id", "sender", "counter", "expires", "action"])
def test_the_signature_covers_every_field_of_the_envelope(book: Book, field: str) -> None:
    operation = book.anna.sign(Transfer(book.ben.key, 5), book.state.ledger)
    other = {
        "id": b"\x05" * 16,
        "sender": book.ben.key,
        "counter": operation.counter + 1,
        "expires": operation.expires - 1,
        "action": Transfer(book.ben.key, 5, "other words"),
    }
    assert book.apply(replace(operation, **{field: other[field]})) == Refused(Refusal.FORGED)
    assert isinstance(book.apply(operation), Posted)


AMOUNTS = st.one_of(
    st.integers(0, 5), st.integers(0, 2 * RICH), st.sampled_from([LIMIT - 1, LIMIT, LIMIT + 1, -1])
)
WHO = st.integers(0, 3)
SPANS = st.integers(-1, 5 * MINUTE)


class Books(RuleBasedStateMachine):
    """Anybody does anything, and a second bookkeeper, who knows only money, must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(threshold=Fraction(1, 2))
        self.held: list[bytes] = []
        self.asked: list[bytes] = []
        self.sent: list[Operation] = []
        self.spent = {person.key: 0 for person in self.book.people}

    def attempt(self, who: Person, action: Action) -> Outcome:
        operation = who.sign(action, self.book.state.ledger, self.book.state.now)
        outcome = self.book.apply(operation)
        if isinstance(outcome, Posted):
            self.sent.append(operation)
        if outcome == Refused(Refusal.STALE):  # a forgotten refusal must not make all that follows stale
            raise AssertionError(operation)
        return outcome

    @rule(payer=WHO, payee=st.integers(0, 4), amount=AMOUNTS)
    def transfer(self, payer: int, payee: int, amount: int) -> None:
        people = [*self.book.people, self.book.stranger]
        free, exists = self.book.available(people[payer]), people[payee].key in self.book.state.accounts
        outcome = self.attempt(people[payer], Transfer(people[payee].key, amount))
        possible = amount > 0 and payer != payee and exists and amount + -(-amount // 1000) <= free
        assert isinstance(outcome, Posted) == possible, outcome

    @rule(payer=WHO, payee=WHO, settler=WHO, amount=AMOUNTS, span=SPANS)
    def reserve(self, payer: int, payee: int, settler: int, amount: int, span: int) -> None:
        people, now = self.book.people, self.book.state.now
        free = self.book.available(people[payer])
        action = Reserve(people[payee].key, amount, now + span, people[settler].key)
        outcome = self.attempt(people[payer], action)
        possible = amount > 0 and payer != payee and span > 0 and amount + -(-amount // 1000) <= free
        assert isinstance(outcome, Posted) == possible, outcome
        if possible:
            self.held.append(self.sent[-1].id)

    @precondition(lambda self: self.held)
    @rule(who=WHO, data=st.data(), amount=AMOUNTS)
    def post(self, who: int, data: st.DataObject, amount: int) -> None:
        held = data.draw(st.sampled_from(self.held))
        open_one = self.book.state.reservations.get(held)
        if open_one is not None and amount > open_one.amount:
            amount %= open_one.amount + 1
        outcome = self.attempt(self.book.people[who], Post(held, amount))
        may = open_one is not None and open_one.settler == self.book.people[who].key and amount > 0
        assert isinstance(outcome, Posted) == may, outcome

    @precondition(lambda self: self.held)
    @rule(who=WHO, data=st.data())
    def void(self, who: int, data: st.DataObject) -> None:
        self.attempt(self.book.people[who], Void(data.draw(st.sampled_from(self.held))))

    @rule(who=WHO, amount=AMOUNTS)
    def stake(self, who: int, amount: int) -> None:
        self.attempt(self.book.people[who], Stake(amount))

    @rule(
        who=WHO, spirit=st.sampled_from(SPIRITS), price=AMOUNTS, verb=st.sampled_from([Publish, Offer, Buy])
    )
    def trade(
        self, who: int, spirit: bytes, price: int, verb: type[Publish] | type[Offer] | type[Buy]
    ) -> None:
        offered = self.book.state.spirits.get(spirit)
        self.attempt(self.book.people[who], verb(spirit, offered.price if verb is Buy and offered else price))

    @rule(who=WHO, receiver=WHO, amount=st.integers(0, 100), span=SPANS)
    def propose(self, who: int, receiver: int, amount: int, span: int) -> None:
        action = Propose("grant", self.book.people[receiver].key, amount, self.book.state.now + span)
        if isinstance(self.attempt(self.book.people[who], action), Posted):
            self.asked.append(self.sent[-1].id)

    @precondition(lambda self: self.asked)
    @rule(who=WHO, data=st.data(), approve=st.booleans())
    def vote(self, who: int, data: st.DataObject, approve: bool) -> None:
        self.attempt(self.book.people[who], Vote(data.draw(st.sampled_from(self.asked)), approve))

    @rule(who=WHO, about=WHO, aspect=st.sampled_from(Aspect), success=st.booleans())
    def score(self, who: int, about: int, aspect: Aspect, success: bool) -> None:
        self.attempt(self.book.people[who], Score(self.book.people[about].key, aspect, success))

    @rule(milliseconds=st.integers(0, 3 * MINUTE) | st.integers(0, 10 * 24 * 60 * MINUTE))
    def wait(self, milliseconds: int) -> None:
        self.book.wait(milliseconds)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """What took effect once is refused for ever."""
        before = self.book.state
        outcome = self.book.apply(data.draw(st.sampled_from(self.sent)))
        assert isinstance(outcome, Refused) and outcome.reason in (Refusal.REPLAYED, Refusal.EXPIRED)
        assert self.book.state is before

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        state = self.book.state
        accounts = [*state.accounts.values(), state.pool]
        assert sum(a.credits_posted - a.debits_posted for a in accounts) == state.minted == 4 * RICH
        assert sum(a.debits_pending for a in accounts) == sum(a.credits_pending for a in accounts)
        assert sum(h.amount + fee(h.amount) for h in state.reservations.values()) == sum(
            a.debits_pending for a in accounts
        )
        assert all(a.available >= 0 for a in accounts)
        assert state.sequence == len(self.sent)
        assert all(h.deadline > state.now for h in state.reservations.values())

    def teardown(self) -> None:
        """Whoever applies the same operations at the same times has the same state; so has a snapshot."""
        assert states.decode(states.encode(self.book.state)) == self.book.state


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
