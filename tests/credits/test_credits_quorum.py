"""Decisions by a fixed roster: exact thresholds, votes that count once, honesty, grants from the pool."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_people import MINUTE, NOW, RICH, Book

from shivya_daemon.ledgers.credits import (
    Aspect,
    Decision,
    Propose,
    Refusal,
    Score,
    Stake,
    Transfer,
    Vote,
    decide,
)
from shivya_daemon.ledgers.credits.quorum import KEPT
from shivya_daemon.ledgers.credits.reputation import ONE, Reputation

TWO_THIRDS = Fraction(2, 3)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ((0, 0), "pending"),
        ((1, 0), "pending"),
        ((1, 1), "pending"),
        ((2, 0), "approved"),
        ((2, 1), "approved"),
        ((0, 2), "rejected"),
        ((1, 2), "rejected"),
    ],
)
def test_two_of_three_are_two_thirds(votes: tuple[int, int], expected: str) -> None:
    assert decide(*votes, 3, TWO_THIRDS) is Decision(expected)


@pytest.mark.parametrize("members", [3, 10])
def test_when_all_have_voted_it_is_the_seeds_rule(golden: Path, members: int) -> None:
    """The seed counts absent votes against a proposal, so it knows no pending ones."""
    q = Fraction(67, 100)
    seed = json.loads((golden / "vudo.json").read_text())[f"seed_quorum_{members}_witnesses_0.67"]
    for approvals in range(members + 1):
        expected = Decision(seed[str(approvals)].lower())
        assert decide(approvals, members - approvals, members, q) is expected
        absent = decide(approvals, 0, members, q)
        assert absent is (expected if expected is Decision.APPROVED else Decision.PENDING)


@settings(deadline=None)
@given(st.integers(1, 1000), st.fractions(min_value=0, max_value=1).filter(bool), st.data())
def test_a_decision_is_final_and_exact(members: int, q: Fraction, data: st.DataObject) -> None:
    approvals = data.draw(st.integers(0, members))
    rejections = data.draw(st.integers(0, members - approvals))
    decision = decide(approvals, rejections, members, q)
    left = members - approvals - rejections
    later = {decide(approvals + more, members - approvals - more, members, q) for more in range(left + 1)}
    if decision is Decision.PENDING:
        assert later == {Decision.APPROVED, Decision.REJECTED}, "both are possible still"
    else:
        assert later == {decision}
    if approvals + rejections == members:
        assert (decision is Decision.APPROVED) == (Fraction(approvals, members) >= q)


def decision(book: Book, proposal: bytes) -> Decision:
    found = book.state.proposals.get(proposal)
    assert found is not None
    return found.decision


def test_the_pool_pays_what_the_roster_grants(book: Book) -> None:
    book.do(book.anna, Transfer(book.ben.key, 500_000))
    asked = book.do(book.anna, Propose("for the new rack", book.dora.key, 300, NOW + MINUTE))
    book.do(book.cleo, Vote(asked, True))
    assert decision(book, asked) is Decision.PENDING and book.balance(book.dora) == RICH
    book.do(book.ben, Vote(asked, True))
    assert decision(book, asked) is Decision.APPROVED
    assert book.balance(book.dora) == RICH + 300 and book.state.pool.balance == 200


def test_honesty_is_to_vote_as_was_decided(book: Book) -> None:
    asked = book.do(book.anna, Propose("?", book.dora.key, 0, NOW + MINUTE))
    book.do(book.ben, Vote(asked, False))
    book.do(book.anna, Vote(asked, True))
    book.do(book.cleo, Vote(asked, True))
    start = Reputation().honesty
    assert book.state.reputation(book.anna.key).honesty == start + (ONE - start) // 100
    assert book.state.reputation(book.ben.key).honesty == start * 4 // 5


def test_silence_rejects_at_the_deadline_and_not_before(book: Book) -> None:
    asked = book.do(book.anna, Propose("?", book.dora.key, 0, NOW + MINUTE))
    book.do(book.anna, Vote(asked, True))
    book.wait(MINUTE - 1)
    assert decision(book, asked) is Decision.PENDING
    book.wait(1)
    assert decision(book, asked) is Decision.REJECTED
    assert book.refused(book.ben, Vote(asked, True)) is Refusal.DECIDED
    book.wait(KEPT)
    assert book.state.proposals.get(asked) is None


def test_a_witness_needs_its_stake_and_gets_it_back(book: Book) -> None:
    book = Book(stake=100)
    assert book.refused(book.anna, Propose("?", book.dora.key, 0, NOW + MINUTE)) is Refusal.UNSTAKED
    for witness in (book.anna, book.ben):
        book.do(witness, Stake(100))
    assert book.available(book.anna) == RICH - 100
    asked = book.do(book.anna, Propose("?", book.dora.key, 0, NOW + MINUTE))
    book.do(book.ben, Vote(asked, True))
    assert book.refused(book.ben, Stake(0)) is Refusal.STAKE_IN_USE
    assert book.refused(book.cleo, Vote(asked, True)) is Refusal.UNSTAKED
    book.wait(MINUTE)
    book.do(book.ben, Stake(0))
    assert book.available(book.ben) == RICH


def test_reputation_is_slow_to_gain_and_quick_to_lose(book: Book, golden: Path) -> None:
    for one in json.loads((golden / "vudo.json").read_text())["reputation"]:
        assert Reputation(*(round(score * ONE) for score in one["in"])).aggregate == round(one["out"] * ONE)
    new = Reputation()
    assert new.aggregate == ONE // 2
    scores = [new]
    for _ in range(2000):
        scores.append(scores[-1].after(Aspect.DELIVERY, True))
    gains = [b.delivery - a.delivery for a, b in itertools.pairwise(scores)]
    assert gains == sorted(gains, reverse=True) and scores[-1].delivery <= ONE
    assert scores[-1].after(Aspect.DELIVERY, False).delivery <= ONE * 4 // 5
    assert scores[-1].uptime == new.uptime
    book.do(book.ben, Score(book.dora.key, Aspect.UPTIME, False))
    assert book.state.reputation(book.dora.key) == new.after(Aspect.UPTIME, False)
    assert book.refused(book.ben, Score(book.ben.key, Aspect.UPTIME, True)) is Refusal.SELF
    assert book.refused(book.ben, Score(book.dora.key, Aspect.HONESTY, True)) is Refusal.MALFORMED
