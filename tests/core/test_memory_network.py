"""Many nodes in virtual time, on either wire: they find each other, notice who is gone, and find back."""

from __future__ import annotations

import random

import pytest

from shivya_daemon.core import frames
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.events import PeerJoined, PeerLeft, PeerRestarted
from shivya_daemon.core.frames import FoundNodes, Frame, Peer, Ping, Pong
from shivya_daemon.core.node import LocalLoad, Node, NodeSettings
from shivya_daemon.net.memory import MemoryNetwork

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time

WIRES = ("open", "secure")
both_wires = pytest.mark.parametrize("settings", [NodeSettings(wire=wire) for wire in WIRES], ids=WIRES)  # type: ignore[arg-type]


def met(nodes: list[Node]) -> bool:
    """Whether every node believes in exactly the others."""
    ids = {node.id for node in nodes}
    return all(node.members == ids - {node.id} for node in nodes)


@both_wires
def test_five_nodes_become_a_full_mesh_within_five_seconds(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=1, settings=settings)
    nodes = net.spawn(5)
    assert net.run_until(lambda: met(nodes), 2.0)
    assert net.run_until(lambda: all(set(node.links) == node.members for node in nodes), 3.0)
    net.run(1.0)
    assert {view.name for view in nodes[0].peers(net.now)} == {"n1", "n2", "n3", "n4"}
    for view in nodes[0].peers(net.now):
        assert view.rtt is not None and 0.002 <= view.rtt <= 0.010
        assert view.age < 0.3


@both_wires
@pytest.mark.parametrize("seed", [1, 2])
def test_twenty_nodes_find_each_other_at_fifteen_percent_loss_and_stay(
    seed: int, settings: NodeSettings
) -> None:
    net = MemoryNetwork(
        seed=seed, loss=0.15, delay=(0.005, 0.05), duplicate=0.05, reorder=0.1, settings=settings
    )
    nodes = net.spawn(20)
    assert net.run_until(lambda: met(nodes), 15.0)
    net.run(5.0)
    for node in nodes:
        node.events()
    net.run(8.0)
    assert met(nodes)
    assert not [event for node in nodes for event in node.events() if isinstance(event, PeerLeft)]
    assert all(2 <= len(node.links) <= 12 for node in nodes)


@both_wires
def test_a_run_is_a_function_of_its_seed(settings: NodeSettings) -> None:
    def history(seed: int) -> tuple[object, ...]:
        net = MemoryNetwork(
            seed=seed, loss=0.2, delay=(0.001, 0.08), duplicate=0.1, reorder=0.2, settings=settings
        )
        nodes = net.spawn(6)
        net.run(3.0)
        net.crash(nodes[2])
        net.run(6.0)
        net.restart(nodes[2])
        net.run(3.0)
        return net.stats, [node.events() for node in nodes], [node.counters for node in nodes]

    assert history(5) == history(5)
    assert history(5) != history(6)


@both_wires
def test_a_crash_is_noticed_within_ten_seconds(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=3, settings=settings)
    nodes = net.spawn(5)
    net.run(5.0)
    assert met(nodes)
    net.crash(nodes[4])
    alive = nodes[:4]
    net.run(3.0)
    assert all(nodes[4].id in node.members for node in alive)
    assert net.run_until(lambda: not any(nodes[4].id in node.links for node in alive), 2.0)
    assert net.run_until(lambda: met(alive), 5.0)
    assert all(PeerLeft(nodes[4].id, "silent") in node.events() for node in alive)


@both_wires
def test_a_goodbye_is_noticed_at_once(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=3, settings=settings)
    nodes = net.spawn(5)
    net.run(3.0)
    nodes[1].leave(net.now)
    net.run(0.05)
    rest = [node for node in nodes if node is not nodes[1]]
    assert met(rest)
    assert all(PeerLeft(nodes[1].id, "left") in node.events() for node in rest)
    sent = nodes[1].counters.datagrams_sent
    net.run(20.0)
    assert met(rest)
    assert nodes[1].counters.datagrams_sent == sent


@both_wires
def test_a_restarted_node_is_back_in_a_second_and_known_for_a_new_life(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=4, settings=settings)
    nodes = net.spawn(5)
    net.run(5.0)
    for node in nodes:
        node.events()
    net.crash(nodes[2])
    net.run(1.0)
    assert net.restart(nodes[2]) is nodes[2]
    assert nodes[2].members == frozenset()
    assert net.run_until(lambda: met(nodes), 2.0)
    net.run(4.0)
    for node in nodes:
        if node is not nodes[2]:
            assert [event for event in node.events() if isinstance(event, PeerRestarted)] == [
                PeerRestarted(nodes[2].id, 2)
            ]


@both_wires
def test_the_first_node_finds_back_without_a_seed_of_its_own(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=4, settings=settings)
    nodes = net.spawn(4)
    net.run(3.0)
    net.crash(nodes[0])
    net.run(12.0)
    assert met(nodes[1:])
    net.restart(nodes[0])
    assert net.run_until(lambda: met(nodes), 8.0)


@both_wires
@pytest.mark.parametrize("seconds", [3.0, 40.0])
def test_a_partition_splits_the_mesh_and_heals(seconds: float, settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=6, loss=0.05, settings=settings)
    nodes = net.spawn(8)
    assert net.run_until(lambda: met(nodes), 10.0)
    left, right = nodes[:3], nodes[3:]
    net.partition([left, right])
    net.run(seconds)
    if seconds > 10.0:
        assert met(left) and met(right)
    net.heal()
    assert net.run_until(lambda: met(nodes), 10.0)


@both_wires
def test_a_later_life_forgotten_by_its_node_is_gone_beyond(settings: NodeSettings) -> None:
    """A node whose incarnation went back in time is heard again under a higher one."""
    net = MemoryNetwork(seed=7, settings=settings)
    nodes = net.spawn(3)
    net.run(5.0)
    net.crash(nodes[1])
    nodes[1].restart(0)  # below the 1 that the others remember
    net.wake(nodes[1])
    nodes[1].connect(net.address(nodes[0]), net.now)
    net.run(12.0)
    assert nodes[1].incarnation >= 2
    assert met(nodes)
    for node in (nodes[0], nodes[2]):
        (view,) = (view for view in node.peers(net.now) if view.id == nodes[1].id)
        assert view.incarnation == nodes[1].incarnation
        assert nodes[1].id in node.links


@both_wires
def test_blocking_is_one_gate_each_way(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=8, settings=settings)
    nodes = net.spawn(2)
    net.run(3.0)
    assert met(nodes) and nodes[0].links
    nodes[0].block(net.address(nodes[1]))
    before = nodes[0].counters.datagrams_sent
    net.run(12.0)
    assert nodes[0].members == nodes[1].members == frozenset()
    assert nodes[0].links == nodes[1].links == ()
    assert nodes[0].counters.drops["blocked"] > 0
    assert nodes[0].counters.drops["blocked_send"] > 0
    net.run(20.0)
    assert nodes[0].counters.datagrams_sent == before, "nothing leaves, whatever the layer"
    nodes[0].unblock(net.address(nodes[1]))
    assert net.run_until(lambda: met(nodes), 10.0)


@both_wires
def test_lookups_succeed_in_a_lossy_mesh_and_end_for_absent_targets(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=9, loss=0.15, delay=(0.005, 0.05), settings=settings)
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


@both_wires
def test_values_are_found_by_others_and_signed_ones_replaced(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=10, loss=0.1, settings=settings)
    nodes = net.spawn(10)
    assert net.run_until(lambda: met(nodes), 15.0)
    put = nodes[3].put(b"content")
    assert net.run_until(lambda: put.done, 10.0)
    got = nodes[7].get(put.key)
    assert net.run_until(lambda: got.done, 10.0)
    assert got.result == b"content"
    for sequence in (1, 2):
        signed = nodes[4].put_signed(b"life %d" % sequence, sequence)
        assert net.run_until(lambda signed=signed: signed.done, 10.0)
    read = nodes[8].get(signed.key)
    assert net.run_until(lambda: read.done, 10.0)
    assert read.result == b"life 2"


@both_wires
def test_a_small_bucket_size_loses_no_peer(settings: NodeSettings) -> None:
    small = NodeSettings(wire=settings.wire, dht=DhtSettings(bucket_size=4))
    net = MemoryNetwork(seed=10, settings=small)
    nodes = net.spawn(16)
    assert net.run_until(lambda: met(nodes), 15.0)


def test_forged_frames_from_outside_change_nobodys_mind() -> None:
    net = MemoryNetwork(seed=11, settings=NodeSettings(wire="open"))
    nodes = net.spawn(4)
    net.run(3.0)
    stranger = ("10.99.0.1", 666)
    home = net.address(nodes[0])
    lies = tuple(Peer(bytes((n,)) * 20, f"10.98.0.{n}", 1) for n in range(1, 9))
    before = nodes[0].counters.drops.get("unsolicited", 0)
    for sender in (nodes[1].id, b"\x77" * 20):
        for payload in (Pong(1), FoundNodes(lies), Ping(1), frames.Leave(2**40)):
            net.send(frames.encode(Frame(sender, payload)), stranger, home)
    net.run(5.0)
    assert met(nodes)
    assert nodes[0].counters.drops["unsolicited"] - before == 2
    assert nodes[0].counters.drops["unverified_sender"] >= 4


@both_wires
def test_a_flood_of_noise_does_not_part_the_mesh(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=12, settings=settings)
    nodes = net.spawn(3)
    net.run(5.0)
    noise = random.Random(0)
    for burst in range(200):
        for _ in range(50):
            head = b"SHVY" + bytes((noise.randrange(1, 32),)) if noise.random() < 0.5 else b""
            source = (f"10.{noise.randrange(100, 200)}.0.{noise.randrange(250)}", 9)
            net.send(head + noise.randbytes(noise.randrange(80)), source, net.address(nodes[0]))
        net.run(0.02)
        assert met(nodes), burst
    assert sum(nodes[0].counters.drops.values()) > 5000


@both_wires
def test_an_idle_mesh_sends_what_it_should_and_no_more(settings: NodeSettings) -> None:
    """Five nodes, ten links: 8 heartbeats a second each way, and little else."""
    net = MemoryNetwork(seed=13, settings=settings)
    nodes = net.spawn(5)
    net.run(20.0)
    before = net.stats.datagrams_sent, net.stats.bytes_sent
    net.run(10.0)
    per_link = (net.stats.datagrams_sent - before[0]) / (10.0 * 5 * 4)
    assert 8.5 <= per_link <= 13.0
    assert (net.stats.bytes_sent - before[1]) / (10.0 * 5) < 8000
    assert met(nodes)


@both_wires
def test_loads_reach_the_others(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=14, settings=settings)
    nodes = net.spawn(3)
    net.run(4.0)
    nodes[0].publish(LocalLoad(free_energy=-3.5, active_cells=2), net.now)
    net.run(0.1)
    for node in nodes[1:]:
        view = next(view for view in node.peers(net.now) if view.id == nodes[0].id)
        assert view.free_energy == -3.5
        assert view.heartbeat is not None and view.heartbeat.active_cells == 2


@both_wires
def test_every_node_hears_of_every_other_once(settings: NodeSettings) -> None:
    net = MemoryNetwork(seed=15, settings=settings)
    nodes = net.spawn(6)
    net.run(8.0)
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


def test_an_address_is_given_once() -> None:
    net = MemoryNetwork(seed=16)
    first, second = net.spawn(2)
    with pytest.raises(ValueError, match="is the address of another node"):
        net.join(second, net.address(first))


def test_a_node_that_spins_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    net = MemoryNetwork(seed=12)
    nodes = net.spawn(2)
    net.run(1.0)
    monkeypatch.setattr(nodes[1], "next_deadline", lambda: 1.0)
    with pytest.raises(RuntimeError, match="n1 has a deadline that never passes"):
        net.run(1.0)
