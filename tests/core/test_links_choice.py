"""Which links a node seeks, and which it lets go; and the invariants of all of them."""

from __future__ import annotations

import random

from shivya_daemon.core.links.acceptor import Acceptor
from shivya_daemon.core.links.agreement import Agreement, Phase
from shivya_daemon.core.links.book import Book, Candidate
from shivya_daemon.core.links.frames import Close, Closing
from shivya_daemon.core.links.invariants import Violation, check
from shivya_daemon.core.links.seeker import Seeker
from shivya_daemon.core.links.settings import LinksSettings

OWN = b"o" * 20


def node(number: int) -> bytes:
    return bytes((number,)) * 20


# Pruning and choosing


def book(count: int, settings: LinksSettings | None = None, rtt: float = 0.01) -> Book:
    """Return a book of `count` links, the peers in a ring, with plenty of links each."""
    made = Book(OWN, settings or LinksSettings(), random.Random(4).randbytes, 1)
    ring = [node(number) for number in range(1, count + 1)]
    made.graph = {peer: {OWN, ring[index - 1], ring[(index + 1) % count]} for index, peer in enumerate(ring)}
    made.candidates = {peer: Candidate(peer) for peer in ring}
    for peer in ring:
        link = made.begin(peer, 1, Phase.ESTABLISHED, 0.0)
        link.degree = 7
        link.rtt.measured(rtt, 0.0)
        made.settle(link, 0.0)
    made.seek_at = float("inf")
    return made


def request(link: Agreement) -> Closing:
    (close,) = (frame for frame in link.due(1.0) if isinstance(frame, Close))
    return close.reason


def pruned(made: Book, now: float = 1.0) -> list[Agreement]:
    return [link for link in Seeker(made).tend(now) if link.asking]


def test_the_weakest_link_goes_first() -> None:
    made = book(10)
    made.established[node(7)].rtt.measured(1.0, 0.0)
    (asked,) = pruned(made)
    assert asked.node == node(7)
    assert asked.asking == "pruned"


def test_up_to_half_above_the_target_links_go_that_neither_end_seeks() -> None:
    made = book(9)
    made.established[node(3)].rtt.measured(1.5, 0.0)
    (asked,) = pruned(made)
    assert asked.node == node(3)
    assert request(asked) is Closing.SPARE
    made = book(9)
    for link in made.established.values():
        link.degree = made.settings.target_links
    assert pruned(made) == [], "the other ends would seek others in their place"
    assert pruned(book(6)) == []


def test_above_half_more_than_the_target_a_link_goes_that_its_other_end_could_keep() -> None:
    made = book(10)
    for link in made.established.values():
        link.degree = made.settings.target_links
    (asked,) = pruned(made)
    assert request(asked) is Closing.PRUNE


def test_who_has_no_more_links_than_it_seeks_spares_none() -> None:
    acceptor = Acceptor(made := book(7))
    links = list(made.established.values())
    assert acceptor.may_part(links[0], Closing.SPARE)
    links[1].ask("pruned", 1.0)  # counts as gone already
    assert not acceptor.may_part(links[0], Closing.SPARE)
    assert acceptor.may_part(links[0], Closing.PRUNE)
    assert acceptor.may_part(links[0], Closing.UNKNOWN), "no request"


def test_no_link_goes_that_its_other_end_or_the_graph_needs() -> None:
    made = book(10, rtt=0.5)
    for peer, link in made.established.items():
        link.degree = made.settings.min_links if peer < node(5) else 6
    for peer in (node(5), node(6)):  # as if linked to nobody else
        made.graph = {**made.graph, peer: {OWN}}
    made.established[node(7)].random = True
    made.established[node(8)].claimed = True
    assert [link.node for link in pruned(made)] == [node(9)]


def test_no_link_goes_below_the_own_minimum() -> None:
    assert pruned(book(4, LinksSettings(min_links=4, target_links=2))) == []
    made = book(6, LinksSettings(min_links=4, target_links=2))
    links = list(made.established.values())
    assert made.separable(links[0])
    links[1].ask("pruned", 1.0)  # counts as gone already
    assert made.separable(links[0])
    links[2].ask("pruned", 1.0)
    assert not made.separable(links[0])


def test_a_link_is_spared_once_and_asked_again_later() -> None:
    made = book(10)
    seeker = Seeker(made)
    (asked,) = [link for link in seeker.tend(1.0) if link.asking]
    asked.spared_until, asked.asking = 30.0, None
    (other,) = [link for link in seeker.tend(4.0) if link.asking]
    assert other is not asked
    assert [link for link in seeker.tend(7.0) if link.asking] == []  # one request at a time


def test_a_link_lost_is_made_good_among_the_orphans_first() -> None:
    made = book(10, LinksSettings(random_links=0))
    orphan = b"q" * 20
    made.graph = {**made.graph, node(1): {OWN, orphan}}
    strangers = {bytes((250, number)) * 10: Candidate(bytes((250, number)) * 10) for number in range(250)}
    made.candidates = {**made.candidates, **strangers, orphan: Candidate(orphan)}
    for peer in [node(number) for number in range(5, 0, -1)]:
        made.agreements[peer].ended = "lost"
        made.settle(made.agreements[peer], 1.0)
    proposals = [link.node for link in Seeker(made).tend(1.0) if link.phase is Phase.PROPOSED]
    assert proposals == [orphan]


def test_proposals_prefer_near_able_and_unburdened_nodes() -> None:
    made = Book(OWN, LinksSettings(random_links=0, target_links=1), random.Random(4).randbytes, 1)
    seeker = Seeker(made)
    best = Candidate(node(1), rtt=0.002, degree=3, capacity=2.0)
    others = [
        Candidate(node(2), rtt=0.002, degree=3, capacity=1.0),
        Candidate(node(3), rtt=0.050, degree=3, capacity=2.0),
        Candidate(node(4), rtt=0.002, degree=8, capacity=2.0),
        Candidate(node(5), degree=3, capacity=2.0),
        Candidate(node(6), rtt=0.0, compatible=False, capacity=9.0),
    ]
    made.candidates = {entry.id: entry for entry in [*others, best]}
    assert [link.node for link in seeker.tend(0.0)] == [best.id]


# Invariants


def test_violations_are_found() -> None:
    made = book(3, LinksSettings(max_links=2))
    made.graph = {**made.graph, node(1): {node(2)}, node(9): set()}
    made.candidates = {**made.candidates, node(9): Candidate(node(9))}
    assert set(check(made, healing=True, now=100.0)) == {
        Violation("degree_above"),
        Violation("asymmetric", node(1)),
    }
    assert Violation("disconnected", node(9)) in check(made, healing=False, now=100.0)
    assert Violation("asymmetric", node(1)) not in check(
        made, healing=False, now=1.0
    )  # gossip takes its time
    lonely = Book(OWN, LinksSettings(), random.Random(1).randbytes, 1)
    assert check(lonely, healing=False, now=0.0) == ()
    lonely.candidates = {node(1): Candidate(node(1))}
    assert check(lonely, healing=False, now=0.0) == (Violation("degree_below"),)
