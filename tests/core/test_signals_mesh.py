"""Many nodes and the links between them: delays, losses, rings and cliques, until all is quiet."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable

import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.core.signals import (
    ActionPotential,
    Directed,
    Flood,
    Gradient,
    QuorumReached,
    SignalEvent,
    SignalReceived,
    Signals,
    SignalSettings,
    Undeliverable,
)
from shivya_daemon.core.signals.frame import decode_payload, encode_payload
from shivya_daemon.core.signals.sources import Sources

Edge = tuple[int, int]
MOST_DATAGRAMS = 20_000
IDENTITIES = [Identity.generate(random.Random(seed).randbytes) for seed in range(40)]


def ring(size: int) -> list[Edge]:
    return [(node, (node + 1) % size) for node in range(size)]


def line(size: int) -> list[Edge]:
    return [(node, node + 1) for node in range(size - 1)]


def clique(size: int) -> list[Edge]:
    return [(a, b) for a in range(size) for b in range(a)]


def tangle(size: int, seed: int) -> list[Edge]:
    """A ring with as many chords again."""
    source = random.Random(seed)
    chords = {tuple(sorted(source.sample(range(size), 2))) for _ in range(size)}
    return [*ring(size), *((a, b) for a, b in chords if b - a not in (1, size - 1))]


class Mesh:
    """Nodes by number; every hop is encoded, lost or delayed, and decoded."""

    def __init__(
        self,
        edges: Iterable[Edge],
        *,
        delay: Callable[[], float] = lambda: 0.01,
        loss: float = 0.0,
        seed: int = 1,
        settings: SignalSettings | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.links: dict[int, list[int]] = {}
        for a, b in edges:
            self.links.setdefault(a, []).append(b)
            self.links.setdefault(b, []).append(a)
        self.size = len(self.links)
        self.number = {IDENTITIES[node].node_id: node for node in range(self.size)}
        self.now, self.datagrams = 0.0, 0
        self.delay, self.loss = delay, loss
        self.nodes = [
            Signals(
                IDENTITIES[node],
                settings or SignalSettings(),
                self.random.randbytes,
                1,
                next_hop=lambda target, node=node: self.toward(node, target),  # type: ignore[misc]
            )
            for node in range(self.size)
        ]
        for node, signals in enumerate(self.nodes):
            signals.set_links([IDENTITIES[link].node_id for link in self.links[node]])
        self.wire: list[tuple[float, int, int, int, bytes]] = []
        self.events: dict[int, list[SignalEvent]] = {node: [] for node in range(self.size)}
        self.drops: Counter[str] = Counter()
        self.react: Callable[[int, SignalEvent], None] = lambda node, event: None

    def distances(self, start: int) -> dict[int, int]:
        found, queue = {start: 0}, deque([start])
        while queue:
            node = queue.popleft()
            for link in self.links[node]:
                if link not in found:
                    found[link] = found[node] + 1
                    queue.append(link)
        return found

    def toward(self, node: int, target: bytes) -> bytes | None:
        """What routing by gossip would say: the next node of a shortest way."""
        if target not in self.number:
            return None
        left = self.distances(self.number[target])
        return IDENTITIES[min(self.links[node], key=lambda link: left[link])].node_id

    def flush(self) -> None:
        for node, signals in enumerate(self.nodes):
            for event in signals.events():
                self.events[node].append(event)
                self.react(node, event)
            for to, frame, _ in signals.outgoing():
                self.datagrams += 1
                assert self.datagrams <= MOST_DATAGRAMS, "this never becomes quiet"
                if self.random.random() >= self.loss:
                    entry = (
                        self.now + self.delay(),
                        self.datagrams,
                        node,
                        self.number[to],
                        encode_payload(frame),
                    )
                    heapq.heappush(self.wire, entry)

    def run(self) -> None:
        """Until nothing is under way."""
        self.flush()
        while self.wire:
            self.now, _, sender, receiver, body = heapq.heappop(self.wire)
            reason = self.nodes[receiver].receive(IDENTITIES[sender].node_id, decode_payload(body), self.now)
            if reason is not None:
                self.drops[reason] += 1
            self.flush()

    def received(self) -> Counter[int]:
        """How many signals each node heard of."""
        return Counter(
            {
                node: count
                for node, events in self.events.items()
                if (count := sum(isinstance(event, SignalReceived) for event in events))
            }
        )


@pytest.mark.parametrize("seed", range(12))
def test_a_flood_reaches_every_node_within_its_ttl_once(seed: int) -> None:
    """Whatever the delays: a first copy that took fast but many links does not stop the others."""
    source = random.Random(seed)
    mesh = Mesh(tangle(24, seed), delay=lambda: source.expovariate(10.0), seed=seed)
    ttl = 1 + seed % 4
    mesh.nodes[0].send(Flood(), "news", b"x", mesh.now, ttl=ttl)
    mesh.run()
    within = {node for node, hops in mesh.distances(0).items() if 0 < hops <= ttl}
    assert mesh.received() == dict.fromkeys(within, 1)


@pytest.mark.parametrize("kind", [Flood(), Gradient(0.9), ActionPotential()])
def test_a_clique_is_not_swamped(kind: Flood | Gradient | ActionPotential) -> None:
    """Each node passes a signal on once: 4 + 4 * 3 datagrams, not 4 ^ ttl."""
    mesh = Mesh(clique(5))
    mesh.nodes[0].send(kind, "news", b"x", mesh.now)
    mesh.run()
    assert mesh.datagrams == 16
    assert mesh.received() == dict.fromkeys(range(1, 5), 1)


@pytest.mark.parametrize("seed", range(6))
def test_a_gradient_falls_with_the_shortest_distance(seed: int) -> None:
    source = random.Random(seed)
    mesh = Mesh(tangle(20, seed), delay=lambda: source.expovariate(10.0), seed=seed)
    mesh.nodes[0].send(Gradient(0.5), "food", b"x", mesh.now)
    mesh.run()
    for node, hops in mesh.distances(0).items():
        felt = mesh.nodes[node].read_gradient("food", mesh.now)
        if 0.5**hops > 0.05:
            assert [reading.strength for reading in felt] == [0.5**hops]
        else:
            assert felt == []


def test_a_gradient_ends_where_too_little_is_left() -> None:
    mesh = Mesh(line(20))
    mesh.nodes[0].send(Gradient(0.5), "food", b"x", mesh.now, ttl=16)
    mesh.run()
    assert set(mesh.received()) == {1, 2, 3, 4}
    mesh.nodes[0].send(Gradient(1.0), "food", b"x", mesh.now, ttl=16)
    mesh.run()
    assert mesh.received()[16] == 1
    assert mesh.received()[17] == 0


@pytest.mark.parametrize("rest", [0.015, 1.0])
def test_an_action_potential_does_not_reverberate(rest: float) -> None:
    """A ring of 20 with 10 ms links: a rest of 15 ms is over before the two waves have met."""
    mesh = Mesh(ring(20), settings=SignalSettings(min_refractory=rest, ttl=16))
    mesh.nodes[0].send(ActionPotential(), "spike", b"", mesh.now)
    mesh.run()
    assert mesh.received() == dict.fromkeys(range(1, 20), 1)
    assert mesh.now < 0.2


def test_the_ttl_ends_what_memory_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sources, "refusal", lambda *number: None)
    mesh = Mesh(ring(20), settings=SignalSettings(min_refractory=0.015))
    mesh.nodes[0].send(ActionPotential(), "spike", b"", mesh.now)
    mesh.run()
    assert mesh.datagrams <= 2 * 8
    assert mesh.now < 0.1


def test_a_directed_signal_takes_one_way_through_the_mesh() -> None:
    mesh = Mesh(tangle(24, seed=3))
    target = max(mesh.distances(0), key=lambda node: mesh.distances(0)[node])
    mesh.nodes[0].send(Directed(IDENTITIES[target].node_id), "boundary", b"x", mesh.now)
    mesh.run()
    assert mesh.received() == {target: 1}
    assert mesh.datagrams == mesh.distances(0)[target] > 1
    lost = mesh.nodes[0].send(Directed(bytes(20)), "boundary", b"x", mesh.now)
    mesh.run()
    assert mesh.events[0] == [Undeliverable(lost, bytes(20))]


def test_a_directed_signal_does_not_circle() -> None:
    """Routing that leads in a circle ends at the first node that was there before."""
    mesh = Mesh(ring(4))
    mesh.toward = lambda node, target: IDENTITIES[(node + 1) % 4].node_id  # type: ignore[method-assign]
    mesh.nodes[0].send(Directed(bytes(20)), "boundary", b"x", mesh.now)
    mesh.run()
    assert mesh.datagrams == 3
    assert mesh.drops == {"no_route": 1}


def decided(mesh: Mesh) -> dict[int, int]:
    return {
        node: count
        for node, events in mesh.events.items()
        if (count := sum(isinstance(event, QuorumReached) for event in events))
    }


def test_a_quorum_is_reached_once_at_every_node_over_lossy_links() -> None:
    roster = [IDENTITIES[node].node_id for node in range(7)]
    mesh = Mesh(tangle(15, seed=2), loss=0.2, settings=SignalSettings(ttl=12))
    for signals in mesh.nodes:
        signals.register("plan", roster)
    subject = mesh.nodes[0].contribute("plan", b"go", mesh.now)
    for _ in range(4):
        mesh.run()
        for node in range(7):
            mesh.nodes[node].contribute("plan", b"go", mesh.now, subject=subject)
    mesh.run()
    assert decided(mesh) == dict.fromkeys(range(15), 1)
    for events in mesh.events.values():
        for event in events:
            if isinstance(event, QuorumReached):
                assert event.id == subject
                assert len(event.contributors) == 5
                assert event.contributors <= set(roster)


def test_an_action_potential_may_raise_a_quorum() -> None:
    """The cascade: who hears the alarm contributes to what the alarm is about; nobody need coordinate."""
    mesh = Mesh(ring(9))
    for signals in mesh.nodes:
        signals.register("evacuate", [IDENTITIES[node].node_id for node in range(9)])

    def react(node: int, event: SignalEvent) -> None:
        if isinstance(event, SignalReceived) and isinstance(event.kind, ActionPotential):
            mesh.nodes[node].contribute("evacuate", event.payload, mesh.now, subject=event.id)

    mesh.react = react
    alarm = mesh.nodes[4].send(ActionPotential(), "alarm", b"smoke", mesh.now)
    mesh.run()
    assert decided(mesh) == dict.fromkeys(range(9), 1)
    events = [event for event in mesh.events[0] if isinstance(event, QuorumReached)]
    assert (events[0].id, events[0].payload, len(events[0].contributors)) == (alarm, b"smoke", 6)


def test_a_lossy_mesh_still_spreads_most_signals() -> None:
    mesh = Mesh(
        tangle(30, seed=4), loss=0.15, settings=SignalSettings(source_rate=1000.0, verify_rate=10_000.0)
    )
    for _ in range(20):
        mesh.nodes[0].send(Flood(), "news", b"x", mesh.now)
        mesh.run()
    assert sum(mesh.received().values()) > 0.95 * 20 * 29
    assert max(mesh.received().values()) <= 20


def test_a_run_can_be_repeated() -> None:
    def run() -> tuple[int, float, Counter[int]]:
        mesh = Mesh(tangle(20, seed=5), loss=0.1, seed=9)
        mesh.nodes[3].send(Flood(), "news", b"x", mesh.now)
        mesh.run()
        return mesh.datagrams, mesh.now, mesh.received()

    assert run() == run()
