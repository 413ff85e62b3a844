"""HISTORY frames, and two nodes that show each other how their ledgers go on."""

from __future__ import annotations

import pytest

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.events import Event, HistoryShown, HistoryWanted
from shivya_daemon.core.frames import HISTORY, Frame, Layered, decode, encode
from shivya_daemon.core.history import (
    MAX_PATH,
    TYPE,
    HistoryFrame,
    Shown,
    Want,
    decode_payload,
    encode_payload,
)
from shivya_daemon.core.node import Node
from shivya_daemon.net.memory import MemoryNetwork

CHECKPOINT = bytes(range(104))
LONGEST = Shown(2**62, CHECKPOINT, tuple(bytes([n]) * 32 for n in range(MAX_PATH)))


@pytest.mark.parametrize("frame", [Want(7), Shown(7, CHECKPOINT, ()), LONGEST])
def test_a_frame_comes_back_and_fits_a_datagram(frame: HistoryFrame) -> None:
    body = encode_payload(frame)
    assert decode_payload(body) == frame
    data = encode(Frame(bytes(20), Layered(HISTORY, body)))
    assert decode(data).payload == Layered(HISTORY, body) and HISTORY == TYPE == 0x18
    assert len(data) < 1200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "truncated"),
        (b"\x01" + bytes(7), "truncated"),
        (b"\x01" + bytes(8), "out_of_range"),
        (b"\x01" + b"\xff" * 8, "out_of_range"),
        (b"\x01" + bytes(7) + b"\x01\x00", "trailing_bytes"),
        (b"\x03" + bytes(7) + b"\x01", "unknown_subtype"),
        (b"\x02" + bytes(7) + b"\x01" + bytes(103), "truncated"),
        (b"\x02" + bytes(7) + b"\x01" + bytes(104 + 31), "truncated"),
        (b"\x02" + bytes(7) + b"\x01" + bytes(104 + 32 * 33), "trailing_bytes"),
    ],
)
def test_nonsense_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_payload(body)
    assert caught.value.reason == reason


def test_what_has_no_encoding_is_not_encoded() -> None:
    for frame in (
        Want(-1),
        Shown(2**64, CHECKPOINT, ()),
        Shown(1, b"", ()),
        Shown(1, CHECKPOINT, (b"",) * 33),
    ):
        with pytest.raises(EncodeError):
            encode_payload(frame)


def test_a_question_reaches_the_other_node_and_its_answer_comes_back_and_floods_do_not() -> None:
    net = MemoryNetwork()
    heard: list[tuple[bytes, Event]] = []

    def hear(node: Node, events: list[Event]) -> None:
        heard.extend((node.id, e) for e in events if isinstance(e, HistoryWanted | HistoryShown))

    net.on_events = hear
    anna, ben = net.spawn(2)
    net.run(3.0)
    anna.ask_history(ben.id, 5, net.now)
    net.wake(anna)
    net.run(1.0)
    assert heard == [(ben.id, HistoryWanted(anna.id, 5))]
    path = (b"\x01" * 32, b"\x02" * 32)
    ben.show_history(anna.id, 5, CHECKPOINT, path, net.now)
    net.wake(ben)
    net.run(1.0)
    assert heard[1] == (anna.id, HistoryShown(ben.id, ben.identity.public_key, 5, CHECKPOINT, path))
    for _ in range(50):
        anna.ask_history(ben.id, 5, net.now)
    net.wake(anna)
    net.run(1.0)
    assert len(heard) < 8 and ben.counters.drops["rate_limited"] > 40
