"""What is asked of a live mesh before any twin is made: names, rates, bursts, overload; what is refused."""

from __future__ import annotations

import copy
import random
import statistics
from typing import Any

import pytest
from shivya.errors import CommandError, ExitCode
from shivya.whatif_mesh import (
    Mesh,
    arrival_spreads,
    bursts,
    check_reports,
    find,
    overloads,
    rate_spreads,
    read,
    turned,
)

IDS = [f"{i:02x}" * 20 for i in range(1, 6)]
RATES = (10.0, 20.0, 40.0, 10.0)
ARRIVALS = (3.0, 40.0, 12.0, 3.0)


def row(i: int, rate: float, arrivals: float | None, counts: list[float] | None = None) -> dict[str, Any]:
    counts = [arrivals] * 60 if counts is None and arrivals is not None else counts or []
    return {
        "id": IDS[i], "name": f"edge-{i + 1}", "links_away": min(i, 1), "age_seconds": 0.1, "queue": i,
        "servers": 1, "service_rate": 99.0, "arrival_rate": arrivals,
        "past": {"seconds": 60.0, "queue": 1.5, "service_rate": rate, "counts": counts},
    }  # fmt: skip


def link(a: int, b: int, rtt: float | None = None, traffic: float = 0.0) -> dict[str, Any]:
    return {"from": IDS[a], "to": IDS[b], "rtt_seconds": rtt, "traffic": traffic}


DOCUMENT: dict[str, Any] = {
    "node": IDS[0],
    "service": "default",
    "law": {"gap": 0.05, "hop_limit": 8, "stale_after": 1.0, "tick_interval": 0.1},
    "nodes": [row(i, *pair) for i, pair in enumerate(zip(RATES, ARRIVALS, strict=True))],
    "links": [link(0, 1, 0.004), link(1, 2), link(0, 2, 0.002), link(2, 3), link(0, 3, 0.030)],
    "unknown": [{"id": IDS[4], "name": "edge-5", "why": "it is more than two links away"}],
    "draining": False,
}


def document(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(DOCUMENT), **changes}


def mesh(**changes: Any) -> Mesh:
    return read(document(**changes))


def test_rates_are_means_of_the_last_minute() -> None:
    found = mesh()
    assert [node.arrival_rate for node in found.nodes] == pytest.approx(ARRIVALS)
    assert [node.service_rate for node in found.nodes] == pytest.approx(RATES)
    assert dict(zip(found.links, found.rtts, strict=True)) == {
        (0, 1): 0.004, (0, 2): 0.002, (0, 3): 0.030, (1, 2): 0.004, (2, 3): 0.004,
    }  # fmt: skip
    assert found.rtt == 0.004
    assert found.neighbours(3) == [0, 2] or sorted(found.neighbours(3)) == [0, 2]


def test_without_a_past_there_is_the_present() -> None:
    (node,) = read(document(nodes=[{**row(0, 10.0, 7.0), "past": None}], links=[])).nodes
    assert (node.arrival_rate, node.service_rate, node.seconds) == (7.0, 99.0, 0.0)


def test_arrivals_two_links_away_follow_from_the_queue_and_from_what_neighbours_send() -> None:
    nodes = [row(0, 10.0, 2.0), row(1, 20.0, None)]
    nodes[1]["past"]["queue"] = 3.0
    quiet, helped, flooded = (
        read(document(nodes=nodes, links=[link(0, 1, traffic=traffic)])) for traffic in (0.0, 5.0, 40.0)
    )
    assert [m.nodes[1].arrival_rate for m in (quiet, helped, flooded)] == pytest.approx([15.0, 10.0, 0.0])
    assert quiet.nodes[1].estimated and not quiet.nodes[0].estimated
    assert arrival_spreads(quiet, bursts(quiet))[1] == 0.5, "an estimate is no count"


def test_a_node_that_drains_is_no_part_of_what_is_to_come() -> None:
    nodes = copy.deepcopy(DOCUMENT["nodes"])
    nodes[1]["service_rate"] = 0.0
    found = mesh(nodes=nodes)
    assert [node.name for node in found.nodes] == ["edge-1", "edge-3", "edge-4"]
    assert ("edge-2", "it drains, and takes no work") in found.unknown
    assert found.links == ((0, 1), (0, 2), (1, 2))


def test_names_and_ids_and_what_begins_an_id() -> None:
    found = mesh()
    assert find(found, ["edge-3", IDS[1], IDS[3][:8], "edge-3"]) == (2, 1, 3)
    assert find(found, []) == ()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["edge-9"], "no such node; known here are edge-1, edge-2, edge-3, edge-4"),
        ([IDS[0][:4]], "no such node"),
        (["edge-5"], "its load is not known here: it is more than two links away; ask the daemon of a node"),
        (["edge-1", "edge-2", "edge-3", "edge-4"], "leave one to survive"),
    ],
)
def test_a_node_that_cannot_fail_here(names: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words) as caught:
        find(mesh(), names)
    assert caught.value.code == ExitCode.USAGE


def test_a_name_that_two_nodes_share_means_neither() -> None:
    nodes = copy.deepcopy(DOCUMENT["nodes"])
    nodes[1]["name"] = "edge-1"
    with pytest.raises(CommandError, match="several nodes have that name; give an id"):
        find(mesh(nodes=nodes), ["edge-1"])


def test_a_mesh_that_has_had_no_job_has_nothing_to_go_on_from() -> None:
    idle = [{**row(i, 10.0, 0.0), "queue": 0} for i in range(2)]
    with pytest.raises(CommandError, match="no reports yet") as caught:
        check_reports(mesh(nodes=idle, links=[]))
    assert caught.value.code == ExitCode.REFUSED
    check_reports(mesh())


@pytest.mark.parametrize("missing", ["nodes", "law", "links", "unknown"])
def test_another_version_is_told_in_words(missing: str) -> None:
    with pytest.raises(CommandError, match=f"another version: what it knows lacks '{missing}'"):
        read({key: value for key, value in DOCUMENT.items() if key != missing})


def test_clients_turn_to_surviving_neighbours_in_equal_shares() -> None:
    assert turned(mesh(), (3,), 1.0) == pytest.approx([4.5, 40.0, 13.5, 0.0])
    assert turned(mesh(), (0, 2), 2.0) == pytest.approx([0.0, 95.0, 0.0, 21.0])
    assert turned(mesh(links=[]), (3,), 1.0) == pytest.approx([4.0, 41.0, 13.0, 0.0]), "nobody is near: all"


def test_overload_names_who_and_by_how_much() -> None:
    assert overloads(mesh(), (), 1.0) == ()
    (part,) = overloads(mesh(), (2,), 1.0)
    assert part.nodes == ("edge-1", "edge-2", "edge-4")
    assert part.growth == pytest.approx(58.0 - 40.0)
    (part,) = overloads(mesh(), (), 2.0)
    assert part.growth == pytest.approx(116.0 - 80.0)


def test_parts_that_a_failure_cuts_off_are_judged_apart() -> None:
    """A hot node behind the only link to the rest is overloaded though the rest is idle."""
    line = [link(0, 2), link(2, 1), link(0, 3)]
    (part,) = overloads(mesh(links=line), (2,), 1.0)
    assert part.nodes == ("edge-2",)
    assert part.growth == pytest.approx(46.0 - 20.0)


def counts(rng: random.Random, mean: float, high: float, low: float, seconds: int) -> list[float]:
    """Arrivals per second of a process that bursts for 2 s and is calm for 6 s, on average."""
    found, bursting, change = [0.0] * seconds, rng.random() < 0.25, 0.0
    level = high if bursting else low
    now, change = 0.0, rng.expovariate(1 / 2 if bursting else 1 / 6)
    while now < seconds:
        step = rng.expovariate(mean * level) if level else 1e9
        if now + step > change:
            now, bursting = change, not bursting
            level = high if bursting else low
            change = now + rng.expovariate(1 / 2 if bursting else 1 / 6)
        elif (now := now + step) < seconds:
            found[int(now)] += 1
    return found


@pytest.mark.parametrize(("high", "low"), [(2.5, 0.5), (1.6, 0.8)])
def test_bursts_are_measured(high: float, low: float) -> None:
    rng = random.Random(5)
    nodes = [row(i, 50.0, 30.0, counts(rng, 30.0, high, low, 3000)) for i in range(3)]
    found = bursts(mesh(nodes=nodes))
    assert found.high == pytest.approx(high, rel=0.1)
    assert found.low == pytest.approx(low, rel=0.15)
    assert (2 * found.high + 6 * found.low) / 8 == pytest.approx(1.0)


@pytest.mark.parametrize(("high", "low", "spread"), [(2.5, 0.5, 0.15), (1.6, 0.8, 0.25)])
def test_a_minute_of_a_few_nodes_is_enough_to_measure_bursts(high: float, low: float, spread: float) -> None:
    """Not too weak on average, and no busy node speaks for all: that would spread by .19 and .28."""
    rng = random.Random(8)
    rates, found = (3.0, 40.0, 12.0, 3.0, 6.0), []
    for _ in range(150):
        nodes = [{**row(0, 50.0, r, counts(rng, r, high, low, 60)), "id": f"{r}"} for r in rates]
        found.append(bursts(mesh(nodes=nodes, links=[])).variance)
    true = 3 / 16 * (high - low) ** 2
    assert statistics.fmean(found) == pytest.approx(true, rel=0.04)
    assert statistics.stdev(found) < spread * true


def test_what_comes_evenly_has_no_bursts_and_wild_counts_have_bounded_ones() -> None:
    rng = random.Random(6)
    nodes = [row(i, 50.0, 30.0, counts(rng, 30.0, 1.0, 1.0, 600)) for i in range(4)]
    assert bursts(mesh(nodes=nodes)).high < 1.4
    assert bursts(mesh()).variance == 0.0, "counts that are all the same"
    wild = [row(0, 50.0, 30.0, [900.0 * (s % 30 == 0) for s in range(60)])]
    found = bursts(mesh(nodes=wild, links=[]))
    assert 0 < found.low < 0.1 and found.high < 4
    short = [row(0, 50.0, 30.0, [30.0, 0.0] * 5)]
    assert bursts(mesh(nodes=short, links=[])).variance == 0.0, "ten seconds say nothing"


def test_a_rate_is_known_the_better_the_longer_it_was_counted() -> None:
    rng = random.Random(7)
    nodes = [row(i, 50.0, 30.0, counts(rng, 30.0, 2.5, 0.5, 60)) for i in range(3)]
    nodes[1]["past"]["seconds"] = 15.0
    nodes[2] = row(2, 50.0, 0.0)
    found = arrival_spreads(mesh(nodes=nodes), bursts(mesh(nodes=nodes)))
    assert 0.05 < found[0] < 0.4
    assert found[1] == pytest.approx(2 * found[0], rel=0.05)
    assert found[2] == 0.0, "nothing comes to it"


def test_a_service_rate_is_known_the_better_the_more_was_served() -> None:
    nodes = [row(i, 40.0, 10.0) for i in range(4)]
    for node, queue, seconds in zip(nodes, (1.5, 0.01, 1.5, 0.0), (60.0, 60.0, 0.0, 60.0), strict=True):
        node["past"] |= {"queue": queue, "seconds": seconds}
    found = rate_spreads(mesh(nodes=nodes))
    assert found[0] == pytest.approx((40 * 0.6 * 60) ** -0.5, rel=0.01)
    assert found[0] < found[1] < found[2] == found[3] == 0.5
