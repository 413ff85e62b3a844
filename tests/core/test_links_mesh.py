"""Groups of link machines on a lossy virtual network: degrees, symmetry, healing, pruning."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Mapping

import pytest
from msgspec.structs import force_setattr

from shivya_daemon.core.links.book import Candidate
from shivya_daemon.core.links.events import Linked, LinkEvent, Unlinked
from shivya_daemon.core.links.keeper import Links
from shivya_daemon.core.links.settings import LinksSettings

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time

TICK = 0.05
BEAT = 0.1
GOSSIP = 1.0  # how old the graph may be that a node knows


def node_id(number: int) -> bytes:
    return number.to_bytes(2, "big") * 10


class Others(Mapping[bytes, Candidate]):
    """The live nodes as one of them sees them."""

    def __init__(self, mesh: Mesh, own: bytes) -> None:
        self.mesh = mesh
        self.own = own

    def __getitem__(self, node: bytes) -> Candidate:
        if node == self.own or node not in self.mesh.live or self.mesh.cut(self.own, node):
            raise KeyError(node)
        rtt = 2 * self.mesh.latency(self.own, node)
        return Candidate(node, rtt=rtt, degree=len(self.mesh.graph.get(node, ())))

    def __iter__(self) -> Iterator[bytes]:
        return (node for node in self.mesh.live if node != self.own and not self.mesh.cut(self.own, node))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Mesh:
    """Nodes in sites: 1 ms within a site, 40 ms between; every datagram may be lost."""

    def __init__(
        self, size: int, seed: int, loss: float = 0.0, sites: int = 1, settings: LinksSettings | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.sites = sites
        self.settings = settings or LinksSettings()
        self.now = 100.0
        self.live: dict[bytes, Links] = {}
        self.graph: dict[bytes, frozenset[bytes]] = {}
        self.groups: dict[bytes, int] | None = None
        self.events: dict[bytes, list[LinkEvent]] = {}
        self.refused: dict[str, int] = {}
        self.frames = 0
        self._flight: list[tuple[float, int, bytes, bytes, bytes]] = []
        self._beat_at = self._graph_at = self.now
        for number in range(1, size + 1):
            self.start(node_id(number))

    def start(self, node: bytes, incarnation: int = 1) -> None:
        self.live[node] = Links(node, self.settings, self.random.randbytes, incarnation)
        self.events.setdefault(node, [])

    def latency(self, one: bytes, other: bytes) -> float:
        return 0.0005 if one[-1] % self.sites == other[-1] % self.sites else 0.02

    def cut(self, one: bytes, other: bytes) -> bool:
        return self.groups is not None and self.groups[one] != self.groups[other]

    def send(self, source: bytes, target: bytes, payload: bytes) -> None:
        self.frames += 1
        if self.random.random() >= self.loss and not self.cut(source, target):
            at = self.now + self.latency(source, target) * self.random.uniform(1, 1.5)
            heapq.heappush(self._flight, (at, self.frames, source, target, payload))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self._tick()

    def until_quiet(self, limit: float = 60.0) -> None:
        """Run until no link changed for 5 s."""
        changed = self.now
        end = self.now + limit
        counts = 0
        while self.now - changed < 5.0:
            assert self.now < end, "links keep changing"
            self._tick()
            if (total := sum(map(len, self.events.values()))) != counts:
                counts, changed = total, self.now

    def _tick(self) -> None:
        if self.now >= self._graph_at:
            self._graph_at += GOSSIP
            self.graph = {node: frozenset(links.established) for node, links in self.live.items()}
        if self.now >= self._beat_at:
            self._beat_at += BEAT
            self._heartbeats()
        for node, links in self.live.items():
            deadline = links.next_deadline()
            if deadline is not None and deadline <= self.now:
                for target, payload in links.due(self.now, Others(self, node), self.graph):
                    self.send(node, target, payload)
            self.events[node] += links.events()
            assert len(links.established) <= self.settings.max_links
        end = self.now + TICK
        while self._flight and self._flight[0][0] <= end:
            self.now, _, source, target, payload = heapq.heappop(self._flight)
            receiver = self.live.get(target)
            if receiver is None:
                continue
            replies = receiver.receive(source, payload, len(payload) + 80, self.now)
            if isinstance(replies, str):
                self.refused[replies] = self.refused.get(replies, 0) + 1
            else:
                for reply in replies:
                    self.send(target, source, reply)
        self.now = end

    def _heartbeats(self) -> None:
        for node, links in self.live.items():
            for peer in links.established:
                other = self.live.get(peer)
                if other is not None and self.random.random() >= self.loss and not self.cut(node, peer):
                    other.heard(node, self.now)

    def degrees(self) -> list[int]:
        return [len(links.established) for links in self.live.values()]

    def asymmetric(self) -> list[tuple[bytes, bytes]]:
        links = {node: set(machine.established) for node, machine in self.live.items()}
        return [(a, b) for a in links for b in links[a] if a not in links.get(b, ())]

    def components(self) -> int:
        left = set(self.live)
        count = 0
        while left:
            count += 1
            waiting = [left.pop()]
            while waiting:
                fresh = left.intersection(self.live[waiting.pop()].established)
                left -= fresh
                waiting += fresh
        return count

    def pairs(self) -> list[tuple[bytes, bytes]]:
        return [(node, peer) for node, links in self.live.items() for peer in links.established]

    def mean_latency(self) -> float:
        pairs = self.pairs()
        return sum(self.latency(*pair) for pair in pairs) / len(pairs)

    def violations(self) -> list[object]:
        return [found for links in self.live.values() for found in links.invariants(self.now)]


@pytest.mark.parametrize(
    ("size", "loss", "sites", "seed"),
    [(7, 0.0, 1, 1), (7, 0.3, 1, 2), (30, 0.15, 3, 3), (100, 0.0, 10, 4), (60, 0.3, 5, 5), (100, 0.1, 1, 6)],
)
def test_a_group_links_up(size: int, loss: float, sites: int, seed: int) -> None:
    mesh = Mesh(size, seed, loss, sites)
    mesh.run(12.0)
    assert min(mesh.degrees()) >= mesh.settings.min_links
    mesh.loss = 0.0  # so that what is left open now is settled
    mesh.run(3 * mesh.settings.check_interval)
    assert mesh.asymmetric() == []
    assert mesh.components() == 1
    assert sum(mesh.degrees()) / size >= min(mesh.settings.target_links, size - 1) - 0.5
    mesh.run(mesh.settings.settle_time)
    assert mesh.violations() == []


@pytest.mark.parametrize("target", [2, 3, 9])
@pytest.mark.parametrize("seed", range(3))
def test_a_fleet_has_about_as_many_links_as_its_nodes_seek(target: int, seed: int) -> None:
    mesh = Mesh(24, seed, settings=LinksSettings(target_links=target))
    mesh.run(20.0)
    assert mesh.components() == 1
    assert mesh.settings.min_links <= min(mesh.degrees())
    assert target - 0.5 <= sum(mesh.degrees()) / 24 <= mesh.settings.full_at + 0.5
    assert mesh.violations() == []


@pytest.mark.parametrize("size", [2, 3])
def test_a_fleet_smaller_than_the_target_is_whole_and_content(size: int) -> None:
    mesh = Mesh(size, seed=size)
    mesh.run(20.0)
    assert mesh.degrees() == [size - 1] * size
    assert mesh.violations() == []


@pytest.mark.parametrize("seed", range(4))
def test_both_ends_agree_within_seconds_under_loss(seed: int) -> None:
    """Asymmetry is allowed for the time of a check and its retries, not for longer."""
    mesh = Mesh(12, seed, loss=0.3, settings=LinksSettings(target_links=4, max_links=6))
    since: dict[tuple[bytes, bytes], float] = {}
    for _ in range(60):
        mesh.run(0.5)
        open_now = set(mesh.asymmetric())
        since = {pair: since.get(pair, mesh.now) for pair in open_now}
        assert all(mesh.now - start < 5.0 for start in since.values())


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_of_the_dead_reroute(seed: int) -> None:
    mesh = Mesh(30, seed, sites=3)
    mesh.until_quiet()
    for victim in mesh.random.sample(sorted(mesh.live), 8):
        del mesh.live[victim]
        mesh.events[victim].clear()
    # Silence shows the loss; then a proposal goes out at once, and each link takes two round trips.
    mesh.run(mesh.settings.dead_after + 3 * BEAT + 0.5)
    assert min(mesh.degrees()) >= mesh.settings.min_links
    mesh.run(3.0)
    assert mesh.components() == 1
    assert mesh.asymmetric() == []
    dead = {node_id(number) for number in range(1, 31)} - set(mesh.live)
    assert not any(dead.intersection(links.established) for links in mesh.live.values())


def test_a_loss_that_the_node_reports_is_made_good_within_three_heartbeats() -> None:
    mesh = Mesh(20, seed=5, settings=LinksSettings(target_links=2, max_links=4, min_links=2))
    mesh.until_quiet()
    victim = next(iter(mesh.live))
    losers = [node for node, links in mesh.live.items() if victim in links.established]
    del mesh.live[victim]
    for node in losers:
        mesh.live[node].lost(victim, mesh.now)
    mesh.run(3 * BEAT)
    assert all(len(mesh.live[node].established) >= 2 for node in losers)
    assert all(Unlinked(victim, "lost") in mesh.events[node] for node in losers)


def test_a_restarted_node_is_linked_again() -> None:
    mesh = Mesh(10, seed=6)
    mesh.until_quiet()
    node = next(iter(mesh.live))
    before = mesh.live[node].established
    mesh.start(node, incarnation=2)
    mesh.run(6.0)
    assert len(mesh.live[node].established) >= mesh.settings.min_links
    assert mesh.asymmetric() == []
    assert all(
        any(isinstance(event, Unlinked) and event.id == node for event in mesh.events[peer])
        for peer in before
    )


def test_a_partition_heals() -> None:
    """Both halves are content by themselves, so only a bridge sought on purpose joins them again."""
    mesh = Mesh(24, seed=8)
    mesh.until_quiet()
    mesh.groups = {node: number % 2 for number, node in enumerate(mesh.live)}
    mesh.run(30.0)
    assert mesh.components() == 2
    assert min(mesh.degrees()) >= mesh.settings.min_links
    mesh.groups = None
    mesh.run(20.0)
    assert mesh.components() == 1
    assert mesh.asymmetric() == []


@pytest.mark.parametrize("seed", range(2))
def test_links_grow_shorter_and_the_whole_stays_connected(seed: int) -> None:
    drawn = Mesh(25, seed, sites=5, settings=LinksSettings(random_links=6))
    drawn.run(5.0)
    mesh = Mesh(25, seed, sites=5)
    for _ in range(10):
        mesh.run(10.0)
        assert mesh.components() == 1
        assert min(mesh.degrees()) >= mesh.settings.min_links
    assert max(mesh.degrees()) <= mesh.settings.crowded_above
    assert mesh.mean_latency() < 0.7 * drawn.mean_latency()
    assert any(mesh.latency(*pair) > 0.01 for pair in mesh.pairs())


def test_crowded_nodes_prune_down_without_cutting_anybody_off() -> None:
    """With the target lowered links go, but nobody falls below the minimum and nothing falls apart."""
    mesh = Mesh(40, seed=9, settings=LinksSettings(target_links=11, max_links=12, crowded=1.0))
    mesh.until_quiet()
    assert sum(mesh.degrees()) / 40 > 9
    lean = mesh.settings
    force_setattr(lean, "target_links", 3)
    for _ in range(120):
        mesh.run(0.5)
        assert min(mesh.degrees()) >= lean.min_links
        assert mesh.components() == 1
    assert sum(mesh.degrees()) / 40 < 5
    assert mesh.asymmetric() == []


def test_a_draining_node_leaves_every_neighbour_linked() -> None:
    mesh = Mesh(12, seed=10, loss=0.2)
    mesh.until_quiet()
    node = next(iter(mesh.live))
    leaver = mesh.live[node]
    peers = leaver.established
    mesh.events[node].clear()
    leaver.drain(mesh.now)
    assert leaver.established == ()
    mesh.run(1.5)
    assert leaver.drained
    assert leaver.next_deadline() is None
    mesh.run(5.0)
    assert leaver.established == ()
    for peer in peers:
        assert node not in mesh.live[peer].established
        assert len(mesh.live[peer].established) >= mesh.settings.min_links
    assert {event for event in mesh.events[node] if isinstance(event, Unlinked)} == {
        Unlinked(peer, "draining") for peer in peers
    }


def test_a_latecomer_finds_links_in_a_full_fleet() -> None:
    """Everybody is at the maximum, so somebody has to make room for a node that has none."""
    settings = LinksSettings(target_links=4, max_links=4, crowded=1.0, min_links=2)
    mesh = Mesh(20, seed=11, settings=settings)
    mesh.until_quiet()
    mesh.start(node_id(99))
    mesh.run(40.0)
    assert len(mesh.live[node_id(99)].established) >= settings.min_links
    assert min(mesh.degrees()) >= settings.min_links
    assert mesh.components() == 1


def test_the_cost_at_rest_is_a_few_small_frames() -> None:
    mesh = Mesh(30, seed=12)
    mesh.until_quiet()
    mesh.run(20.0)
    before = mesh.frames
    mesh.run(40.0)
    links = sum(mesh.degrees())
    # One check of a probe and an echo each 2 s and end, now and then a train, a search or an exchange.
    assert (mesh.frames - before) / 40.0 < 1.5 * links


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = Mesh(15, seed=13, loss=0.2), Mesh(15, seed=13, loss=0.2)
    first.run(8.0)
    second.run(8.0)
    assert first.events == second.events
    assert any(isinstance(event, Linked) for event in first.events[node_id(1)])
