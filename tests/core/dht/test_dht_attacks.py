"""What hostile nodes try: unasked answers, false values, invented peers, Sybils of one subnet, floods."""

from __future__ import annotations

import random
from typing import Any

import pytest

from shivya_daemon.core.dht.dht import Dht, DhtSettings, Message, Reply
from shivya_daemon.core.dht.token_frames import Outcome, TokenGrant, TokenPut, TokenRequest, TokenStored
from shivya_daemon.core.dht.values import content_key
from shivya_daemon.core.frames import (
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Peer,
    Ping,
    Pong,
    Store,
)

OWN = bytes(20)
EVIL = Peer(b"\xee" * 20, "6.6.6.6", 666)
KEY = content_key(b"value")


def node(settings: DhtSettings | None = None) -> Dht:
    return Dht(OWN, settings or DhtSettings(), random.Random(1).randbytes)


def tell(
    table: Dht,
    message: Message,
    sender: Peer = EVIL,
    request: int | None = 7,
    size: int = 45,
    proved: bool = True,
    now: float = 0.0,
) -> list[Reply] | str:
    return table.receive(sender.id, (sender.host, sender.port), request, message, size, proved, now)


@pytest.mark.parametrize("request_ids", [True, False])
def test_answers_to_nothing_asked_change_nothing(request_ids: bool) -> None:
    table = node(DhtSettings(request_ids=request_ids))
    table.joined(EVIL, 0.0)
    number = 7 if request_ids else None
    victims = tuple(Peer(bytes((n,)) * 20, f"7.7.{n}.7", 80) for n in range(1, 9))
    unasked = (
        FoundNodes(victims),
        FoundValue(KEY, b"value", ()),
        FoundValue(KEY, None, victims),
        TokenGrant(1),
        TokenStored(KEY, Outcome.STORED),
        Pong(3),
    )
    for message in unasked:
        assert tell(table, message, request=number) == "unsolicited"
    assert len(table.table) == 1 and len(table.store) == 0
    asked = {question.peer for question in table.due(0.0)}
    assert asked <= {EVIL}, "nobody is sent anything because somebody named them"


def test_an_answer_from_another_node_or_with_another_id_is_unsolicited() -> None:
    table = node()
    friend = Peer(b"\x11" * 20, "9.9.9.9", 9)
    table.joined(friend, 0.0)
    table.joined(EVIL, 0.0)
    get = table.get(KEY)
    assert get is not None
    (question,) = [q for q in table.due(0.0) if isinstance(q.payload, FindValue)]
    number, asked = question.request, question.peer
    other = EVIL if asked == friend else friend
    assert number is not None
    assert tell(table, FoundValue(KEY, b"value", ()), other, number) == "unsolicited"
    assert tell(table, FoundValue(KEY, b"value", ()), asked, number ^ 1) == "unsolicited"
    assert tell(table, FoundNodes(()), asked, number) == "unsolicited"
    assert not get.done
    assert tell(table, FoundValue(KEY, b"value", ()), asked, number) == []
    table.due(0.0)
    assert get.result == b"value"


def test_a_stranger_gets_few_bytes_and_no_value() -> None:
    table = node()
    for number in range(1, 40):
        table.joined(Peer(bytes((number,)) * 20, f"9.9.{number}.1", 80), 0.0)
    put = table.put(b"value")
    assert put is not None
    (known,) = tell(table, FindNode(KEY))
    assert (
        isinstance(known, Reply) and isinstance(known.payload, FoundNodes) and len(known.payload.peers) == 8
    )
    (value,) = tell(table, FindValue(KEY))
    assert isinstance(value, Reply) and value.payload == FoundValue(KEY, b"value", ())
    for question in (FindNode(KEY), FindValue(KEY)):
        for size in (20, 45, 200):
            (reply,) = tell(table, question, size=size, proved=False)
            assert isinstance(reply, Reply)
            payload = reply.payload
            assert isinstance(payload, FoundNodes | FoundValue) and len(payload.peers) <= 4
            assert isinstance(payload, FoundNodes) or payload.value is None
            fixed = 26 if isinstance(payload, FoundNodes) else 49
            assert not payload.peers or fixed + 27 * len(payload.peers) <= 3 * size
    for message in (TokenRequest(KEY), TokenPut(0, 0, KEY, b"value"), Store(KEY, b"value")):
        assert tell(table, message, proved=False) == "unverified_sender"


def test_a_value_needs_a_token_of_its_writer_at_its_address() -> None:
    table = node()
    other = Peer(b"\x22" * 20, "6.6.6.7", 666)
    (granted,) = tell(table, TokenRequest(KEY), other)
    assert isinstance(granted, Reply) and isinstance(granted.payload, TokenGrant) and granted.request == 7
    stolen = TokenPut(granted.payload.token, 0, KEY, b"value")
    (refused,) = tell(table, stolen)
    assert isinstance(refused, Reply) and refused.payload == TokenStored(KEY, Outcome.BAD_TOKEN)
    assert len(table.store) == 0 and table.refused == {"bad_token": 1}
    (kept,) = tell(table, stolen, other)
    assert isinstance(kept, Reply) and kept.payload == TokenStored(KEY, Outcome.STORED)
    (false,) = tell(table, TokenPut(granted.payload.token, 0, KEY, b"other value"), other)
    assert isinstance(false, Reply) and false.payload == TokenStored(KEY, Outcome.INVALID)
    assert tell(table, Store(KEY, b"value")) == "store_unsupported", "no way round the token"


def test_the_open_wire_keeps_true_values_of_proved_peers_only() -> None:
    table = node(DhtSettings(request_ids=False))
    assert tell(table, Store(KEY, b"value"), request=None, proved=False) == "unverified_sender"
    assert tell(table, Store(KEY, b"false"), request=None) == "store_invalid"
    assert len(table.store) == 0
    assert tell(table, Store(KEY, b"value"), request=None) == []
    assert len(table.store) == 1


def test_a_flood_of_one_writer_ends_at_its_quota() -> None:
    table = node()
    (granted,) = tell(table, TokenRequest(KEY))
    assert isinstance(granted, Reply) and isinstance(granted.payload, TokenGrant)
    choose = random.Random(2)
    for _ in range(2000):
        value = choose.randbytes(64)
        tell(table, TokenPut(granted.payload.token, 0, content_key(value), value))
    assert len(table.store) == 128
    assert table.refused == {"full": 2000 - 128}


def test_the_oldest_peer_keeps_its_place_while_it_answers_a_ping() -> None:
    for answers in (True, False):
        table = node(DhtSettings(bucket_size=2))
        crowd = [Peer(bytes((0x80, n)) + bytes(18), f"9.9.{n}.1", 80) for n in range(3)]
        for peer in crowd[:2]:
            table.joined(peer, 0.0)
        table.due(0.0)
        table.joined(crowd[2], 100.0)
        now, pings = 100.0, 0
        while now < 100.6:
            for question in table.due(now):
                if isinstance(question.payload, Ping):
                    pings += 1
                    assert question.peer == crowd[0]
                    if answers and pings == 3:
                        assert tell(table, Pong(question.payload.timestamp), crowd[0], now=now) == []
            now += 0.025
        assert pings == (3 if answers else 4)
        assert (crowd[0].id in table.table) is answers
        assert (crowd[2].id in table.table) is not answers


def test_false_values_do_not_reach_who_asks(group: Any) -> None:
    mesh = group(1, 0.05)
    mesh.spawn(40)
    mesh.run(10.0)
    puts = [mesh.put(number, b"true %d" % number) for number in range(40)]
    mesh.settle(puts)
    mesh.run(3.0)

    def lie(question: Message, reply: Message) -> Message:
        return FoundValue(question.key, b"false", ()) if isinstance(question, FindValue) else reply

    mesh.liars = dict.fromkeys(range(10), lie)
    gets = [mesh.get(10 + number % 30, put.key) for number, put in enumerate(puts)]
    mesh.settle(gets)
    assert [operation.result for operation in gets] == [b"true %d" % number for number in range(40)]
    assert mesh.drops["bad_value"] > 0


def test_invented_peers_of_one_subnet_do_not_hide_the_true_ones(group: Any) -> None:
    """A quarter of the nodes names eight peers right at the target with every answer, all in one subnet."""
    mesh = group(2, 0.0, DhtSettings(limit_private=True))
    mesh.spawn(40)
    mesh.run(10.0)
    choose = random.Random(3)

    def poison(question: Message, reply: Message) -> Message:
        if not isinstance(question, FindNode | FindValue):
            return reply
        target = question.target if isinstance(question, FindNode) else question.key
        fake = tuple(Peer(target[:-1] + choose.randbytes(1), "6.6.6.6", 1000 + n) for n in range(8))
        fake = tuple(peer for peer in fake if peer.id != target)
        return FoundNodes(fake) if isinstance(question, FindNode) else FoundValue(target, None, fake)

    mesh.liars = dict.fromkeys(range(10), poison)
    puts = [mesh.put(10 + number, b"value %d" % number) for number in range(20)]
    mesh.settle(puts)
    gets = [mesh.get(10 + 7 * number % 30, put.key) for number, put in enumerate(puts)]
    finds = [(mesh.find(10 + n, mesh.peers[39 - n].id), mesh.peers[39 - n]) for n in range(15)]
    mesh.settle(gets + [operation for operation, _ in finds])
    assert all(operation.result for operation in puts + gets)
    assert all(operation.result == peer for operation, peer in finds)
    for table in mesh.tables[10:]:
        assert len(table.table) < 40, "nobody who was only named has a place"


def test_ten_times_as_many_sybils_of_one_subnet_are_two_in_any_table(group: Any) -> None:
    mesh = group(4, 0.0, DhtSettings(limit_private=True))
    mesh.spawn(20)
    mesh.run(5.0)
    mesh.spawn(200, host=lambda number: f"6.6.6.{number}")
    mesh.run(10.0)
    for table in mesh.tables[:20]:
        entries = table.table.closest(OWN, 500)
        assert sum(peer.host.startswith("6.6.6.") for peer in entries) <= 2

    def silent(question: Message, reply: Message) -> Message:
        return FoundValue(question.key, None, ()) if isinstance(question, FindValue) else reply

    mesh.liars = dict.fromkeys(range(20, 220), silent)
    puts = [mesh.put(number, b"value %d" % number) for number in range(20)]
    mesh.settle(puts)
    gets = [mesh.get((number + 7) % 20, put.key) for number, put in enumerate(puts)]
    mesh.settle(gets)
    assert [operation.result for operation in gets] == [b"value %d" % number for number in range(20)]


def test_operations_wait_in_bounded_queues() -> None:
    table = node(DhtSettings(max_queued=5, max_published=3))
    assert sum(table.find(bytes((n,)) * 20) is not None for n in range(1, 20)) == 5
    assert table.put(b"refused") is None
    table.due(0.0)
    assert [table.put(b"%d" % n) is not None for n in range(5)] == [True, True, True, False, False]
    table.withdraw(content_key(b"0"))
    assert table.put(b"4") is not None
