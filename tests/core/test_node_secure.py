"""Who may speak with whom on the secure wire, and that a peer stays the same one wherever it goes."""

from __future__ import annotations

import random

import pytest

from shivya_daemon.core.events import Linked, PeerJoined, PeerLeft, PeerRestarted, Unlinked
from shivya_daemon.core.frames import Peer
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Address, Node, NodeSettings
from shivya_daemon.net.memory import MemoryNetwork

KEY = bytes(range(32))


def member(
    seed: int, key: bytes | None = KEY, allow: frozenset[bytes] | None = None, incarnation: int = 1
) -> Node:
    """Make a node; its identity is a function of the seed."""
    identity = Identity.generate(random.Random(seed).randbytes)
    entropy = random.Random(f"{seed} {incarnation}").randbytes
    settings = NodeSettings(name=f"s{seed}")
    return Node(identity, settings, entropy, incarnation, mesh_key=key, allow=allow)


def identifier(seed: int) -> bytes:
    return Identity.generate(random.Random(seed).randbytes).node_id


def met(*nodes: Node) -> bool:
    ids = {node.id for node in nodes}
    return all(node.members == ids - {node.id} for node in nodes)


def linked(*nodes: Node) -> bool:
    return all(len(node.links) == len(nodes) - 1 for node in nodes)


def watch(net: MemoryNetwork) -> set[tuple[Address, Address]]:
    """Note from where to where datagrams go from now on."""
    seen: set[tuple[Address, Address]] = set()
    transmit = net._transmit

    def note(data: bytes, source: Address, destination: Address) -> None:
        seen.add((source, destination))
        transmit(data, source, destination)

    net._transmit = note  # type: ignore[method-assign]
    return seen


def test_two_nodes_of_one_mesh_meet_and_link() -> None:
    net = MemoryNetwork(1)
    one, two = net.join(member(1)), net.join(member(2))
    assert net.run_until(lambda: met(one, two) and linked(one, two), 5.0)
    assert PeerJoined(two.id, 1) in one.events()
    assert Linked(one.id) in two.events()


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_without_the_mesh_key_nobody_gets_in_or_even_an_answer(key: bytes | None) -> None:
    net = MemoryNetwork(2)
    one, two = net.join(member(1)), net.join(member(2))
    stranger = net.join(member(3, key))
    net.run(10.0)
    assert met(one, two)
    assert stranger.members == frozenset()
    assert stranger.counters.datagrams_received == 0
    assert one.counters.drops["bad_mac"] > 0


def test_the_allow_list_holds_at_both_ends() -> None:
    net = MemoryNetwork(3)
    allow = frozenset((identifier(1), identifier(2)))
    one, two = net.join(member(1, allow=allow)), net.join(member(2, allow=allow))
    uninvited = net.join(member(3))
    picky = net.join(member(4, allow=frozenset((identifier(9),))))
    net.run(15.0)
    assert met(one, two)
    assert picky.members == frozenset()
    # Whom the uninvited calls has proved itself to it by then; but it gets no word, and nobody else's name.
    assert uninvited.members <= {one.id}
    assert one.counters.drops["not_allowed"] > 0
    assert uninvited.links == picky.links == ()
    found = uninvited.find(two.id)
    net.run_until(lambda: found.done, 30.0)
    assert found.done and found.result is None


def test_a_restart_without_memory_is_another_life_and_links_come_back() -> None:
    net = MemoryNetwork(4)
    nodes = [net.join(member(seed)) for seed in (1, 2, 3)]
    assert net.run_until(lambda: met(*nodes) and linked(*nodes), 5.0)
    for node in nodes:
        node.events()
    net.crash(nodes[1])
    net.run(0.5)
    net.restart(nodes[1])
    assert net.run_until(lambda: met(*nodes) and linked(*nodes), 6.0)
    for node in (nodes[0], nodes[2]):
        assert PeerRestarted(nodes[1].id, 2) in node.events()
        (view,) = (view for view in node.peers(net.now) if view.id == nodes[1].id)
        assert view.incarnation == 2
    assert {view.incarnation for view in nodes[1].peers(net.now)} == {1}


def test_an_incarnation_of_the_past_is_gone_beyond() -> None:
    net = MemoryNetwork(5)
    one, two = net.join(member(1, incarnation=7)), net.join(member(2))
    assert net.run_until(lambda: linked(one, two), 5.0)
    net.crash(one)
    one.restart(3)
    net.wake(one)
    one.connect(net.address(two), net.now)
    assert net.run_until(lambda: one.incarnation > 7, 10.0)
    assert net.run_until(lambda: met(one, two) and linked(one, two), 10.0)
    net.run(1.0)
    (view,) = two.peers(net.now)
    assert view.incarnation == one.incarnation


def test_a_peer_that_moves_is_the_same_peer_in_the_same_session() -> None:
    net = MemoryNetwork(6)
    nodes = [net.join(member(seed)) for seed in (1, 2, 3)]
    assert net.run_until(lambda: met(*nodes) and linked(*nodes), 5.0)
    net.run(1.0)
    for node in nodes:
        node.events()
    there = net.move(nodes[1])
    net.run(1.0)
    for node in (nodes[0], nodes[2]):
        (view,) = (view for view in node.peers(net.now) if view.id == nodes[1].id)
        assert view.address == there
        assert not [
            event for event in node.events() if isinstance(event, PeerLeft | Unlinked | PeerRestarted)
        ]
    found = nodes[2].find(nodes[1].id)
    assert net.run_until(lambda: found.done, 5.0)
    assert found.result == Peer(nodes[1].id, *there)


def test_two_that_move_at_once_find_each_other_through_a_third() -> None:
    net = MemoryNetwork(7)
    nodes = [net.join(member(seed)) for seed in (1, 2, 3)]
    assert net.run_until(lambda: met(*nodes) and linked(*nodes), 5.0)
    net.move(nodes[1])
    net.move(nodes[2])
    net.run(20.0)
    assert met(*nodes)
    found = nodes[1].find(nodes[2].id)
    assert net.run_until(lambda: found.done, 10.0)
    assert found.result == Peer(nodes[2].id, *net.address(nodes[2]))


def test_draining_ends_the_links_and_leaving_the_membership() -> None:
    net = MemoryNetwork(8)
    nodes = [net.join(member(seed)) for seed in (1, 2, 3)]
    assert net.run_until(lambda: met(*nodes) and linked(*nodes), 5.0)
    nodes[1].drain(net.now)
    net.run(0.2)
    assert nodes[1].links == () and linked(nodes[0], nodes[2])
    assert met(*nodes)
    net.run(5.0)
    assert nodes[1].links == (), "nobody persuades it"
    nodes[1].leave(net.now)
    net.run(0.1)
    assert met(nodes[0], nodes[2])
    assert PeerLeft(nodes[1].id, "left") in nodes[0].events()
    sent = nodes[1].counters.datagrams_sent
    net.run(10.0)
    assert nodes[1].counters.datagrams_sent == sent and met(nodes[0], nodes[2])


def test_a_goodbye_that_is_lost_is_heard_from_others() -> None:
    net = MemoryNetwork(9)
    nodes = [net.join(member(seed)) for seed in range(1, 6)]
    assert net.run_until(lambda: met(*nodes), 8.0)
    net.cut([nodes[1]], nodes[2:])
    nodes[1].leave(net.now)
    net.run(4.0)
    rest = [node for node in nodes if node is not nodes[1]]
    assert met(*rest)
    assert all(PeerLeft(nodes[1].id, "left") in node.events() for node in rest)


def test_a_blocked_address_is_neither_heard_nor_spoken_to_by_any_layer() -> None:
    net = MemoryNetwork(10)
    nodes = [net.join(member(seed)) for seed in (1, 2, 3)]
    assert net.run_until(lambda: met(*nodes) and linked(*nodes), 5.0)
    wall = net.address(nodes[1])
    nodes[0].block(wall)
    sent = watch(net)
    nodes[0].find(nodes[1].id)
    nodes[0].connect(wall, net.now)
    net.run(15.0)
    own = net.address(nodes[0])
    assert (own, wall) not in sent and (wall, own) in sent
    assert nodes[0].counters.drops["blocked"] > 0
    assert nodes[1].id not in nodes[0].links
    assert nodes[1].id in nodes[0].members, "the third still tells that it lives"
    nodes[0].unblock(wall)
    assert net.run_until(lambda: linked(*nodes), 90.0)
