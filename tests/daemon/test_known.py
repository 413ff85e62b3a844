"""KNOWN: nodes and links as this node knows them, and whom it does not know, with the reason."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from shivya_daemon.commands import Commands, Session
from shivya_daemon.core.gossip.announcement import Profile
from shivya_daemon.core.heartbeat import Descriptor, NeighbourLoad, ServiceLoad, service_tag
from shivya_daemon.core.node import PeerView
from shivya_daemon.known import known
from shivya_daemon.recent import Recent
from shivya_daemon.services import ServiceBook
from shivya_daemon.settings import LawSettings
from shivya_daemon.world import survey

OWN, B, C, D, E, F, G = (bytes([i]) * 20 for i in range(1, 8))
TAG, LAW, NOW = service_tag("default"), LawSettings(), 10.0


def peer(node: bytes, load: ServiceLoad | None, *, heard: float = 9.9, offers: bool = True) -> PeerView:
    return PeerView(
        id=node, name=f"n{node[0]}", address=("127.0.0.1", 9), rtt=0.004, age=0.0, incarnation=1, linked=True,
        heartbeat=None, services={TAG: load} if load else {}, received={TAG: heard} if load else {},
        descriptors={TAG: Descriptor("default", "127.0.0.1:7000")} if offers else {}, free_energy=None,
        conductance=1.0,
    )  # fmt: skip


def load(*neighbours: NeighbourLoad) -> ServiceLoad:
    return ServiceLoad(TAG, 4, 2, 20.0, 7.5, 0.25, 0.2, 0.05, 0.3, 0.06, None, neighbours)


def look() -> dict[str, Any]:
    """B is a neighbour, D its neighbour; C is silent, E says nothing, F offers nothing, G is far away."""
    book, recent = ServiceBook(10.0), Recent()
    book.report("default", NOW, 3)
    peers = [
        peer(B, load(NeighbourLoad(D, 6, 1, 30.0, 0.2, 0, 2.5), NeighbourLoad(OWN, 3, 1, 10.0, 0.1, 0, 0.0))),
        peer(C, load(), heard=6.8),
        peer(E, None),
        peer(F, None, offers=False),
    ]
    node: Any = SimpleNamespace(
        members=frozenset((B, C, D, E, F, G)), profile=lambda node: Profile(name=f"gossip-{node[0]}")
    )
    for second in range(3):
        recent.note([survey(OWN, book.view("default", NOW), peers, NOW, LAW)], NOW + second)
    world = survey(OWN, book.view("default", NOW), peers, NOW, LAW)
    return known(node, world, {p.id: p for p in peers}, recent, LAW)


def test_nodes_are_told_as_they_were_heard() -> None:
    nodes = {row["id"]: row for row in look()["nodes"]}
    assert list(nodes) == [OWN.hex(), B.hex(), D.hex()]
    own, near, far = nodes.values()
    assert (own["links_away"], own["queue"], own["service_rate"], own["arrival_rate"]) == (0, 3, 10.0, 0.0)
    assert (near["name"], near["links_away"], near["queue"], near["servers"]) == ("n2", 1, 4, 2)
    assert near["arrival_rate"] == 7.5 and near["age_seconds"] == pytest.approx(0.1)
    assert near["past"]["counts"] == pytest.approx([7.5, 7.5], rel=0.02)
    assert (far["name"], far["links_away"], far["queue"], far["arrival_rate"]) == ("gossip-4", 2, 6, None)
    assert far["past"]["counts"] == []


def test_links_are_those_between_known_nodes() -> None:
    document = look()
    ends = {(link["from"], link["to"]): link for link in document["links"]}
    assert set(ends) == {(OWN.hex(), B.hex()), (B.hex(), D.hex())}
    assert ends[OWN.hex(), B.hex()]["rtt_seconds"] == 0.004
    assert ends[B.hex(), D.hex()] | {"from": "", "to": ""} == {
        "from": "", "to": "", "rtt_seconds": None, "traffic": 2.5
    }  # fmt: skip


def test_whom_it_does_not_know_and_why() -> None:
    unknown = {row["id"]: row for row in look()["unknown"]}
    assert list(unknown) == [node.hex() for node in (C, E, F, G)]
    assert "nothing was heard of it for 3.2 s" in unknown[C.hex()]["why"]
    assert "has not told" in unknown[E.hex()]["why"]
    assert "does not offer" in unknown[F.hex()]["why"]
    assert "more than two links away" in unknown[G.hex()]["why"]
    assert unknown[G.hex()]["name"] == "gossip-7"


def test_the_law_is_told_and_all_of_it_is_json() -> None:
    document = json.loads(json.dumps(look(), allow_nan=False))
    assert document["law"]["gap"] == LAW.gap and document["law"]["hop_limit"] == 8
    assert (document["node"], document["service"]) == (OWN.hex(), "default")


def test_the_verb_asks_for_an_offered_service(desk: Any) -> None:
    desk.known = lambda service: {"service": service}
    commands = Commands(desk, time.monotonic)
    assert commands.obey(b"KNOWN", Session()) == {"service": "default"}
    refused = commands.obey(b"KNOWN service=resize", Session())
    assert refused is not None and "not offered here" in refused["error"]
    refused = commands.obey(b"KNOWN hops=3", Session())
    assert refused is not None and "no field 'hops'" in refused["error"]
