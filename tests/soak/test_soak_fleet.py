"""Long hours: nobody is taken for dead who lives, and nothing grows."""

from __future__ import annotations

import gc

import pytest

from shivya_daemon.core.events import Event, PeerLeft
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.net.memory import MemoryNetwork

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("wire", ["open", "secure"])
def test_an_hour_at_ten_percent_loss_buries_nobody_and_fills_nothing(wire: str) -> None:
    net = MemoryNetwork(seed=1, loss=0.10, settings=NodeSettings(wire=wire))  # type: ignore[arg-type]
    nodes = net.spawn(12)
    net.run(30.0)
    buried: list[Event] = []

    def note(node: Node, events: list[Event]) -> None:
        buried.extend(event for event in events if isinstance(event, PeerLeft))

    net.on_events = note
    net.run(600.0)
    gc.collect()
    before = len(gc.get_objects())
    net.run(3000.0)
    gc.collect()
    assert buried == []
    assert len(gc.get_objects()) < 1.2 * before
    assert all(len(node.members) == 11 and 2 <= len(node.links) <= 12 for node in nodes)
    assert all(node.invariants(net.now) == () for node in nodes)


def test_a_day_of_rolling_restarts_ends_whole() -> None:
    """One node after the other is stopped for twenty seconds: a day of releases, every five minutes one."""
    net = MemoryNetwork(seed=2, loss=0.05, settings=NodeSettings(wire="secure"))
    nodes = net.spawn(6)
    net.run(30.0)
    for round_ in range(288):
        node = nodes[round_ % 6]
        net.crash(node)
        net.run(20.0)
        net.restart(node)
        net.run(40.0)
        ids = {other.id for other in nodes}
        assert all(other.members == ids - {other.id} for other in nodes), round_
        assert all(len(other.links) >= 2 for other in nodes), round_
