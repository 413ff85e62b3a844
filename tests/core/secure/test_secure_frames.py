"""What the secure wire carries, piece by piece: layouts, windows, seals, stamps."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.frames import MAGIC
from shivya_daemon.core.secure import credentials, messages
from shivya_daemon.core.secure.cookie import Baker, Jar
from shivya_daemon.core.secure.credentials import Introduction
from shivya_daemon.core.secure.messages import Message
from shivya_daemon.core.secure.replay import WINDOW, ReplayWindow
from shivya_daemon.core.secure.session import OVERHEAD_BYTES, Opening, Session
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.core.secure.stamps import Stamps, mac1_of, shows

KINDS = {
    messages.IK_INITIATION: (208,),
    messages.XX_INITIATION: (208,),
    messages.RESPONSE: (160, 208),
    messages.XX_FINAL: (176,),
    messages.COOKIE: (48,),
}
ADDRESS = ("10.0.0.1", 7000)
indices = st.integers(1, 2**32 - 1)
introductions = st.builds(
    Introduction,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=64, max_size=64),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)


@st.composite
def handshake_messages(draw: st.DrawFn) -> Message:
    kind = draw(st.sampled_from(sorted(KINDS)))
    size = draw(st.sampled_from(KINDS[kind]))
    starts = kind in (messages.IK_INITIATION, messages.XX_INITIATION)
    sender = draw(indices) if starts or kind == messages.RESPONSE else 0
    receiver = 0 if starts else draw(indices)
    return Message(kind, sender, receiver, draw(st.binary(min_size=size, max_size=size)))


def datagram(message: Message) -> bytes:
    return messages.encode(message) + bytes(0 if message.kind == messages.COOKIE else 32)


@given(handshake_messages())
def test_messages_come_back_as_they_were(message: Message) -> None:
    data = datagram(message)
    assert messages.decode(data) == message
    assert data[0] != MAGIC[0]
    for end in {0, 1, 4, 5, 36, len(data) // 2, len(data) - 1}:
        with pytest.raises(DecodeError):
            messages.decode(data[:end])
    with pytest.raises(DecodeError):
        messages.decode(data + b"x")


@given(st.binary(max_size=300))
def test_noise_is_refused_with_a_word(data: bytes) -> None:
    try:
        assert datagram(messages.decode(data)) == data
    except DecodeError as error:
        assert error.reason in ("truncated", "trailing_bytes", "unknown_type", "bad_index")


def test_sizes_are_those_of_the_protocol_page() -> None:
    sizes = {kind: [len(datagram(Message(kind, 1, 1, bytes(n)))) for n in KINDS[kind]] for kind in KINDS}
    assert sizes == {0x01: [245], 0x02: [245], 0x03: [201, 249], 0x04: [213], 0x05: [53]}
    assert OVERHEAD_BYTES == 37


def test_an_index_of_zero_is_none() -> None:
    for message in (Message(1, 0, 0, bytes(208)), Message(3, 0, 4, bytes(160)), Message(3, 4, 0, bytes(160))):
        with pytest.raises(DecodeError, match="bad_index"):
            messages.decode(messages.encode(message) + bytes(32))


@pytest.mark.parametrize(
    "message", [Message(9, 1, 1, b""), Message(1, 1, 0, b""), Message(4, 0, 2**32, bytes(176))]
)
def test_what_could_not_be_decoded_is_not_encoded(message: Message) -> None:
    with pytest.raises(EncodeError):
        messages.encode(message)


@given(introductions)
def test_introductions_come_back_as_they_were(introduction: Introduction) -> None:
    body = credentials.encode_payload(introduction)
    assert len(body) == credentials.INTRODUCTION_BYTES == 112
    assert credentials.decode_payload(body) == introduction
    for wrong in (body[:-1], body + b"x", b""):
        with pytest.raises(DecodeError):
            credentials.decode_payload(wrong)


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=60), st.integers(0, 2**64 - 2**14))
def test_every_counter_passes_once(counters: list[int], start: int) -> None:
    window, seen = ReplayWindow(), set[int]()
    for counter in (start + offset for offset in counters):
        fresh = counter not in seen and (not seen or counter > max(seen) - WINDOW)
        assert window.fresh(counter) == fresh
        if fresh:
            assert window.mark(counter) == (not seen or counter > max(seen))
            seen.add(counter)


def sessions(settings: SecureSettings | None = None) -> tuple[Session, Session]:
    one, two = bytes(range(32)), bytes(range(32, 64))
    limits = settings or SecureSettings()
    return (
        Session(b"b" * 20, 5, 6, (one, two), initiated=True, now=0.0, settings=limits),
        Session(b"a" * 20, 6, 5, (two, one), initiated=False, now=0.0, settings=limits),
    )


def test_reordering_within_the_window_is_harmless_and_replays_are_not_taken() -> None:
    anna, ben = sessions()
    sent = [anna.seal(n, b"%d" % n) for n in range(WINDOW + 1)]
    order = list(range(1, WINDOW + 1))
    random.Random(3).shuffle(order)
    for n in order:
        opening = ben.open(sent[n], 1.0)
        assert isinstance(opening, Opening) and (opening.request, opening.frame) == (n, b"%d" % n)
    assert {ben.open(data, 1.0) for data in sent} == {"replayed"}  # the first of them is behind the window


@given(st.integers(0, 37 + 250 - 1), st.integers(0, 7))
def test_no_bit_of_a_transport_frame_can_be_changed(place: int, bit: int) -> None:
    anna, ben = sessions()
    data = bytearray(anna.seal(1, bytes(250)))
    data[place] ^= 1 << bit
    assert ben.open(bytes(data), 1.0) in ("bad_seal", "bad_counter")
    assert not ben.heard
    data[place] ^= 1 << bit
    assert isinstance(ben.open(bytes(data), 1.0), Opening)


@given(st.binary(max_size=80))
def test_transport_noise_is_dropped(data: bytes) -> None:
    assert sessions()[1].open(b"\x06" + data, 1.0) in ("truncated", "bad_seal", "bad_counter", "replayed")


def test_a_frame_does_not_open_for_its_sender() -> None:
    anna, _ = sessions()
    assert anna.open(anna.seal(1, b"reflected"), 1.0) == "bad_seal"


def test_keys_wear_out() -> None:
    anna, ben = sessions(SecureSettings(rekey_messages=3))
    assert [anna.tired(now) for now in (0.0, 119.9, 120.0)] == [False, False, True]
    assert [ben.tired(now) for now in (120.0, 149.9, 150.0)] == [False, False, True]
    assert anna.usable(179.9) and not anna.usable(180.0)
    late = anna.seal(1, b"late")
    assert ben.open(late, 180.0) == "expired_session"
    assert isinstance(ben.open(late, 179.9), Opening)
    assert not anna.tired(1.0)
    anna.seal(1, b""), anna.seal(1, b"")
    assert anna.tired(1.0) and anna.usable(1.0)


def test_counters_end_before_the_nonces_do() -> None:
    anna, ben = sessions()
    anna._next = 2**64 - 2**13 - 2
    assert anna.tired(1.0) and anna.usable(1.0)
    assert isinstance(ben.open(anna.seal(1, b"last"), 1.0), Opening)
    assert not anna.usable(1.0)
    assert ben.open(anna.seal(1, b"one too many"), 1.0) == "bad_counter"


def test_the_first_stamp_shows_the_mesh_key() -> None:
    stamps = Stamps(bytes(32))
    data = stamps.stamp(b"message", None)
    assert stamps.authentic(data) and not Stamps(b"k" * 32).authentic(data)
    for place in range(len(data) - 16):
        assert not stamps.authentic(data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :])


def test_cookies_are_for_one_address_for_two_lifetimes_of_their_secret() -> None:
    baker, stamps = Baker(random.Random(1).randbytes, 120.0), Stamps(bytes(32))
    cookie = baker.cookies(ADDRESS, 0.0)[0]
    data = stamps.stamp(b"message", cookie)
    assert shows(data, cookie) and not shows(stamps.stamp(b"message", None), cookie)
    assert all(not shows(data, other) for other in baker.cookies(("10.0.0.1", 7001), 1.0))
    assert cookie in baker.cookies(ADDRESS, 119.0)
    assert cookie == baker.cookies(ADDRESS, 121.0)[1]
    assert cookie not in baker.cookies(ADDRESS, 242.0)
    assert len(baker.cookies(ADDRESS, 9999.0)) == 1


def test_a_cookie_reply_is_read_with_the_mesh_key_by_whom_it_answers() -> None:
    stamps, cookie = Stamps(bytes(32)), b"c" * 16
    mac1 = mac1_of(stamps.stamp(b"message", None))
    body = stamps.seal(cookie, mac1, b"s" * 16)
    assert cookie not in body
    assert stamps.open(body, mac1) == cookie
    assert stamps.open(body, b"m" * 16) is None
    assert Stamps(b"k" * 32).open(body, mac1) is None
    assert stamps.open(body[:-1] + b"x", mac1) is None


def test_a_jar_is_bounded_and_its_cookies_go_stale() -> None:
    jar = Jar(120.0, 3)
    for port in range(5):
        jar.put(("10.0.0.1", port), bytes((port,)) * 16, 0.0)
    assert len(jar) == 3
    assert jar.get(("10.0.0.1", 0), 0.0) is None
    assert jar.get(("10.0.0.1", 4), 119.0) == b"\x04" * 16
    assert jar.get(("10.0.0.1", 4), 120.0) is None
