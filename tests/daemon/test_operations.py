"""What an operator asks of a node: draining, signals, facts, and what the fleet hears of its resources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shivya_daemon.core.gossip.resources import Resource
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.core.signals.events import SignalReceived
from shivya_daemon.core.signals.frame import Directed, Flood
from shivya_daemon.operations import NodeOperations, Place
from shivya_daemon.resources import ResourceSampler, measure
from shivya_daemon.services import ServiceBook
from shivya_daemon.settings import DaemonSettings
from shivya_daemon.telemetry import HostSample

SEED = ("127.0.0.1", 7001)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """One daemon's operations, its book and its clock."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.book = Clock(), ServiceBook(10.0)
        self.node = Node(Identity.from_private_bytes(b"n" * 32), NodeSettings(name="edge-1"), bytes, 1)
        place = Place(folder, ("127.0.0.1", 7000), allowed=None)
        self.operations = NodeOperations(self.node, self.book, DaemonSettings(), place, self.clock)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_node_leaves_when_its_queues_are_empty_and_not_before(machine: Machine) -> None:
    clock, operations = machine.clock, machine.operations
    assert not operations.draining and not operations.emptied
    machine.book.report("default", clock.now, 3)
    machine.book.report("resize", clock.now, 1)
    assert operations.drain(30.0)["queue"] == 4
    assert operations.draining
    clock.now += 10
    assert not operations.emptied
    machine.book.report("default", clock.now, 0)
    assert not operations.emptied, "another service holds a job"
    machine.book.report("resize", clock.now, 0)
    assert operations.emptied


def test_an_idle_node_tells_its_neighbours_before_it_leaves(machine: Machine) -> None:
    machine.operations.drain(30.0)
    assert not machine.operations.emptied
    machine.clock.now += 1.0
    assert machine.operations.emptied


def test_the_wait_ends_with_jobs_left_and_can_be_cut_short(machine: Machine) -> None:
    machine.book.report("default", machine.clock.now, 3)
    machine.operations.drain(30.0)
    machine.clock.now += 29.9
    assert not machine.operations.emptied
    machine.clock.now += 0.1
    assert machine.operations.emptied
    machine.operations.drain(5.0)
    assert not machine.operations.emptied, "the new wait counts from now"
    machine.operations.drain(0.0)
    assert machine.operations.emptied


def test_signals_go_through_the_node_and_what_came_is_kept(machine: Machine) -> None:
    operations, node = machine.operations, machine.node
    assert operations.node("edge-1") == node.id
    assert operations.node("ab" * 20) == b"\xab" * 20, "an id need not be a peer's"
    assert operations.node("edge-2") is None
    sent = operations.signal(Directed(node.id), "wake", b"now", None)
    node.handle_timer(machine.clock.now)
    for event in node.events():
        assert isinstance(event, SignalReceived)
        operations.hear(event)
    row = operations.signals()["signals"][0]
    assert (row["id"], row["name"], bytes.fromhex(row["payload"])) == (sent.hex(), "edge-1", b"now")
    with pytest.raises(ValueError, match="characters"):
        operations.signal(Flood(), "two words", b"", None)


def test_facts_tell_what_was_configured_and_no_secret(machine: Machine) -> None:
    machine.operations.joins_by(SEED)
    for wall in (1000.0, 1001.0, 900.0):
        machine.operations.look(wall, HostSample())
        machine.clock.now += 1.0
    facts: dict[str, Any] = machine.operations.facts()
    assert facts["seeds"] == [{"address": "127.0.0.1:7001", "up": False, "ever": False}]
    assert facts["clock"]["jumps"] == 1
    assert facts["clock"]["largest_seconds"] == pytest.approx(-102.0)
    assert facts["wire"] == "secure" and facts["mesh_key_file"] is None
    assert not any("key" in name for name in facts if name != "mesh_key_file")


def test_the_fleet_hears_of_changes_that_matter(tmp_path: Path) -> None:
    sampler = ResourceSampler(tmp_path)
    assert sampler.news(HostSample(cpu=0.5), 0.0) is not None
    assert sampler.news(HostSample(cpu=0.52), 1.0) is None
    assert sampler.news(HostSample(cpu=0.6), 2.0) is not None
    assert sampler.news(HostSample(cpu=0.62), 3.0) is None
    assert sampler.news(HostSample(cpu=0.62), 12.0) is not None, "small changes are told now and then"


def test_what_cannot_be_measured_counts_as_nothing(tmp_path: Path) -> None:
    found = measure(tmp_path / "absent", HostSample(cpu=2.0))
    assert (found.free[Resource.COMPUTE], found.free[Resource.STORAGE]) == (0.0, 0.0)
    assert found.capacity[Resource.COMPUTE] >= 1000.0
    assert found.capacity[Resource.STORAGE] == found.capacity[Resource.CREDIT] == 0.0


def test_what_is_offered_can_be_read(machine: Machine) -> None:
    machine.operations.look(0.0, HostSample(cpu=0.25))
    reading = machine.node.resource_readings(Resource.COMPUTE, machine.clock.now)[machine.node.id]
    assert (reading.free, reading.hops) == (0.75, 0)
    assert machine.node.flow_direction(Resource.COMPUTE) is None
