"""SIGNAL frames against themselves, against truncation and noise, and against whoever alters one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.signals import ActionPotential, Directed, Flood, Gradient, Kind, Quorum, Signal
from shivya_daemon.core.signals.frame import (
    MAX_REFRACTORY,
    SignalFrame,
    authentic,
    decode_payload,
    encode_payload,
    sign,
)

BUDGET = 1100
IDENTITY = Identity.generate(random.Random(1).randbytes)

nodes = st.binary(min_size=20, max_size=20)
words = st.binary(min_size=16, max_size=16)
u64 = st.integers(0, 2**64 - 1)
kinds: st.SearchStrategy[Kind] = st.one_of(
    st.just(Flood()),
    st.builds(Gradient, st.floats(2.0**-40, 1.0, width=32)),
    st.builds(Directed, nodes),
    st.builds(Quorum, st.integers(1, 65535), words),
    st.builds(ActionPotential, st.floats(0, MAX_REFRACTORY, width=32)),
)
signals = st.builds(
    Signal,
    kind=kinds,
    id=words,
    key=st.binary(min_size=32, max_size=32),
    incarnation=u64,
    counter=u64,
    ttl=st.integers(1, 16),
    type=st.text("abcXYZ019._-", min_size=1, max_size=32),
    payload=st.binary(max_size=256),
)
signal_frames = st.builds(
    SignalFrame,
    signals,
    st.binary(min_size=64, max_size=64),
    st.lists(nodes, max_size=15, unique=True).map(tuple),
)


def example(kind: Kind | None = None, **fields: object) -> Signal:
    values: dict[str, object] = {
        "kind": kind or Flood(),
        "id": bytes(16),
        "key": IDENTITY.public_key,
        "incarnation": 3,
        "counter": 4,
        "ttl": 8,
        "type": "alarm",
        "payload": b"fire",
    }
    return Signal(**(values | fields))  # type: ignore[arg-type]


def refused(body: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_payload(body)
    return caught.value.reason


@given(signal_frames)
def test_round_trip_within_the_budget(frame: SignalFrame) -> None:
    body = encode_payload(frame)
    assert len(body) <= 742 <= BUDGET
    assert decode_payload(body) == frame


@given(signal_frames)
@settings(max_examples=20)
def test_every_truncation_and_extension_is_refused(frame: SignalFrame) -> None:
    body = encode_payload(frame)
    for size in range(len(body)):
        assert refused(body[:size]) == "truncated"
    assert refused(body + b"\0") == "trailing_bytes"


@given(st.binary(max_size=800), signal_frames, st.data())
def test_noise_is_refused_or_means_what_it_says(
    noise: bytes, frame: SignalFrame, data: st.DataObject
) -> None:
    body = bytearray(encode_payload(frame))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    for candidate in (noise, bytes(body)):
        try:
            decoded = decode_payload(candidate)
        except DecodeError:
            continue
        assert encode_payload(decoded) == candidate


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, b"\x00", "bad_kind"),
        (0, b"\x06", "bad_kind"),
        (65, b"\x00", "bad_ttl"),
        (65, b"\x11", "bad_ttl"),
        (66, b"\x00", "bad_text"),
        (66, b"\x21", "bad_count"),
        (67, b" ", "bad_text"),
        (72, b"\x7f\xc0\x00\x00", "not_finite"),
        (72, b"\xbf\x80\x00\x00", "out_of_range"),
        (72, b"\x40\x00\x00\x00", "out_of_range"),
        (72, b"\x00\x00\x00\x01", "out_of_range"),
        (76, b"\x01\x01", "bad_value_length"),
        (146, b"\x10", "bad_count"),
    ],
)
def test_each_field_is_bounded(at: int, value: bytes, reason: str) -> None:
    body = bytearray(encode_payload(sign(IDENTITY, example(Gradient(0.5)))))
    assert len(body) == 147
    body[at : at + len(value)] = value
    assert refused(bytes(body)) == reason


def test_a_relay_is_named_once_and_a_quorum_needs_somebody() -> None:
    relay = bytes(20)
    body = encode_payload(sign(IDENTITY, example()))[:-1] + b"\x02" + relay + relay
    assert refused(body) == "repeated_entry"
    quorum = bytearray(encode_payload(sign(IDENTITY, example(Quorum(1, bytes(16))))))
    quorum[72:74] = b"\0\0"
    assert refused(bytes(quorum)) == "out_of_range"


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl": 0},
        {"ttl": 17},
        {"type": ""},
        {"type": "a b"},
        {"type": "a" * 33},
        {"payload": bytes(257)},
        {"id": bytes(15)},
        {"key": bytes(31)},
        {"counter": -1},
        {"incarnation": 2**64},
        {"kind": Gradient(0.0)},
        {"kind": Gradient(1.1)},
        {"kind": Gradient(float("nan"))},
        {"kind": Directed(b"x")},
        {"kind": Quorum(0, bytes(16))},
        {"kind": Quorum(65536, bytes(16))},
        {"kind": Quorum(1, b"")},
        {"kind": ActionPotential(-1.0)},
        {"kind": ActionPotential(1e9)},
    ],
)
def test_what_has_no_encoding_is_not_signed(fields: dict[str, object]) -> None:
    with pytest.raises(EncodeError):
        sign(IDENTITY, example(**fields))


def test_a_path_longer_than_any_ttl_has_no_encoding() -> None:
    frame = sign(IDENTITY, example())
    with pytest.raises(EncodeError):
        encode_payload(replace(frame, path=tuple(bytes((n,)) * 20 for n in range(16))))
    with pytest.raises(EncodeError):
        encode_payload(replace(frame, path=(b"short",)))


@pytest.mark.parametrize("kind", [Gradient(0.9), ActionPotential(0.3), Quorum(3, b"s" * 16), Flood()])
def test_a_signature_survives_the_wire(kind: Kind) -> None:
    """Parameters are rounded to 32 bits on the wire, and the signature is over what travels."""
    frame = sign(IDENTITY, example(kind))
    assert authentic(decode_payload(encode_payload(frame)))
    assert authentic(decode_payload(encode_payload(replace(frame, path=(bytes(20),)))))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": Gradient(1.0)},
        {"id": b"x" * 16},
        {"incarnation": 9},
        {"counter": 9},
        {"ttl": 9},
        {"type": "calm"},
        {"payload": b"flood"},
        {"key": Identity.generate(random.Random(2).randbytes).public_key},
    ],
)
def test_every_signed_field_is_covered(change: dict[str, object]) -> None:
    frame = sign(IDENTITY, example(Gradient(0.5)))
    assert not authentic(replace(frame, signal=replace(frame.signal, **change)))  # type: ignore[arg-type]
