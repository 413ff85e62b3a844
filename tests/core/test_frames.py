"""The codec against independent bytes, against itself, and against noise."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shivya_daemon.core import frames, heartbeat
from shivya_daemon.core.frames import (
    DecodeError,
    EncodeError,
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Frame,
    GradientDiff,
    Leave,
    Peer,
    Ping,
    Pong,
    Store,
    ThermodynamicPush,
)
from shivya_daemon.core.heartbeat import Descriptor, Echo, Heartbeat, NeighbourLoad, ServiceLoad, service_tag

SENDER = bytes(range(1, 21))


def f32(lowest: float, highest: float) -> st.SearchStrategy[float]:
    return st.floats(lowest, highest, width=32)


ids = st.binary(min_size=20, max_size=20)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
f64 = st.floats(allow_nan=False, allow_infinity=False)
rates = f32(0, heartbeat.MAX_RATE)
seconds = f32(0, heartbeat.MAX_SECONDS)
names = st.text("abcXYZ019._-", max_size=32)
hosts = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
peers = st.builds(Peer, ids, hosts, st.integers(0, 65535))
peer_lists = st.lists(peers, max_size=8).map(tuple)
values = st.binary(max_size=256)
neighbours = st.builds(
    NeighbourLoad,
    node=ids,
    queue=u32,
    servers=st.integers(0, 65535),
    service_rate=rates,
    age=st.integers(0, 65535).map(lambda ms: ms / 1000),
    accepted=u32,
    offload=rates,
)


@st.composite
def service_loads(draw: st.DrawFn) -> ServiceLoad:
    near = tuple(draw(st.lists(neighbours, max_size=12, unique_by=lambda n: n.node)))
    hop = draw(st.sampled_from([None, *(n.node for n in near)]))
    numbers = [draw(rates), draw(rates), *(draw(seconds) for _ in range(5))]
    return ServiceLoad(
        draw(st.binary(min_size=4, max_size=4)), draw(u32), draw(st.integers(0, 65535)), *numbers, hop, near
    )


services = st.lists(service_loads(), max_size=8, unique_by=lambda load: load.tag).map(tuple)
descriptors = st.lists(
    st.builds(Descriptor, names, st.text("abc0189.:[]/-", max_size=64)),
    max_size=8,
    unique_by=lambda d: d.name,
).map(tuple)
heartbeats = st.builds(
    Heartbeat,
    incarnation=u64,
    sequence=u32,
    echo=st.one_of(st.none(), st.builds(Echo, u64, u32, u32)),
    conductance=rates,
    name=names,
    free_energy=f32(-999999995904.0, 999999995904.0),
    active_cells=st.integers(0, 65535),
    services=services,
    descriptors=descriptors,
    extension=st.binary(max_size=256),
    minor=st.integers(0, 255),
)
small_payloads = st.one_of(
    st.builds(Ping, u64),
    st.builds(Pong, u64),
    st.builds(ThermodynamicPush, f64, f64),
    st.builds(GradientDiff, ids, f64, f64),
    st.builds(FindNode, ids),
    st.builds(FoundNodes, peer_lists),
    st.builds(Store, ids, values),
    st.builds(FindValue, ids),
    st.builds(FoundValue, ids, st.one_of(st.none(), values), peer_lists),
    st.builds(Leave, u64),
)


def refused(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        frames.decode(data)
    return caught.value.reason


def test_golden_frames_decode_and_encode_to_the_same_bytes(golden: Path) -> None:
    for name, entry in json.loads((golden / "frames.json").read_text()).items():
        data = bytes.fromhex(entry["hex"])
        frame = frames.decode(data)
        assert frame.sender == SENDER, name
        assert frames.encode(frame) == data, name
        assert len(data) == entry.get("len", len(data)), name


def test_golden_fields_mean_what_they_say(golden: Path) -> None:
    table = json.loads((golden / "frames.json").read_text())

    def payload(name: str) -> frames.Payload:
        return frames.decode(bytes.fromhex(table[name]["hex"])).payload

    assert payload("PING") == Ping(123456789)
    assert payload("GRADIENT_DIFF") == GradientDiff(bytes(range(0xA0, 0xB4)), 0.5, -2.25)
    assert payload("FOUND_NODES_2") == FoundNodes(
        (Peer(b"\x03" * 20, "127.0.0.1", 9000), Peer(b"\x04" * 20, "10.0.0.2", 31415))
    )
    assert payload("STORE_empty") == Store(b"\x42" * 20, b"")
    assert payload("FOUND_VALUE_hit") == FoundValue(b"\x42" * 20, b"hello shivya", ())
    missed = payload("FOUND_VALUE_miss_2peers")
    assert isinstance(missed, FoundValue) and missed.value is None and len(missed.peers) == 2


def test_golden_invalid_frames_are_refused_for_the_right_reason(golden: Path) -> None:
    table = json.loads((golden / "frames_invalid.json").read_text())
    assert {name: refused(bytes.fromhex(data)) for name, data in table.items()} == {
        "bad_magic": "bad_magic",
        "unknown_type_0x0a": "unknown_type",
        "short_header_24": "short_header",
        "short_ping": "truncated",
        "found_nodes_count9": "bad_count",
        "found_nodes_truncated": "truncated",
        "ipv6_family": "truncated",
        "store_257": "bad_value_length",
        "thermo_nan_must_be_rejected": "not_finite",
        "thermo_inf_must_be_rejected": "not_finite",
    }


@given(ids, small_payloads)
def test_every_payload_survives_the_wire(sender: bytes, payload: frames.Payload) -> None:
    frame = Frame(sender, payload)
    data = frames.encode(frame)
    assert frames.decode(data) == frame
    assert len(data) <= frames.MAX_DATAGRAM_BYTES


@settings(deadline=None)
@given(heartbeats)
def test_a_heartbeat_split_over_frames_survives_the_wire_whole(beat: Heartbeat) -> None:
    parts = heartbeat.split(beat)
    read = [frames.decode(frames.encode(Frame(SENDER, part))).payload for part in parts]
    assert tuple(read) == parts
    assert tuple(load for part in parts for load in part.services) == beat.services
    assert tuple(entry for part in parts for entry in part.descriptors) == beat.descriptors
    assert [part.sequence for part in parts] == [(beat.sequence + n) % 2**32 for n in range(len(parts))]


@settings(deadline=None)
@given(st.one_of(small_payloads, heartbeats.map(lambda beat: heartbeat.split(beat)[0])), st.data())
def test_every_truncation_and_extension_is_refused(payload: frames.Payload, data: st.DataObject) -> None:
    whole = frames.encode(Frame(SENDER, payload))
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert refused(whole[:cut]) in {"short_header", "truncated"}
    # A heartbeat's extension has its own length, so a byte too many is one there as well.
    assert refused(whole + b"\0") in {"trailing_bytes", "oversized"}


@settings(max_examples=400)
@given(st.integers(0, 255), st.binary(max_size=400))
def test_noise_behind_a_header_is_accepted_only_if_it_is_canonical(code: int, body: bytes) -> None:
    data = frames.MAGIC + bytes((code,)) + SENDER + body
    try:
        frame = frames.decode(data)
    except DecodeError:
        return
    assert frames.encode(frame) == data


@settings(max_examples=300, deadline=None)
@given(heartbeats, st.data())
def test_a_heartbeat_with_flipped_bits_is_refused_or_canonical(beat: Heartbeat, data: st.DataObject) -> None:
    whole = bytearray(frames.encode(Frame(SENDER, heartbeat.split(beat)[0])))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(25, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        frame = frames.decode(bytes(whole))
    except DecodeError:
        return
    assert frames.encode(frame) == bytes(whole)


@given(st.binary(max_size=64))
def test_noise_is_refused(data: bytes) -> None:
    if data[:4] != frames.MAGIC:
        assert refused(data) in {"short_header", "bad_magic"}


def test_flags_and_families_other_than_the_known_are_refused() -> None:
    found = frames.encode(Frame(SENDER, FoundValue(b"k" * 20, b"v", ())))
    assert refused(found[:45] + b"\x02" + found[46:]) == "bad_flag"
    assert refused(found[:45] + b"\x00" + found[46:]) == "bad_value_length"
    peer = frames.encode(Frame(SENDER, FoundNodes((Peer(b"p" * 20, "1.2.3.4", 5),))))
    assert refused(peer[:46] + b"\x05" + peer[47:]) == "bad_family"


def test_ipv6_peers_take_39_bytes_and_keep_their_text() -> None:
    peer = Peer(b"p" * 20, "2001:db8::1", 8085)
    data = frames.encode(Frame(SENDER, FoundNodes((peer,))))
    assert len(data) == 26 + 39
    assert frames.decode(data).payload == FoundNodes((peer,))


@pytest.mark.parametrize(
    "payload",
    [
        ThermodynamicPush(math.nan, 0.0),
        GradientDiff(SENDER, math.inf, 0.0),
        GradientDiff(b"short", 0.0, 0.0),
        FoundNodes((Peer(SENDER, "not an address", 1),)),
        FoundNodes((Peer(SENDER, "fe80::1%eth0", 1),)),
        FoundNodes((Peer(SENDER, "1.2.3.4", 65536),)),
        FoundNodes(tuple(Peer(SENDER, "1.2.3.4", 1) for _ in range(9))),
        Store(SENDER, bytes(257)),
        Ping(2**64),
        Leave(-1),
        Heartbeat(1, 1, conductance=math.nan),
        Heartbeat(1, 1, free_energy=math.nan),
        Heartbeat(1, 1, name="not a name"),
        Heartbeat(1, 1, name="n" * 33),
        Heartbeat(1, 1, active_cells=65536),
        Heartbeat(1, 1, descriptors=(Descriptor("s", "a b"),)),
    ],
)
def test_what_cannot_be_carried_is_refused_by_the_sender(payload: frames.Payload) -> None:
    with pytest.raises(EncodeError):
        frames.encode(Frame(SENDER, payload))


def full_load(index: int) -> ServiceLoad:
    near = tuple(NeighbourLoad(bytes((index, n)) * 10, 7, 2, 20.0, 0.05, 1000 + n, 1.5) for n in range(12))
    numbers = (20.0, 18.0, 0.5, 0.25, 0.05, 0.75, 0.1)
    return ServiceLoad(service_tag(f"service-{index}"), 12, 2, *numbers, near[3].node, near)


def test_eight_full_services_with_descriptors_take_a_frame_each_below_the_limit() -> None:
    """Of services with twelve neighbours two would fit 1200 bytes, but not with what seals a frame."""
    beat = Heartbeat(
        incarnation=3,
        sequence=2**32 - 2,
        echo=Echo(9, 8, 7),
        name="n" * 32,
        services=tuple(map(full_load, range(8))),
        descriptors=tuple(Descriptor(f"{n:032}", "a" * 64) for n in range(8)),
    )
    parts = heartbeat.split(beat)
    assert len(parts) <= 9
    assert all(len(frames.encode(Frame(SENDER, part))) <= 1161 for part in parts)
    with pytest.raises(EncodeError, match="more than 1200"):
        frames.encode(Frame(SENDER, beat))


def test_another_major_version_is_refused_and_a_later_minor_one_is_read() -> None:
    later = Heartbeat(1, 2, minor=7, extension=b"fields of tomorrow")
    data = frames.encode(Frame(SENDER, later))
    assert frames.decode(data).payload == later
    assert refused(data[:25] + b"\x02" + data[26:]) == "unsupported_version"
    assert refused(data[:27] + b"\x80" + data[28:]) == "bad_flag"


def test_numbers_out_of_range_saturate_when_sent_and_are_refused_when_received() -> None:
    load = ServiceLoad(service_tag("s"), 1, 1, 10.0, 5.0, math.inf, 1e300, 0.0, 0.0, 0.0)
    data = frames.encode(Frame(SENDER, Heartbeat(1, 1, services=(load,))))
    beat = frames.decode(data).payload
    assert isinstance(beat, Heartbeat)
    assert beat.services[0].waiting == beat.services[0].potential == heartbeat.MAX_SECONDS
    at = data.index(struct.pack(">f", heartbeat.MAX_SECONDS))
    for number, reason in ((-1.0, "out_of_range"), (1.1e6, "out_of_range"), (math.nan, "not_finite")):
        assert refused(data[:at] + struct.pack(">f", number) + data[at + 4 :]) == reason


def test_a_service_or_neighbour_named_twice_is_refused() -> None:
    one, two = full_load(1), full_load(2)
    data = frames.encode(Frame(SENDER, Heartbeat(1, 1, services=(one, two))))
    assert refused(data.replace(two.tag, one.tag)) == "repeated_entry"
    first, second = one.neighbours[:2]
    assert refused(data.replace(second.node, first.node)) == "repeated_entry"
    with pytest.raises(EncodeError, match="each once"):
        heartbeat.split(Heartbeat(1, 1, services=(one, one)))
