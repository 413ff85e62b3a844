"""Gates, rate limits and bounded queues: what a node survives."""

from __future__ import annotations

import random
from typing import Any

from shivya_daemon.core.frames import (
    FindNode,
    Ping,
    Pong,
)
from shivya_daemon.core.node import NodeSettings


def test_blocked_addresses_are_neither_heard_nor_spoken_to(stage: Any) -> None:
    stage.link(1)
    stage.meet(2)
    stage.node.block(stage.address(1))
    stage.say(1, Ping(1))
    stage.wait(3.0)
    assert stage.heard(1) == []
    assert stage.drops("blocked") == 1
    assert stage.drops("blocked_send") > 10
    stage.wait(8.0)
    assert stage.id(1) not in stage.node.members
    assert stage.heard(1) == [], "nor looked for, by whatever layer"
    stage.node.unblock(stage.address(1))
    stage.say(1, Ping(5))
    assert Pong(5) in stage.heard(1)


def test_a_full_node_refuses_more_peers(stage: Any) -> None:
    stage = stage.again(NodeSettings(max_peers=2))
    stage.meet(1, 2)
    stage.say(3, Ping(1))
    stage.say(3, Pong(stage.pinged(3).timestamp))
    assert stage.drops("peers_full") == 1
    assert stage.node.members == {stage.id(1), stage.id(2)}


def test_a_chatty_stranger_and_a_chatty_peer_are_limited(stage: Any) -> None:
    stage.meet(1)
    for _ in range(1000):
        stage.say(2, Ping(1))
    assert len(stage.heard(2)) <= 40
    assert stage.drops("rate_limited") >= 960
    for _ in range(2000):
        stage.say(1, Ping(1))
    assert len(stage.heard(1)) <= 800
    assert stage.drops("rate_limited") >= 960 + 1200


def test_a_flood_of_strangers_does_not_keep_a_seed_from_proving_itself(stage: Any) -> None:
    stage.node.connect(stage.address(1), stage.now)
    stage.wait(0.0)
    (ping,) = stage.heard(1)
    assert isinstance(ping, Ping)
    for number in range(3000):
        stage.say(2, FindNode(bytes(20)), (f"10.9.{number // 250}.{number % 250 + 1}", 1))
    assert stage.drops("rate_limited") >= 1900
    stage.node.datagrams()
    stage.say(1, Pong(ping.timestamp))
    assert stage.node.members == {stage.id(1)}


def test_noise_is_counted_and_memory_stays_bounded(stage: Any, held: Any) -> None:
    """What the node holds is counted object by object: twice the noise must not be twice the memory."""
    noise = random.Random(3)
    stage.meet(1)

    def storm(first: int) -> None:
        for number in range(first, first + 10_000):
            stage.now += 0.0002
            data = noise.randbytes(noise.randrange(120))
            if number % 2:
                data = b"SHVY" + bytes((noise.randrange(24),)) + data
            stage.node.receive(data, (f"10.{noise.randrange(200)}.{noise.randrange(250)}.9", 9), stage.now)
            if number % 500 == 0:
                stage.node.handle_timer(stage.now)
                stage.node.datagrams()

    storm(0)
    before = held(stage.node)
    storm(10_000)
    assert held(stage.node) < 1.1 * before + 100
    assert sum(stage.node.counters.drops.values()) > 15_000
    assert len(stage.node.counters.drops) < 25
    assert len(stage.node.events()) <= 1024
    assert stage.node.members == {stage.id(1)}


def test_queues_that_nobody_drains_are_bounded(stage: Any) -> None:
    stage = stage.again(NodeSettings(max_datagrams=50, max_events=10))
    stage.meet(1)
    for sequence in range(1, 200):
        stage.now += 0.01
        stage.beat(1, sequence)
        stage.say(1, Ping(sequence))
    assert len(stage.node.datagrams()) == 50
    assert len(stage.node.events()) == 10
    assert stage.drops("send_queue_full") > 100
    assert stage.drops("events_full") > 100


def test_traffic_is_counted_both_ways(stage: Any) -> None:
    stage.say(1, Ping(1))
    stage.node.receive(b"noise", stage.address(1), stage.now)
    counters = stage.node.counters
    assert (counters.datagrams_received, counters.bytes_received) == (2, 33 + 5)
    assert (counters.datagrams_sent, counters.bytes_sent) == (1, 33)
    assert counters.drops == {"bad_magic": 1}
