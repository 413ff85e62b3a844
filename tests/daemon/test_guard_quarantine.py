"""Who is kept out, for how long, and what the threat model learns from it."""

from __future__ import annotations

import math

import pytest

from shivya_daemon.core.anomalies import Anomalies, Kind
from shivya_daemon.guard.quarantine import Quarantine, QuarantineSettings, State
from shivya_daemon.guard.samples import HORIZON, INTERVAL, WINDOW, Samples
from shivya_daemon.guard.sight import QUARANTINE, Threat

ONE, TWO, THREE = (bytes((n,)) * 20 for n in (1, 2, 3))
NOBODY: frozenset[bytes] = frozenset()


def test_quarantine_probation_and_back() -> None:
    guard = Quarantine()
    assert guard.standing(ONE).state is State.FREE and guard.weight(ONE) == 1.0
    change = guard.commit(ONE, 100.0)
    assert (change.before, change.now.state, change.now.until) == (State.FREE, State.QUARANTINED, 130.0)
    assert guard.out == {ONE} and guard.weight(ONE) == 2.0
    assert guard.advance(NOBODY, 129.9) == []
    (change,) = guard.advance(NOBODY, 130.0)
    assert (change.before, change.now.state) == (State.QUARANTINED, State.PROBATION)
    assert guard.out == NOBODY and guard.weight(ONE) == 2.0
    assert guard.advance(NOBODY, 189.9) == []
    (change,) = guard.advance(NOBODY, 190.0)
    assert change.now.state is State.FREE and guard.weight(ONE) == 1.0
    assert guard.advance(NOBODY, 190.0 + 3600.0) == []
    assert guard.standings == {}


def test_each_term_is_twice_the_last_and_none_is_longer_than_an_hour() -> None:
    guard, now, terms = Quarantine(), 0.0, []
    for _ in range(10):
        change = guard.commit(ONE, now)
        terms.append(change.now.term)
        now = change.now.until
        guard.advance(NOBODY, now)
    assert terms == [30.0 * 2**n for n in range(7)] + [3600.0] * 3
    assert guard.standing(ONE).strikes == 10


def test_who_goes_on_while_out_stays_out() -> None:
    guard = Quarantine()
    guard.commit(ONE, 0.0)
    (change,) = guard.advance(frozenset({ONE}), 30.0)
    assert (change.before, change.now.state, change.now.until) == (State.QUARANTINED,) * 2 + (90.0,)


def test_at_most_half_of_the_members_are_out() -> None:
    guard = Quarantine()
    assert guard.room(1) and guard.room(0)
    guard.commit(ONE, 0.0)
    assert not guard.room(1) and not guard.room(3) and guard.room(4)


def test_standings_are_bounded_and_the_free_go_first() -> None:
    guard = Quarantine(QuarantineSettings(capacity=2, first=10.0, probation=10.0))
    guard.commit(ONE, 0.0)
    guard.advance(NOBODY, 10.0)
    guard.advance(NOBODY, 20.0)
    guard.commit(TWO, 20.0)
    guard.commit(THREE, 21.0)
    assert set(guard.standings) == {TWO, THREE}
    assert guard.out == {TWO, THREE}


def test_the_threat_without_jax_is_the_kernels() -> None:
    from shivya_kernels import guard

    for model in (Threat(), Threat(bias=0.0), Threat(0.06, -4.5)):
        for count in (0.0, 5.0, 28.9, 41.0, 1e4):
            found = model.level(count)
            assert found == pytest.approx(float(guard.threat(count, model.weight, model.bias)), rel=1e-6)
        assert model.level(model.anomalies(QUARANTINE)) == pytest.approx(QUARANTINE)
    assert Threat(-1.0, -800.0).level(1000.0) == 0.0
    assert (Threat().anomalies(0.6), Threat().anomalies(0.85)) == pytest.approx((28.4, 39.5), abs=0.1)


def test_no_training_moves_the_thresholds_out_of_bounds() -> None:
    strict, mild = Threat(9.0, 9.0).bounded(), Threat(-9.0, -math.inf).bounded()
    assert strict.anomalies(QUARANTINE) == pytest.approx(13.5, abs=0.1)
    assert mild.anomalies(QUARANTINE) == pytest.approx(103.9, abs=0.1)


def test_a_sample_is_answered_by_what_the_peer_does_next() -> None:
    found, samples = Anomalies(), Samples()
    for peer, times in ((ONE, 50), (TWO, 50), (THREE, 50)):
        for _ in range(times):
            found.count(Kind.FORGED if peer != THREE else Kind.DRILL, 0.0, peer)
    assert not samples.take(found, 0.0)
    assert not samples.take(found, INTERVAL - 0.1)
    found.count(Kind.FORGED, 5.0, ONE)
    assert samples.take(found, HORIZON)
    counts, labels = samples.answered
    assert sorted(zip(counts, labels, strict=True)) == [(50.0, 0.0), (50.0, 1.0)], "drills teach nothing"


def test_samples_are_bounded() -> None:
    found, samples = Anomalies(), Samples()
    for n in range(400):
        found.count(Kind.FORGED, 0.0, n.to_bytes(20), 100.0)
    for step in range(10):
        samples.take(found, step * INTERVAL)
    assert len(samples) == WINDOW
