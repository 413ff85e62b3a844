"""Who is told of whom, which answers are taken, and lookups."""

from __future__ import annotations

from typing import Any

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


def test_peers_that_others_name_are_pinged_only_when_asked_for(stage: Any) -> None:
    named = FoundNodes(tuple(Peer(stage.id(n), *stage.address(n)) for n in (2, 3)))
    stage.meet(1)
    stage.say(1, named)  # answers the question that followed the round trip
    stage.wait(0.1)
    sent = stage.node.datagrams()
    assert {to for data, to in sent if data[4] == 1} == {stage.address(2), stage.address(3)}
    stage.wait(20.0)
    stage.say(4, named)
    assert stage.drops("unverified_sender") == 1
    assert stage.node.members == frozenset()


def test_an_unsolicited_list_of_peers_from_a_member_is_refused(stage: Any) -> None:
    stage.meet(1)
    stage.say(1, FoundNodes(()))
    stage.say(1, FoundNodes((Peer(stage.id(2), *stage.address(2)),)))
    assert stage.drops("unsolicited") == 1
    stage.wait(0.2)
    assert stage.heard(2) == []


def test_named_peers_at_impossible_addresses_are_not_pinged(stage: Any) -> None:
    stage.meet(1)
    stage.say(1, FoundNodes((Peer(stage.id(2), "224.0.0.1", 9), Peer(stage.id(3), "10.0.0.3", 0))))
    assert stage.drops("unreachable_address") == 2


def test_members_are_told_eight_peers_and_strangers_few(stage: Any) -> None:
    stage.meet(*range(1, 13))
    stage.say(1, FindNode(stage.id(5)))
    (answer,) = (payload for payload in stage.heard(1) if isinstance(payload, FoundNodes))
    assert len(answer.peers) == 8
    assert answer.peers[0] == Peer(stage.id(5), *stage.address(5))
    assert stage.id(1) not in {peer.id for peer in answer.peers}
    stage.say(40, FindNode(stage.id(5)))
    (answer,) = (payload for payload in stage.heard(40) if isinstance(payload, FoundNodes))
    assert 1 <= len(answer.peers) <= 4
    stage.say(1, FindValue(stage.id(5)))
    (missed,) = (payload for payload in stage.heard(1) if isinstance(payload, FoundValue))
    assert missed.value is None and len(missed.peers) == 8 and missed.key == stage.id(5)


def test_values_are_neither_stored_nor_taken(stage: Any) -> None:
    stage.meet(1)
    stage.say(1, Store(bytes(20), b"v"))
    stage.say(1, FoundValue(bytes(20), b"v", (Peer(stage.id(2), *stage.address(2)),)))
    assert stage.drops("store_unsupported") == 1
    assert stage.drops("unsolicited") == 1
    stage.wait(0.1)
    assert stage.heard(2) == []


def test_a_lookup_asks_members_and_finds_the_target(stage: Any) -> None:
    stage.meet(1, 2)
    operation = stage.node.find(stage.id(9))
    assert not operation.done
    deadline = stage.node.next_deadline()
    assert deadline is not None and deadline <= stage.now
    stage.wait(0.0)
    assert FindNode(stage.id(9)) in stage.heard(1)
    stage.say(1, FoundNodes((Peer(stage.id(9), *stage.address(9)),)))
    stage.wait(0.1)
    ping = next(payload for payload in stage.heard(9) if isinstance(payload, Ping))
    stage.say(9, Pong(ping.timestamp))
    assert stage.heard(9)[-1] == FindNode(stage.id(9)), "asked as soon as it has proved itself"
    stage.say(9, FoundNodes(()))
    stage.wait(0.0)
    assert operation.done
    assert operation.result == Peer(stage.id(9), *stage.address(9))
    assert {peer.id for peer in operation.closest} == {stage.id(1), stage.id(9)}


def test_a_lookup_without_peers_ends_with_nothing(stage: Any) -> None:
    operation = stage.node.find(stage.id(9))
    stage.wait(0.0)
    assert operation.done and operation.result is None


def test_too_many_lookups_are_refused_at_once(stage: Any) -> None:
    operations = [stage.node.find(stage.id(9)) for _ in range(70)]
    assert sum(operation.done for operation in operations) == 6
    assert stage.drops("lookups_full") == 6
