"""The service book: own-sent counters, rates, and its bounds, all in virtual time."""

from __future__ import annotations

import math
import random

import pytest

from shivya_daemon.rates import Arrivals
from shivya_daemon.services import MAX_PEERS, MAX_SERVICES, ServiceBook, ServiceError
from shivya_daemon.settings import LawSettings

B = b"\xbb" * 20
C = b"\xcc" * 20


def test_default_is_offered_from_the_start() -> None:
    view = ServiceBook(20.0).view("default", 0.0)
    assert (view.queue, view.servers, view.service_rate, view.arrival_rate) == (0, 1, 20.0, 0.0)
    assert view.address is None


def test_a_report_holds_until_it_is_replaced() -> None:
    book = ServiceBook(20.0)
    book.report("default", 1.0, 7, servers=4, service_rate=3.0, address="h:1")
    book.report("default", 2.0, 8)
    view = book.view("default", 3.0)
    assert (view.queue, view.servers, view.service_rate, view.address) == (8, 4, 3.0, "h:1")
    book.hold("default", 2, 3.1)
    book.done("default", 1, 3.2)
    assert book.view("default", 3.3).queue == 8
    assert book.held("default") == 9


def test_the_number_of_services_is_bounded() -> None:
    book = ServiceBook(20.0)
    for index in range(MAX_SERVICES - 1):
        book.report(f"s{index}", 0.0, 1)
    with pytest.raises(ServiceError, match="one more than 8"):
        book.report("another", 0.0, 1)
    with pytest.raises(ServiceError, match="send REPORT"):
        book.held("another")


def test_out_is_what_was_sent_and_not_acknowledged() -> None:
    book = ServiceBook(20.0)
    book.sent("default", B, 5, 0.0)
    assert book.out("default", B, 0.1) == 5
    book.acknowledge("default", B, 3, 0.2)
    assert book.out("default", B, 0.2) == 2
    book.acknowledge("default", B, 3, 0.3)
    book.unsent("default", B, 1, 0.3)
    assert book.out("default", B, 0.3) == 1
    assert book.out("default", C, 0.3) == 0


def test_a_counter_older_than_our_own_start_acknowledges_nothing_of_ours() -> None:
    book = ServiceBook(20.0)
    book.acknowledge("default", B, 57, 0.0)  # from before this daemon started
    book.sent("default", B, 3, 0.1)
    book.acknowledge("default", B, 57, 0.2)
    assert book.out("default", B, 0.2) == 3
    book.acknowledge("default", B, 2, 0.3)  # it has heard of our restart and counts anew
    assert book.out("default", B, 0.3) == 1


def test_what_nobody_acknowledges_is_written_off() -> None:
    book = ServiceBook(20.0)
    book.sent("default", B, 4, 0.0)
    book.acknowledge("default", B, 1, 2.0)
    assert book.out("default", B, 4.9) == 3  # the acknowledgement was news
    assert book.out("default", B, 5.1) == 0
    assert book.view("default", 5.1).lost_track == 3
    book.sent("default", B, 2, 6.0)
    assert book.out("default", B, 6.0) == 2


def test_a_restarted_peer_begins_at_zero() -> None:
    book = ServiceBook(20.0)
    book.sent("default", B, 4, 0.0)
    book.accepted("default", B, 2, 0.0)
    book.forget(B)
    view = book.view("default", 0.1)
    assert not view.out and not view.accepted
    book.sent("default", B, 1, 0.2)
    book.acknowledge("default", B, 1, 0.3)
    assert book.out("default", B, 0.3) == 0


def test_peers_are_bounded_and_the_longest_untouched_goes() -> None:
    book = ServiceBook(20.0)
    for index in range(MAX_PEERS):
        book.accepted("default", index.to_bytes(20), 1, 0.0)
    book.accepted("default", (0).to_bytes(20), 1, 1.0)
    book.accepted("default", B, 1, 2.0)
    accepted = book.view("default", 2.0).accepted
    assert len(accepted) == MAX_PEERS
    assert (0).to_bytes(20) in accepted and (1).to_bytes(20) not in accepted


def test_the_service_rate_is_measured_while_servers_are_busy() -> None:
    book = ServiceBook(10.0)
    now = 0.0
    book.report("default", now, 100, servers=2)
    for _ in range(400):  # 40 jobs per second by two servers
        now += 0.025
        book.done("default", 1, now)
        book.report("default", now, 100, servers=2)
    measured = book.view("default", now).service_rate
    assert 33.0 < measured < 40.0  # the prior of ten jobs at 10 per second still counts
    book.report("default", now, 0)
    assert book.view("default", now + 5.0).service_rate == pytest.approx(measured, rel=0.15)  # idle: no news


@pytest.mark.parametrize("window", [3.0, 12.0])
def test_a_rate_that_was_given_weighs_ten_jobs_and_what_was_measured_fades_in_seconds(window: float) -> None:
    """mu = (N + 10) / (B + 10 / nominal), N and B fading with `rate_seconds`, B per server."""
    book, now, completed, busy = ServiceBook(5.0, LawSettings(rate_seconds=window)), 0.0, 0.0, 0.0
    book.report("default", now, 50, servers=2, service_rate=20.0)
    for _ in range(100):  # 10 jobs per second instead of 20
        now += 0.1
        fade = math.exp(-0.1 / window)
        completed, busy = completed * fade + 1, (busy - window) * fade + window
        book.done("default", 1, now)
        book.report("default", now, 50)
        expected = (completed + 10) / (busy + 10 / 20.0)
        assert book.view("default", now).service_rate == pytest.approx(expected)
    assert 10.0 < expected < 12.0
    book.report("default", now, 0)
    assert book.view("default", now + 10 * window).service_rate == pytest.approx(20.0, rel=0.01)


def test_net_arrivals_and_jobs_sent_of_late_fade_with_the_seconds_of_the_law() -> None:
    book = ServiceBook(10.0, LawSettings(drift_seconds=2.0))
    book.arrived("default", 6, 100.0)
    book.sent("default", B, 2, 100.0)
    view = book.view("default", 103.0)
    assert view.net_arrivals == pytest.approx((6 - 2) / 2.0 * math.exp(-3.0 / 2.0))
    assert view.paces[B] == pytest.approx(2 / 2.0 * math.exp(-3.0 / 2.0))


def test_a_rate_that_was_learned_outlasts_an_idle_time() -> None:
    book, now = ServiceBook(10.0), 0.0
    for _ in range(3000):
        book.report("default", now, 4)
        now += 0.02
        book.done("default", 1, now)
    book.report("default", now, 0)
    assert book.view("default", now + 3600.0).service_rate == pytest.approx(50.0, rel=0.05)


def test_a_job_that_takes_long_is_expected_to_take_longer() -> None:
    book = ServiceBook(10.0)
    book.report("default", 0.0, 3, service_rate=10.0)
    assert book.view("default", 60.0).overrun == 0.0, "completions are not reported here"
    book.done("default", 1, 60.0)
    book.report("default", 60.0, 3)
    view = book.view("default", 70.0)
    assert view.overrun == pytest.approx(0.3 * 10.0 - 1 / view.service_rate)
    assert book.overrun("default", 70.0) == view.overrun
    book.done("default", 1, 70.0)
    assert book.view("default", 70.01).overrun == 0.0, "the next job has just begun"
    book.report("default", 75.0, 0)
    assert book.view("default", 80.0).overrun == 0.0


def test_without_completions_the_default_rate_stands() -> None:
    book = ServiceBook(10.0)
    book.report("default", 0.0, 200)
    assert book.view("default", 60.0).service_rate == 10.0
    book.report("default", 60.0, 0)
    other = ServiceBook(10.0)
    for tick in range(100):
        other.done("default", 3, tick / 10)  # completions without a queue say nothing of speed
    assert other.view("default", 10.0).service_rate == 10.0


def test_offload_is_measured_and_can_be_stated() -> None:
    book = ServiceBook(20.0)
    now = 0.0
    for _ in range(200):
        now += 0.1
        book.sent("default", B, 1, now)
        book.acknowledge("default", B, 10**6, now)
    assert book.view("default", now).offloads[B] == pytest.approx(10.0, rel=0.1)
    book.explicit_offload("default", B, 3.5, now)
    assert book.view("default", now + 29.0).offloads[B] == 3.5
    assert book.view("default", now + 31.0).offloads[B] < 0.01


def test_net_arrivals_are_what_comes_and_stays() -> None:
    """Jobs accepted less jobs passed on, over a second; a transfer that failed is undone."""
    book, now = ServiceBook(20.0), 0.0
    for _ in range(100):
        now += 0.1
        book.arrived("default", 3, now)
        book.accepted("default", C, 1, now)
        book.sent("default", B, 2, now)
        book.unsent("default", B, 1, now)
    view = book.view("default", now)
    steady = 1 / -math.expm1(-0.1)  # a term each tenth of a second, fading with one second
    assert view.net_arrivals == pytest.approx(3 * steady, rel=1e-3)
    assert view.paces == {B: pytest.approx(steady, rel=1e-3), C: 0.0}
    for _ in range(50):
        now += 0.1
        book.sent("default", B, 5, now)
    assert book.view("default", now).net_arrivals == 0.0, "a node that only hands over takes nothing"
    assert book.view("default", now + 30.0).paces[B] < 1e-9


@pytest.mark.parametrize("interval", [0.0, 0.02, 0.1])
def test_arrivals_are_measured_however_they_are_lumped(interval: float) -> None:
    rng = random.Random(4)
    arrivals, now, lump, flushed = Arrivals(), 0.0, 0, 0.0
    while now < 60.0:
        now += rng.expovariate(50.0)
        lump += 1
        if now - flushed >= interval:
            arrivals.add(now, lump)
            lump, flushed = 0, now
    assert arrivals.rate(now) == pytest.approx(50.0, rel=0.15)
    assert arrivals.variation() == pytest.approx(1.0, abs=0.3)


def test_regular_arrivals_do_not_vary_and_bursts_do() -> None:
    regular, bursts = Arrivals(), Arrivals()
    for index in range(400):
        regular.add(index * 0.05, 1)
        start = (index // 20) * 1.0
        bursts.add(start + (index % 20) * 0.001, 1)
    assert regular.variation() < 0.01
    assert bursts.variation() > 5.0


def test_busy_time_that_a_client_counted_replaces_what_lines_that_come_late_seem_to_say() -> None:
    """Jobs of 10 ms and pauses of 30; each end is told 15 ms late, for the beginning was told just now."""
    late, counted = ServiceBook(50.0), ServiceBook(50.0)
    for book in (late, counted):
        now = 0.0
        for _ in range(3000):
            book.report("default", now, 1)
            if book is counted:
                book.worked("default", 0.0, now)
                book.worked("default", 0.010, now + 0.025)
            book.done("default", 1, now + 0.025)
            book.report("default", now + 0.025, 0)
            now += 0.040
    assert late.view("default", now).service_rate == pytest.approx(40.0, rel=0.05)
    assert counted.view("default", now).service_rate == pytest.approx(100.0, rel=0.05)
    assert counted.view("default", now + 3600.0).service_rate == pytest.approx(100.0, rel=0.02)


def test_busy_time_told_for_a_long_time_fades_as_if_it_had_been_told_throughout() -> None:
    often, once = ServiceBook(10.0), ServiceBook(10.0)
    for book in (often, once):
        book.report("default", 0.0, 1000, servers=4, service_rate=40.0)
        book.worked("default", 0.0, 0.0)
        for tick in range(1, 1001):
            if book is often or tick == 1000:
                book.worked("default", 2.0 * (0.02 if book is often else 20.0), tick / 50)
            book.done("default", 1, tick / 50)  # by two of the four
    rates = [book.view("default", 20.0).service_rate for book in (often, once)]
    assert rates[0] == pytest.approx(rates[1])
    assert rates[0] > 80.0, "two do fifty a second, so four do a hundred"


def test_what_was_reckoned_before_anybody_counted_stands() -> None:
    book = ServiceBook(10.0)
    book.report("default", 100.0, 200, service_rate=10.0)
    for tick in range(1, 101):
        book.done("default", 1, 100.0 + tick / 20)
    before = book.view("default", 105.0).service_rate
    book.worked("default", 0.0, 105.0)
    assert book.view("default", 105.0).service_rate == pytest.approx(before)
