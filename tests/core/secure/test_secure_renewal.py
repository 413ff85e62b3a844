"""Sessions over time: how they renew their keys, and what they make of silence, moves and restarts."""

from __future__ import annotations

import random
from typing import Any

from shivya_daemon.core.identity import Identity
from shivya_daemon.core.secure.events import Closed

Wire = Any
Party = Any


def test_keys_are_renewed_under_traffic_and_loss(wire: Wire) -> None:
    anna, ben = wire.pair()
    noise = random.Random(9)
    wire.lose = lambda source, to, data: noise.random() < 0.3
    for _ in range(4000):  # 400 s of ten frames a second each way
        assert anna.say(ben) and ben.say(anna)
        wire.run(0.1)
    for party in (anna, ben):
        assert len(party.events) == 1  # a renewal is nobody's news
        assert len(party.opened) >= 0.67 * 4000
        assert not set(party.drops) - {"unknown_session", "unconfirmed", "unsolicited"}
        assert len(party.sessions._indices) <= 4
    renewals = [data for _, _, data in wire.sent if data[0] == 3]
    assert 4 <= len(renewals) <= 20


def test_idle_sessions_cost_nothing_and_end(wire: Wire) -> None:
    anna, ben = wire.pair()
    wire.sent.clear()
    wire.run(170.0)
    assert not wire.sent and anna.say(ben)  # overdue, but usable
    wire.run(170.0)
    assert [event for event in anna.events + ben.events if isinstance(event, Closed)] == []
    wire.run(30.0)
    assert anna.events[-1] == Closed(ben.id, "expired") and ben.events[-1] == Closed(anna.id, "expired")
    assert anna.say(ben) is None
    assert not len(anna.sessions._indices) and anna.sessions.next_deadline() is None


def test_the_responder_renews_where_only_it_has_something_to_say(wire: Wire) -> None:
    anna, ben = wire.pair()
    for _ in range(400):
        assert ben.say(anna)
        wire.run(1.0)
    assert len(anna.opened) == 400 and len(anna.events) == 1
    sent = [data[0] for source, _, data in wire.sent if source == ben.address]
    assert (
        sent.count(1) == 3
    )  # after 150, 270 and 390 s, and not one a few seconds: that Anna hears is shown by her empty frames


def test_a_frame_that_needs_no_answer_gets_an_empty_one_after_a_second(wire: Wire) -> None:
    anna, ben = wire.pair()
    wire.sent.clear()
    anna.say(ben)
    wire.run(0.5)
    assert len(wire.sent) == 1
    wire.run(30.0)
    assert [(source, len(data)) for source, _, data in wire.sent[1:]] == [(ben.address, 37)]
    wire.sent.clear()
    anna.say(ben)
    wire.run(0.5)
    ben.say(anna, b"an answer")
    anna.say(ben, b"thanks")
    wire.run(0.6)
    assert len(wire.sent) == 3  # an answer saves the empty frame


def test_roaming(wire: Wire) -> None:
    anna, ben = wire.pair()
    old, new = anna.address, ("192.168.7.7", 4444)
    wire.move(anna, new)
    anna.say(ben, b"from elsewhere")
    wire.run(0.1)
    assert ben.opened[-1].moved and ben.opened[-1].address == new == ben.sessions.address(anna.id)
    anna.say(ben, b"still there")
    ben.say(anna, b"found you")
    wire.run(0.1)
    assert not ben.opened[-1].moved
    assert anna.opened[-1].frame == b"found you"
    assert len(ben.events) == 1

    early, late = (
        anna.sessions.seal(ben.id, 1, b"early", wire.now),
        anna.sessions.seal(ben.id, 1, b"late", wire.now),
    )
    ben.hear(late[0], new)
    ben.hear(early[0], old)  # overtaken: it says nothing about where Anna is
    assert ben.opened[-1].frame == b"early" and ben.sessions.address(anna.id) == new


def test_a_peer_that_lost_its_keys_is_met_again_by_who_sends(wire: Wire) -> None:
    anna, ben = wire.pair()
    reborn = wire.replace(ben, incarnation=2)
    for _ in range(50):
        anna.say(reborn)
        wire.run(0.1)
    assert reborn.drops["unknown_session"] > 20
    assert [event.incarnation for event in anna.established()] == [1, 2]
    assert reborn.opened and len(reborn.events) == 1
    assert len(anna.sessions) == 1 and len(anna.sessions._indices) == 1


def test_a_restarted_peer_that_comes_back_is_in_another_life(wire: Wire) -> None:
    anna, ben = wire.pair()
    for incarnation in (7, 5):  # a clock set back must not lock a node out: XX proves that it lives now
        ben = wire.replace(ben, incarnation=incarnation)
        ben.connect(anna, known=True)
        wire.run(5.0)
        assert ben.established() and anna.established()[-1].incarnation == incarnation
        ben.say(anna), anna.say(ben)
        wire.run(0.1)
        assert ben.opened and anna.opened


def test_a_dead_peer_is_closed(wire: Wire) -> None:
    anna, ben = wire.pair()
    wire.lose = lambda source, to, data: True
    while anna.say(ben):
        wire.run(0.1)
        assert wire.now < 1100
    assert anna.events[-1] == Closed(ben.id, "unanswered")
    assert wire.now < 1020


def test_a_peer_that_is_heard_outlives_a_failed_renewal(wire: Wire) -> None:
    anna, ben = wire.pair()
    wire.run(115.0)
    wire.lose = lambda source, to, data: data[0] != 6
    for _ in range(400):
        assert anna.say(ben) and ben.say(anna)
        wire.run(0.1)
    tries = [data for source, _, data in wire.sent if source == anna.address and data[0] in (1, 2)]
    assert len(tries) > 6 and len(anna.events) == 1
    wire.lose = lambda source, to, data: False
    for _ in range(1000):
        assert anna.say(ben) and ben.say(anna)
        wire.run(0.1)
    assert len(anna.events) == len(ben.events) == 1


def test_a_peer_on_the_move_is_dialled_once(wire: Wire) -> None:
    anna, ben = wire.pair()
    wire.run(121.0)
    wire.lose = lambda source, to, data: data[0] != 6
    for number in range(20):
        wire.move(ben, ("192.168.7.7", 4000 + number))
        ben.say(anna)
        wire.run(0.05)
        anna.say(ben)
    assert len(anna.sessions._dialer) == 1


def test_another_node_at_the_old_address_ends_a_session(wire: Wire) -> None:
    anna, ben = wire.pair()
    carl = wire.replace(ben, identity=Identity.from_private_bytes(b"c" * 32))
    while anna.say(ben):
        wire.run(0.1)
        assert wire.now < 1100
    assert anna.events[-1] == Closed(ben.id, "wrong_identity")
    assert not carl.events


def test_used_up_keys_are_renewed_or_refused(wire: Wire) -> None:
    anna, ben = wire.pair()
    anna.sessions._peers.get(ben.id).current._next = 2**60
    assert anna.say(ben)
    wire.run(0.1)
    assert anna.sessions._peers.get(ben.id).current._next < 10
    anna.sessions._peers.get(ben.id).current._next = 2**64 - 2**13 - 1
    assert anna.say(ben) is None
