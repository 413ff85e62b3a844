"""The bytes of GOSSIP, ANNOUNCE, and the values of LINKS and RESOURCES: round trips, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.gossip import announcement, frames, resources, topology
from shivya_daemon.core.gossip.announcement import (
    Announcement,
    Announcements,
    Profile,
    announce,
    authentic,
    compatible,
)
from shivya_daemon.core.gossip.capabilities import Capabilities, Compute, Storage
from shivya_daemon.core.gossip.frames import Exchange, Kind, NodeDelta
from shivya_daemon.core.gossip.resources import Resources
from shivya_daemon.core.identity import Identity

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
NAMES = st.text("abcXYZ019._-", min_size=1, max_size=24)
TEXTS = st.lists(NAMES, max_size=3, unique=True).map(tuple)
MARKS = st.binary(min_size=8, max_size=8)

CAPABILITIES = st.builds(
    Capabilities,
    st.none() | st.builds(Compute, U32, U64),
    st.none() | st.builds(Storage, U64, U32),
    TEXTS,
    st.none() | U64,
    TEXTS,
    st.sets(st.integers(6, 255), max_size=2).map(
        lambda kinds: tuple((kind, b"later") for kind in sorted(kinds))
    ),
)
ADDRESSES = st.tuples(
    st.ip_addresses().filter(lambda ip: not ip.is_unspecified).map(str), st.integers(1, 65535)
)
ANNOUNCEMENTS = st.builds(
    Announcement,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
    U64,
    U32,
    st.builds(
        Profile,
        st.text("abcXYZ019._-", max_size=32),
        st.lists(ADDRESSES, max_size=3, unique=True).map(tuple),
        CAPABILITIES,
        CAPABILITIES,
    ),
    st.binary(min_size=64, max_size=64),
    st.binary(max_size=20),
    st.integers(0, 255),
)


@st.composite
def deltas(draw: st.DrawFn) -> NodeDelta:
    keys = draw(st.sets(st.integers(0, 255), max_size=4))
    items = tuple((key, draw(st.integers(1, 2**32 - 1)), draw(st.binary(max_size=30))) for key in keys)
    base = draw(U32)
    through = draw(st.sampled_from([base, *(version for _, version, _ in items if version >= base)]))
    return NodeDelta(draw(st.binary(min_size=20, max_size=20)), draw(U64), draw(U32), base, through, items)


ENTRIES = st.lists(st.tuples(MARKS, U32, U32), max_size=20).map(tuple)
MARK_LISTS = st.lists(MARKS, max_size=5).map(tuple)
WANTS = st.lists(st.tuples(MARKS, U32), max_size=5).map(tuple)
EXCHANGES = st.one_of(
    st.builds(Exchange, st.just(Kind.SYN), ENTRIES),
    st.builds(Exchange, st.just(Kind.ACK), ENTRIES, MARK_LISTS, WANTS),
    st.builds(
        Exchange,
        st.just(Kind.DELTA),
        st.just(()),
        MARK_LISTS,
        WANTS,
        st.lists(deltas(), max_size=3).map(tuple),
    ),
)

IDENTITY = Identity.from_private_bytes(bytes(range(32)))
FULL = Profile(
    "edge-1",
    (("10.0.0.1", 8085), ("fd00::1", 8085)),
    Capabilities(Compute(4, 8192), Storage(64_000, 500), ("http", "mqtt"), 5_000_000, ("gpu",)),
    Capabilities(tags=("camera",)),
)
CODECS: list[tuple[bytes, Callable[[bytes], object]]] = [
    (announcement.encode_payload(announce(IDENTITY, 7, 3, FULL)), announcement.decode_payload),
    (
        frames.encode_payload(
            Exchange(
                Kind.DELTA,
                unknown=(b"abcdefgh",),
                wants=((b"hgfedcba", 9),),
                deltas=(NodeDelta(bytes(20), 5, 6, 7, 9, ((1, 8, b"one"), (2, 9, b"two"))),),
            )
        ),
        frames.decode_payload,
    ),
    (
        frames.encode_payload(Exchange(Kind.SYN, ((b"abcdefgh", 1, 2), (b"hgfedcba", 3, 4)))),
        frames.decode_payload,
    ),
    (
        resources.encode_resources(Resources((0.5, 0.25, 1.0, 0.0), (4000.0, 1.0, 2.0, 3.0))),
        resources.decode_resources,
    ),
]


@given(EXCHANGES)
def test_messages_survive_the_wire(message: Exchange) -> None:
    data = frames.encode_payload(message)
    assert len(data) == frames.exchange_bytes(message)
    assert frames.decode_payload(data) == message


@given(ANNOUNCEMENTS)
def test_announcements_survive_the_wire(one: Announcement) -> None:
    assert announcement.decode_payload(announcement.encode_payload(one)) == one


@given(st.binary(max_size=300), st.sampled_from(CODECS))
@settings(max_examples=300)
def test_noise_gives_a_decode_error_or_comes_back_as_it_was(noise: bytes, codec: tuple) -> None:  # type: ignore[type-arg]
    valid, decode = codec
    encode = {
        announcement.decode_payload: announcement.encode_payload,
        frames.decode_payload: frames.encode_payload,
        resources.decode_resources: resources.encode_resources,
    }[decode]
    start = random.Random(noise).randrange(len(valid))
    for data in (noise, valid[:start] + noise, valid[:start] + noise + valid[start + len(noise) :]):
        try:
            decoded = decode(data)
        except DecodeError as error:
            assert error.reason.replace("_", "").isalpha()
        else:
            assert encode(decoded) == data  # type: ignore[operator]


@pytest.mark.parametrize(("valid", "decode"), CODECS)
def test_every_truncation_and_extension_is_refused(valid: bytes, decode: Callable[[bytes], object]) -> None:
    decode(valid)
    for data in [*(valid[:end] for end in range(len(valid))), valid + b"\0"]:
        with pytest.raises(DecodeError):
            decode(data)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Exchange(Kind.SYN, unknown=(bytes(8),)), "bad_kind"),
        (Exchange(Kind.SYN, deltas=(NodeDelta(bytes(20), 1, 1, 0, 0),)), "bad_kind"),
        (Exchange(Kind.ACK, deltas=(NodeDelta(bytes(20), 1, 1, 0, 0),)), "bad_kind"),
        (Exchange(Kind.DELTA, ((bytes(8), 1, 1),)), "bad_kind"),
    ],
)
def test_messages_of_the_wrong_shape_are_refused(message: Exchange, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        frames.decode_payload(frames.encode_payload(message))


@pytest.mark.parametrize(
    "delta",
    [
        NodeDelta(bytes(20), 1, 1, 0, 9, ((1, 8, b""),)),  # claims more than it gives
        NodeDelta(bytes(20), 1, 1, 5, 4),
        NodeDelta(bytes(20), 1, 1, 0, 0, ((1, 0, b""),)),
        NodeDelta(bytes(20), 1, 1, 0, 2, ((1, 1, b""), (1, 2, b""))),
        NodeDelta(bytes(20), 1, 1, 0, 1, ((1, 1, bytes(901)),)),
        NodeDelta(bytes(19), 1, 1, 0, 0),
    ],
)
def test_deltas_that_no_honest_node_sends_have_no_encoding(delta: NodeDelta) -> None:
    with pytest.raises(EncodeError):
        frames.encode_payload(Exchange(Kind.DELTA, deltas=(delta,)))


def test_a_message_never_exceeds_its_budget() -> None:
    page = tuple((bytes(8), 1, 1) for _ in range(69))
    with pytest.raises(EncodeError, match="1100"):
        frames.encode_payload(Exchange(Kind.SYN, page))
    with pytest.raises(DecodeError, match="oversized"):
        frames.decode_payload(bytes(1101))


def test_an_announcement_is_worth_what_its_signature_covers() -> None:
    raw = announcement.encode_payload(announce(IDENTITY, 7, 3, FULL))
    assert authentic(raw)
    assert announcement.decode_payload(raw).node_id == IDENTITY.node_id
    for position in range(len(raw)):
        forged = raw[:position] + bytes((raw[position] ^ 1,)) + raw[position + 1 :]
        assert not authentic(forged)


def test_each_announcement_is_checked_once_and_forgeries_are_not_remembered() -> None:
    announcements = Announcements(capacity=2)
    raws = [announcement.encode_payload(announce(IDENTITY, 7, version, FULL)) for version in (1, 2, 3)]
    first = announcements.check(raws[0])
    assert announcements.check(raws[0]) is first
    with pytest.raises(DecodeError, match="bad_signature"):
        announcements.check(raws[0][:-1] + bytes((raws[0][-1] ^ 1,)))
    announcements.check(raws[1])
    announcements.check(raws[2])
    assert len(announcements) == 2
    assert announcements.known(raws[0]) is None


@pytest.mark.parametrize(
    "profile",
    [
        Profile("no spaces"),
        Profile("x" * 33),
        Profile(addresses=(("example.org", 1),)),
        Profile(addresses=(("0.0.0.0", 1),)),
        Profile(addresses=(("fe80::1%eth0", 1),)),
        Profile(addresses=(("10.0.0.1", 0),)),
        Profile(addresses=tuple(("10.0.0.1", port) for port in range(1, 5))),
        Profile(addresses=(("10.0.0.1", 1), ("10.0.0.1", 1))),
        Profile(capabilities=Capabilities(Compute(-1, 0))),
        Profile(capabilities=Capabilities(tags=("a", "a"))),
        Profile(capabilities=Capabilities(tags=("",))),
        Profile(capabilities=Capabilities(tags=tuple("abcdefghi"))),
        Profile(capabilities=Capabilities(other=((3, b"known"),))),
    ],
)
def test_profiles_that_cannot_be_announced(profile: Profile) -> None:
    with pytest.raises(EncodeError):
        announce(IDENTITY, 1, 1, profile)


def described(offers: Capabilities, seeks: Capabilities | None = None) -> Announcement:
    return Announcement(bytes(32), bytes(32), 1, 1, Profile("", (), offers, seeks or Capabilities()))


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (described(Capabilities()), described(Capabilities()), True),
        (described(Capabilities(Compute(1, 1))), described(Capabilities()), False),
        (described(Capabilities(Compute(1, 1))), described(Capabilities(Compute(9, 9))), True),
        (described(Capabilities(gateway=("http",))), described(Capabilities(gateway=("mqtt",))), False),
        (described(Capabilities(tags=("a", "b"))), described(Capabilities(tags=("b",))), True),
        (
            described(Capabilities(Compute(4, 100)), Capabilities(storage=Storage(50, 10))),
            described(Capabilities(storage=Storage(60, 10))),
            True,
        ),
        (
            described(Capabilities(Compute(4, 100)), Capabilities(storage=Storage(50, 20))),
            described(Capabilities(storage=Storage(60, 10))),
            False,
        ),
        (described(Capabilities(), Capabilities(witness=5)), described(Capabilities(witness=5)), True),
        (described(Capabilities(), Capabilities(witness=6)), described(Capabilities(witness=5)), False),
        (
            described(Capabilities(), Capabilities(tags=("gpu",))),
            described(Capabilities(tags=("gpu",))),
            True,
        ),
    ],
)
def test_who_is_compatible(one: Announcement, two: Announcement, expected: bool) -> None:
    assert compatible(one, two) is compatible(two, one) is expected


def test_another_major_version_is_refused_and_another_minor_kept() -> None:
    later = replace(announce(IDENTITY, 1, 1, FULL), minor=9, extension=b"more")
    raw = announcement.encode_payload(later)
    assert announcement.decode_payload(raw) == later
    with pytest.raises(DecodeError, match="unsupported_version"):
        announcement.decode_payload(b"\2" + raw[1:])


@given(st.sets(st.binary(min_size=20, max_size=20), max_size=16))
def test_links_survive_the_wire(links: set[bytes]) -> None:
    value = topology.encode_links(links)
    assert topology.decode_links(value) == links


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (bytes(19), "truncated"),
        (bytes(40), "repeated_entry"),
        (b"b" * 20 + b"a" * 20, "repeated_entry"),
        (bytes(20 * 17), "bad_count"),
    ],
)
def test_links_that_cannot_be(value: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        topology.decode_links(value)
