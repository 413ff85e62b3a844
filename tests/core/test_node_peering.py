"""How a stranger becomes a peer, and how a peer is lost."""

from __future__ import annotations

from typing import Any

import pytest

from shivya_daemon.core import frames
from shivya_daemon.core.events import PeerJoined, PeerLeft
from shivya_daemon.core.frames import ANNOUNCE, GOSSIP, Frame, Layered, Leave, Payload, Ping, Pong
from shivya_daemon.core.heartbeat import Heartbeat
from shivya_daemon.core.node import LocalLoad


def test_a_node_without_peers_comes_to_rest(stage: Any) -> None:
    stage.wait(0.0)
    assert stage.node.next_deadline() is None
    stage.wait(100.0)
    assert stage.node.datagrams() == []


def test_a_stranger_gets_its_pong_and_must_prove_itself(stage: Any) -> None:
    stage.say(1, Ping(77))
    assert stage.heard(1) == [Pong(77)]
    assert stage.node.members == frozenset()
    ping = stage.pinged(1)
    stage.now += 0.02
    stage.say(1, Pong(ping.timestamp))
    assert stage.node.members == {stage.id(1)}
    assert stage.node.links == (), "a link is an agreement, not a meeting"
    assert stage.node.events() == [PeerJoined(stage.id(1), None)]
    (greeting,) = stage.heard(1)
    assert isinstance(greeting, Layered) and greeting.code == ANNOUNCE
    assert stage.view(1).rtt == pytest.approx(0.02, abs=0.11)


def test_a_pong_to_nothing_asked_proves_nothing(stage: Any) -> None:
    stage.say(1, Pong(12345))
    assert stage.drops("unsolicited") == 1
    stage.say(1, Ping(1))
    ping = stage.pinged(1)
    stage.say(2, Pong(ping.timestamp))  # the right nonce from another address
    stage.say(1, Pong(ping.timestamp ^ 1))
    assert stage.node.members == frozenset()
    assert stage.drops("unsolicited") == 3
    stage.say(1, Pong(ping.timestamp))
    stage.say(1, Pong(ping.timestamp))  # a nonce proves once
    assert stage.node.members == {stage.id(1)}
    assert stage.drops("unsolicited") == 4


def test_a_pong_that_comes_seconds_late_proves_nothing(stage: Any) -> None:
    stage.say(1, Ping(1))
    ping = stage.pinged(1)
    stage.wait(5.0)
    stage.say(1, Pong(ping.timestamp))
    assert stage.node.members == frozenset()


def test_an_unanswered_stranger_is_pinged_a_bounded_number_of_times(stage: Any) -> None:
    stage.say(1, Heartbeat(1, 1))
    stage.wait(30.0)
    assert sum(isinstance(payload, Ping) for payload in stage.heard(1)) == 2
    assert stage.drops("unverified_sender") == 1
    assert stage.node.next_deadline() is None


def test_bootstrap_retransmits_for_ever_but_slowly(stage: Any) -> None:
    stage.node.connect(stage.address(1), stage.now)
    assert stage.node.next_deadline() is not None
    stage.wait(0.0)
    assert [type(payload) for payload in stage.heard(1)] == [Ping]
    stage.wait(600.0)
    pings = len(stage.heard(1))
    assert 100 < pings < 400, "three every five seconds"
    late: list[Payload] = []
    while not late:
        stage.wait(0.5)
        late = stage.heard(1)
    assert isinstance(late[0], Ping)
    stage.say(1, Pong(late[0].timestamp))
    assert stage.node.members == {stage.id(1)}


def test_an_address_no_node_can_have_is_refused(stage: Any) -> None:
    addresses = [("224.0.0.1", 8085), ("0.0.0.0", 8085), ("127.0.0.1", 0), ("example.org", 8085)]
    for address in [*addresses, ("fe80::1%eth0", 8085)]:
        with pytest.raises(ValueError, match="cannot be the address of a peer"):
            stage.node.connect(address, stage.now)


def test_a_seed_is_known_by_the_canonical_spelling_of_its_address(stage: Any) -> None:
    stage.node.connect(("2001:DB8:0::1", 8085), stage.now)
    stage.wait(0.0)
    ((data, address),) = stage.node.datagrams()
    assert address == ("2001:db8::1", 8085)
    ping = frames.decode(data).payload
    assert isinstance(ping, Ping)
    stage.say(1, Pong(ping.timestamp), address)
    assert stage.node.members == {stage.id(1)}


def test_a_stranger_at_a_zoned_address_is_answered_but_never_becomes_a_peer(stage: Any) -> None:
    stage.say(1, Ping(4), ("fe80::1%eth0", 8085))
    stage.wait(1.0)
    assert [frames.decode(data).payload for data, _ in stage.node.datagrams()] == [Pong(4)]
    assert stage.drops("unreachable_address") == 1


def test_the_own_id_from_elsewhere_is_dropped(stage: Any) -> None:
    stage.node.receive(frames.encode(Frame(stage.node.id, Ping(1))), stage.address(1), stage.now)
    assert stage.drops("own_sender") == 1
    assert stage.node.datagrams() == []


def test_a_forged_sender_moves_nothing(stage: Any) -> None:
    """Peer 1 speaks from its own address while somebody at address 9 claims its id."""
    stage.meet(1)
    stage.beat(1, name="honest")
    forger = stage.address(9)
    stage.say(1, Heartbeat(6, 2, name="forged"), forger)
    stage.say(1, Leave(10**12), forger)
    assert stage.drops("unverified_sender") == 2
    stage.say(1, Pong(stage.pinged(9).timestamp), forger)
    assert stage.drops("address_conflict") == 1
    assert stage.view(1).address == stage.address(1)
    assert stage.view(1).name == "honest"


def test_a_peer_silent_at_its_address_may_prove_itself_at_another(stage: Any) -> None:
    stage.meet(1)
    stage.wait(2.5)
    stage.say(1, Ping(1), stage.address(9))
    stage.say(1, Pong(stage.pinged(9).timestamp), stage.address(9))
    assert stage.view(1).address == stage.address(9)
    assert stage.node.members == {stage.id(1)}


def test_who_asks_is_told_the_address_that_a_peer_moved_to(stage: Any) -> None:
    stage.meet(1, 2)
    stage.wait(2.5)
    stage.say(1, Ping(1), stage.address(9))
    stage.say(1, Pong(stage.pinged(9).timestamp), stage.address(9))
    stage.node.datagrams()
    stage.say(2, frames.FindNode(stage.id(1)))
    (found,) = (payload for payload in stage.heard(2) if isinstance(payload, frames.FoundNodes))
    assert found.peers == (frames.Peer(stage.id(1), *stage.address(9)),)


def test_another_node_at_the_address_of_a_peer_replaces_it(stage: Any) -> None:
    stage.meet(1)
    stage.say(2, Ping(1), stage.address(1))
    stage.say(2, Pong(stage.pinged(1).timestamp), stage.address(1))
    assert stage.node.members == {stage.id(2)}
    assert stage.node.events() == [PeerLeft(stage.id(1), "replaced"), PeerJoined(stage.id(2), None)]


def test_a_silent_link_neighbour_is_probed_and_let_go_after_four_seconds(stage: Any) -> None:
    stage.link(1)
    stage.beat(1)
    stage.wait(0.9)
    assert not any(isinstance(payload, Ping) for payload in stage.heard(1))
    stage.wait(3.0)
    assert sum(isinstance(payload, Ping) for payload in stage.heard(1)) >= 4
    assert stage.node.links == (stage.id(1),)
    stage.wait(0.3)
    assert stage.node.links == () and stage.node.peers(stage.now) == ()
    assert stage.node.members == {stage.id(1)}, "gossip has not yet given it up"
    stage.wait(6.0)
    assert stage.node.members == frozenset()
    assert PeerLeft(stage.id(1), "silent") in stage.node.events()


def test_a_silent_peer_without_a_link_is_probed_later_and_kept_longer(stage: Any) -> None:
    stage.meet(1)
    stage.wait(24.8)
    assert not any(isinstance(payload, Ping) for payload in stage.heard(1))
    stage.wait(6.0)
    assert sum(isinstance(payload, Ping) for payload in stage.heard(1)) >= 8
    assert stage.node.members == {stage.id(1)}
    stage.wait(0.3)
    assert stage.node.events() == [PeerLeft(stage.id(1), "silent")]
    assert stage.node.members == frozenset() and stage.node.peers(stage.now) == ()


def test_a_pong_keeps_a_quiet_peer_alive(stage: Any) -> None:
    stage.meet(1)
    for _ in range(80):
        stage.wait(0.5)
        for payload in stage.heard(1):
            if isinstance(payload, Ping):
                stage.say(1, Pong(payload.timestamp))
    assert stage.node.members == {stage.id(1)}


def test_a_node_that_slept_does_not_blame_the_others(stage: Any) -> None:
    stage.link(1)
    stage.meet(2)
    stage.now += 60.0
    stage.node.handle_timer(stage.now)
    assert stage.node.members == {stage.id(1), stage.id(2)}
    assert stage.node.links == (stage.id(1),)
    stage.wait(3.5)
    assert {view.id for view in stage.node.peers(stage.now)} == {stage.id(2)}, "the link has its usual time"
    stage.wait(29.0)
    assert stage.node.members == frozenset()


def test_a_lost_peer_is_looked_for_and_a_departed_one_is_not(stage: Any) -> None:
    stage.meet(1, 2)
    stage.say(2, Leave(5))
    assert stage.node.members == {stage.id(1)}
    assert stage.node.events() == [PeerLeft(stage.id(2), "left")]
    stage.wait(32.0)
    stage.node.datagrams()
    stage.wait(20.0)
    sent = {to for _, to in stage.node.datagrams()}
    assert sent == {stage.address(1)}


def test_a_goodbye_from_an_earlier_life_is_refused(stage: Any) -> None:
    stage.meet(1)
    stage.beat(1, incarnation=9)
    stage.say(1, Leave(8))
    assert stage.drops("stale_incarnation") == 1
    assert stage.node.members == {stage.id(1)}


def test_leaving_tells_every_peer_and_then_nothing(stage: Any) -> None:
    stage.meet(1, 2)
    stage.node.leave(stage.now)
    sent: dict[Any, list[Payload]] = {}
    for data, to in stage.node.datagrams():
        sent.setdefault(to, []).append(frames.decode(data).payload)
    assert set(sent) == {stage.address(1), stage.address(2)}
    for signed, plain in sent.values():
        assert isinstance(signed, Layered) and signed.code == GOSSIP
        assert plain == Leave(100)
    stage.say(1, Ping(1))
    stage.node.publish(LocalLoad(), stage.now)
    stage.wait(10.0)
    assert stage.node.next_deadline() is None
    assert stage.node.datagrams() == []
    assert stage.drops("left") == 1
