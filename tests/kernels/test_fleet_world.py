"""Worlds: drawn from seeds alone, the same in any company; flows as the flow module has them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from shivya_kernels import flow
from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.fleet import Outage, Scenario, World, alike, graph, worlds
from shivya_kernels.fleet.arrivals import draw_arrivals
from shivya_kernels.fleet.world import roomy

SMALL = Scenario(nodes=12, mean_degree=3.0, seconds=20.0, warm_up=2.0)


def jobs_of(world: World, fleet: int) -> np.ndarray:
    mine = world.owner == fleet
    return np.stack([world.born[mine], world.name[world.home[mine]], world.size[mine]])


def test_a_fleet_is_the_same_in_any_company() -> None:
    alone, among = worlds(SMALL, [5]), worlds(SMALL, [3, 5, 4])
    assert_array_equal(jobs_of(alone, 0), jobs_of(among, 1))
    for field in ("rate", "nominal", "key"):
        one, three = getattr(alone, field), getattr(among, field)
        own, other = alone.fleet == 0, among.fleet == 1
        by_name = [np.argsort(w.name[m]) for w, m in ((alone, own), (among, other))]
        assert_array_equal(one[own][by_name[0]], three[other][by_name[1]])
    assert not np.array_equal(jobs_of(among, 0)[0][:50], jobs_of(among, 1)[0][:50])


def test_links_lead_back_and_stay_in_the_fleet() -> None:
    world = worlds(SMALL, range(3))
    place, slot = np.nonzero(world.linked)
    link = place * world.shape.degree + slot
    assert_array_equal(world.back[world.back[link]], link)
    assert_array_equal(world.back[link] // world.shape.degree, world.neighbour[place, slot])
    assert_array_equal(world.fleet[world.neighbour[place, slot]], world.fleet[place])
    heard = np.sort(world.hears[world.hears < world.linked.size])
    assert_array_equal(heard, link)
    phase = world.neighbour[place, slot] // world.shape.rows
    assert all((world.hears[phase[k]] == link[k]).any() for k in range(len(link)))


@pytest.mark.parametrize(("nodes", "degree"), [(2, 1.0), (30, 2.0), (200, 6.1)])
def test_random_graphs_are_connected_and_of_the_asked_degree(nodes: int, degree: float) -> None:
    _, edges = graph.random_geometric(np.random.default_rng(nodes), nodes, degree)
    c = SimplicialComplex.from_edges(nodes, edges)
    assert c.betti[0] == 1
    assert round(nodes * degree / 2) <= len(edges) <= round(nodes * degree / 2) + nodes // 3


def test_arrivals_have_the_asked_rate_hotspot_and_bursts() -> None:
    rate = np.full(20, 10.0)
    scenario = Scenario(nodes=20, load=0.5, seconds=1000.0, drain=900.0, hotspot=0.3)
    drawn = draw_arrivals(scenario, np.random.default_rng(1), rate, np.full((20, 1), -1, np.int32))
    assert_allclose(len(drawn.time) / scenario.horizon, 100, rtol=0.05)
    assert_allclose((drawn.node == drawn.intensity.argmax()).mean(), 0.3, atol=0.03)
    assert_allclose(drawn.size.mean(), 1, rtol=0.02)
    assert (np.diff(drawn.time) >= 0).all()
    # Bursts: counts in windows of 1 s vary far more than a Poisson process's.
    node = int(np.argsort(drawn.intensity)[0])
    counts = np.bincount((drawn.time[drawn.node == node] // 1_000_000).astype(int))
    assert counts.var() > 1.5 * counts.mean()


def test_a_trace_is_taken_as_it_is() -> None:
    trace = ((1, 0.5, 2.0), (0, 0.25, 1.0), (1, 0.0, 3.0))
    world = worlds(Scenario(nodes=2, mean_degree=1.0, arrivals=trace, seconds=1.0, warm_up=0.0), [0])
    assert_array_equal(jobs_of(world, 0), [[1, 250_000, 500_000], [1, 0, 1], [3, 1, 2]])


@pytest.mark.parametrize(
    "changes",
    [
        {"hop": 0.011},
        {"load": 0.0},
        {"loss": 1.5},
        {"rates": (1.0,), "shares": None},
        {"drain": 1e4},
        {"nodes": 0},
        {"change": -0.01},
        {"change": math.nan},
        {"silence": 1.0, "change": 0.08},
        {"heartbeat": 0.115, "change": 0.08},
        {"heartbeat": 0.01, "change": 0.08},
        {"crash": Outage(1.0, 2.0), "partition": (1.0, 2.0)},
    ],
)
def test_what_cannot_be_simulated_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes)) if "drain" not in changes else "2000"):
        Scenario(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("edges", [((0, 0),), ((0, 1), (1, 0)), ((0, 5),)])
def test_a_graph_that_is_none_is_refused(edges: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="edges"):
        worlds(Scenario(nodes=3, edges=edges), [0])


def test_repair_is_the_balancing_flow_of_what_a_node_knows() -> None:
    """Each node's operator against ``flow.balancing_flow`` on the graph within two hops of it."""
    rng = np.random.default_rng(3)
    n = 14
    _, edges = graph.random_geometric(rng, n, 3.5)
    table = graph.links(n, edges)
    near = graph.near(table, rng.integers(20, size=n).astype(np.int32), 20, 2)
    members = np.concatenate([np.arange(n)[:, None], table.neighbour, near.member], axis=1).astype(np.int32)
    operator = graph.flow_operator(table, members, members >= 0, table.neighbour >= 0)
    load, rate = rng.uniform(0, 50, n), rng.choice([10.0, 20.0, 40.0], n)
    for i in range(n):
        known = members[i][members[i] >= 0]
        assert len(set(known.tolist())) == len(known)
        pairs = [e for e in edges if e[0] in known and e[1] in known]
        c = SimplicialComplex.from_edges(n, pairs)
        inside = np.isin(np.arange(n), known)
        f = np.asarray(flow.balancing_flow(c, np.where(inside, load, 0), np.where(inside, rate, 0)))
        expected = {
            b if a == i else a: v if a == i else -v
            for (a, b), v in zip(c.edges.tolist(), f.tolist(), strict=True)
            if i in (a, b)
        }
        surplus = np.zeros(members.shape[1])
        level = load[inside].sum() / rate[inside].sum()
        surplus[members[i] >= 0] = (load - rate * level)[known]
        found = operator[i] @ surplus
        for d, k in enumerate(table.neighbour[i].tolist()):
            assert_allclose(found[d], expected[k] if k >= 0 else 0, atol=1e-4)


def test_the_freshest_word_comes_from_the_best_relay() -> None:
    table = graph.links(4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    near = graph.near(table, np.array([10, 2, 7, 0], np.int32), 20, 2)
    # 3 speaks at 0, which 2 says on at 7 and 1 at 2; node 0 looks at 10.
    assert near.member[0].tolist() == [3]
    assert int(table.neighbour[0, near.slot[0, 0]]) == 1
    assert int(table.neighbour[1, near.there[0, 0]]) == 3


def test_groups_of_unequal_size_get_one_shape() -> None:
    two, one = alike(SMALL, [(3, 5), (4,)], 2)
    assert two.shape == one.shape and one.seeds == (4,)
    assert_array_equal(jobs_of(one, 0), jobs_of(worlds(SMALL, [4]), 0))
    assert set(one.fleet.tolist()) == {0, 2} == set(one.owner.tolist())
    unequal = alike(SMALL, [(3, 5), (4,)])
    assert [replace(world.shape, fleets=2) for world in unequal] == [two.shape] * 2
    assert [world.shape.fleets for world in unequal] == [2, 1]
    with pytest.raises(ValueError, match="there is room for 1"):
        worlds(SMALL, [3, 5], replace(one.shape, fleets=1))


def test_a_fleet_fits_into_more_room_but_not_into_less() -> None:
    tight, room = worlds(SMALL, [2]), roomy(SMALL)
    loose = worlds(SMALL, [2], room)
    assert loose.shape == room and room.jobs > tight.shape.jobs
    assert_array_equal(jobs_of(tight, 0), jobs_of(loose, 0))
    with pytest.raises(ValueError, match="jobs"):
        worlds(SMALL, [2], replace(room, jobs=100))


def test_outages_name_their_node() -> None:
    world = worlds(Scenario(nodes=6, mean_degree=2.0, seconds=5.0, crash=Outage(1.0, 2.0, node=4)), [0, 1])
    down = world.down[0] < 2_000_000
    assert world.name[down].tolist() == [4, 4]
    assert_array_equal(world.down[:, down], [[1_000_000] * 2, [2_000_000] * 2])
