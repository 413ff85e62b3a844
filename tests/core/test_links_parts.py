"""The parts of a link by themselves: breaker, thickness, measures, graph, pauses, choice, invariants."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shivya_daemon.core.links.backoff import Backoff
from shivya_daemon.core.links.breaker import Breaker, BreakerState
from shivya_daemon.core.links.dispersion import Bandwidth, Dispersion
from shivya_daemon.core.links.frames import Closing, Head, Probe
from shivya_daemon.core.links.graph import Graph, detour, reachable
from shivya_daemon.core.links.settings import LinksSettings
from shivya_daemon.core.links.thickness import Thickness, conductance
from shivya_daemon.core.members import Member
from shivya_daemon.core.roundtrip import RoundTrip
from shivya_kernels.conductance import advertised

OWN = b"o" * 20
HEAD = Head(1, 1, 1)


def node(number: int) -> bytes:
    return bytes((number,)) * 20


# Breaker


def tripped(at: float) -> Breaker:
    breaker = Breaker(5, 60.0)
    for _ in range(5):
        assert breaker.closed
        breaker.failed(at)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_only_consecutive_failures_open_the_breaker() -> None:
    breaker = Breaker(5, 60.0)
    for _ in range(20):
        breaker.failed(0.0)
        breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.closed


def test_an_open_breaker_learns_nothing_before_its_pause_is_over() -> None:
    breaker = tripped(10.0)
    breaker.trial(69.9)
    breaker.succeeded()
    assert not breaker.closed
    breaker.trial(70.0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.closed  # one probe goes out, and still no work


def test_the_trial_decides() -> None:
    breaker = tripped(10.0)
    breaker.trial(70.0)
    breaker.failed(71.0)
    assert breaker.state is BreakerState.OPEN
    breaker.trial(130.0)  # the pause starts again with the failed trial
    assert breaker.state is BreakerState.OPEN
    breaker.trial(131.0)
    breaker.succeeded()
    assert breaker.closed
    breaker.failed(132.0)
    assert breaker.closed  # the count starts again too


# Thickness and conductance


def used(rate: float, seconds: int, start: Thickness | None = None) -> Thickness:
    thickness = start or Thickness(LinksSettings(), 0.0)
    for second in range(1, seconds + 1):
        thickness.record(int(rate))
        thickness.settle(thickness._at + 1.0 if start else float(second), None)
    return thickness


def test_use_thickens_and_disuse_thins_within_bounds() -> None:
    defaults = LinksSettings()
    busy, idle = used(1e6, 600), used(0.0, 600)
    assert 1.9 < busy.value <= defaults.thickness_max
    assert idle.value == defaults.thickness_min
    assert used(defaults.busy_rate, 2000).value == pytest.approx(defaults.thickness_max / 2, rel=1e-3)
    assert used(0.0, 100, busy).value < 1.0


def test_thickness_does_not_depend_on_how_often_it_is_settled() -> None:
    often, seldom = Thickness(LinksSettings(), 0.0), Thickness(LinksSettings(), 0.0)
    for second in range(1, 21):
        often.record(5000)
        often.settle(float(second), 4e6)
        often.settle(second + 0.5, 4e6)  # within the window: nothing to weigh yet
    seldom.record(100_000)
    seldom.settle(20.0, 4e6)
    assert seldom.value == pytest.approx(often.value)
    assert seldom.score == pytest.approx(often.score)


def test_the_score_follows_what_was_measured_and_stays_below_one() -> None:
    wide, narrow = Thickness(LinksSettings(), 0.0), Thickness(LinksSettings(), 0.0)
    for second in range(1, 120):
        wide.settle(float(second), 1e12)
        narrow.settle(float(second), 1e4)
    assert narrow.score < 0.02 < 0.98 < wide.score <= 1.0
    carried = used(5e6, 120)  # what passed shows bandwidth too
    assert carried.score == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize(
    ("thickness", "score", "rtt"), [(1.0, 0.5, 0.01), (2.0, 0.99, 0.0), (0.1, 0.01, 3.0)]
)
def test_conductance_is_that_of_the_kernels(thickness: float, score: float, rtt: float) -> None:
    expected = float(advertised(thickness, score, rtt))
    assert conductance(thickness, score, rtt) == pytest.approx(expected, rel=1e-5)


# Latency and bandwidth


def test_the_smoothed_time_moves_by_an_eighth_and_the_minimum_forgets() -> None:
    rtt = RoundTrip()
    assert rtt.smoothed is None
    assert rtt.minimum is None
    rtt.measured(0.080, 0.0)
    rtt.measured(0.160, 1.0)
    assert rtt.smoothed == pytest.approx(0.090)
    assert rtt.minimum == 0.080
    for second in range(60, 200):
        rtt.measured(0.120, float(second))
    assert rtt.minimum == 0.120


@pytest.mark.parametrize("took", [5.0, 3600.0])
def test_a_round_trip_over_a_jump_of_the_clock_counts_for_nothing(took: float) -> None:
    link, member = RoundTrip(), Member(bytes(20), ("127.0.0.1", 1), 0.0)
    for rtt in (took, 0.080, took):
        link.measured(rtt, 0.0)
        member.measured(rtt)
    assert link.smoothed == link.minimum == member.rtt == 0.080


def train(spacings: list[float], lost: tuple[int, ...] = (), order: list[int] | None = None) -> float:
    """Send a train of 1000-byte datagrams whose arrivals are spaced so; returns what the last one shows."""
    receiver, now, shown = Dispersion(), 5.0, 0.0
    count = len(spacings) + 1
    for place, index in enumerate(order or range(count)):
        now += spacings[place - 1] if place else 0.0
        if index not in lost:
            shown = receiver.arrived(Probe(HEAD, 3, index, count), 1000, now)
    return shown


def test_spacing_shows_the_bandwidth_of_the_bottleneck() -> None:
    assert train([0.001, 0.001, 0.001]) == pytest.approx(1e6)
    assert train([0.001]) == pytest.approx(1e6)
    assert train([0.001, 0.001, 0.001], lost=(0,)) == pytest.approx(1e6)
    assert train([0.001, 0.001, 0.001], lost=(1,)) == pytest.approx(2e6 / 3)  # errs downwards


def test_what_shows_no_spacing_measures_nothing_or_saturates() -> None:
    assert train([0.001, 0.001, 0.001], lost=(0, 1, 2)) == 0.0
    assert train([0.001], order=[1, 0]) == 0.0
    assert train([]) == 0.0
    assert train([0.0]) == pytest.approx(1000 / 50e-6)


def test_bandwidth_is_the_median_of_the_last_trains() -> None:
    bandwidth = Bandwidth()
    bandwidth.reported(0.0)
    assert bandwidth.value is None
    for sample in (1e6, 9e9, 1.1e6, 0.9e6, 10.0):
        bandwidth.reported(sample)
    assert bandwidth.value == 1e6
    for _ in range(5):
        bandwidth.reported(2e6)
    assert bandwidth.value == 2e6


# The graph


edges = st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1]))


def both_ways(pairs: set[tuple[int, int]]) -> dict[bytes, set[bytes]]:
    graph: dict[bytes, set[bytes]] = {node(number): set() for number in range(10)}
    for one, other in pairs:
        graph[node(one)].add(node(other))
        graph[node(other)].add(node(one))
    return graph


@settings(deadline=None)
@given(edges)
def test_a_detour_is_found_exactly_if_there_is_one(pairs: set[tuple[int, int]]) -> None:
    graph = both_ways(pairs)
    own = node(0)
    for peer in sorted(graph[own]):
        others = graph[own] - {peer}
        without = both_ways({pair for pair in pairs if {node(pair[0]), node(pair[1])} != {own, peer}})
        assert detour(graph, own, others, peer) == (peer in reachable(without, own, others))


def test_an_edge_that_only_one_end_lists_is_none() -> None:
    graph: Graph = {node(1): {node(2)}, node(2): set(), node(3): {node(2)}}
    assert reachable(graph, OWN, [node(1)]) == {OWN, node(1)}
    assert not detour(graph, OWN, [node(1)], node(2))
    unknown: Graph = {node(1): {node(2)}}  # of node 2 nothing is known that contradicts
    assert detour(unknown, OWN, [node(1)], node(2))


# Pauses


def test_pauses_double_up_to_a_limit_and_the_table_is_bounded() -> None:
    backoff = Backoff(1.0, 8.0, capacity=2)
    ends = []
    for _ in range(5):
        backoff.strike(node(1), 0.0)
        ends.append(next(second for second in range(100) if not backoff.paused(node(1), second)))
    assert ends == [1, 2, 4, 8, 8]
    backoff.strike(node(2), 0.0)
    backoff.strike(node(3), 0.0)
    assert len(backoff) == 2
    assert not backoff.paused(node(1), 0.5)
    backoff.forget(node(3))
    backoff.strike(node(3), 0.0)
    assert not backoff.paused(node(3), 1.0)


def test_the_words_of_the_wire_are_stable() -> None:
    assert [word.name for word in Closing] == [
        "PRUNE", "DRAINING", "AGREED", "UNKNOWN", "SILENT", "LAPSED", "SPARE",
    ]  # fmt: skip
