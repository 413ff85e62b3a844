"""Fleets of gossips on a lossy graph in virtual time: who knows whom, who is found dead, at what price."""

from __future__ import annotations

import random
from heapq import heappop, heappush

import pytest

from shivya_daemon.core.gossip import frames
from shivya_daemon.core.gossip.announcement import Announcements, Profile
from shivya_daemon.core.gossip.events import Died, GossipEvent, IncarnationAdopted, Joined, Left, Returned
from shivya_daemon.core.gossip.frames import Exchange
from shivya_daemon.core.gossip.gossip import Gossip
from shivya_daemon.core.gossip.settings import GossipSettings
from shivya_daemon.core.gossip.state import Key
from shivya_daemon.core.identity import Identity

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time

SETTINGS = GossipSettings()


class Fleet:
    """Gossips on a random graph; a datagram takes 5 to 30 ms, or is lost."""

    def __init__(
        self,
        count: int,
        loss: float = 0.0,
        seed: int = 1,
        degree: int = 6,
        settings: GossipSettings = SETTINGS,
    ) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.settings = settings
        self.now = 1000.0
        self.bytes = 0
        self.checked = Announcements(8192)
        self.identities = [Identity.generate(self.random.randbytes) for _ in range(count)]
        self.nodes = [self.born(number, 1) for number in range(count)]
        self.number = {node.own.id: number for number, node in enumerate(self.nodes)}
        self.neighbours: list[set[int]] = [set() for _ in range(count)]
        for number in range(count):  # a ring, so that it is connected, and chords
            self.join(number, (number + 1) % count)
            for _ in range((degree - 2) // 2):
                self.join(number, self.random.randrange(count))
        self.cut: set[tuple[int, int]] = set()
        self.silent: set[int] = set()
        self.history: list[tuple[float, int, GossipEvent]] = []
        self.queue: list[tuple[float, int, int, bytes, bytes]] = []
        self.serial = 0
        for number in range(count):
            self.push(self.now + self.random.random() * 0.5, number)

    def born(self, number: int, incarnation: int) -> Gossip:
        profile = Profile(f"node-{number}", ((f"10.0.{number // 250}.{number % 250 + 1}", 8085),))
        return Gossip(
            self.identities[number],
            self.settings,
            self.random.randbytes,
            incarnation,
            profile=profile,
            announcements=self.checked,
        )

    def join(self, one: int, two: int) -> None:
        if one != two:
            self.neighbours[one].add(two)
            self.neighbours[two].add(one)

    def push(self, at: float, to: int, sender: bytes = b"", data: bytes = b"") -> None:
        self.serial += 1
        heappush(self.queue, (at, self.serial, to, sender, data))

    def send(self, source: int, to: bytes, message: frames.Exchange) -> None:
        data = frames.encode_payload(message)
        self.bytes += len(data) + self.settings.overhead
        target = self.number[to]
        lost = self.random.random() < self.loss
        if not lost and (source, target) not in self.cut and target not in self.silent:
            self.push(self.now + self.random.uniform(0.005, 0.03), target, self.nodes[source].own.id, data)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.queue and self.queue[0][0] <= end:
            self.now, _, number, sender, data = heappop(self.queue)
            if number in self.silent:
                continue
            node = self.nodes[number]
            if data:
                answers = node.receive(sender, frames.decode_payload(data), self.now)
                if not isinstance(answers, str):
                    for answer in answers:
                        self.send(number, sender, answer)
            else:
                peers = [self.nodes[peer].own.id for peer in sorted(self.neighbours[number])]
                for to, message in node.round(self.now, peers):
                    self.send(number, to, message)
                deadline = node.next_deadline()
                if deadline is not None:
                    self.push(deadline, number)
            self.history += [(self.now, number, event) for event in node.events()]
        self.now = end

    def knows_all(self, among: set[int]) -> bool:
        ids = {self.nodes[number].own.id for number in among}
        return all(self.nodes[number].live >= ids - {self.nodes[number].own.id} for number in among)

    def run_until(self, seconds: float, condition: object) -> float | None:
        start = self.now
        while self.now < start + seconds:
            self.run(0.25)
            if condition():  # type: ignore[operator]
                return self.now - start
        return None


def died(fleet: Fleet) -> list[tuple[float, int]]:
    return [(at, fleet.number[event.node]) for at, _, event in fleet.history if isinstance(event, Died)]


def test_fifty_nodes_find_each_other_at_fifteen_percent_loss_and_notice_a_death() -> None:
    fleet = Fleet(50, loss=0.15)
    everyone = set(range(50))
    taken = fleet.run_until(15.0, lambda: fleet.knows_all(everyone))
    assert taken is not None
    fleet.run(20.0)
    assert died(fleet) == []
    fleet.silent.add(3)
    dead = fleet.nodes[3].own.id
    fleet.run(10.0)
    assert all(dead not in fleet.nodes[number].live for number in everyone - {3})
    assert {number for _, number in died(fleet)} == {3}
    # A reboot within the grace is a new life of the same node.
    fleet.silent.clear()
    fleet.nodes[3] = fleet.born(3, 2)
    fleet.push(fleet.now, 3)
    assert fleet.run_until(10.0, lambda: fleet.knows_all(everyone)) is not None
    assert all(fleet.nodes[number].state(dead).incarnation == 2 for number in everyone)  # type: ignore[union-attr]


def test_nobody_live_is_declared_dead_at_ten_percent_loss() -> None:
    fleet = Fleet(20, loss=0.10)
    fleet.run(300.0)
    assert fleet.knows_all(set(range(20)))
    assert died(fleet) == []
    assert len([event for _, _, event in fleet.history if isinstance(event, Joined)]) == 20 * 19


def test_a_partition_into_halves_heals() -> None:
    fleet = Fleet(20, loss=0.05)
    fleet.run(15.0)
    one = set(range(10))
    fleet.cut = {(a, b) for a in range(20) for b in range(20) if (a in one) != (b in one)}
    fleet.run(60.0)
    for number in range(20):
        own_half = one if number in one else set(range(20)) - one
        assert {fleet.number[node] for node in fleet.nodes[number].live} == own_half - {number}
        # Each dead member is tried again and again, so that the caller finds the way back.
        addresses = {
            address for _ in range(10) for address in fleet.nodes[number].contact(fleet.now + 2.0 * _)
        }
        assert len(addresses) == 10
    fleet.cut.clear()
    assert fleet.run_until(10.0, lambda: fleet.knows_all(set(range(20)))) is not None
    returned = {
        event.node for _, number, event in fleet.history if number == 0 and isinstance(event, Returned)
    }
    assert {fleet.number[node] for node in returned} == set(range(10, 20))


def test_a_partition_longer_than_memory_heals_too() -> None:
    fleet = Fleet(12, loss=0.05)
    fleet.run(10.0)
    fleet.cut = {(a, b) for a in range(12) for b in range(12) if (a < 6) != (b < 6)}
    fleet.run(100.0)
    assert fleet.nodes[0].state(fleet.nodes[11].own.id) is None
    assert fleet.nodes[0].contact(fleet.now)
    fleet.cut.clear()
    assert fleet.run_until(10.0, lambda: fleet.knows_all(set(range(12)))) is not None


def test_values_reach_everybody_in_their_last_version() -> None:
    fleet = Fleet(20, loss=0.10)
    fleet.run(10.0)
    for version in range(40):
        fleet.nodes[version % 4].publish(Key.SERVICES, b"services %d" % version)
        fleet.nodes[version % 4].publish(200, b"of a later version")
        fleet.run(0.3)
    fleet.run(8.0)
    for source in range(4):
        node = fleet.nodes[source].own.id
        for other in fleet.nodes:
            state = other.state(node)
            assert state is not None
            assert state.value(Key.SERVICES) == b"services %d" % (36 + source)
            assert state.value(200) == b"of a later version"


def test_goodbye_is_learned_by_all_and_final() -> None:
    fleet = Fleet(20, loss=0.10)
    fleet.run(10.0)
    gone = fleet.nodes[5].own.id
    peers = [fleet.nodes[peer].own.id for peer in sorted(fleet.neighbours[5])]
    for to, message in fleet.nodes[5].leave(fleet.now, peers):
        fleet.send(5, to, message)
    fleet.run(3.0)
    assert all(gone not in node.live for number, node in enumerate(fleet.nodes) if number != 5)
    fleet.run(90.0)
    assert died(fleet) == []
    assert sum(isinstance(event, Left) for _, _, event in fleet.history) == 19
    assert fleet.nodes[0].state(gone) is None


def test_a_restart_with_an_older_incarnation_goes_beyond_the_one_others_remember() -> None:
    fleet = Fleet(10)
    fleet.run(8.0)
    for number, incarnation in ((2, 1), (3, 0)):
        fleet.nodes[number] = fleet.born(number, incarnation)
    fleet.run(8.0)
    adopted = [event for _, number, event in fleet.history if isinstance(event, IncarnationAdopted)]
    assert adopted == [IncarnationAdopted(2)] * 2
    assert fleet.nodes[2].incarnation == fleet.nodes[3].incarnation == 2
    assert fleet.knows_all(set(range(10)))
    assert died(fleet) == []


def test_a_fleet_keeps_to_its_budget() -> None:
    fleet = Fleet(64)
    assert fleet.run_until(40.0, lambda: fleet.knows_all(set(range(64)))) is not None
    for node in fleet.nodes:
        node.publish(Key.RESOURCES, bytes(24))
    before = fleet.bytes
    fleet.run(10.0)
    assert (fleet.bytes - before) / 64 / 10.0 < 1.1 * SETTINGS.budget
    assert died(fleet) == []
    assert all(node.state(other.own.id).value(Key.RESOURCES) for node in fleet.nodes for other in fleet.nodes)  # type: ignore[union-attr]


def test_a_newcomer_with_one_acquaintance_learns_of_everybody_fast() -> None:
    fleet = Fleet(50)
    newcomer = 49
    fleet.silent.add(newcomer)
    fleet.run(15.0)
    fleet.silent.clear()
    fleet.neighbours[newcomer] = {7}
    fleet.push(fleet.now, newcomer)
    taken = fleet.run_until(10.0, lambda: len(fleet.nodes[newcomer].live) == 49)
    assert taken is not None and taken <= 4.0
    assert fleet.run_until(10.0, lambda: fleet.knows_all(set(range(50)))) is not None


def test_who_lacks_one_node_is_shown_it_in_answer_to_its_own_question() -> None:
    """In a fleet of which a message shows everybody; to be asked by those who know might take long."""
    fleet = Fleet(10)
    fleet.silent.add(9)
    assert fleet.run_until(15.0, lambda: fleet.knows_all(set(range(9)))) is not None
    informed, lacking, late = fleet.nodes[0], fleet.nodes[1], fleet.nodes[9]
    assert informed.meet(late.own.id, late.own.announcement, fleet.now) is None
    ((_, question),) = lacking.round(fleet.now + 1.0, [informed.own.id])
    (answer,) = informed.receive(lacking.own.id, question, fleet.now + 1.0)
    assert isinstance(answer, Exchange)
    assert late.own.fingerprint in {fingerprint for fingerprint, _, _ in answer.entries}
