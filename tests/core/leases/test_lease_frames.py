"""LEASE frames: what is encoded comes back, anything else is refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shivya_daemon.core import frames
from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.frames import LEASE, Frame, Layered
from shivya_daemon.core.leases.book import Ending, Refusal
from shivya_daemon.core.leases.frames import (
    TYPE,
    Ask,
    Ended,
    Grant,
    Keep,
    Kept,
    LeaseFrame,
    Refuse,
    Release,
    decode_payload,
    encode_payload,
)
from shivya_daemon.core.leases.kinds import Kind

ID = bytes(range(16))
SAMPLES: list[LeaseFrame] = [
    Ask(ID, Kind.MILLICORES, 2000, 60),
    Grant(ID, 6.0, 2.0, 1600, True),
    Refuse(ID, Refusal.FULL),
    Keep(ID, Kind.PERSISTENT_MB, 2**40, 3, 59, 0xFFFFFFFF, 7, bytes(range(16))),
    Kept(ID, 7, 3, 6.0, 0),
    Release(ID, bytes(range(16))),
    Ended(ID, Ending.DRAINING),
]


@pytest.mark.parametrize("frame", SAMPLES, ids=lambda frame: type(frame).__name__)
def test_a_frame_comes_back_and_every_part_of_it_is_needed(frame: LeaseFrame) -> None:
    body = encode_payload(frame)
    assert decode_payload(body) == frame
    for end in range(len(body)):
        with pytest.raises(DecodeError, match="truncated"):
            decode_payload(body[:end])
    with pytest.raises(DecodeError, match="trailing_bytes"):
        decode_payload(body + b"\0")


def test_the_bytes_are_those_of_the_protocol_page() -> None:
    assert TYPE == LEASE == 0x17
    body = encode_payload(Ask(ID, Kind.MILLICORES, 2000, 60))
    assert body.hex() == "01" + ID.hex() + "01" + "00000000000007d0" + "0000003c"
    assert encode_payload(Release(ID)).hex() == "06" + ID.hex() + "00" * 16
    data = frames.encode(Frame(bytes(20), Layered(LEASE, body)))
    assert frames.decode(data).payload == Layered(LEASE, body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x00" + ID, "unknown_subtype"),
        (b"\x08" + ID, "unknown_subtype"),
        (b"\x01" + ID + b"\x0b" + bytes(7) + b"\x01" + b"\0\0\0\x01", "bad_kind"),
        (b"\x01" + ID + b"\x01" + bytes(8) + b"\0\0\0\x01", "out_of_range"),
        (b"\x01" + ID + b"\x01" + (128_001).to_bytes(8) + b"\0\0\0\x01", "out_of_range"),
        (b"\x01" + ID + b"\x01" + (1).to_bytes(8) + bytes(4), "out_of_range"),
        (b"\x03" + ID + b"\x00", "out_of_range"),
        (b"\x07" + ID + b"\x08", "out_of_range"),
        (b"\x02" + ID + bytes(4) + b"\0\0\x07\xd0" + bytes(9), "out_of_range"),
        (b"\x02" + ID + b"\0\0\x07\xd0" * 2 + bytes(8) + b"\x02", "out_of_range"),
    ],
)
def test_nonsense_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_payload(body)
    assert caught.value.reason == reason


def test_what_has_no_encoding_is_not_encoded() -> None:
    with pytest.raises(EncodeError):
        encode_payload(Release(b"short"))
    with pytest.raises(EncodeError):
        encode_payload(Kept(ID, -1, 0, 6.0, 0))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_whatever_is_accepted_encodes_to_the_same_bytes(body: bytes) -> None:
    try:
        frame = decode_payload(body)
    except DecodeError:
        return
    assert encode_payload(frame) == body
