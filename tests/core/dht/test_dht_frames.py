"""TOKEN frames: every accepted one comes back the same, everything else is refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.core.dht.token_frames import (
    Outcome,
    TokenFrame,
    TokenGrant,
    TokenPut,
    TokenRequest,
    TokenStored,
    decode_payload,
    encode_payload,
)
from shivya_daemon.core.errors import DecodeError, EncodeError

KEY = bytes(range(20))
keys = st.binary(min_size=20, max_size=20)
u64 = st.integers(0, 2**64 - 1)
payloads = st.one_of(
    st.builds(TokenRequest, keys),
    st.builds(TokenGrant, u64),
    st.builds(TokenStored, keys, st.sampled_from(Outcome)),
    st.builds(TokenPut, u64, st.integers(0, 2**32 - 1), keys, st.binary(max_size=256)),
)


@given(payloads)
def test_what_is_encoded_is_decoded(payload: TokenFrame) -> None:
    assert decode_payload(encode_payload(payload)) == payload


@given(payloads)
def test_every_truncation_and_every_trailing_byte_is_refused(payload: TokenFrame) -> None:
    body = encode_payload(payload)
    for size in range(len(body)):
        with pytest.raises(DecodeError, match="truncated"):
            decode_payload(body[:size])
    with pytest.raises(DecodeError, match=r"trailing_bytes"):
        decode_payload(body + b"\0")


@given(st.binary(max_size=320))
def test_random_bytes_are_refused_or_canonical(body: bytes) -> None:
    try:
        payload = decode_payload(body)
    except DecodeError:
        return
    assert encode_payload(payload) == body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x04" + KEY, "unknown_subtype"),
        (b"\x02" + KEY + b"\x05", "bad_flag"),
        (b"\x03" + bytes(12) + KEY + b"\x01\x01" + bytes(257), "bad_value_length"),
    ],
)
def test_the_reason_names_what_is_wrong(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_payload(body)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "payload",
    [
        TokenRequest(KEY[:19]),
        TokenGrant(2**64),
        TokenGrant(-1),
        TokenPut(0, 2**32, KEY, b""),
        TokenPut(0, 0, KEY, bytes(257)),
        TokenStored(KEY + b"x", Outcome.STORED),
    ],
)
def test_what_has_no_encoding_is_refused_before_it_is_sent(payload: TokenFrame) -> None:
    with pytest.raises(EncodeError):
        encode_payload(payload)


def test_the_bytes_are_those_of_the_protocol_page() -> None:
    put = encode_payload(TokenPut(1, 2, KEY, b"abc"))
    assert put == b"\x03" + bytes(7) + b"\x01" + b"\0\0\0\x02" + KEY + b"\0\x03" + b"abc"
    assert encode_payload(TokenStored(KEY, Outcome.STALE)) == b"\x02" + KEY + b"\x04"
    assert encode_payload(TokenGrant(5)) == b"\x01" + bytes(7) + b"\x05"
    assert encode_payload(TokenRequest(KEY)) == b"\x00" + KEY
