"""That nodes which move at the same moment, and are no links of each other, lose nobody for long."""

from __future__ import annotations

from typing import Literal

import pytest

from shivya_daemon.core.frames import Peer
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.net.memory import MemoryNetwork

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time


NOWHERE = ("10.99.99.1", 8085)


def sent_to(net: MemoryNetwork, address: tuple[str, int]) -> list[float]:
    """The times of datagrams to an address from now on, as a list that grows."""
    times: list[float] = []
    transmit = net._transmit

    def note(data: bytes, source: tuple[str, int], destination: tuple[str, int]) -> None:
        if destination == address:
            times.append(net.now)
        transmit(data, source, destination)

    net._transmit = note  # type: ignore[method-assign]
    return times


def unlinked_pair(nodes: list[Node]) -> tuple[Node, Node]:
    return next(
        (one, two)
        for one in nodes
        for two in nodes
        if two.id in {view.id for view in one.peers(0.0)} and two is not one and two.id not in one.links
    )


@pytest.mark.parametrize("wire", ["open", "secure"])
def test_peers_without_a_link_that_move_at_once_are_followed_by_what_they_announce(
    wire: Literal["open", "secure"],
) -> None:
    net = MemoryNetwork(3, settings=NodeSettings(wire=wire))
    nodes = net.spawn(12)
    assert net.run_until(lambda: all(len(node.members) == 11 for node in nodes), 10.0)
    net.run(5.0)
    pair = unlinked_pair(nodes)
    for node in pair:
        node.advertise((net.move(node),))

    def followed(one: Node, two: Node) -> bool:
        return any(view.id == two.id and view.address == net.address(two) for view in one.peers(net.now))

    assert net.run_until(lambda: followed(*pair) and followed(*pair[::-1]), 8.0)
    finds = [one.find(two.id) for one, two in (pair, pair[::-1])]
    assert net.run_until(lambda: all(find.done for find in finds), 5.0)
    assert [find.result for find in finds] == [Peer(node.id, *net.address(node)) for node in pair[::-1]]


def test_where_nobody_answers_at_an_announced_address_the_peer_is_kept_where_it_is_heard() -> None:
    """So it is behind every translator of addresses; and the attempts come to an end."""
    net = MemoryNetwork(4, settings=NodeSettings(wire="open"))
    nodes = net.spawn(3)
    assert net.run_until(lambda: all(len(node.links) == 2 for node in nodes), 10.0)
    asked = sent_to(net, NOWHERE)
    begun = net.now
    nodes[1].advertise((NOWHERE,))
    net.run(60.0)
    assert all(len(node.members) == 2 and len(node.links) == 2 for node in nodes)
    assert asked and max(asked) - begun < 40.0
    assert len(asked) < 80
    assert all(view.address != NOWHERE for node in nodes for view in node.peers(net.now))


def test_an_address_that_is_announced_again_and_again_is_not_tried_the_more_often() -> None:
    net = MemoryNetwork(5, settings=NodeSettings(wire="open"))
    nodes = net.spawn(3)
    assert net.run_until(lambda: all(len(node.links) == 2 for node in nodes), 10.0)
    asked = sent_to(net, NOWHERE)
    for port in range(1, 41):
        nodes[1].advertise((NOWHERE, ("10.99.99.2", port)))
        net.run(0.5)
    assert asked
    assert len(asked) < 55
