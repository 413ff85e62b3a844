"""The LINK codec: against bytes put together by hand, against itself, and against noise."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.links import frames
from shivya_daemon.core.links.frames import (
    Accept,
    Close,
    Closing,
    Echo,
    Head,
    LinkFrame,
    Probe,
    Propose,
    Refusal,
    Refuse,
    decode_payload,
    encode_payload,
)

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
heads = st.builds(Head, u64, u64, st.integers(0, 255), st.booleans(), st.booleans())
trains = st.integers(1, frames.MAX_TRAIN).flatmap(
    lambda count: st.tuples(st.integers(0, count - 1), st.just(count))
)
probes = st.builds(
    lambda head, token, train, padding: Probe(head, token, train[0], train[1], padding),
    heads,
    u32,
    trains,
    st.integers(0, frames.BUDGET - frames.HEAD_BYTES - 6),
)
any_frame = st.one_of(
    st.builds(Propose, heads, u32),
    st.builds(Accept, heads, u32),
    st.builds(Refuse, heads, st.sampled_from(Refusal)),
    st.builds(Close, heads, st.sampled_from(Closing)),
    probes,
    st.builds(Echo, heads, u32, st.floats(0, 999_999_995_904, width=32)),
)
HEAD = Head(agreement=0x0102030405060708, incarnation=9, degree=6, needy=True)
SAMPLES: list[tuple[LinkFrame, bytes]] = [
    (
        Propose(HEAD, 0x0A0B0C0D),
        b"\x01\x01" + struct.pack(">QQB", HEAD.agreement, 9, 6) + b"\x0a\x0b\x0c\x0d",
    ),
    (
        Refuse(replace(HEAD, drawn=True), Refusal.NEEDED),
        b"\x03\x03" + struct.pack(">QQB", HEAD.agreement, 9, 6) + b"\x06",
    ),
    (
        Probe(HEAD, 7, 2, 4, 3),
        b"\x05\x01" + struct.pack(">QQBIBB", HEAD.agreement, 9, 6, 7, 2, 4) + bytes(3),
    ),
    (Echo(HEAD, 7, 1.5), b"\x06\x01" + struct.pack(">QQBIf", HEAD.agreement, 9, 6, 7, 1.5)),
]


@pytest.mark.parametrize(("frame", "body"), SAMPLES)
def test_layout(frame: LinkFrame, body: bytes) -> None:
    assert encode_payload(frame) == body
    assert decode_payload(body) == frame


@settings(deadline=None)
@given(any_frame)
def test_round_trip(frame: LinkFrame) -> None:
    body = encode_payload(frame)
    assert len(body) <= frames.BUDGET
    assert decode_payload(body) == frame


@settings(deadline=None)
@given(any_frame, st.data())
def test_no_truncation_is_accepted_but_that_of_padding(frame: LinkFrame, data: st.DataObject) -> None:
    body = encode_payload(frame)
    cut = data.draw(st.integers(0, len(body) - 1))
    if isinstance(frame, Probe) and cut >= len(body) - frame.padding:
        shorter = decode_payload(body[:cut])
        assert isinstance(shorter, Probe)
        assert shorter.token == frame.token
    else:
        with pytest.raises(DecodeError):
            decode_payload(body[:cut])


@settings(deadline=None)
@given(any_frame)
def test_nothing_may_follow_but_padding(frame: LinkFrame) -> None:
    with pytest.raises(DecodeError) as refused:
        decode_payload(encode_payload(frame) + b"\x01")
    assert refused.value.reason in {"trailing_bytes", "bad_padding", "oversized"}


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(max_size=60), st.builds(bytes.__add__, st.just(b"\x05\x00"), st.binary(max_size=60)))
)
def test_noise_is_refused_or_comes_out_as_it_went_in(body: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert encode_payload(decode_payload(body)) == body


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda body: b"\x07" + body[1:], "unknown_subtype"),
        (lambda body: b"\x00" + body[1:], "unknown_subtype"),
        (lambda body: body[:1] + b"\x04" + body[2:], "bad_flag"),
        (lambda body: b"\x03" + body[1:19] + b"\x07", "bad_reason"),
        (lambda body: b"\x04" + body[1:19] + b"\x00", "bad_reason"),
        (lambda body: b"\x05" + body[1:19] + struct.pack(">IBB", 1, 4, 4), "bad_count"),
        (lambda body: b"\x05" + body[1:19] + struct.pack(">IBB", 1, 0, 17), "bad_count"),
        (lambda body: b"\x05" + body[1:19] + struct.pack(">IBB", 1, 0, 0), "bad_count"),
        (lambda body: b"\x06" + body[1:19] + struct.pack(">If", 1, float("nan")), "not_finite"),
        (lambda body: b"\x06" + body[1:19] + struct.pack(">If", 1, -1.0), "out_of_range"),
        (lambda body: body + bytes(2000), "oversized"),
    ],
)
def test_refusals_name_their_reason(change: object, reason: str) -> None:
    body = encode_payload(Propose(HEAD, 1))
    with pytest.raises(DecodeError) as refused:
        decode_payload(change(body))  # type: ignore[operator]
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "frame",
    [
        Propose(Head(-1, 0, 0), 0),
        Propose(Head(0, 0, 256), 0),
        Accept(HEAD, 2**32),
        Probe(HEAD, 0, 1, 1),
        Probe(HEAD, 0, 0, 17),
        Probe(HEAD, 0, padding=1100),
        Echo(HEAD, 0, float("nan")),
        Echo(HEAD, 0, -1.0),
    ],
)
def test_what_has_no_encoding_is_not_sent(frame: LinkFrame) -> None:
    with pytest.raises(EncodeError):
        encode_payload(frame)


def test_a_bandwidth_beyond_all_bounds_saturates() -> None:
    echo = decode_payload(encode_payload(Echo(HEAD, 0, float("inf"))))
    assert isinstance(echo, Echo)
    assert echo.bandwidth == pytest.approx(frames.MAX_BANDWIDTH)
