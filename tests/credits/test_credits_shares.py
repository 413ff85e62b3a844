"""Shares become whole amounts that add up, and pay the helpers of an epoch."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_people import MINUTE, NOW, RICH, Book

from shivya_daemon.ledgers.credits import Post, Reserve, Void, apportion, settlement

KEYS = st.binary(min_size=32, max_size=32)
SHARES = st.dictionaries(KEYS, st.floats(allow_nan=False, allow_infinity=False), max_size=8)


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1), SHARES)
def test_parts_add_up_and_are_within_one_of_exact(total: int, shares: dict[bytes, float]) -> None:
    parts = apportion(total, shares)
    positive = {key: Fraction(share) for key, share in shares.items() if share > 0}
    assert parts.keys() == shares.keys()
    assert sum(parts.values()) == (total if positive else 0)
    for key, part in parts.items():
        exact = total * positive[key] / sum(positive.values()) if key in positive else Fraction(0)
        assert part >= 0 and abs(part - exact) < 1
    reordered = dict(reversed(shares.items()))
    assert apportion(total, reordered) == parts, "the order of the helpers decides nothing"


def test_largest_remainders_by_hand() -> None:
    a, b, c = b"a", b"b", b"c"
    assert apportion(10, {a: 1, b: 1, c: 1}) == {a: 4, b: 3, c: 3}
    assert apportion(10, {a: 0.5, b: 0.25, c: 0.25}) == {a: 5, b: 3, c: 2}
    assert apportion(7, {a: 3.0, b: -1.0, c: 0.0}) == {a: 7, b: 0, c: 0}
    assert apportion(7, {a: -1.0}) == {a: 0}


@pytest.mark.parametrize("share", [math.nan, math.inf, -math.inf])
def test_shares_are_numbers(share: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        apportion(10, {b"a": share})
    with pytest.raises(ValueError, match="0 or more"):
        apportion(-1, {b"a": 1.0})


def test_an_epoch_is_paid_from_what_was_reserved(book: Book) -> None:
    anna, helpers = book.anna, (book.ben, book.cleo, book.dora)
    limits = (1_000, 150, 1_000)
    for helper, limit in zip(helpers, limits, strict=True):
        book.do(anna, Reserve(helper.key, limit, NOW + MINUTE, anna.key))
    shares = {anna.key: 0.5, book.ben.key: 0.25, book.cleo.key: 0.25, book.dora.key: -0.125}
    actions = settlement(1_000, shares, dict(book.state.reservations.items()))
    assert sorted(type(action) for action in actions if isinstance(action, Void)) == [Void]
    for action in actions:
        book.do(anna, action)
    assert [book.balance(helper) - RICH for helper in helpers] == [250, 150, 0]
    assert book.balance(anna) == book.available(anna) == RICH - 250 - 150 - 2
    assert len(book.state.reservations) == 0
    assert [type(a) for a in settlement(0, {}, {})] == []
    assert all(isinstance(action, Post | Void) for action in actions)
