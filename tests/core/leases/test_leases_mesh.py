"""Leases between nodes of a bad network: found, kept, given back, lost; and never lent twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest
from msgspec.structs import replace

from shivya_daemon.core.events import LeaseEnded, LeaseGranted, LeaseObtained, LeaseOver
from shivya_daemon.core.gossip.resources import Resources
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.leases.kinds import MAX_SECONDS, Kind, price
from shivya_daemon.core.leases.leases import ClaimView, LeaseRefused
from shivya_daemon.core.leases.settings import LeaseSettings
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.net.memory import MemoryNetwork

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time

CPU = Kind.MILLICORES
LEASES = LeaseSettings(quota={CPU: 4000}, ttl=3.0, confirm=2.0, max_latency=1.0)
SETTLED = 8.0  # virtual seconds in which a small mesh links, gossips, and its nodes begin to lend


class Fleet:
    """Nodes on a network; the invariant is checked after every single event."""

    def __init__(self, count: int, seed: int = 1, settings: LeaseSettings = LEASES, **faults: object) -> None:
        self.net = MemoryNetwork(seed=seed, settings=NodeSettings(leases=settings), **faults)  # type: ignore[arg-type]
        self.events: dict[bytes, list[object]] = {}
        self.net.on_events = lambda node, events: self.events.setdefault(node.id, []).extend(events)
        self.nodes = self.net.spawn(count)
        for node in self.nodes:
            self.tell(node)
        self.steps = 0
        self.run(SETTLED)

    def tell(self, node: Node) -> None:
        capacity = node.leases.capacity(CPU)
        free = (capacity - node.leases.taken(CPU)) / capacity if capacity else 0.0
        node.offer(Resources((free, 0.0, 0.0, 0.0), (float(capacity), 0.0, 0.0, 0.0)))

    def run(self, seconds: float) -> None:
        self.until(lambda: False, seconds)

    def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> bool:
        def look() -> bool:
            self.check()
            return holds()

        return self.net.run_until(look, seconds)

    def check(self) -> None:
        """What all nodes that run rely on is there, and what a provider books is not more than it has."""
        self.steps += 1
        relied: dict[bytes, int] = {}
        for node in self.nodes:
            if not self.net.up(node):
                continue
            assert 0 <= node.leases.taken(CPU) <= node.leases.capacity(CPU)
            for view in node.leases.claims(self.net.clock(node)):
                if view.state == "held":
                    assert view.provider is not None
                    relied[view.provider] = relied.get(view.provider, 0) + view.amount
        for node in self.nodes:
            assert relied.get(node.id, 0) <= node.leases.capacity(CPU), "lent twice"

    def allocate(self, node: Node, amount: int, seconds: int = 60) -> bytes:
        return node.leases.allocate(CPU, amount, seconds, self.net.clock(node))

    def fill(self, node: Node) -> None:
        """Let a node lease to itself as much as it does without asking others first."""
        assert self.claim(node, self.allocate(node, 3600, 900)).provider == node.id

    def claim(self, node: Node, lease: bytes) -> ClaimView:
        view = node.leases.claim(lease, self.net.clock(node))
        assert view is not None
        return view

    def becomes(self, node: Node, lease: bytes, state: str, seconds: float = 30.0) -> ClaimView:
        assert self.until(lambda: self.claim(node, lease).state == state, seconds), self.claim(node, lease)
        return self.claim(node, lease)

    def node(self, node_id: bytes | None) -> Node:
        return next(node for node in self.nodes if node.id == node_id)

    def heard(self, node: Node, kind: type) -> list[object]:
        return [event for event in self.events.get(node.id, []) if isinstance(event, kind)]


def test_what_fits_here_is_leased_here_and_at_once() -> None:
    fleet = Fleet(2)
    node = fleet.nodes[0]
    lease = fleet.allocate(node, 3000, 5)
    view = fleet.claim(node, lease)
    assert (view.state, view.provider, view.seconds_left, view.price) == ("held", node.id, 5.0, 0)
    node.leases.renew(lease, 9, fleet.net.clock(node))
    fleet.run(5.5)
    assert fleet.claim(node, lease).state == "held"
    view = fleet.becomes(node, lease, "over", 5.0)
    assert view.reason == "expired" and node.leases.taken(CPU) == 0
    fleet.run(0.1)
    assert [e.reason for e in fleet.heard(node, LeaseEnded)] == ["expired"]


def test_what_does_not_fit_is_leased_of_a_neighbour_and_given_back() -> None:
    fleet = Fleet(3)
    node = fleet.nodes[0]
    mine = fleet.allocate(node, 3500)
    lease = fleet.allocate(node, 4000)
    view = fleet.becomes(node, lease, "held")
    provider = fleet.node(view.provider)
    assert provider is not node and provider.leases.taken(CPU) == 4000
    assert view.price == price(CPU, 3600, 60), "a tenth of the quota is free"
    (granted,) = fleet.heard(provider, LeaseGranted)
    assert granted == LeaseGranted(lease, node.id, CPU, 4000, 60)
    assert fleet.heard(node, LeaseObtained) == [LeaseObtained(lease, provider.id, CPU, 4000, 60)]
    fleet.run(20.0)  # many TTLs: it is kept alive
    assert fleet.claim(node, lease).state == "held"
    node.leases.release(lease, fleet.net.clock(node))
    node.leases.release(mine, fleet.net.clock(node))
    assert fleet.claim(node, lease).reason == "released"
    assert fleet.until(lambda: provider.leases.taken(CPU) == 0)
    fleet.run(1.0)
    (ended,) = fleet.heard(provider, LeaseEnded)
    assert ended == LeaseEnded(lease, node.id, CPU, 4000, "released")
    with pytest.raises(LeaseRefused, match="no such lease"):
        node.leases.release(lease, fleet.net.clock(node))


def test_a_renewal_is_agreed_by_both_ends_and_a_term_ends_at_both() -> None:
    fleet = Fleet(2, loss=0.3, seed=5)
    node, other = fleet.nodes
    fleet.fill(node)
    lease = fleet.allocate(node, 1000, 6)
    fleet.becomes(node, lease, "held")
    node.leases.renew(lease, 40, fleet.net.clock(node))
    assert fleet.until(lambda: fleet.claim(node, lease).seconds_left > 30.0)
    fleet.run(20.0)
    assert fleet.claim(node, lease).state == "held" and other.leases.taken(CPU) == 1000
    node.leases.renew(lease, 2, fleet.net.clock(node))  # shorter
    view = fleet.becomes(node, lease, "over", 4.0)
    assert view.reason == "expired"
    assert fleet.until(lambda: other.leases.taken(CPU) == 0, 4.0)


def test_a_crashed_holder_loses_its_lease_and_nobody_elses() -> None:
    fleet = Fleet(3)
    first, second, provider = fleet.nodes
    for node in (first, second):
        fleet.fill(node)
    leases = [(node, fleet.allocate(node, 1500, 600)) for node in (first, second)]
    for node, lease in leases:
        assert fleet.becomes(node, lease, "held").provider == provider.id
    fleet.net.crash(first)
    fleet.run(2 * LEASES.ttl)
    assert provider.leases.taken(CPU) == 1500
    assert [e.reason for e in fleet.heard(provider, LeaseEnded)] == ["silent"]
    assert fleet.claim(*leases[1]).state == "held"
    fleet.net.restart(first)
    fleet.run(SETTLED)
    assert first.leases.claims(fleet.net.clock(first)) == (), "a new life begins with nothing"


def test_the_holder_is_told_when_its_provider_is_gone() -> None:
    fleet = Fleet(2)
    node, provider = fleet.nodes
    fleet.fill(node)
    lease = fleet.allocate(node, 2000, 600)
    fleet.becomes(node, lease, "held")
    fleet.net.crash(provider)
    assert fleet.becomes(node, lease, "over", LEASES.ttl + 0.1).reason == "silent"
    fleet.run(0.1)
    assert fleet.heard(node, LeaseOver) == [LeaseOver(lease, provider.id, CPU, 2000, "silent")]


def test_a_provider_that_starts_again_takes_up_what_it_lent() -> None:
    fleet = Fleet(3)
    node, other, provider = fleet.nodes
    for full in (node, other):
        fleet.fill(full)
    lease = fleet.allocate(node, 3000, 600)
    assert fleet.becomes(node, lease, "held").provider == provider.id
    fleet.net.crash(provider)
    fleet.net.restart(provider)
    fleet.run(0.5)
    fleet.tell(provider)
    fleet.run(SETTLED)
    assert fleet.claim(node, lease).state == "held" and provider.leases.taken(CPU) == 3000
    late = fleet.allocate(other, 3000)
    assert "full" in fleet.becomes(other, late, "refused").reason


def test_a_node_that_leaves_or_drains_says_so() -> None:
    fleet = Fleet(3)
    node, provider = fleet.nodes[0], fleet.nodes[1]
    fleet.fill(node)
    lease = fleet.allocate(node, 2000, 600)
    provider = fleet.node(fleet.becomes(node, lease, "held").provider)
    provider.drain(fleet.net.clock(provider))
    fleet.run(0.5)
    assert fleet.claim(node, lease).state == "held", "what is lent stays until the end"
    provider.leave(fleet.net.clock(provider))
    fleet.run(0.2)
    assert fleet.claim(node, lease).reason == "draining"


def test_of_a_cut_network_each_part_knows_in_time() -> None:
    fleet = Fleet(4, seed=3)
    node = fleet.nodes[0]
    fleet.fill(node)
    lease = fleet.allocate(node, 4000, 600)
    provider = fleet.node(fleet.becomes(node, lease, "held").provider)
    thirds = [other for other in fleet.nodes if other not in (node, provider)]
    fleet.net.partition([[node], [provider, *thirds]])
    third = thirds[0]
    fleet.fill(third)
    fleet.fill(thirds[1])
    for _ in range(20):  # somebody else wants it all the while: it is never lent twice
        fleet.allocate(third, 4000, 600)
        fleet.run(0.5)
    assert fleet.claim(node, lease).reason == "silent"
    assert any(view.provider == provider.id for view in third.leases.claims(fleet.net.clock(third)))


def test_a_full_node_is_passed_over_and_a_refusal_moves_on() -> None:
    fleet = Fleet(4, seed=2)
    asker, *others = fleet.nodes
    for node in fleet.nodes[:3]:
        fleet.fill(node)  # gossip still says that all of them are idle
    lease = fleet.allocate(asker, 3000)
    assert fleet.becomes(asker, lease, "held").provider == others[-1].id
    nobody = fleet.allocate(asker, 3000)
    reason = fleet.becomes(asker, nobody, "refused").reason
    assert reason.startswith("here 400 of 4000 millicores are free") and reason.count("full") == 3
    for node in fleet.nodes:
        fleet.tell(node)
    fleet.run(5.0)
    view = fleet.claim(asker, fleet.allocate(asker, 3000))
    assert view.state == "refused" and "no node near enough" in view.reason, "gossip says so now"


def test_a_neighbour_that_gets_no_work_is_not_asked_to_lend() -> None:
    fleet = Fleet(2)
    asker, other = fleet.nodes
    fleet.fill(asker)
    links = asker._stack.links
    assert other.id in links.established
    while links.carries(other.id, fleet.net.clock(asker)):
        links.failed(other.id, fleet.net.clock(asker))  # until its breaker opens
    view = fleet.claim(asker, fleet.allocate(asker, 3000))
    assert view.state == "refused" and "no node near enough" in view.reason


def test_a_crowded_node_asks_others_first_and_falls_back_on_itself() -> None:
    fleet = Fleet(2)
    node, other = fleet.nodes
    fleet.allocate(node, 2000)
    for _ in range(2):
        assert fleet.becomes(node, fleet.allocate(node, 1700), "held").provider == other.id
    assert fleet.becomes(node, fleet.allocate(node, 1700), "held").provider == node.id


def test_a_node_without_a_quota_borrows_and_is_not_asked_twice() -> None:
    fleet = Fleet(2)
    first, second = fleet.nodes
    fleet.fill(first)
    own = NodeSettings(name="poor", leases=replace(LEASES, quota={}))
    poor = Node(
        Identity.generate(random.Random(77).randbytes), own, random.Random(9).randbytes, incarnation=1
    )
    fleet.nodes.append(fleet.net.join(poor))
    poor.offer(Resources((1.0, 0.0, 0.0, 0.0), (9e9, 0.0, 0.0, 0.0)))
    fleet.run(SETTLED)
    assert fleet.becomes(poor, fleet.allocate(poor, 1000), "held").provider == second.id
    assert fleet.becomes(first, fleet.allocate(first, 2000), "held").provider == second.id
    assert (poor.id, CPU) in first.leases._borrower._shunned


def test_a_node_far_away_is_not_asked() -> None:
    fleet = Fleet(2, delay=(0.03, 0.04), settings=replace(LEASES, max_latency=0.05))
    node = fleet.nodes[0]
    fleet.fill(node)
    assert "no node near enough" in fleet.claim(node, fleet.allocate(node, 500)).reason


def test_what_cannot_be_is_refused_with_what_to_do() -> None:
    fleet = Fleet(1)
    node = fleet.nodes[0]
    for amount, seconds, word in ((0, 60, "from 1 to"), (1, 0, "second"), (1, 1 + MAX_SECONDS, "renew")):
        with pytest.raises(LeaseRefused, match=word):
            fleet.allocate(node, amount, seconds)
    for _ in range(LEASES.max_claims):
        fleet.allocate(node, 1)
    with pytest.raises(LeaseRefused, match="release one first"):
        fleet.allocate(node, 1)
    young = MemoryNetwork(settings=NodeSettings(leases=LEASES)).spawn(1)[0]
    lease = young.leases.allocate(CPU, 10, 10, 100.0)
    view = young.leases.claim(lease, 100.0)
    assert view is not None and "just started" in view.reason


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lent_twice_whatever_happens(seed: int) -> None:
    """Loss, copies, reordering, partitions, crashes, clocks that run apart; looked at after every event."""
    fate = random.Random(seed)
    fleet = Fleet(5, seed=seed, loss=0.2, duplicate=0.1, reorder=0.2, delay=(0.001, 0.05))
    for node in fleet.nodes:
        fleet.net.skew(node, fate.uniform(0.98, 1.02))
    for _ in range(60):
        node = fate.choice(fleet.nodes)
        up = fleet.net.up(node)
        match fate.choice("aaaaaarrrnntpphhc"):
            case "a" if up:
                fleet.allocate(node, fate.choice((500, 1500, 4000)), fate.choice((3, 30)))
            case "r" if up and (claims := open_claims(fleet, node)):
                node.leases.release(fate.choice(claims), fleet.net.clock(node))
            case "n" if up and (claims := open_claims(fleet, node, "held")):
                with suppress(LeaseRefused):  # its provider has been silent
                    node.leases.renew(fate.choice(claims), 20, fleet.net.clock(node))
            case "t" if up:
                fleet.tell(node)
            case "p":
                fleet.net.partition([fate.sample(fleet.nodes, 2)])
            case "h":
                fleet.net.heal()
            case "c" if up:
                fleet.net.crash(node)
            case _ if not up:
                fleet.net.restart(node)
        fleet.run(fate.uniform(0.05, 1.5))
    assert fleet.steps > 5000
    fleet.net.heal()
    for node in fleet.nodes:
        if not fleet.net.up(node):
            fleet.net.restart(node)
    for node in fleet.nodes:
        for lease in open_claims(fleet, node):
            node.leases.release(lease, fleet.net.clock(node))
    fleet.run(60.0)
    assert [node.leases.taken(CPU) for node in fleet.nodes] == [0] * 5, "all of it came back"


def open_claims(fleet: Fleet, node: Node, *states: str) -> list[bytes]:
    wanted: Iterable[str] = states or ("held", "asking")
    return [view.id for view in node.leases.claims(fleet.net.clock(node)) if view.state in wanted]
