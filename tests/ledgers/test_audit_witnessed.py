"""What other nodes remember of a ledger: growth is proven, a rewritten or a second one is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import Ledger
from shivya_daemon.ledgers.audit.checkpoint import CHECKPOINT_BYTES, Checkpoint, body, decode, sign
from shivya_daemon.ledgers.audit.merkle import EMPTY_ROOT, Frontier, Tree, leaf_hash
from shivya_daemon.ledgers.audit.witnessed import Finding, Witnessed


class Log:
    """A node's ledger, as others see it; it may be rewritten."""

    def __init__(self, identity: Identity, word: str = "") -> None:
        self.identity, self._leaves = identity, []
        self._word = word

    def grow(self, count: int) -> Checkpoint:
        start = len(self._leaves)
        self._leaves += [leaf_hash(f"{self._word}{start + n}".encode()) for n in range(count)]
        return self.checkpoint()

    def rewritten(self, index: int) -> Log:
        other = Log(self.identity, self._word)
        other._leaves = [*self._leaves[:index], leaf_hash(b"nothing happened"), *self._leaves[index + 1 :]]
        return other

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        tree = Tree(Frontier(), self._leaves[:size])
        return sign(self.identity, tree.size, tree.root())

    def proof(self, old: int) -> list[bytes]:
        return Tree(Frontier(), self._leaves).consistency(old)


@pytest.fixture
def log(anna: Identity) -> Log:
    return Log(anna)


def trusted(table: Witnessed, identity: Identity) -> Checkpoint:
    record = table.record(identity.node_id)
    assert record is not None
    return record.trusted


def test_a_checkpoint_is_what_transparency_logs_sign(anna, ben):
    checkpoint = sign(anna, 3, EMPTY_ROOT)
    assert body(anna.node_id, 3, EMPTY_ROOT) == (
        b"shivya/ledger/"
        + anna.node_id.hex().encode()
        + b"\n3\np//G+L8e12ZRwUdWoGHWYvWA/03kO0n6gtgKS4D4Q0o=\n"
    )
    assert checkpoint.signed_by(anna.public_key)
    assert not checkpoint.signed_by(ben.public_key)
    assert not replace(checkpoint, size=4).signed_by(anna.public_key)
    assert not replace(checkpoint, root=bytes(32)).signed_by(anna.public_key)
    assert not replace(checkpoint, signature=bytes(64)).signed_by(anna.public_key)
    assert not checkpoint.signed_by(b"short")


def test_checkpoints_travel(anna):
    checkpoint = sign(anna, 2**40, EMPTY_ROOT)
    raw = checkpoint.encode()
    assert len(raw) == CHECKPOINT_BYTES == 104
    assert decode(raw) == checkpoint
    for wrong in (raw[:-1], raw + b"\0", b"", bytes(104), b"\xff" * 104):
        with pytest.raises(DecodeError):
            decode(wrong)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_checkpoint_or_refused(raw: bytes) -> None:
    try:
        assert decode(raw).encode() == raw
    except DecodeError as error:
        assert error.reason in ("truncated", "trailing_bytes", "size")


def test_growth_is_taken_when_it_is_proven(log, anna):
    table, key = Witnessed(), anna.public_key
    assert table.hear(key, log.grow(5), 1.0) is Finding.FIRST
    assert table.hear(key, log.checkpoint(), 2.0) is Finding.KNOWN
    assert table.wanted() == []
    assert table.hear(key, log.grow(3), 3.0) is Finding.AHEAD
    assert table.hear(key, log.grow(1), 4.0) is Finding.AHEAD
    (wanted,) = table.wanted()
    assert (wanted.node, wanted.old, wanted.since) == (anna.node_id, 5, 3.0)
    assert trusted(table, anna).size == 5
    assert table.prove(key, 5, log.checkpoint(), log.proof(5), 5.0) is Finding.PROVEN
    assert trusted(table, anna) == log.checkpoint()
    assert table.wanted() == []


def test_a_proof_for_less_than_was_heard_is_progress_too(log, anna):
    table, key = Witnessed(), anna.public_key
    table.hear(key, log.grow(5), 1.0)
    middle = log.grow(3)
    proof = log.proof(5)
    table.hear(key, log.grow(9), 2.0)
    assert table.prove(key, 5, middle, proof, 7.0) is Finding.PROVEN
    (wanted,) = table.wanted()
    assert (wanted.old, wanted.since) == (8, 7.0)
    assert table.prove(key, 8, log.checkpoint(), log.proof(8), 8.0) is Finding.PROVEN
    assert table.wanted() == []


@pytest.mark.parametrize("index", [0, 3, 4])
def test_a_rewritten_log_cannot_prove_itself_and_is_convicted_at_a_known_size(log, anna, index):
    table, key = Witnessed(), anna.public_key
    honest = log.grow(5)
    table.hear(key, honest, 1.0)
    other = log.rewritten(index)
    longer = other.grow(4)
    assert table.hear(key, longer, 2.0) is Finding.AHEAD
    assert table.prove(key, 5, longer, other.proof(5), 3.0) is Finding.UNPROVEN
    assert trusted(table, anna) == honest
    (wanted,) = table.wanted()
    assert wanted.since == 2.0, "it owes the proof for as long as it exists"
    assert table.hear(key, other.checkpoint(5), 4.0) is Finding.FORKED
    record = table.record(anna.node_id)
    assert record is not None
    assert record.fork == (honest, other.checkpoint(5))
    assert all(evidence.signed_by(key) for evidence in record.fork)
    assert table.wanted() == []
    assert table.prove(key, 5, log.grow(1), log.proof(5), 5.0) is Finding.UNASKED, "for good"
    table.forget(anna.node_id)
    assert table.hear(key, longer, 6.0) is Finding.FIRST


def test_two_unproven_heads_of_one_size_convict_too(log, anna):
    table, key = Witnessed(), anna.public_key
    table.hear(key, log.grow(2), 1.0)
    fork = log.rewritten(1)
    fork.grow(3)
    log.grow(3)
    assert table.hear(key, log.checkpoint(), 2.0) is Finding.AHEAD
    assert table.hear(key, fork.checkpoint(), 3.0) is Finding.FORKED


def test_an_old_checkpoint_sent_again_accuses_nobody(log, anna):
    table, key = Witnessed(), anna.public_key
    old = log.grow(2)
    table.hear(key, log.grow(3), 1.0)
    assert table.hear(key, old, 2.0) is Finding.OLDER
    table.hear(key, log.grow(5), 3.0)
    assert table.hear(key, log.checkpoint(7), 4.0) is Finding.OLDER
    assert trusted(table, anna).size == 5
    record = table.record(anna.node_id)
    assert record is not None
    assert (record.fork, record.ahead) == (None, log.checkpoint())


def test_nobody_speaks_for_another(log, anna, ben):
    table = Witnessed()
    table.hear(anna.public_key, log.grow(3), 1.0)
    forged = [
        replace(log.grow(2), signature=bytes(64)),
        Log(ben).grow(3),
        replace(log.checkpoint(), size=9),
        replace(log.checkpoint(3), root=bytes(32)),
    ]
    for checkpoint in forged:
        assert table.hear(anna.public_key, checkpoint, 2.0) is Finding.FORGED
        assert table.prove(anna.public_key, 3, checkpoint, log.proof(3), 2.0) is Finding.FORGED
    assert trusted(table, anna).size == 3
    assert table.record(ben.node_id) is None
    assert table.counts[Finding.FORGED] == 8


def test_proofs_that_nobody_asked_for_change_nothing(log, anna):
    table, key = Witnessed(), anna.public_key
    table.hear(key, log.grow(5), 1.0)
    log.grow(4)
    before = trusted(table, anna)
    assert table.prove(key, 4, log.checkpoint(), log.proof(4), 2.0) is Finding.UNASKED
    assert table.prove(key, 5, log.checkpoint(5), [], 2.0) is Finding.UNASKED
    assert table.prove(key, 5, log.checkpoint(), log.proof(4), 2.0) is Finding.UNPROVEN
    assert table.prove(key, 5, log.checkpoint(), [bytes(32)] * 1000, 2.0) is Finding.UNPROVEN
    assert trusted(table, anna) == before


def test_the_table_is_bounded_and_keeps_the_convicted():
    people = [Identity.from_private_bytes(bytes([number]) * 32) for number in range(8)]
    table = Witnessed(capacity=3)
    culprit = Log(people[0])
    table.hear(people[0].public_key, culprit.grow(3), 0.0)
    assert table.hear(people[0].public_key, culprit.rewritten(1).checkpoint(), 0.0) is Finding.FORKED
    for person in people[1:]:
        table.hear(person.public_key, Log(person).grow(1), 1.0)
        assert len(table) <= 3
    assert table.record(people[0].node_id) is not None
    assert table.record(people[7].node_id) is not None
    assert table.record(people[5].node_id) is None
    everybody = Witnessed(capacity=2)
    for person in people:
        culprit = Log(person)
        everybody.hear(person.public_key, culprit.grow(3), 0.0)
        everybody.hear(person.public_key, culprit.rewritten(1).checkpoint(), 0.0)
        assert len(everybody) <= 2


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.data())
def test_an_honest_node_is_never_accused(growth: list[int], data: Any) -> None:
    """Whatever is delayed, lost, repeated or sent again out of order."""
    anna = Identity.from_private_bytes(bytes(range(32)))
    log, table, key = Log(anna), Witnessed(), anna.public_key
    sent = [log.grow(count) for count in growth]
    for now in range(20):
        if data.draw(st.booleans()):
            found = table.hear(key, data.draw(st.sampled_from(sent)), float(now))
        else:
            new = data.draw(st.sampled_from(sent))
            old = data.draw(st.integers(1, new.size))
            part = Log(anna)
            part.grow(new.size)
            found = table.prove(key, old, new, part.proof(old), float(now))
        assert found not in (Finding.FORKED, Finding.FORGED, Finding.UNPROVEN)
    record = table.record(anna.node_id)
    assert record is None or record.fork is None


def test_a_real_ledger_before_a_witness(tmp_path: Path, anna: Identity) -> None:
    table, key = Witnessed(), anna.public_key
    with Ledger.open(tmp_path / "a", anna) as ledger:
        table.hear(key, decode(ledger.checkpoint.encode()), 0.0)
        for number in range(20):
            ledger.add_entry({"number": number})
            ledger.sync()
            table.hear(key, ledger.checkpoint, float(number))
        (wanted,) = table.wanted()
        checkpoint, path = ledger.prove_consistency(wanted.old)
        assert table.prove(key, wanted.old, checkpoint, path, 30.0) is Finding.PROVEN
    with Ledger.open(tmp_path / "b", anna) as second:
        for number in range(20):
            second.add_entry({"number": -number})
        second.sync()
        assert table.hear(key, second.checkpoint, 40.0) is Finding.FORKED
