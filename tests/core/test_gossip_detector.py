"""The failure detector on its own clock."""

from __future__ import annotations

import pytest

from shivya_daemon.core.gossip.detector import Detector
from shivya_daemon.core.gossip.settings import GossipSettings

A, B = b"a" * 20, b"b" * 20


def dies_at(detector: Detector, node: bytes, start: float) -> float:
    """Silence until `node` is suspect, to 0.1 s."""
    for step in range(2000):
        now = start + 0.1 * step
        if node in detector.due(now):
            return now - start
    raise AssertionError("never suspect")


def beaten(interval: float, count: int, jitter: float = 0.0) -> tuple[Detector, float]:
    detector = Detector(GossipSettings())
    detector.watch(A, 0.0)
    now = 0.0
    for step in range(count):
        now += interval + jitter * (-1) ** step
        detector.arrived(A, now)
        assert detector.due(now) == []
    return detector, now


def test_an_unknown_rhythm_is_judged_by_the_prior() -> None:
    detector = Detector(GossipSettings())
    detector.watch(A, 0.0)
    assert detector.due(7.9) == []
    assert detector.due(8.1) == [A]
    detector.unwatch(A)
    assert detector.due(100.0) == []
    assert detector.phi(A, 100.0) == 0.0


@pytest.mark.parametrize(("interval", "silence"), [(0.1, 4.1), (0.5, 4.1), (1.0, 8.1), (3.0, 24.0)])
def test_silence_is_measured_in_mean_intervals_never_below_the_floor(interval: float, silence: float) -> None:
    detector, now = beaten(interval, 2000, jitter=interval / 3)
    assert detector.phi(A, now + interval) == pytest.approx(interval / max(interval, 0.5), rel=0.05)
    assert dies_at(detector, A, now) == pytest.approx(silence, rel=0.05)


def test_outages_do_not_teach_patience() -> None:
    detector, now = beaten(0.5, 200)
    for _ in range(200):
        now += 60.0  # one counter a minute, as a forger would who keeps a dead node alive
        detector.arrived(A, now)
    assert dies_at(detector, A, now) < 4.5


def test_a_sleeper_judges_nobody_by_what_it_slept_through() -> None:
    detector, now = beaten(0.5, 200)
    detector.forgive(now + 30.0)
    assert detector.due(now + 30.5) == []
    assert detector.phi(A, now + 31.0) == pytest.approx(2.0, rel=0.05)
    assert dies_at(detector, A, now + 30.0) == pytest.approx(4.1, rel=0.05)


def test_direct_traffic_postpones_judgement_and_teaches_nothing() -> None:
    detector, now = beaten(2.0, 500)
    for _ in range(1000):
        now += 0.1
        detector.heard(A, now)
        assert detector.due(now) == []
    assert dies_at(detector, A, now) == pytest.approx(16.0, rel=0.1)


def test_a_fleet_that_grew_is_judged_by_its_present_pace() -> None:
    detector = Detector(GossipSettings())
    nodes = [bytes((number,)) * 20 for number in range(100)]
    for node in nodes:
        detector.watch(node, 0.0)
    now = 0.0
    for _ in range(1000):  # a long past at two counters a second
        now += 0.5
        for node in nodes:
            detector.arrived(node, now)
        assert detector.due(now) == []
    for _ in range(20):  # then digests come round ever more rarely
        now += 3.5
        for node in nodes:
            detector.arrived(node, now)
        assert detector.due(now) == []
    assert dies_at(detector, nodes[0], now) == pytest.approx(28.0, rel=0.1)


def test_watching_again_and_again_leaves_nothing_behind() -> None:
    detector = Detector(GossipSettings())
    now = 0.0
    for _ in range(1000):
        now += 1.0
        detector.watch(A, now)
        detector.watch(B, now)
        detector.unwatch(B)
        assert detector.due(now) == []
    assert len(detector) == 1
    assert len(detector._checks) < 20
    assert detector.due(now + 8.1) == [A]


def test_a_fleet_too_large_for_the_budget_is_judged_patiently() -> None:
    detector = Detector(GossipSettings())
    nodes = [number.to_bytes(20, "big") for number in range(3000)]
    for node in nodes:
        detector.watch(node, 0.0)
    # 3000 counters at 5000 bytes/s cannot come more often than every 14 s or so.
    for now in (20.0, 40.0, 60.0, 80.0):
        for node in nodes:
            detector.arrived(node, now)
        assert detector.due(now + 19.0) == []
    assert detector.due(80.0 + 100.0) == []
    assert len(detector.due(80.0 + 165.0)) == 3000
