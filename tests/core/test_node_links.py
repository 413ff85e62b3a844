"""How a node links with those who were announced, and how links end."""

from __future__ import annotations

from typing import Any

from shivya_daemon.core import heartbeat
from shivya_daemon.core.beacon import decode_beacon
from shivya_daemon.core.events import (
    Unlinked,
)
from shivya_daemon.core.frames import LINK, Layered, Leave
from shivya_daemon.core.heartbeat import Heartbeat
from shivya_daemon.core.links.frames import Head, Propose, Refusal, Refuse, decode_payload, encode_payload
from shivya_daemon.core.links.settings import LinksSettings
from shivya_daemon.core.node import NodeSettings

INCARNATION = 5  # of the peers


def test_a_link_takes_both_ends_and_heartbeats_go_over_links_alone(stage: Any) -> None:
    stage.meet(1)
    stage.link(2)
    assert stage.node.links == (stage.id(2),)
    assert {view.id for view in stage.node.peers(stage.now) if view.linked} == {stage.id(2)}
    stage.wait(0.5)
    beaten = {to for data, to in stage.node.datagrams() if data[4] == heartbeat.TYPE}
    assert beaten == {stage.address(2)}


def test_links_are_announced_and_end_with_a_goodbye(stage: Any) -> None:
    stage.meet(1)
    stage.link(1)
    assert stage.node.links == (stage.id(1),)
    stage.node.events()
    stage.say(1, Leave(INCARNATION))
    assert stage.node.links == ()
    assert Unlinked(stage.id(1), "lost") in stage.node.events()
    stage.wait(0.5)
    assert not [to for data, to in stage.node.datagrams() if data[4] == heartbeat.TYPE]


def test_whom_nobody_announced_gets_no_link(stage: Any) -> None:
    stage.meet(1)
    stage.say(1, propose(1))
    (refusal,) = (link_frame(payload) for payload in stage.heard(1) if is_link(payload))
    assert refusal == Refuse(refusal.head, Refusal.STRANGER)
    assert stage.node.links == ()


def test_links_are_sought_up_to_the_target_and_never_above_the_most(stage: Any) -> None:
    stage = stage.again(NodeSettings(links=LinksSettings(target_links=2, max_links=3, crowded=1.5)))
    stage.link(1, 2, 3)
    for number in (4, 5):
        stage.meet(number)
        stage.announce(number)
    for number in range(1, 4):
        stage.beat(number)
    stage.wait(1.0)
    proposed = [to for data, to in stage.node.datagrams() if data[4] == LINK and data[25] == 1]
    assert proposed == [], "the target is reached"
    stage.say(4, propose(4))
    (refusal,) = (link_frame(payload) for payload in stage.heard(4) if is_link(payload))
    assert refusal == Refuse(refusal.head, Refusal.FULL)
    stage.say(2, Leave(INCARNATION))
    stage.say(3, Leave(INCARNATION))
    stage.wait(1.0)
    proposed = [to for data, to in stage.node.datagrams() if data[4] == LINK and data[25] == 1]
    assert set(proposed) <= {stage.address(4), stage.address(5)} and proposed, "one is missing"


def test_a_drained_node_ends_its_links_and_takes_none(stage: Any) -> None:
    stage.link(1)
    stage.node.drain(stage.now)
    assert stage.node.draining
    (beat,) = (payload for payload in stage.heard(1) if isinstance(payload, Heartbeat))
    assert decode_beacon(beat.extension).draining
    stage.wait(0.1)
    stage.tend(1)
    assert stage.node.links == () and not stage.keepers[1].established
    stage.announce(2)
    stage.meet(2)
    stage.announce(2)
    stage.say(2, propose(2))
    (refusal,) = (link_frame(payload) for payload in stage.heard(2) if is_link(payload))
    assert refusal == Refuse(refusal.head, Refusal.DRAINING)


def propose(number: int) -> Layered:
    return Layered(LINK, encode_payload(Propose(Head(number, INCARNATION, 0, True), 7)))


def is_link(payload: object) -> bool:
    return isinstance(payload, Layered) and payload.code == LINK


def link_frame(payload: Layered) -> Any:
    return decode_payload(payload.body)
