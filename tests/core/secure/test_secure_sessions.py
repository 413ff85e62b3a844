"""Nodes with nothing but sessions: how they meet, how they part, and what stays bounded."""

from __future__ import annotations

import random
from typing import Any

import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.core.secure.events import Closed, Established, Failed
from shivya_daemon.core.secure.sessions import Sessions
from shivya_daemon.core.secure.settings import SecureSettings

Wire = Any
Party = Any


@pytest.mark.parametrize("known", [False, True])
def test_two_strangers_meet(wire: Wire, known: bool) -> None:
    anna, ben = wire.add(incarnation=3), wire.add(incarnation=4)
    assert anna.connect(ben, known=known)
    wire.run(1.0)
    ben_key, anna_key = ben.identity, anna.identity
    assert anna.events == [
        Established(
            ben.id, ben.address, ben_key.public_key, ben_key.static_public, 4, True, pytest.approx(0.02)
        )
    ]
    assert ben.events == [
        Established(
            anna.id, anna.address, anna_key.public_key, anna_key.static_public, 3, False, pytest.approx(0.02)
        )
    ]
    # initiation, response, last message (XX only), first frame, and one that shows it was heard
    assert [data[0] for _, _, data in wire.sent] == ([1, 3, 6, 6] if known else [2, 3, 4, 6, 6])
    assert not anna.drops and not ben.drops
    assert anna.sessions.ids == {ben.id} and ben.id in anna.sessions and len(ben.sessions) == 1
    for one, other in ((anna, ben), (ben, anna)):
        one.say(other, b"hello", request=2**64 - 1)
        wire.run(0.1)
        (opened,) = other.opened
        assert opened == (one.id, one.address, 2**64 - 1, b"hello", False)


def test_the_responder_is_silent_until_the_initiator_proved_its_address(wire: Wire) -> None:
    anna, ben = wire.add(), wire.add()
    wire.lose = lambda source, to, data: data[0] == 6  # transport frames
    anna.connect(ben, known=True)
    wire.run(1.0)
    assert anna.established() and not ben.events
    assert ben.sessions.seal(anna.id, 1, b"too early", wire.now) is None
    wire.run(5.0)
    assert [data[0] for source, _, data in wire.sent if source == ben.address] == [3]
    assert ben.sessions.next_deadline() is None  # and it waits no more


def test_what_is_lost_is_sent_again(wire: Wire) -> None:
    noise = random.Random(1)
    wire.lose = lambda source, to, data: noise.random() < 0.3
    pairs = [(wire.add(), wire.add()) for _ in range(20)]
    for number, (anna, ben) in enumerate(pairs):
        anna.connect(ben, known=number % 2 == 0)
    wire.run(12.0)
    met = [anna.established() and ben.established() for anna, ben in pairs]
    assert sum(map(bool, met)) >= 18
    for anna, _ in pairs:
        assert anna.established() or [event.reason for event in anna.events] == ["unanswered"]


@pytest.mark.parametrize("known", [False, True])
def test_a_session_is_confirmed_until_the_responder_is_heard(wire: Wire, known: bool) -> None:
    anna, ben = wire.add(), wire.add()
    for mute in (anna.address, ben.address):
        end = wire.now + 3.0
        wire.lose = lambda source, to, data, mute=mute, end=end: (
            source == mute and data[0] == 6 and wire.now < end
        )
        anna.connect(ben, known=known)
        wire.run(20.0)
        assert anna.sessions.ids == {ben.id} and ben.sessions.ids == {anna.id}
        assert anna.sessions._peers.get(ben.id).current.heard and not anna.sessions._dialer._confirmations
        anna.sessions.close(ben.id), ben.sessions.close(anna.id)


@pytest.mark.parametrize("known", [False, True])
def test_a_session_never_confirmed_is_given_up(wire: Wire, known: bool) -> None:
    anna, ben = wire.add(), wire.add()
    wire.lose = lambda source, to, data: data[0] == 6
    anna.connect(ben, known=known)
    wire.run(30.0)
    assert anna.events[-1] == Closed(ben.id, "unconfirmed")
    assert not ben.events and not len(anna.sessions._indices) and not len(ben.sessions._indices)


@pytest.mark.parametrize("known", [False, True])
def test_silence_is_reported(wire: Wire, known: bool) -> None:
    anna, nobody = wire.add(), wire.add()
    wire.lose = lambda source, to, data: True
    anna.connect(nobody, known=known)
    anna.connect(nobody, known=known)  # the same again is no second handshake
    wire.run(60.0)
    assert anna.events == [Failed(nobody.address, nobody.id if known else None, "unanswered")]
    assert [data[0] for _, _, data in wire.sent] == ([1] * 4 + [2] * 4 if known else [2] * 8)
    assert anna.sessions.next_deadline() is None and not len(anna.sessions._indices)


def test_a_static_key_of_the_past_costs_time_only(wire: Wire) -> None:
    anna, ben = wire.add(), wire.add()
    for wrong in (Identity.from_private_bytes(b"k" * 32).static_public, bytes(32)):
        anna.sessions.connect(ben.address, wire.now, node=ben.id, static=wrong)
        wire.collect(anna)
        wire.run(5.0)
        assert [event.node for event in anna.established()] == [ben.id]
        anna.sessions.close(ben.id)
        anna.events.clear()


def test_somebody_else_at_the_address(wire: Wire) -> None:
    anna, ben, carl = wire.add(), wire.add(), wire.add()
    anna.sessions.connect(carl.address, wire.now, node=ben.id)
    wire.collect(anna)
    wire.run(1.0)
    assert anna.events == [Failed(carl.address, ben.id, "wrong_identity")]
    assert not anna.sessions.ids and not carl.events


def test_a_node_does_not_talk_to_itself(wire: Wire) -> None:
    anna = wire.add()
    anna.connect(anna)
    wire.run(1.0)
    anna.connect(anna, known=True)
    twin = wire.add(identity=anna.identity)
    anna.sessions.connect(twin.address, wire.now, static=twin.identity.static_public)
    wire.collect(anna)
    wire.run(20.0)
    assert [event.reason for event in anna.events] == ["own_identity"] * 3
    assert twin.drops["own_identity"] == SecureSettings().attempts // 2, "until XX shows who it is"
    assert not anna.sessions.ids


def test_only_the_allowed_are_spoken_with(wire: Wire) -> None:
    anna = wire.add()
    ben = wire.add(allow=frozenset({anna.id}))
    carl = wire.add()
    carl.connect(ben)
    ben.connect(carl)
    anna.connect(ben)
    wire.run(1.0)
    while carl.say(ben):
        wire.run(0.1)
        assert wire.now < 1100
    assert ben.sessions.ids == {anna.id}
    assert [event.reason for event in ben.events if isinstance(event, Failed)] == ["not_allowed"]
    assert not ben.opened and ben.drops["not_allowed"]
    assert carl.events[-1] == Closed(ben.id, "unconfirmed")  # he was answered at first


def test_both_at_once_settle_on_one_session(wire: Wire) -> None:
    for known in (True, False):
        anna, ben = wire.add(), wire.add()
        anna.connect(ben, known=known)
        ben.connect(anna, known=known)
        wire.run(0.5)
        assert len(anna.established()) == len(ben.established()) == 1
        for _ in range(4):
            anna.say(ben), ben.say(anna)
            wire.run(0.1)
        assert len(anna.opened) == len(ben.opened) == 4
        current = anna.sessions._peers.get(ben.id).current, ben.sessions._peers.get(anna.id).current
        assert (current[0].index, current[0].remote) == (current[1].remote, current[1].index)


def test_close_forgets(wire: Wire) -> None:
    anna, ben = wire.pair()
    anna.sessions.close(ben.id)
    anna.sessions.close(ben.id)
    wire.collect(anna)
    assert anna.events[-1] == Closed(ben.id, "closed")
    assert anna.sessions.address(ben.id) is None and not len(anna.sessions._indices)
    ben.say(anna)
    wire.run(0.1)
    assert anna.drops == {"unknown_session": 1}


def test_a_peer_has_two_sessions_at_most(wire: Wire) -> None:
    anna, ben = wire.pair()
    for known in (True, False, True):
        anna.connect(ben, known=known)
        wire.run(0.2)
    assert len(anna.sessions._indices) == 2
    wire.run(6.0)
    assert len(ben.sessions._indices) == 2 and len(anna.events) == len(ben.events) == 1
    anna.sessions.close(ben.id)
    assert not len(anna.sessions._indices) and anna.sessions.next_deadline() is None


def test_a_closed_peer_is_not_renewed(wire: Wire) -> None:
    anna, ben = wire.pair()
    wire.run(121.0)
    anna.say(ben)
    assert len(anna.sessions._dialer) == 1
    anna.sessions.close(ben.id)
    wire.run(30.0)
    assert not len(anna.sessions) and not len(anna.sessions._indices)
    assert anna.drops["unsolicited"] + anna.drops["unknown_session"] > 0


def test_the_peer_unused_for_longest_makes_room(wire: Wire) -> None:
    anna = wire.add(SecureSettings(max_sessions=3))
    others = [wire.add() for _ in range(4)]
    for other in others[:3]:
        other.connect(anna)
        wire.run(0.1)
    others[0].say(anna)
    wire.run(0.1)
    others[3].connect(anna)
    wire.run(0.1)
    assert anna.sessions.ids == {others[0].id, others[2].id, others[3].id}
    assert Closed(others[1].id, "evicted") in anna.events
    assert len(anna.sessions._indices) == 3


def test_only_so_many_handshakes_at_once(wire: Wire) -> None:
    anna = wire.add(SecureSettings(max_half_open=5))
    done = [anna.sessions.connect(("10.9.9.9", port), wire.now) for port in range(7)]
    assert done == [True] * 5 + [False] * 2
    wire.collect(anna)
    wire.run(30.0)
    assert anna.sessions.connect(("10.9.9.9", 9), wire.now)


def test_queues_are_bounded(wire: Wire) -> None:
    settings = SecureSettings(max_datagrams=3, max_events=2)
    sessions = Sessions(Identity.from_private_bytes(b"a" * 32), settings, random.Random(1).randbytes, 1)
    for port in range(5):
        sessions.connect(("10.9.9.9", port), 0.0)
    for now in range(40):
        sessions.handle_timer(float(now))
    assert len(sessions.datagrams()) == 3 and len(sessions.events()) == 2
    assert sessions.counters.drops == {"send_queue_full": 5 * settings.attempts - 3, "events_full": 3}


def test_a_mesh_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 5"):
        Sessions(Identity.from_private_bytes(b"a" * 32), SecureSettings(), bytes, 1, mesh_key=b"short")
