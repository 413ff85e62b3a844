"""Many nodes in virtual time: they find each other, notice who is gone, and find back together."""

from __future__ import annotations

import random

import pytest

from shivya_daemon.core import frames
from shivya_daemon.core.events import PeerJoined, PeerLeft, PeerRestarted
from shivya_daemon.core.frames import FoundNodes, Frame, Peer, Ping, Pong
from shivya_daemon.core.node import LocalLoad, Node, NodeSettings
from shivya_daemon.net.memory import MemoryNetwork


def met(nodes: list[Node]) -> bool:
    """Whether every node believes in exactly the others."""
    ids = {node.id for node in nodes}
    return all(node.members == ids - {node.id} for node in nodes)


def test_five_nodes_become_a_full_mesh_within_two_seconds() -> None:
    net = MemoryNetwork(seed=1)
    nodes = net.spawn(5)
    assert net.run_until(lambda: met(nodes), 2.0)
    assert all(set(node.links) == node.members for node in nodes)
    net.run(1.0)
    assert {view.name for view in nodes[0].peers(net.now)} == {"n1", "n2", "n3", "n4"}
    for view in nodes[0].peers(net.now):
        assert view.rtt is not None and 0.002 <= view.rtt <= 0.010
        assert view.age < 0.3


@pytest.mark.parametrize("seed", [1, 2])
def test_twenty_nodes_find_each_other_at_fifteen_percent_loss_and_stay(seed: int) -> None:
    net = MemoryNetwork(seed=seed, loss=0.15, delay=(0.005, 0.05), duplicate=0.05, reorder=0.1)
    nodes = net.spawn(20)
    assert net.run_until(lambda: met(nodes), 15.0)
    for node in nodes:
        node.events()
    net.run(10.0)
    assert met(nodes)
    assert not [event for node in nodes for event in node.events() if isinstance(event, PeerLeft)]
    assert all(len(node.links) == 12 for node in nodes)


def test_a_run_is_a_function_of_its_seed() -> None:
    def history(seed: int) -> tuple[object, ...]:
        net = MemoryNetwork(seed=seed, loss=0.2, delay=(0.001, 0.08), duplicate=0.1, reorder=0.2)
        nodes = net.spawn(6)
        net.run(3.0)
        net.crash(nodes[2])
        net.run(6.0)
        net.restart(nodes[2])
        net.run(3.0)
        return net.stats, [node.events() for node in nodes], [node.counters for node in nodes]

    assert history(5) == history(5)
    assert history(5) != history(6)


def test_a_crash_is_noticed_in_four_to_five_seconds() -> None:
    net = MemoryNetwork(seed=3)
    nodes = net.spawn(5)
    net.run(3.0)
    assert met(nodes)
    net.crash(nodes[4])
    alive = nodes[:4]
    net.run(3.8)
    assert all(nodes[4].id in node.members for node in alive)
    assert net.run_until(lambda: met(alive), 1.2)
    assert all(PeerLeft(nodes[4].id, "silent") in node.events() for node in alive)


def test_a_goodbye_is_noticed_at_once() -> None:
    net = MemoryNetwork(seed=3)
    nodes = net.spawn(5)
    net.run(3.0)
    nodes[1].leave(net.now)
    net.run(0.05)
    rest = [node for node in nodes if node is not nodes[1]]
    assert met(rest)
    assert all(PeerLeft(nodes[1].id, "left") in node.events() for node in rest)
    sent = nodes[1].counters.datagrams_sent
    net.run(5.0)
    assert met(rest)
    assert nodes[1].counters.datagrams_sent == sent


def test_a_restarted_node_is_back_in_a_second_and_known_for_a_new_life() -> None:
    net = MemoryNetwork(seed=4)
    nodes = net.spawn(5)
    net.run(3.0)
    for node in nodes:
        node.events()
    net.crash(nodes[2])
    net.run(1.0)
    assert net.restart(nodes[2]) is nodes[2]
    assert nodes[2].members == frozenset()
    assert net.run_until(lambda: met(nodes), 2.0)
    net.run(1.0)
    for node in nodes:
        if node is not nodes[2]:
            assert [event for event in node.events() if isinstance(event, PeerRestarted)] == [
                PeerRestarted(nodes[2].id, 2)
            ]


def test_the_first_node_finds_back_without_a_seed_of_its_own() -> None:
    net = MemoryNetwork(seed=4)
    nodes = net.spawn(4)
    net.run(3.0)
    net.crash(nodes[0])
    net.run(8.0)
    assert met(nodes[1:])
    net.restart(nodes[0])
    assert net.run_until(lambda: met(nodes), 8.0)


@pytest.mark.parametrize("seconds", [3.0, 40.0])
def test_a_partition_splits_the_mesh_and_heals(seconds: float) -> None:
    net = MemoryNetwork(seed=6, loss=0.05)
    nodes = net.spawn(8)
    assert net.run_until(lambda: met(nodes), 10.0)
    left, right = nodes[:3], nodes[3:]
    net.partition([left, right])
    net.run(seconds)
    if seconds > 5.0:
        assert met(left) and met(right)
    net.heal()
    assert net.run_until(lambda: met(nodes), 10.0)


def test_a_later_life_forgotten_by_its_node_is_gone_beyond() -> None:
    """A node whose incarnation went back in time is heard again under a higher one."""
    net = MemoryNetwork(seed=7)
    nodes = net.spawn(3)
    net.run(2.0)
    net.crash(nodes[1])
    nodes[1].incarnation = -1  # the next restart gives 0, below the 1 that the others remember
    net.restart(nodes[1])
    net.run(3.0)
    assert nodes[1].incarnation == 2
    views = {view.id: view.incarnation for view in nodes[0].peers(net.now)}
    assert views[nodes[1].id] == 2


def test_blocking_is_one_gate_each_way() -> None:
    net = MemoryNetwork(seed=8)
    nodes = net.spawn(2)
    net.run(1.0)
    assert met(nodes)
    nodes[0].block(net.address(nodes[1]))
    net.run(6.0)
    assert nodes[0].members == nodes[1].members == frozenset()
    assert nodes[0].counters.drops["blocked"] > 0
    sent = nodes[0].counters.datagrams_sent
    net.run(10.0)
    assert nodes[0].counters.datagrams_sent == sent
    nodes[0].unblock(net.address(nodes[1]))
    assert net.run_until(lambda: met(nodes), 10.0)


def test_lookups_succeed_in_a_lossy_mesh_and_end_for_absent_targets() -> None:
    net = MemoryNetwork(seed=9, loss=0.15, delay=(0.005, 0.05))
    nodes = net.spawn(12)
    assert net.run_until(lambda: met(nodes), 15.0)
    chance = random.Random(1)
    for _ in range(12):
        asking, wanted = chance.sample(nodes, 2)
        operation = asking.find(wanted.id)
        assert net.run_until(lambda operation=operation: operation.done, 10.0)
        assert operation.result == Peer(wanted.id, *net.address(wanted))
    absent = nodes[0].find(bytes(20))
    assert net.run_until(lambda: absent.done, 30.0)
    assert absent.result is None
    assert len(absent.closest) >= 9


def test_a_small_bucket_size_loses_no_peer() -> None:
    net = MemoryNetwork(seed=10, settings=NodeSettings(bucket_size=4))
    nodes = net.spawn(16)
    assert net.run_until(lambda: met(nodes), 15.0)


def test_forged_frames_from_outside_change_nobodys_mind() -> None:
    net = MemoryNetwork(seed=11)
    nodes = net.spawn(4)
    net.run(3.0)
    stranger = ("10.99.0.1", 666)
    home = net.address(nodes[0])
    lies = tuple(Peer(bytes((n,)) * 20, f"10.98.0.{n}", 1) for n in range(1, 9))
    for sender in (nodes[1].id, b"\x77" * 20):
        for payload in (Pong(1), FoundNodes(lies), Ping(1), frames.Leave(2**40)):
            net.send(frames.encode(Frame(sender, payload)), stranger, home)
    before = nodes[0].counters.datagrams_sent
    net.run(5.0)
    assert met(nodes)
    assert nodes[0].counters.drops["unsolicited"] == 2
    assert nodes[0].counters.drops["unverified_sender"] >= 4
    assert nodes[0].counters.datagrams_sent - before < 5 * 3 * 15


def test_a_flood_of_noise_does_not_part_the_mesh() -> None:
    net = MemoryNetwork(seed=12)
    nodes = net.spawn(3)
    net.run(3.0)
    noise = random.Random(0)
    for burst in range(400):
        for _ in range(25):
            head = b"SHVY" + bytes((noise.randrange(1, 32),)) if noise.random() < 0.5 else b""
            source = (f"10.{noise.randrange(100, 200)}.0.{noise.randrange(250)}", 9)
            net.send(head + noise.randbytes(noise.randrange(80)), source, net.address(nodes[0]))
        net.run(0.01)
        assert met(nodes), burst
    assert sum(nodes[0].counters.drops.values()) > 5000


def test_an_idle_mesh_sends_what_it_should_and_no_more() -> None:
    """Five nodes: 8 heartbeats, 1 push a second to each of 4 peers, and little else."""
    net = MemoryNetwork(seed=13)
    nodes = net.spawn(5)
    net.run(15.0)
    before = net.stats.datagrams_sent, net.stats.bytes_sent
    net.run(10.0)
    per_link = (net.stats.datagrams_sent - before[0]) / (10.0 * 5 * 4)
    assert 8.5 <= per_link <= 10.0
    assert (net.stats.bytes_sent - before[1]) / (10.0 * 5) < 4 * 10 * 100
    assert met(nodes)


def test_loads_reach_the_others() -> None:
    net = MemoryNetwork(seed=14)
    nodes = net.spawn(3)
    net.run(2.0)
    nodes[0].publish(LocalLoad(free_energy=-3.5, active_cells=2), net.now)
    net.run(0.1)
    for node in nodes[1:]:
        view = next(view for view in node.peers(net.now) if view.id == nodes[0].id)
        assert view.free_energy == -3.5
        assert view.heartbeat is not None and view.heartbeat.active_cells == 2


def test_every_node_hears_of_every_other_once() -> None:
    net = MemoryNetwork(seed=15)
    nodes = net.spawn(6)
    net.run(5.0)
    for node in nodes:
        joined = [event.id for event in node.events() if isinstance(event, PeerJoined)]
        assert sorted(joined) == sorted(other.id for other in nodes if other is not node)


@pytest.mark.parametrize(
    "wrong",
    [{"loss": 1.5}, {"duplicate": -0.1}, {"reorder": 2.0}, {"delay": (0.2, 0.1)}, {"delay": (-1.0, 1.0)}],
)
def test_impossible_networks_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        MemoryNetwork(**wrong)  # type: ignore[arg-type]
