"""The book of leases: never more than there is, whatever is asked of it, and exact prices."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shivya_daemon.core.leases.book import Ending, Lease, LeaseBook, Refusal
from shivya_daemon.core.leases.kinds import LABELS, MAX_SECONDS, Kind, billable, price

A, B = b"a" * 20, b"b" * 20
CPU = Kind.MILLICORES
QUOTA = {CPU: 4000, Kind.MEMORY_MB: 100}


def number(n: int) -> bytes:
    return n.to_bytes(16, "big")


def test_the_prices_are_those_of_the_design() -> None:
    assert price(CPU, 1000, 3600) == 1_000_000
    assert price(Kind.MEMORY_MB, 4096, 3600) == 1_000_000
    assert price(Kind.PERSISTENT_MB, 100_000, 3600) == math.ceil(1_000_000 * Fraction(2**20, 10**6))
    assert price(CPU, 1, 1) == 1, "rounded up"
    assert price(Kind.CONNECTIONS, 1000, MAX_SECONDS) == 0
    assert LABELS["gpu_memory_mb"] is Kind.GPU_MEMORY_MB


@settings(deadline=None)
@given(st.sampled_from(list(Kind)), st.integers(1, 2**40), st.integers(1, MAX_SECONDS), st.data())
def test_whoever_pays_in_parts_never_pays_less(
    kind: Kind, amount: int, seconds: int, data: st.DataObject
) -> None:
    part = data.draw(st.integers(0, seconds))
    whole = price(kind, amount, seconds)
    assert whole <= price(kind, amount, part) + price(kind, amount, seconds - part) <= whole + 1


def test_a_tenth_is_free_for_each_holder() -> None:
    book = LeaseBook(QUOTA)
    first = reserve(book, A, 1, 300)
    second = reserve(book, A, 2, 300)
    other = reserve(book, B, 1, 500)
    assert [x.billable for x in (first, second, other)] == [0, 200, 100]
    assert second.price == price(CPU, 200, 60)
    assert second.due(30.0) == price(CPU, 200, 30) and second.due(1e9) == second.price
    assert billable(9, 0, 1) == 1, "a tenth of nine is nothing"


def test_each_refusal_has_its_reason() -> None:
    book = LeaseBook(QUOTA, max_leases=3, max_per_holder=2)
    first = reserve(book, A, 1, 1000)
    assert book.reserve(A, number(1), CPU, 1000, 60, 1.0, 5.0) is first, "the same id is the same lease"
    assert book.reserve(A, number(1), CPU, 1001, 60, 1.0, 5.0) is Refusal.CONFLICT
    assert book.reserve(A, number(2), Kind.IOPS, 1, 60, 1.0, 5.0) is Refusal.NO_QUOTA
    assert book.reserve(A, number(2), CPU, 3001, 60, 1.0, 5.0) is Refusal.FULL
    reserve(book, A, 2, 1)
    assert book.reserve(A, number(3), CPU, 1, 60, 1.0, 5.0) is Refusal.TOO_MANY
    reserve(book, B, 1, 1)
    assert book.reserve(b"c" * 20, number(1), CPU, 1, 60, 1.0, 5.0) is Refusal.TOO_MANY
    with pytest.raises(ValueError, match="1 or more"):
        book.reserve(A, number(9), CPU, 0, 60, 0.0, 5.0)
    with pytest.raises(ValueError, match="128000"):
        LeaseBook({CPU: 128_001})


def test_what_is_not_committed_is_free_again_and_what_is_silent_too() -> None:
    book = LeaseBook(QUOTA)
    reserve(book, A, 1, 1000)
    kept = reserve(book, A, 2, 1000)
    book.commit(kept, 10.0)
    assert book.expire(1.9) == []
    assert [(x.id, why) for x, why in book.expire(2.0)] == [(number(1), Ending.UNCONFIRMED)]
    book.commit(kept, 12.0)
    assert book.expire(11.0) == []
    assert [(x.id, why) for x, why in book.expire(12.0)] == [(number(2), Ending.SILENT)]
    assert book.free(CPU) == 4000 and book.deadline == math.inf


def test_a_renewal_counts_once_and_in_order() -> None:
    book = LeaseBook(QUOTA)
    lease = reserve(book, A, 1, 1000)
    book.commit(lease, math.inf)
    book.renew(lease, 2, 90.0)
    book.renew(lease, 1, 999.0)
    book.renew(lease, 2, 999.0)
    assert lease.until == 90.0
    assert book.expire(89.9) == []
    assert [why for _, why in book.expire(90.0)] == [Ending.EXPIRED]


def reserve(book: LeaseBook, holder: bytes, lease_id: int, amount: int) -> Lease:
    lease = book.reserve(holder, number(lease_id), CPU, amount, 60, 0.0, 2.0)
    assert isinstance(lease, Lease)
    return lease


class BookMachine(RuleBasedStateMachine):
    """Anything in any order, against a plain list of what should be there."""

    def __init__(self) -> None:
        super().__init__()
        self.book = LeaseBook({CPU: 1000, Kind.MEMORY_MB: 64}, max_leases=12, max_per_holder=8)
        self.now = 0.0
        self.model: dict[tuple[bytes, bytes], Lease] = {}

    @rule(
        holder=st.sampled_from([A, B]),
        lease_id=st.integers(1, 12),
        kind=st.sampled_from([CPU, Kind.MEMORY_MB, Kind.IOPS]),
        amount=st.integers(1, 700),
        seconds=st.integers(1, 20),
    )
    def reserve(self, holder: bytes, lease_id: int, kind: Kind, amount: int, seconds: int) -> None:
        key = (holder, number(lease_id))
        fits = amount <= self.book.free(kind)
        answer = self.book.reserve(*key, kind, amount, seconds, self.now, 2.0)
        if isinstance(answer, Lease):
            assert key in self.model or fits
            assert answer is self.model.setdefault(key, answer)
        elif answer is Refusal.FULL:
            assert not fits

    @precondition(lambda self: self.model)
    @rule(data=st.data(), longer=st.floats(0.0, 9.0))
    def commit(self, data: st.DataObject, longer: float) -> None:
        self.book.commit(self.any(data), self.now + longer)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), serial=st.integers(0, 5), longer=st.floats(0.0, 9.0))
    def renew(self, data: st.DataObject, serial: int, longer: float) -> None:
        self.book.renew(self.any(data), serial, self.now + longer)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        lease = self.any(data)
        self.book.release(lease)
        self.book.release(lease)  # a second time changes nothing
        del self.model[lease.holder, lease.id]

    @rule(seconds=st.floats(0.0, 5.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = {k for k, x in self.model.items() if self.now >= min(x.until, x.alive_until)}
        assert not due or self.book.deadline <= self.now
        over = self.book.expire(self.now)
        assert {(x.holder, x.id) for x, _ in over} == due
        for key in due:
            del self.model[key]

    def any(self, data: st.DataObject) -> Lease:
        return self.model[data.draw(st.sampled_from(sorted(self.model)))]

    @invariant()
    def nothing_is_lent_twice(self) -> None:
        for kind in Kind:
            taken = sum(x.amount for x in self.model.values() if x.kind == kind)
            assert self.book.taken(kind) == taken <= self.book.capacity(kind)
            assert self.book.free(kind) >= 0
        assert {(x.holder, x.id) for x in self.book.leases} == set(self.model)
        assert len(self.model) <= 12 and all(sum(k[0] == h for k in self.model) <= 8 for h in (A, B))


TestBook = BookMachine.TestCase
TestBook.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
