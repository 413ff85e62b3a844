"""What a node knows of a service: direct neighbours, theirs, links, and the split horizon."""

from __future__ import annotations

from msgspec.structs import replace

from shivya_daemon.core.heartbeat import Descriptor, NeighbourLoad, ServiceLoad, service_tag
from shivya_daemon.core.node import PeerView
from shivya_daemon.placement import parse_table
from shivya_daemon.services import ServiceBook
from shivya_daemon.settings import LawSettings
from shivya_daemon.table import neighbour_table, service_load
from shivya_daemon.verdict import shortest_expected_delay
from shivya_daemon.world import World, survey

OWN, B, C, D = (bytes([i]) * 20 for i in (5, 2, 7, 9))
TAG = service_tag("default")
LAW = LawSettings()


def neighbour(node: bytes, queue: int = 1, age: float = 0.1, offload: float = 0.0) -> NeighbourLoad:
    return NeighbourLoad(node, queue, 1, 10.0, age, 0, offload)


def load(next_hop: bytes | None = None, neighbours: tuple[NeighbourLoad, ...] = ()) -> ServiceLoad:
    return ServiceLoad(TAG, 4, 1, 20.0, 1.0, 0.25, 0.2, 0.05, 0.3, 0.06, next_hop, neighbours)


def peer(
    node: bytes, what: ServiceLoad | None, *, linked: bool = True, rtt: float | None = 0.004
) -> PeerView:
    return PeerView(
        id=node,
        name=node.hex()[:4],
        address=("127.0.0.1", 9),
        rtt=rtt,
        age=0.0,
        incarnation=1,
        linked=linked,
        heartbeat=None,
        services={} if what is None else {TAG: what},
        received={} if what is None else {TAG: 9.5},
        descriptors={TAG: Descriptor("default", "127.0.0.1:7000")},
        free_energy=None,
        conductance=0.8,
    )


def look(*peers: PeerView, book: ServiceBook | None = None) -> World:
    book = book or ServiceBook(10.0)
    return survey(OWN, book.view("default", 10.0), peers, 10.0, LAW)


def test_neighbours_come_with_what_they_advertise() -> None:
    world = look(peer(B, load()))
    assert world.own.id == OWN
    vertex = world.vertices[1]
    assert (vertex.id, vertex.queue, vertex.potential, vertex.slope) == (B, 4, 0.2, 0.05)
    assert vertex.age == 0.5
    assert vertex.hop == 0.002
    assert world.candidate(vertex)
    assert [(link.tail, link.head) for link in world.links] == [(B, OWN)]


def test_split_horizon_takes_the_second_best_of_a_neighbour_that_leads_back() -> None:
    vertex = look(peer(B, load(next_hop=OWN))).vertices[1]
    assert (vertex.potential, vertex.slope) == (0.3, 0.06)
    vertex = look(peer(B, load(next_hop=C, neighbours=(neighbour(C),)))).vertices[1]
    assert (vertex.potential, vertex.slope) == (0.2, 0.05)


def test_second_hand_news_reaches_two_hops_and_the_freshest_wins() -> None:
    world = look(
        peer(B, load(neighbours=(neighbour(OWN), neighbour(D, queue=3, age=0.4)))),
        peer(C, load(neighbours=(neighbour(D, queue=8, age=0.1), neighbour(B)))),
    )
    far = next(v for v in world.vertices if v.id == D)
    assert (far.queue, far.direct) == (8, False)
    assert far.age == 0.5 + 0.1
    assert not world.candidate(far)
    assert {(link.tail, link.head) for link in world.links} == {(B, OWN), (OWN, C), (B, D), (C, D), (B, C)}
    assert [v.id for v in world.vertices] == [OWN, B, C, D], "nearest first"


def test_a_neighbour_without_the_service_or_the_link_is_no_vertex() -> None:
    assert len(look(peer(B, None), peer(C, load(), linked=False)).vertices) == 1


def test_reported_offloads_of_both_ends_make_one_signed_flow() -> None:
    book = ServiceBook(10.0)
    book.explicit_offload("default", B, 12.0, 9.0)
    world = look(peer(B, load(neighbours=(neighbour(OWN, offload=2.0),))), book=book)
    assert world.links[0].tail == B
    assert world.links[0].traffic == 2.0 - 12.0


def test_stale_neighbours_get_no_new_work() -> None:
    view = peer(B, load())
    view.received[TAG] = 8.9
    world = look(view)
    assert not world.candidate(world.vertices[1])
    table = neighbour_table(world, shortest_expected_delay(world), {B: view}, 3, LAW)
    assert table["neighbours"] == []


def test_table_and_heartbeat_say_the_same() -> None:
    book = ServiceBook(10.0)
    book.report("default", 9.0, 7, 2, 30.0)
    book.sent("default", B, 3, 9.9)
    book.accepted("default", B, 5, 9.9)
    view = peer(B, load())
    world = look(view, book=book)
    verdict = shortest_expected_delay(world)
    (row,) = neighbour_table(world, verdict, {B: view}, 3, LAW)["neighbours"]
    assert (row["address"], row["out"], row["potential"]) == ("127.0.0.1:7000", 3, 0.2)
    beat = service_load(world, verdict, book.view("default", 10.0))
    assert (beat.queue, beat.servers, beat.service_rate) == (7, 2, 30.0)
    assert beat.waiting == (6 + 2) / 30
    assert beat.neighbours[0].accepted == 5


def test_what_a_neighbour_takes_and_what_of_it_is_ours_is_known() -> None:
    book = ServiceBook(10.0)
    book.arrived("default", 9, 10.0)
    book.sent("default", B, 4, 10.0)
    told = replace(load(), net_arrivals=12.5)
    views = peer(B, told), peer(C, load())
    world = look(*views, book=book)
    assert [(v.net_arrivals, v.own_rate) for v in world.vertices[1:]] == [(12.5, 4.0), (None, 0.0)]
    verdict = shortest_expected_delay(world)
    document = neighbour_table(world, verdict, {view.id: view for view in views}, 3, LAW)
    table = parse_table(document)
    assert [(row.net_arrivals, row.own_rate) for row in table.neighbours] == [(12.5, 4.0), (None, 0.0)]
    assert (table.drift, table.drift_fade, table.drift_share) == (0.5, 0.4, 0.5)
    assert service_load(world, verdict, book.view("default", 10.0)).net_arrivals == 5.0


def test_the_net_traffic_of_a_link_is_known_from_one_of_its_ends() -> None:
    told = NeighbourLoad(C, 1, 1, 10.0, 0.1, 0, offload=3.0, inflow=5.0)
    world = look(peer(B, load(neighbours=(told,))))
    assert {(k.tail, k.head): k.traffic for k in world.links}[B, C] == -2.0
    # What the other end says itself counts more than what this one heard of it.
    itself = neighbour(B, offload=4.0)
    world = look(peer(B, load(neighbours=(told,))), peer(C, load(neighbours=(itself,))))
    assert {(k.tail, k.head): k.traffic for k in world.links}[B, C] == -1.0


def test_a_neighbour_is_told_back_what_it_reports_sending_here() -> None:
    book = ServiceBook(10.0)
    world = look(peer(B, load(neighbours=(neighbour(OWN, offload=6.0),))), book=book)
    said = service_load(world, shortest_expected_delay(world), book.view("default", 10.0))
    assert [(row.node, row.inflow) for row in said.neighbours] == [(B, 6.0)]
