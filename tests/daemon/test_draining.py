"""A node that drains: nobody places on it, and it keeps nothing that a neighbour can take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shivya_daemon import placement
from shivya_daemon.core.heartbeat import MAX_SECONDS, NeighbourLoad, ServiceLoad, service_tag
from shivya_daemon.core.load import decode_service, encode_service
from shivya_daemon.table import full

B = b"\xbb" * 20
TABLE = placement.Table(
    service="default",
    tick=1,
    gap=0.05,
    hop_limit=8,
    stale_after=1.0,
    service_rate=10.0,
    servers=2,
    neighbours=(
        placement.Neighbour(B.hex(), "b", None, 5.0, 0.1, 10.0, 50, 1, 0.01, 0.1, 0, 0, flow=5),
        placement.Neighbour("cc" * 20, "c", None, 9.0, 0.1, 10.0, 90, 1, 0.01, 0.1, 0, 0, flow=0),
    ),
)
DRAINING = replace(TABLE, draining=True)


def place(table: placement.Table, queue: int, hops: int = 0) -> int | None:
    return placement.place(table, queue, 2, 10.0, [0, 0], 0.0, hops)


def test_even_an_idle_node_sends_what_arrives_to_the_best_neighbour() -> None:
    assert place(TABLE, 0) is None
    assert place(DRAINING, 0) == 0
    assert place(DRAINING, 40) == 0


def test_a_job_stays_where_nobody_can_take_it() -> None:
    assert place(DRAINING, 0, hops=8) is None, "it has been moved often enough"
    gone = [replace(row, service_rate=0.0) for row in TABLE.neighbours]
    assert place(replace(DRAINING, neighbours=tuple(gone)), 0) is None
    assert placement.place(DRAINING, 0, 2, 10.0, [0, 0], 2.0, 0) is None, "the table is too old"


def test_what_waits_is_handed_over_though_it_would_be_served_sooner_here() -> None:
    arguments = (6, 2, 10.0, [0, 0], 0.0, [5, 0])
    assert placement.hand_over(TABLE, *arguments) == []
    assert placement.hand_over(DRAINING, *arguments) == [(0, 4)], "two are in service"


def test_the_flag_survives_the_table_line_and_is_off_where_it_is_absent() -> None:
    document = {
        "service": "default", "tick": 1, "gap": 0.05, "hop_limit": 8, "stale_after": 1.0, "service_rate": 1.0,
        "servers": 1, "neighbours": [],
    }  # fmt: skip
    assert not placement.parse_table(document).draining
    assert placement.parse_table({**document, "draining": True}).draining
    assert not placement.parse_table({**document, "draining": "yes"}).draining


@pytest.fixture
def load() -> ServiceLoad:
    neighbour = NeighbourLoad(B, queue=1, servers=1, service_rate=5.0, age=0.1, accepted=7, offload=0.0)
    return ServiceLoad(
        tag=service_tag("default"),
        queue=3,
        servers=2,
        service_rate=10.0,
        arrival_rate=1.0,
        waiting=0.3,
        potential=0.2,
        slope=0.1,
        second_potential=0.3,
        second_slope=0.1,
        next_hop=B,
        neighbours=(neighbour,),
    )


def test_what_neighbours_hear_can_be_carried_and_keeps_what_was_accepted(load: ServiceLoad) -> None:
    heard, _ = decode_service(encode_service(full(load)), 0)
    assert (heard.service_rate, heard.potential, heard.second_potential) == (0.0, MAX_SECONDS, MAX_SECONDS)
    assert heard.next_hop is None
    assert heard.neighbours[0].accepted == 7
    assert heard.queue == 3
