"""Who is told of whom, which answers are taken, and lookups: the hash table as the node puts it to work."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from shivya_daemon.core import frames
from shivya_daemon.core.dht.operation import Operation
from shivya_daemon.core.frames import FindNode, FindValue, FoundNodes, FoundValue, Peer, Ping, Pong, Store
from shivya_daemon.net.memory import MemoryNetwork


def ask(stage: Any, number: int, target: int) -> Operation[Peer]:
    """Look `target` up until peer `number` is asked; to other questions it knows nobody."""
    operation: Operation[Peer] = stage.node.find(stage.id(target))
    for _ in range(40):
        stage.wait(0.05)
        for payload in stage.heard(number):
            if payload == FindNode(stage.id(target)):
                return operation
            if isinstance(payload, FindNode):
                stage.say(number, FoundNodes(()))
    raise AssertionError(f"{number} is not asked")


def test_peers_that_others_name_are_pinged_only_when_asked_for(stage: Any) -> None:
    named = FoundNodes(tuple(Peer(stage.id(n), *stage.address(n)) for n in (2, 3)))
    stage.meet(1)
    ask(stage, 1, 90)
    stage.say(1, named)
    stage.wait(0.1)
    sent = stage.node.datagrams()
    assert {to for data, to in sent if data[4] == 1} == {stage.address(2), stage.address(3)}
    stage.wait(33.0)
    stage.node.datagrams()
    stage.say(4, named)
    assert stage.drops("unverified_sender") == 1
    stage.wait(1.0)
    assert {to for _, to in stage.node.datagrams()} <= {stage.address(1), stage.address(4)}
    assert stage.node.members == frozenset()


def test_an_unsolicited_list_of_peers_from_a_member_is_refused(stage: Any) -> None:
    stage.meet(1)
    stage.say(1, FoundNodes((Peer(stage.id(2), *stage.address(2)),)))
    stage.say(1, FoundValue(bytes(20), None, (Peer(stage.id(2), *stage.address(2)),)))
    assert stage.drops("unsolicited") == 2
    stage.wait(0.5)
    assert stage.heard(2) == []


def test_named_peers_at_impossible_addresses_are_not_pinged(stage: Any) -> None:
    stage.meet(1)
    ask(stage, 1, 90)
    stage.say(1, FoundNodes((Peer(stage.id(2), "224.0.0.1", 9), Peer(stage.id(3), "10.0.0.3", 0))))
    stage.wait(1.0)
    assert {to for _, to in stage.node.datagrams()} == {stage.address(1)}


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


def test_values_are_kept_from_members_if_true_and_told_to_members_alone(stage: Any) -> None:
    key = sha256(b"v").digest()[:20]
    stage.meet(1)
    stage.say(1, Store(bytes(20), b"v"))
    assert stage.drops("store_invalid") == 1
    stage.say(2, Store(key, b"v"))
    assert stage.drops("unverified_sender") == 1
    stage.say(1, Store(key, b"v"))
    stage.say(1, FindValue(key))
    assert FoundValue(key, b"v", ()) in stage.heard(1)
    stage.say(2, FindValue(key))
    (told,) = (payload for payload in stage.heard(2) if isinstance(payload, FoundValue))
    assert told.value is None


def test_a_lookup_asks_members_and_finds_the_target(stage: Any) -> None:
    stage.meet(1)
    operation = ask(stage, 1, 9)
    assert not operation.done
    stage.say(1, FoundNodes((Peer(stage.id(9), *stage.address(9)),)))
    stage.say(9, Pong(stage.pinged(9).timestamp))
    stage.wait(0.0)
    assert FindNode(stage.id(9)) in stage.heard(9), "asked as soon as it has proved itself"
    stage.say(9, FoundNodes(()))
    stage.wait(0.0)
    assert operation.done
    assert operation.result == Peer(stage.id(9), *stage.address(9))


def test_a_lookup_begins_with_the_next_timer_which_is_due_at_once(stage: Any) -> None:
    stage.meet(1)
    operation = stage.node.find(stage.id(9))
    assert not operation.done
    deadline = stage.node.next_deadline()
    assert deadline is not None and deadline <= stage.now


def test_a_named_peer_that_never_proves_itself_is_not_found(stage: Any) -> None:
    stage.meet(1)
    operation = ask(stage, 1, 9)
    stage.say(1, FoundNodes((Peer(stage.id(9), *stage.address(9)),)))
    for _ in range(60):
        stage.wait(0.5)
        if operation.done:
            break
    assert operation.done and operation.result is None


def test_a_lookup_without_peers_ends_with_nothing(stage: Any) -> None:
    operation = stage.node.find(stage.id(9))
    stage.wait(0.0)
    assert operation.done and operation.result is None


def test_too_many_lookups_are_refused_at_once(stage: Any) -> None:
    most = stage.node.settings.dht.max_queued
    operations = [stage.node.find(stage.id(9)) for _ in range(most + 6)]
    assert sum(operation.done for operation in operations) == 6
    assert all(operation.result is None for operation in operations[-6:])
    assert stage.drops("lookups_full") == 6


def test_the_own_load_of_pings_is_what_was_asked_for(stage: Any) -> None:
    """A list of eight peers makes eight PINGs and their repetitions, not a storm."""
    stage.meet(1)
    ask(stage, 1, 90)
    stage.say(1, FoundNodes(tuple(Peer(stage.id(n), *stage.address(n)) for n in range(20, 28))))
    stage.wait(30.0)
    pings = [to for data, to in stage.node.datagrams() if isinstance(frames.decode(data).payload, Ping)]
    assert max(pings.count(stage.address(n)) for n in range(20, 28)) <= 6


def test_an_outage_too_short_for_the_links_does_not_cost_the_table() -> None:
    """What questions unanswered in the outage threw out comes back as soon as the links are heard again."""
    net = MemoryNetwork(seed=1)
    nodes = net.spawn(3)
    net.run(10.0)
    net.partition([nodes[:1], nodes[1:]])
    asked = [nodes[0].find(node.id) for node in nodes[1:]]
    net.run(1.5)
    assert [operation.result for operation in asked] == [None, None]
    assert len(nodes[0].links) == 2
    net.heal()
    net.run(0.5)
    again = [nodes[0].find(node.id) for node in nodes[1:]]
    net.run_until(lambda: all(operation.done for operation in again), 5.0)
    assert [operation.result and operation.result.id for operation in again] == [n.id for n in nodes[1:]]
