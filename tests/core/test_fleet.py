"""Fleets in virtual time on the secure wire: they come together, stay together, and pay little for it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from shivya_daemon.core import frames
from shivya_daemon.core.events import PeerLeft
from shivya_daemon.core.frames import ANNOUNCE, Frame, Layered, Peer
from shivya_daemon.core.gossip import announcement
from shivya_daemon.core.gossip.announcement import Profile
from shivya_daemon.core.heartbeat import Heartbeat, ServiceLoad, service_tag
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import LocalLoad, Node, NodeSettings
from shivya_daemon.net.memory import MemoryNetwork

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time


def together(nodes: list[Node]) -> bool:
    """Whether every node knows exactly the others."""
    ids = {node.id for node in nodes}
    return all(node.members == ids - {node.id} for node in nodes)


def await_(net: MemoryNetwork, holds: Callable[[], bool], seconds: float) -> bool:
    """Let time pass until something holds, looked at four times a second: fleets are costly to look at."""
    end = net.now + seconds
    while not holds():
        if net.now >= end:
            return False
        net.run(0.25)
    return True


def find(net: MemoryNetwork, pairs: list[tuple[Node, Node]]) -> int:
    """Return how many lookups, all at once, name the right address."""
    asked = [(asking.find(wanted.id), wanted) for asking, wanted in pairs]
    await_(net, lambda: all(operation.done for operation, _ in asked), 30.0)
    return sum(operation.result == Peer(node.id, *net.address(node)) for operation, node in asked)


def reached(nodes: list[Node]) -> int:
    """Return how many nodes the links lead to from the first, itself included."""
    links = {node.id: node.links for node in nodes}
    seen, front = {nodes[0].id}, [nodes[0].id]
    while front:
        fresh = set(links.get(front.pop(), ())) - seen
        seen |= fresh
        front += fresh
    return len(seen)


def test_fifty_nodes_at_fifteen_percent_loss() -> None:
    """Within fifteen seconds they know each other and are linked, and lookups find them."""
    net = MemoryNetwork(seed=1, loss=0.15, delay=(0.005, 0.05))
    nodes = net.spawn(50)
    assert await_(net, lambda: together(nodes), 15.0)
    net.run(15.0 - net.now)
    assert all(2 <= len(node.links) <= 12 for node in nodes)
    assert reached(nodes) == 50, "nobody is isolated"

    choose = random.Random(2)
    pairs = [(one, two) for one, two in (choose.sample(nodes, 2) for _ in range(1000))]
    assert find(net, pairs) >= 999


def test_a_death_is_noticed_by_all_fifty_within_ten_seconds_at_fifteen_percent_loss() -> None:
    """In a fleet that has settled for a minute; on the open wire, as gossip is the same on both."""
    net = MemoryNetwork(seed=1, loss=0.15, delay=(0.005, 0.05), settings=NodeSettings(wire="open"))
    nodes = net.spawn(50)
    net.run(50.0)
    for node in nodes:
        node.events()
    net.run(10.0)
    net.crash(nodes[7])
    alive = [node for node in nodes if node is not nodes[7]]
    assert await_(net, lambda: together(alive), 10.0)
    left = {event.id for node in alive for event in node.events() if isinstance(event, PeerLeft)}
    assert left == {nodes[7].id}, "and nobody else is buried"


def test_halves_that_were_parted_for_a_minute_find_together_within_ten_seconds() -> None:
    net = MemoryNetwork(seed=3, loss=0.05)
    nodes = net.spawn(24)
    assert await_(net, lambda: together(nodes), 15.0)
    net.run(5.0)
    net.partition([nodes[:12], nodes[12:]])
    net.run(60.0)
    assert together(nodes[:12]) and together(nodes[12:])
    assert reached(nodes[:12]) == 12
    net.heal()
    assert await_(net, lambda: together(nodes), 10.0)
    assert await_(net, lambda: reached(nodes) == 24, 30.0)


def test_a_path_of_1232_bytes_and_six_byte_longer_addresses_are_enough() -> None:
    net = MemoryNetwork(seed=4, mtu=1232)
    nodes = net.spawn(16, family=6)
    services = tuple(
        ServiceLoad(service_tag(f"s{n}"), n, 1, 10.0, 9.0, 1.0, 1.0, 0.1, 1.0, 0.1) for n in range(8)
    )
    assert await_(net, lambda: together(nodes), 10.0)
    for node in nodes:
        node.publish(LocalLoad(services=services), net.now)
    net.run(5.0)
    assert net.stats.oversized == 0
    assert find(net, [(nodes[n], nodes[n - 5]) for n in range(16)]) == 16
    put = nodes[1].put(bytes(256))
    assert await_(net, lambda: put.done, 10.0)
    got = nodes[11].get(put.key)
    assert await_(net, lambda: got.done, 10.0)
    assert got.result == bytes(256)
    view = next(view for view in nodes[0].peers(net.now) if view.linked)
    assert len(view.services) == 8 and ":" in view.address[0]
    assert net.stats.oversized == 0


def test_a_cut_of_one_direction_parts_nobody_from_the_mesh() -> None:
    net = MemoryNetwork(seed=5)
    nodes = net.spawn(10)
    assert await_(net, lambda: together(nodes), 10.0)
    net.run(5.0)
    net.cut(nodes[:1], nodes[1:5])
    net.run(30.0)
    assert together(nodes), "those that still hear node 0 tell of it"
    assert not set(nodes[0].links) & {node.id for node in nodes[1:5]}, "links are for both directions"
    assert reached(nodes) == 10
    net.heal()
    net.run(10.0)
    assert together(nodes)


def test_clocks_that_run_apart_and_jump_bury_nobody() -> None:
    net = MemoryNetwork(seed=6, loss=0.05)
    nodes = net.spawn(10)
    assert await_(net, lambda: together(nodes), 10.0)
    net.run(5.0)
    for node in nodes:
        node.events()
    net.skew(nodes[1], 1.02)
    net.skew(nodes[2], 0.98)
    net.jump(nodes[3], 5.0)
    net.jump(nodes[4], 3600.0)
    net.run(20.0)
    assert together(nodes)
    for node in nodes:
        if node is not nodes[4]:  # by its own clock an hour has passed: its keys are too old, and renewed
            assert not [event for event in node.events() if isinstance(event, PeerLeft)]
    assert all(node.invariants(net.clock(node)) == () for node in nodes)
    for node in nodes:
        for view in node.peers(net.clock(node)):
            assert view.rtt is None or 0.0 <= view.rtt < 0.2


@pytest.mark.parametrize("wire", ["open", "secure"])
def test_another_major_is_refused_and_counted_and_a_later_minor_is_heard(wire: str) -> None:
    net = MemoryNetwork(seed=7, settings=NodeSettings(wire=wire))  # type: ignore[arg-type]
    old, new = net.spawn(2)
    assert await_(net, lambda: bool(old.links and new.links), 5.0)

    def say(data: bytes) -> None:
        assert new._stack.wire.send(old.id, data, net.now)
        net.run(0.02)

    def refusals() -> int:
        return old.counters.drops.get("unsupported_version", 0)

    beat = frames.encode(Frame(new.id, Heartbeat(10**6, 1, name="later", minor=9, extension=b"\xf0\x01?")))
    say(beat)
    (view,) = old.peers(net.now)
    assert view.name == "later" and refusals() == 0
    say(beat[:25] + b"\x02" + beat[26:])
    assert refusals() == 1
    stranger = Identity.generate(random.Random(8).randbytes)
    said = announcement.encode_payload(announcement.announce(stranger, 1, 1, Profile(name="s")))
    say(frames.encode(Frame(new.id, Layered(ANNOUNCE, b"\x02" + said[1:]))))
    assert refusals() == 2
    assert old.members == {new.id}


@pytest.mark.soak
def test_two_hundred_nodes_stay_within_their_share_of_the_network() -> None:
    """25 kB a second and node once they have come together, each with one service."""
    net = MemoryNetwork(seed=8)
    nodes = net.spawn(200)

    def live(seconds: float) -> None:
        for _ in range(round(seconds / 0.1)):
            for number, node in enumerate(nodes):
                queue = (7 * number + int(10 * net.now)) % 40
                load = ServiceLoad(service_tag("default"), queue, 1, 10.0, 9.0, 1.0, 1.0, 0.1, 1.0, 0.1)
                node.publish(LocalLoad(services=(load,)), net.now)
                node.events()
            net.run(0.1)

    live(20.0)
    assert together(nodes)
    before = {node.id: net.bytes_sent(node) for node in nodes}
    live(5.0)
    rates = sorted((net.bytes_sent(node) - before[node.id]) / 5.0 for node in nodes)
    assert sum(rates) / 200 < 25_000.0
    assert rates[-1] < 50_000.0
    assert together(nodes) and reached(nodes) == 200


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(0, 1000, 50))
def test_no_seed_of_a_thousand_isolates_a_node(first: int) -> None:
    """On the open wire, as discovery and links are the same on both; a failure names its seed."""
    for seed in range(first, first + 50):
        net = MemoryNetwork(seed, loss=0.15, delay=(0.005, 0.05), settings=NodeSettings(wire="open"))
        nodes = net.spawn(50)
        assert await_(net, lambda nodes=nodes: together(nodes), 15.0), seed
        net.run(15.0 - net.now)
        assert reached(nodes) == 50, seed
