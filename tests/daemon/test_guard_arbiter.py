"""The arbiter: each action is reached, the loop closes, drills are drills, and nothing stops it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from msgspec.structs import replace

from shivya_daemon.core.anomalies import Anomalies, Kind
from shivya_daemon.guard.arbiter import HISTORY, Arbiter, Suspicion
from shivya_daemon.guard.sight import LINKS, VERTICES, LinkSight, Loop, Outcome, Sight, Threat, VertexSight
from shivya_daemon.mind import beat as engine

PEER, OTHER = b"\x01" * 20, b"\x02" * 20
ORDER = ["NOOP", "APPLY_OPTIMIZE", "APPLY_BALANCE", "ALERT", "QUARANTINE"]


class Clock:
    """A clock and a processor that move when they are told to; a beat costs `control` seconds."""

    def __init__(self, control: float = 0.0) -> None:
        self.now = self.used = 0.0
        self.control = control

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def cpu(self) -> float:
        self.used += self.control  # asked at the beginning and at the end of a beat
        return self.used

    def work(self, seconds: float) -> None:
        self.used += seconds

    def arbiter(self, **given: Any) -> Arbiter:
        return Arbiter(clock=lambda: self.now, cpu=self.cpu, sleep=self.sleep, engine=engine, **given)


@pytest.fixture
def venom(golden: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((golden / "venom.json").read_text())
    return found


UNEVEN = (VertexSight(4.0, 1.0), VertexSight(0.0, 1.0))
SIGHTS: dict[str, dict[str, Any]] = {
    "NOOP": {},
    "APPLY_OPTIMIZE": {"cost": (1.0, 0.0), "cost_after": (0.8, 0.0)},
    "APPLY_BALANCE": {"vertices": UNEVEN, "cost": (1.0, 0.0), "cost_after": (0.8, 0.0)},
    "ALERT": {"anomalies": 30.0, "vertices": UNEVEN},
    "QUARANTINE": {"anomalies": 41.0, "vertices": UNEVEN},
}


@pytest.mark.parametrize("action", ORDER)
def test_every_action_is_reached_in_their_order(action: str) -> None:
    arbiter = Clock().arbiter(sense=lambda: Sight(**SIGHTS[action]))
    beats = arbiter.start(beats=3)
    assert [one.outcome.action for one in beats] == [action] * 3
    assert arbiter.actions == {action: 3}


def test_repair_comes_before_balance_and_little_gain_is_none() -> None:
    links = (LinkSight(1.0, True), LinkSight(1.0, False))
    (one,) = Clock().arbiter(sense=lambda: Sight(vertices=UNEVEN, links=links)).start(1)
    assert (one.outcome.action, one.outcome.urgency, one.outcome.repairs) == ("NOOP", 0.5, 1)
    (two,) = Clock().arbiter(sense=lambda: Sight(cost=(1.0, 0.0), cost_after=(0.95, 0.0))).start(1)
    assert two.outcome.action == "NOOP" and two.outcome.gain == pytest.approx(0.05)


def test_more_links_and_vertices_than_there_is_room_for_are_left_out() -> None:
    many = Sight(links=(LinkSight(1.0, True),) * 50, vertices=(VertexSight(1.0, 1.0),) * 90)
    found = engine.beat(many, Threat(), Loop())
    assert found.repairs == LINKS and VERTICES < 90


def test_numbers_that_are_none_harm_nothing_and_are_noted() -> None:
    arbiter = Clock().arbiter(sense=lambda: Sight(vertices=(VertexSight(float("nan"), 1.0),)))
    (one,) = arbiter.start(1)
    assert one.outcome.action == "NOOP" and not one.outcome.sound
    assert arbiter.anomalies.of(None, 0.0).kinds[Kind.NOT_FINITE] == pytest.approx(1.0)


# Pulse, golden values


def test_the_pulse_is_golden_and_needs_more_than_one_flow(venom: dict[str, Any]) -> None:
    for k, p, seconds in venom["T_lambda_table"]:
        clock = Clock()
        (one,) = clock.arbiter(k_flows=k, p_nodes=p).start(beats=1)
        assert one.outcome.pulse == pytest.approx(seconds, rel=1e-12)
        assert clock.now == one.outcome.pulse
    for k, p in ((1, 1), (0.5, 2), (0, 5), (float("nan"), 5)):
        with pytest.raises(ValueError, match="above 1"):
            Arbiter(k_flows=k, p_nodes=p)
    with pytest.raises(ValueError, match="t_threshold"):
        Arbiter(t_threshold=0.0)
    with pytest.raises(ValueError, match="beats"):
        Arbiter().start(beats=-2)


@pytest.mark.parametrize(("name", "count"), [("beats_anoms0", 0), ("beats_anoms5", 5)])
def test_the_seeds_formulas_give_the_golden_first_beat(venom: dict[str, Any], name: str, count: int) -> None:
    arbiter = Clock().arbiter(seed=True)
    arbiter.inject(count)
    beats = arbiter.start(10)
    first, expected = beats[0].outcome, venom[name][0]["decvec"]
    # The golden action without anomalies is NOOP: weighted scores never reach their thresholds (raw ones do).
    assert {one.outcome.action for one in beats} == {"ALERT" if count else "APPLY_BALANCE"}
    assert first.threat == pytest.approx(expected["raw_threat"], rel=1e-12)
    golden = [expected[key] for key in ("stability", "threat", "opt_gain")]
    np.testing.assert_allclose(first.vector[1:], golden, rtol=1e-12)


def test_the_golden_thresholds_of_both_models(venom: dict[str, Any]) -> None:
    def first(action: str, seed: bool) -> int:
        for count in range(60):
            arbiter = Clock().arbiter(seed=seed)
            arbiter.inject(count)
            if arbiter.start(1)[0].outcome.action == action:
                return count
        return -1

    assert first("ALERT", True) == venom["first_alert_anoms"]
    assert first("QUARANTINE", True) == venom["first_quarantine_anoms"]
    assert (first("ALERT", False), first("QUARANTINE", False)) == (29, 40)


# The loop


@pytest.mark.parametrize("control", [0.004, 0.012, 0.03])
def test_the_loop_settles_at_its_set_point_or_at_its_bound(control: float) -> None:
    """The plant is what a beat costs: control, and what the optimisation does with its grant."""
    clock = Clock(control)
    arbiter = clock.arbiter(optimise=clock.work)
    beats = arbiter.start(400)
    errors = [one.outcome.loop.error for one in beats[100:]]
    if control < 0.02:
        assert max(map(abs, errors)) < 1e-3
        assert arbiter.loop.grant == pytest.approx(0.02 - control, abs=1e-3)
        assert arbiter.loop.stable
    else:
        assert arbiter.loop.grant == 0.0 and errors[-1] == pytest.approx(control - 0.02)


def test_a_grant_at_its_bound_winds_nothing_up() -> None:
    """After an hour at the bound, the first beat that costs too much is answered at once."""
    clock = Clock(0.002)
    arbiter = clock.arbiter(most=0.001)
    arbiter.start(2000)
    assert arbiter.loop.grant == 0.001 and abs(arbiter.loop.integral) < 0.01
    assert arbiter.loop.weights[3] == pytest.approx(0.35, abs=0.06), "nor does any weight drift away"
    assert min(arbiter.loop.weights[:2]) > 0.2
    clock.control = 0.05
    arbiter.start(2)
    assert arbiter.loop.grant == 0.0


def test_a_beat_changes_the_grant_by_a_twentieth_of_a_second_at_most() -> None:
    found = engine.beat(Sight(cpu=9.0, dt=0.1), Threat(), Loop(grant=0.5, most=1.0))
    assert found.loop.grant == pytest.approx(0.45) and found.change == pytest.approx(-0.05)


def test_weights_stay_within_their_bounds() -> None:
    arbiter = Clock().arbiter()
    for count in (0.0, 100.0, 10.0):
        arbiter.inject(count)
        for one in arbiter.start(50):
            r, b, e, o = one.outcome.loop.weights
            assert min(r, b) >= 0.0 and 0.05 <= e <= 0.30 and 0.1 <= o <= 0.9
            assert r + b + e + o == pytest.approx(1.0, abs=1e-12)


# Evidence


def test_what_nobody_is_to_blame_for_alarms_and_keeps_nobody_out() -> None:
    found = Anomalies()
    for _ in range(10_000):
        found.dropped("bad_seal", 0.0)
    found.count(Kind.FORGED, 0.0, PEER)
    arbiter = Clock().arbiter(anomalies=found)
    assert {one.outcome.action for one in arbiter.start(20)} == {"ALERT"}
    assert arbiter.quarantine.out == frozenset()


def test_the_peer_at_fault_is_kept_out_once_and_the_alarm_ends_with_it() -> None:
    found = Anomalies()
    found.count(Kind.FORGED, 0.0, PEER, 50.0)
    found.count(Kind.FORGED, 0.0, OTHER, 10.0)
    arbiter = Clock().arbiter(anomalies=found)
    beats = arbiter.start(5)
    assert [one.outcome.action for one in beats] == ["QUARANTINE"] + ["NOOP"] * 4
    assert [one.culprit for one in beats] == [PEER] + [None] * 4
    assert arbiter.quarantine.out == {PEER}


def test_without_room_there_is_an_alarm() -> None:
    found = Anomalies()
    for peer in (PEER, OTHER):
        found.count(Kind.FORGED, 0.0, peer, 50.0)
    arbiter = Clock().arbiter(anomalies=found, p_nodes=3)
    assert [one.outcome.action for one in arbiter.start(3)] == ["QUARANTINE", "ALERT", "ALERT"]
    assert len(arbiter.quarantine.out) == 1


def test_on_probation_anomalies_count_twice() -> None:
    clock, found = Clock(), Anomalies()
    arbiter = clock.arbiter(anomalies=found)
    found.count(Kind.FORGED, 0.0, PEER, 50.0)
    arbiter.start(1)
    clock.now = 31.0
    arbiter.start(1)
    assert arbiter.quarantine.out == frozenset()
    found.count(Kind.FORGED, clock.now, PEER, 21.0)
    assert arbiter.start(1)[-1].culprit == PEER
    assert arbiter.quarantine.standing(PEER).term == 60.0


def test_what_was_on_its_way_does_not_lengthen_a_term_and_going_on_does() -> None:
    clock, found = Clock(), Anomalies()
    arbiter = clock.arbiter(anomalies=found)
    found.count(Kind.FORGED, 0.0, PEER, 50.0)
    arbiter.start(1)
    clock.now = 2.0
    found.count(Kind.FORGED, 2.0, PEER, 160.0)
    arbiter.start(1)
    clock.now = 30.0
    arbiter.start(1)
    assert arbiter.quarantine.out == frozenset()
    found.count(Kind.FORGED, 30.0, PEER, 50.0)
    arbiter.start(1)
    clock.now = 60.0
    found.count(Kind.FORGED, 60.0, PEER, 50.0)
    clock.now = 91.0
    arbiter.start(1)
    assert arbiter.quarantine.standing(PEER).strikes == 3 and arbiter.quarantine.out == {PEER}


def test_a_drill_is_recorded_reaches_the_model_and_is_obeyed() -> None:
    said: list[tuple[str, Mapping[str, object]]] = []
    arbiter = Clock().arbiter(record=lambda action, details: said.append((action, details)))
    arbiter.inject(10.0, weight=0.5, peer=PEER)
    assert arbiter.threat.weight == 0.5 and arbiter.drills == 1
    assert arbiter.start(1)[0].culprit == PEER
    assert [action for action, _ in said] == ["DRILL", "QUARANTINE", "QUARANTINED"]
    assert said[0][1] == {"anomalies": 10.0, "weight": 0.5, "peer": PEER.hex()}
    assert said[2][1]["peer"] == PEER.hex() and said[2][1]["seconds"] == 30.0
    for bad in ({"anomalies": -1.0}, {"anomalies": float("nan")}, {"anomalies": 1.0, "weight": -0.1}):
        with pytest.raises(ValueError, match="must be a number"):
            arbiter.inject(**bad)
    assert arbiter.drills == 1


def test_a_weight_of_zero_keeps_nobody_out() -> None:
    arbiter = Clock().arbiter()
    arbiter.inject(1000.0, weight=0.0, peer=PEER)
    assert arbiter.start(2)[-1].outcome.action == "NOOP"


# Learning


def test_the_model_learns_which_counts_are_followed_by_more() -> None:
    """Peers that stop at 20 anomalies, and peers that go on from 35: the threshold moves between them."""
    clock, found = Clock(), Anomalies()
    arbiter = clock.arbiter(anomalies=found)
    for turn in range(60):
        now = 40.0 * turn
        peers = [(4 * turn + n).to_bytes(20) for n in range(4)]
        for n, peer in enumerate(peers):
            found.count(Kind.FORGED, now, peer, 18.0 + 17.0 * (n % 2))
        clock.now = now
        arbiter.settle(Outcome(loop=arbiter.loop), Suspicion(), now)
        for peer in peers[1::2]:
            found.count(Kind.FORGED, now + 20.0, peer)
        for peer in peers:
            found.pardon(peer)
    assert arbiter.error is not None and arbiter.auc is not None
    assert arbiter.auc > 0.95
    assert arbiter.threat != Threat()
    assert arbiter.threat == arbiter.threat.bounded()
    assert arbiter.threat.level(35.0) - arbiter.threat.level(18.0) > 0.3


# What may fail


def test_where_the_cores_break_the_threat_is_judged_alone() -> None:
    class Broken:
        def beat(self, *_: object, **__: object) -> Outcome:
            raise RuntimeError("by design")

        train = staticmethod(engine.train)

    arbiter = Clock().arbiter()
    arbiter.engine = Broken()
    for count, action in ((0.0, "NOOP"), (30.0, "ALERT"), (41.0, "QUARANTINE")):
        assert arbiter.judge(Sight(anomalies=count)).action == action
    assert arbiter.engine is None


def test_a_record_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def full(action: str, details: Mapping[str, object]) -> None:
        raise OSError("no space left")

    arbiter = Clock().arbiter(record=full)
    arbiter.inject(50.0, peer=PEER)
    assert arbiter.start(2)[0].culprit == PEER
    assert "no space left" in caplog.text


def test_the_record_has_news_and_the_summary_all_beats_since_the_last() -> None:
    said: list[str] = []
    arbiter = Clock().arbiter(record=lambda action, _: said.append(action), anomalies=Anomalies())
    outcome = Outcome("APPLY_BALANCE", loop=arbiter.loop)
    for tick in range(1200):
        calm = replace(outcome, action="NOOP") if tick % 2 else outcome
        arbiter.settle(calm, Suspicion(), 0.1 * tick)
    assert said == ["APPLY_BALANCE"] * 12
    summed = {"beats": 1200, "actions": {"APPLY_BALANCE": 600, "NOOP": 600}, "threat": outcome.threat}
    assert arbiter.summary() == summed
    arbiter.settle(outcome, Suspicion(), 120.0)
    assert arbiter.summary()["actions"] == {"APPLY_BALANCE": 1}


def test_alone_every_pulse_and_core_is_recorded() -> None:
    said: list[str] = []
    arbiter = Clock().arbiter(
        record=lambda action, _: said.append(action),
        record_pulse=lambda pulse: said.append("pulse"),
        record_flow=lambda flow, _: said.append(flow),
    )
    arbiter.start(2)
    assert said == ["pulse", "regen", "balance", "entropy", "optimize", "NOOP"] * 2


def test_history_is_bounded() -> None:
    arbiter = Clock().arbiter()
    for n in range(HISTORY + 5):
        arbiter.settle(Outcome(loop=arbiter.loop), Suspicion(), float(n))
    assert len(arbiter.history) == HISTORY and arbiter.history[0].number == 6


def test_no_beat_after_the_first_compiles() -> None:
    engine.rehearse()
    with jax.enable_x64(True), jax.no_tracing():
        for n in range(3):
            engine.beat(Sight(anomalies=n, links=(LinkSight(1.0, True),) * n), Threat(), Loop(grant=0.01 * n))
            engine.train(Threat(), [1.0] * n, [0.0] * n)
