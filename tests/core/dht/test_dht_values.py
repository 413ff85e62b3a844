"""Values: only what hashes to its key, or is signed by the key it is derived from, is one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.core.dht.values import (
    MAX_PAYLOAD_BYTES,
    MAX_VALUE_BYTES,
    check,
    claim,
    content_key,
    content_record,
    proved,
    signed_key,
    signed_record,
)
from shivya_daemon.core.identity import Identity

OWNER = Identity.generate(random.Random(1).randbytes)
OTHER = Identity.generate(random.Random(2).randbytes)


@given(st.binary(max_size=MAX_VALUE_BYTES))
def test_content_is_true_under_its_own_key_alone(value: bytes) -> None:
    record = content_record(value)
    assert check(record.key, value) == record
    assert record.payload == value
    assert check(content_key(value + b"x"), value) is None


@given(st.binary(max_size=MAX_PAYLOAD_BYTES), st.integers(0, 2**64 - 1))
def test_a_signed_record_is_true_under_the_key_of_its_owner_alone(payload: bytes, sequence: int) -> None:
    record = signed_record(payload, sequence, OWNER)
    assert record.key == signed_key(OWNER.public_key)
    assert len(record.value) <= MAX_VALUE_BYTES
    assert check(record.key, record.value) == record
    assert (record.payload, record.sequence) == (payload, sequence)
    assert check(signed_key(OTHER.public_key), record.value) is None


@given(st.binary(min_size=1, max_size=20), st.data())
def test_a_signed_record_with_any_bit_changed_is_false(payload: bytes, data: st.DataObject) -> None:
    record = signed_record(payload, 7, OWNER)
    bit = data.draw(st.integers(0, 8 * len(record.value) - 1))
    forged = bytearray(record.value)
    forged[bit // 8] ^= 1 << bit % 8
    assert check(record.key, bytes(forged)) is None


def test_a_claim_costs_no_signature_and_proves_nothing() -> None:
    record = signed_record(b"mine", 7, OWNER)
    forged = record.value[:-1] + b"!"
    claimed = claim(record.key, forged)
    assert claimed is not None and claimed.sequence == 7
    assert not proved(claimed)


def test_a_signature_for_another_purpose_is_no_value() -> None:
    """The label keeps a signature over the same bytes, made for something else, from being a record."""
    sequence, payload = (9).to_bytes(8, "big"), b"payload"
    value = OWNER.public_key + sequence + OWNER.sign(sequence + payload) + payload
    assert check(signed_key(OWNER.public_key), value) is None


def test_the_higher_sequence_ranks_higher_and_ties_go_by_bytes() -> None:
    low, high = signed_record(b"z", 1, OWNER), signed_record(b"a", 2, OWNER)
    assert high.rank() > low.rank()
    left, right = signed_record(b"left", 3, OWNER), signed_record(b"right", 3, OWNER)
    assert (left.rank() > right.rank()) == (left.value > right.value)


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 256 bytes"):
        content_record(bytes(257))
    with pytest.raises(ValueError, match="at most 152 bytes"):
        signed_record(bytes(153), 1, OWNER)
    with pytest.raises(ValueError, match="64 bits"):
        signed_record(b"", 2**64, OWNER)
    assert check(content_key(bytes(257)), bytes(257)) is None
