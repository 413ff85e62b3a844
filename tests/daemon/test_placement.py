"""The placement rule: who gets a job, how many are handed over, and what a table may hold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon import placement
from shivya_kernels import flow
from shivya_kernels.fleet import laws


def row(index: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"{index:040x}",
        "name": f"n{index}",
        "address": "127.0.0.1:7001",
        "potential": 0.1,
        "slope": 0.02,
        "service_rate": 40.0,
        "queue": 3,
        "servers": 1,
        "hop": 0.001,
        "age": 0.05,
        "out": 0,
        "seen": 0,
        "flow": 0,
        **changes,
    }


def table(*rows: dict[str, Any], **changes: Any) -> placement.Table:
    return placement.parse_table(document(*rows, **changes))


def document(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "service": "resize",
        "tick": 12,
        "gap": 0.05,
        "hop_limit": 8,
        "stale_after": 1.0,
        "service_rate": 20.0,
        "servers": 1,
        "neighbours": list(rows),
        **changes,
    }


def place(
    known: placement.Table, queue: int, *, servers: int = 1, elapsed: float = 0.0, hops: int = 0
) -> int | None:
    out = [neighbour.out for neighbour in known.neighbours]
    return placement.place(known, queue, servers, 20.0, out, elapsed, hops)


def test_waiting_counts_the_job_that_arrives_and_tail_the_last_one_held() -> None:
    assert placement.waiting_time(0, 1, 20.0) == pytest.approx(1 / 20)
    assert placement.waiting_time(5, 1, 20.0) == pytest.approx(6 / 20)
    assert placement.waiting_time(1, 4, 20.0) == pytest.approx(4 / 20)  # a server is free: its own time only
    assert placement.waiting_time(6, 4, 20.0) == pytest.approx((3 + 4) / 20)
    assert placement.tail_time(5, 1, 20.0) == pytest.approx(placement.waiting_time(4, 1, 20.0))
    assert placement.tail_time(0, 1, 20.0) == 0.0
    assert placement.waiting_time(0, 1, 0.0) == math.inf


def test_an_idle_server_keeps_the_job() -> None:
    cheap = table(row(potential=0.0))
    assert place(cheap, 3, servers=4) is None
    assert place(cheap, 4, servers=4) == 0


def test_the_least_cost_wins_and_ties_take_the_lowest_index() -> None:
    assert place(table(row(1, potential=0.2), row(2, potential=0.1)), 20) == 1
    assert place(table(row(1), row(2)), 20) == 0


def test_only_the_jobs_ahead_by_birth_delay_one_that_came_from_elsewhere() -> None:
    known, out = table(row(potential=0.1)), [0]
    for ahead in range(12):
        stays = placement.place(known, 10, 1, 20.0, out, 0.0, 1, ahead=ahead) is None
        assert stays == (placement.waiting_time(min(10, ahead + 1), 1, 20.0) <= 0.1 + 0.001 + 0.05)
    assert placement.place(known, 10, 1, 20.0, out, 0.0, 1, ahead=99) == place(known, 10)


def test_a_job_stays_unless_the_gain_exceeds_the_gap() -> None:
    even = placement.waiting_time(7, 1, 20.0) - 0.05 - 0.25
    assert place(table(row(potential=even + 1e-9, hop=0.25)), 7) is None
    assert place(table(row(potential=even - 1e-9, hop=0.25)), 7) == 0


def test_jobs_under_way_make_a_neighbour_dearer_by_its_slope() -> None:
    near, far = row(1, potential=0.05, out=5, slope=0.1), row(2, potential=0.3)
    assert place(table(near, far), 30) == 1
    assert place(table({**near, "slope": 0.01}, far), 30) == 0


def test_neighbours_that_are_silent_or_do_not_serve_do_not_exist() -> None:
    assert place(table(row(1, age=1.1), row(2, service_rate=0.0)), 100) is None
    assert place(table(row(age=0.5)), 100, elapsed=0.4) == 0
    assert place(table(row(age=0.5)), 100, elapsed=0.6) is None


def test_the_hop_limit_ends_the_journey() -> None:
    assert place(table(row()), 100, hops=7) == 0
    assert place(table(row()), 100, hops=8) is None


def hand_over(known: placement.Table, queue: int, *, servers: int = 1) -> list[tuple[int, int]]:
    rows = known.neighbours
    return placement.hand_over(
        known, queue, servers, 20.0, [r.out for r in rows], 0.0, [r.flow for r in rows]
    )


def test_hand_over_gives_the_flow_while_the_tail_gains() -> None:
    assert hand_over(table(row(flow=3)), 20) == [(0, 3)]
    # tail .3 at 6 jobs; the view starts at .1 and rises by .02: .1, .12, .14, .16 stay below .3, .25, .2, ...
    assert hand_over(table(row(flow=50)), 6) == [(0, 3)]


def test_a_forecast_takes_half_of_the_hop_at_most_from_the_price_of_a_hand_over() -> None:
    """The neighbour gets nothing more: .2 s would become .155 for a job that is placed, and .18 here."""
    emptying = row(flow=50, potential=0.2, hop=0.04, age=0.2, net_arrivals=0.0)
    known = table(emptying, drift=0.5, drift_fade=0.4, drift_share=0.5)
    falling = placement.forecast(known, known.neighbours[0], 0.0)
    assert falling == pytest.approx(-0.045)
    # Last here: .2 s and .25 s.
    assert hand_over(known, 4) == [] and hand_over(known, 5) == [(0, 1)]


def test_hand_over_never_gives_a_job_in_service() -> None:
    assert hand_over(table(row(flow=50, potential=0.0, slope=0.0, hop=0.0)), 6, servers=4) == [(0, 2)]
    assert hand_over(table(row(flow=50, potential=0.0)), 1) == []


@given(
    queue=st.integers(0, 200),
    servers=st.integers(1, 8),
    potentials=st.lists(st.floats(0, 5), min_size=1, max_size=12),
    flow=st.integers(0, 50),
)
def test_hand_over_is_bounded_and_each_move_gains(
    queue: int, servers: int, potentials: list[float], flow: int
) -> None:
    known = table(*(row(i, potential=p, flow=flow) for i, p in enumerate(potentials)))
    moves = placement.hand_over(
        known, queue, servers, 20.0, [0] * len(potentials), 0.0, [flow] * len(potentials)
    )
    assert sum(count for _, count in moves) <= max(0, queue - servers)
    held = queue
    for index, count in moves:
        assert 0 < count <= flow
        neighbour = known.neighbours[index]
        for sent in range(count):
            there = placement.view(neighbour, sent) + neighbour.hop
            assert placement.tail_time(held, servers, 20.0) > there
            held -= 1


@given(st.integers(0, 60), st.lists(st.floats(0, 3), max_size=6))
def test_the_potential_is_what_placement_would_pay(queue: int, potentials: list[float]) -> None:
    known = table(*(row(i, potential=p) for i, p in enumerate(potentials)))
    out = [0] * len(potentials)
    own = placement.waiting_time(queue, 1, 20.0)
    potential = placement.own_potential(known, queue, 1, 20.0, out, 0.0)
    index = placement.place(known, queue, 1, 20.0, out, 0.0, 0)
    if index is not None:
        assert potential == pytest.approx(potentials[index] + 0.001 + 0.05)
    assert potential <= own


def law(**changes: Any) -> dict[str, Any]:
    return {"drift": 0.5, "drift_fade": 0.4, "drift_share": 0.5, "kappa": 0.3, **changes}


def test_a_forecast_counts_what_others_send_is_faded_by_age_and_bounded() -> None:
    filling = row(age=0.2, net_arrivals=60.0)  # at twice its rate of 40, less what this node sends
    known = table(filling, **law())
    (neighbour,) = known.neighbours
    assert placement.forecast(known, neighbour, 0.0) == pytest.approx(0.5 * 0.2 * 0.5 * 0.5)
    ours = table({**filling, "own_rate": 20.0}, **law())
    assert placement.forecast(ours, ours.neighbours[0], 0.0) == 0.0
    assert placement.forecast(known, neighbour, 0.2) == 0.0, "as old as that says nothing"
    assert placement.forecast(known, neighbour, 0.7) == 0.0
    full = table(row(age=0.2, net_arrivals=1e9), **law())
    assert placement.forecast(full, full.neighbours[0], 0.0) == pytest.approx(0.5 * 0.2 * 0.5)
    emptying = table(row(age=0.2, net_arrivals=0.0, hop=0.01), **law())
    assert placement.forecast(emptying, emptying.neighbours[0], 0.0) == pytest.approx(-0.5 * (0.01 + 0.05))
    silent = table(row(age=0.2), **law())
    assert placement.forecast(silent, silent.neighbours[0], 0.0) == 0.0
    assert placement.forecast(table(filling), neighbour, 0.0) == 0.0, "a daemon without forecasts"


def test_no_forecast_goes_below_one_service_time() -> None:
    known = table(row(potential=0.03, age=0.2, net_arrivals=0.0), **law())
    (neighbour,) = known.neighbours
    assert placement.view(neighbour, 0, placement.forecast(known, neighbour, 0.0)) == 1 / 40
    low = replace(neighbour, potential=0.01)
    assert placement.view(low, 0, placement.forecast(known, low, 0.0)) == 0.01, "it was below before"


def test_an_idle_node_asks_the_neighbour_with_most_to_wait_for() -> None:
    rows = [row(1, queue=4), row(2, queue=9), row(3, queue=8, service_rate=30.0), row(4, queue=9)]
    known = table(*rows, pull_wait=0.06)
    assert placement.ask(known, 0, 1, 0.0) == 2, ".1, .225, .267 and .225 seconds"
    assert placement.ask(known, 2, 3, 0.0) == 2, "one of three servers is idle"
    assert placement.ask(known, 1, 1, 0.0) is None
    assert placement.ask(known, 0, 1, 1.0) is None, "the table is too old"
    assert placement.ask(replace(known, draining=True), 0, 1, 0.0) is None
    assert placement.ask(table(*rows), 0, 1, 0.0) is None, "a daemon that knows of no requests"
    ties = table(row(1, queue=9), row(2, queue=9), pull_wait=0.06)
    assert placement.ask(ties, 0, 1, 0.0) == 0


@pytest.mark.parametrize(
    "changes",
    [{"queue": 2}, {"queue": 1, "service_rate": 1.0}, {"address": None}, {"age": 1.5}, {"service_rate": 0.0}],
)
def test_a_neighbour_with_little_or_that_cannot_answer_is_not_asked(changes: dict[str, Any]) -> None:
    assert placement.ask(table(row(queue=50), pull_wait=0.06), 0, 1, 0.0) == 0
    assert placement.ask(table(row(**{"queue": 50, **changes}), pull_wait=0.06), 0, 1, 0.0) is None


def test_a_job_is_granted_while_the_last_one_would_be_served_sooner_there() -> None:
    known = table(row(hop=0.01, service_rate=40.0))  # there: 1/40 + .01 + .05 = .085
    give = [placement.grant(known, 0, queue, 1, 20.0, 0.0) for queue in range(5)]
    assert give == [False, False, True, True, True], "one job held has begun; the tail of two is .1"
    assert not placement.grant(known, 0, 2, 1, 25.0, 0.0)
    assert placement.grant(known, 0, 2, 1, 25.0, 0.0, overrun=0.02)
    assert not placement.grant(known, 0, 3, 3, 1.0, 0.0), "nobody waits"
    assert not placement.grant(known, 0, 50, 1, 20.0, 1.0), "not heard of for too long"
    assert placement.grant(replace(known, draining=True), 0, 2, 1, 1e6, 0.0)
    slow = table(row(service_rate=4.0, servers=4))
    assert not placement.grant(slow, 0, 15, 1, 20.0, 0.0), "one of its four servers takes a second"
    assert placement.grant(slow, 0, 22, 1, 20.0, 0.0)


def test_requests_are_granted_as_in_simulated_fleets() -> None:
    rng = np.random.default_rng(5)
    own, theirs = rng.integers(1, 6, (2, 2000))
    queue, hop = rng.integers(0, 40, 2000), rng.uniform(0.001, 0.2, 2000)
    rate, their_rate = np.exp(rng.uniform(0, 5, (2, 2000)))
    with jax.enable_x64(True):
        tail = flow.tail_time(queue.astype(float), own.astype(float), rate)
        expected = np.asarray(flow.grants(tail, theirs.astype(float), their_rate, hop, 0.05)) & (queue > own)
    assert 200 < expected.sum() < 1800
    for n, yes in enumerate(expected):
        known = table(row(servers=int(theirs[n]), service_rate=their_rate[n], hop=hop[n]))
        assert placement.grant(known, 0, int(queue[n]), int(own[n]), rate[n], 0.0) == yes


def random_states(rng: np.random.Generator, count: int, grid: float | None) -> dict[str, Any]:
    """Own numbers and those of five neighbours; on a grid of binary fractions sums are exact: ties occur."""

    def draw(low: float, high: float, *shape: int) -> Any:
        values = rng.uniform(low, high, (count, *shape))
        return values if grid is None else np.round(values / grid) * grid

    return {
        "queue": rng.integers(1, 40, count),
        "overrun": draw(0.0, 0.5) * rng.integers(0, 2, count),
        "rate": 2.0 ** rng.integers(2, 6, count),
        "potential": draw(0.0, 2.0, 5),
        "slope": draw(0.0, 0.25, 5),
        "service_rate": 2.0 ** rng.integers(2, 6, (count, 5)),
        "hop": draw(0.0, 0.25, 5),
        "age": draw(0.0, 1.25, 5),
        "own_rate": draw(0.0, 16.0, 5),
        "net_arrivals": np.where(rng.random((count, 5)) < 0.8, draw(0.0, 64.0, 5), np.nan),
        "out": rng.integers(0, 8, (count, 5)),
    }


STATES = 50_000
"""Twice as many are compared: on a grid, where ties occur, and off it."""


@pytest.mark.parametrize("grid", [None, 0.0625])
def test_every_decision_is_that_of_the_kernels_ties_included(grid: float | None) -> None:
    """`place`, `own_potential` and the guard's view, against `flow` and the law of simulated fleets."""
    count, gap, fade = STATES, 0.0625, 0.5
    s = random_states(np.random.default_rng(3), count, grid)
    known_rate = ~np.isnan(s["net_arrivals"])
    live = s["age"] <= 1.0
    with jax.enable_x64(True):
        drift = flow.forecast(
            s["age"], s["net_arrivals"], s["own_rate"], s["service_rate"], s["hop"] + gap, 0.5, fade, 0.5
        )
        drift = jnp.where(known_rate, drift, 0.0)
        own = flow.waiting_time(s["queue"], 1, s["rate"]) + s["overrun"]
        chosen = jax.vmap(lambda *x: flow.placement(*x[:-1], gap, 0.0625, x[-1]), (0, 0, 0, None) + (0,) * 7)(
            own, s["rate"], s["queue"], 1, s["potential"], s["slope"], s["out"], s["service_rate"], s["hop"],
            live, drift,
        )  # fmt: skip
        hops, potentials, views = (np.asarray(x) for x in (chosen.next_hop, chosen.potential, chosen.view))
        steady = jnp.where(known_rate, s["net_arrivals"], s["service_rate"] + s["own_rate"])
        nothing = jnp.zeros(count)
        sees = laws.LocalView(
            own, nothing, nothing, nothing, nothing, s["rate"], nothing, nothing, live,
            s["potential"], s["slope"], s["service_rate"], steady, s["out"], s["out"], s["own_rate"],
            s["age"], s["hop"], live,
        )  # fmt: skip
        numbers = replace(laws.LAWS["shivya"].params, gap=gap, drift_fade=fade)
        simulated = jax.vmap(laws.LAWS["shivya"].place, (0, None))(sees, numbers)
    np.testing.assert_array_equal(simulated, hops)
    told = ("potential", "slope", "service_rate", "hop", "age", "own_rate", "net_arrivals")
    s["net_arrivals"] = np.where(known_rate, s["net_arrivals"], None)
    rows_of = np.stack([s[key].astype(object) for key in told], axis=2).tolist()
    own_of = (s[key].tolist() for key in ("queue", "rate", "out", "overrun"))
    index: list[int] = []
    potential: list[float] = []
    there: list[list[float]] = []
    plain = table(*(row(k) for k in range(5)), **law(gap=gap, drift_fade=fade))
    fixed = [{k: getattr(r, k) for k in r.__slots__ if k not in told} for r in plain.neighbours]
    for n, (rows, held, rate, out, late) in enumerate(zip(rows_of, *own_of, strict=True)):
        named = [dict(zip(told, values, strict=True)) for values in rows]
        known = replace(
            plain, neighbours=tuple(placement.Neighbour(**f, **r) for f, r in zip(fixed, named, strict=True))
        )
        if n % 100 == 0:
            assert known == table(
                *(row(k, **r) for k, r in enumerate(named)), **law(gap=gap, drift_fade=fade)
            )
        drifts = (placement.forecast(known, neighbour, 0.0) for neighbour in known.neighbours)
        there.append([placement.view(*each) for each in zip(known.neighbours, out, drifts, strict=True)])
        way = placement.place(known, held, 1, rate, out, 0.0, 0, overrun=late)
        index.append(-1 if way is None else way)
        potential.append(placement.own_potential(known, held, 1, rate, out, 0.0, overrun=late))
    np.testing.assert_array_equal(index, hops)
    np.testing.assert_allclose(potential, potentials, rtol=1e-12)
    np.testing.assert_allclose(there, views, rtol=1e-12, atol=1e-15)
    assert count / 10 < np.sum(hops >= 0) < count
    costs = np.where(live, views + s["hop"] + gap, np.inf)
    least = np.sort(np.column_stack([costs, own]), axis=1)
    assert grid is None or (least[:, 0] == least[:, 1]).sum() > count / 80


@pytest.mark.parametrize(
    "change",
    [
        {"neighbours": None},
        {"neighbours": [row()] * 65},
        {"neighbours": [3]},
        {"tick": -1},
        {"tick": True},
        {"gap": math.nan},
        {"stale_after": math.inf},
        {"service_rate": 10**400},
        {"servers": "1"},
        {"service": None},
        {"drift": None},
        {"kappa": -0.1},
        *(
            {"neighbours": [row(**bad)]}
            for bad in (
                {"id": "ab"},
                {"id": "g" * 40},
                {"potential": -0.1},
                {"slope": "x"},
                {"address": 7},
                {"flow": 1.5},
                {"seen": None},
                {"net_arrivals": -1.0},
                {"net_arrivals": True},
                {"own_rate": math.inf},
            )
        ),
    ],
)
def test_a_bad_table_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        placement.parse_table(document(row(), **change))


def test_a_table_without_seen_is_one_for_nobody_in_particular() -> None:
    plain = row(address=None)
    del plain["seen"]
    assert table(plain).neighbours[0].seen == 0
