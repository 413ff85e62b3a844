"""The arbiter: weighs the evidence, has the beat judged, and carries out what concerns peers.

In a daemon a `Sentry` gives it eyes and hands and runs it with every control step. Alone it beats by its own
pulse: ``Arbiter(k_flows=4, p_nodes=5, t_threshold=.02).start(beats=10)``.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from shivya_daemon.core.anomalies import Anomalies, Kind
from shivya_daemon.guard.quarantine import Change, Quarantine, State
from shivya_daemon.guard.samples import Samples
from shivya_daemon.guard.sight import (
    ALERT,
    MAX_INJECTED,
    MAX_WEIGHT,
    MOST_GRANTED,
    QUARANTINE,
    SET_POINT,
    Loop,
    Outcome,
    Sight,
    Threat,
)

HISTORY = 1000
"""Beats remembered."""

_REPEAT = 10.0  # seconds after which an action that goes on is recorded again
_ON_ITS_WAY = 5.0  # seconds in which what a peer did before it was kept out still arrives
_JUST_BELOW = 1e-6  # anomalies

Record: TypeAlias = Callable[[str, Mapping[str, object]], object]
"""Takes what was done and its details: `Ledger.record_action` of the audit ledger, for one."""

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """The compiled part: `shivya_daemon.mind.beat`."""

    def beat(self, sight: Sight, threat: Threat, loop: Loop, *, seed: bool = False) -> Outcome:
        """Judge a moment and close the loop."""
        ...

    def train(
        self, threat: Threat, counts: Sequence[float], labels: Sequence[float]
    ) -> tuple[Threat, float, float]:
        """Improve the model; returns it with the mean squared error and the AUC before."""
        ...


class Suspicion(Struct, frozen=True):
    """How much there is against whom."""

    anomalies: float = 0.0
    """What the beat judges by."""
    culprit: bytes | None = None
    """The peer that would be kept out, if anybody."""
    levels: Mapping[bytes, float] = field(default_factory=dict)
    """Threat of each peer that has anomalies."""


class Beat(Struct, frozen=True):
    """One beat of the past."""

    number: int
    at: float
    outcome: Outcome
    culprit: bytes | None
    """The peer that was kept out by it."""


class Arbiter:
    """One guard.

    `record` takes actions and changes of standing; `record_pulse` and `record_flow`, if given, every pulse
    and core result. `sense` says what a guard that runs alone sees, and `optimise` gets its grant in seconds.
    `seed` judges by the seed's formulas, and with bias 0.

    Raises `ValueError` unless k_flows * p_nodes > 1, without which the pulse is not defined.
    """

    def __init__(
        self,
        *,
        k_flows: float = 4.0,
        p_nodes: float = 5.0,
        t_threshold: float = SET_POINT,
        most: float = MOST_GRANTED,
        seed: bool = False,
        anomalies: Anomalies | None = None,
        quarantine: Quarantine | None = None,
        engine: Engine | None = None,
        record: Record | None = None,
        record_pulse: Callable[[Mapping[str, object]], object] | None = None,
        record_flow: Record | None = None,
        optimise: Callable[[float], object] | None = None,
        sense: Callable[[], Sight] = Sight,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not (k_flows * p_nodes > 1.0 and math.isfinite(k_flows * p_nodes)):
            raise ValueError(
                f"k_flows * p_nodes must be above 1, not {k_flows:g} * {p_nodes:g}: the pulse has no length"
            )
        if not 0.0 < t_threshold < math.inf:
            raise ValueError(f"t_threshold must be a number of seconds above 0, not {t_threshold:g}")
        self.anomalies = Anomalies() if anomalies is None else anomalies
        self.quarantine = quarantine or Quarantine()
        self.engine = engine
        self.threat = Threat(bias=0.0) if seed else Threat()
        self.loop = Loop(set_point=t_threshold, most=most)
        self.outcome = Outcome(loop=self.loop)
        self.history: deque[Beat] = deque(maxlen=HISTORY)
        self.actions: Counter[str] = Counter()
        """Beats by action."""
        self.drills = 0
        self.error: float | None = None
        """Mean squared error of the threat model over its window, before the last step; None if untrained."""
        self.auc: float | None = None
        self.samples = Samples()
        self._flows, self._live, self._seed = k_flows, p_nodes, seed
        self._record, self._record_pulse, self._record_flow = record, record_pulse, record_flow
        self._optimise, self._sense = optimise, sense
        self._clock, self._cpu, self._sleep = clock, cpu, sleep
        self._recorded: dict[str, tuple[float, bytes | None]] = {}
        self._summed: Counter[str] = Counter()
        self._beats = 0

    # Alone

    def start(self, beats: int = 10) -> list[Beat]:
        """Beat by the pulse so often, for ever with -1; returns the last `HISTORY` beats.

        A beat: pulse, cores, decision, record, recalibration, sleep.
        """
        if beats < -1:
            raise ValueError(f"beats must be a number of beats, or -1 for no end, not {beats}")
        self.load()
        last, used = self._clock(), 0.0
        for number in itertools.count():
            if number == beats:
                break
            began = self._cpu()
            now = self._clock()
            suspicion = self.weigh(now, members=max(1, int(self._live) - 1))
            sensed = self._sense()
            sight = replace(
                sensed,
                anomalies=max(sensed.anomalies, suspicion.anomalies),
                cpu=used,
                dt=now - last,
                flows=self._flows,
                live=self._live,
            )
            outcome = self.judge(sight)
            self.settle(outcome, suspicion, now)
            last = now
            if self._optimise is not None and outcome.loop.grant > 0.0:
                self._optimise(outcome.loop.grant)
            used = self._cpu() - began
            self._sleep(outcome.pulse)
        return list(self.history)

    def load(self) -> None:
        """Compile the cores, unless that is done; takes seconds, in which evidence fades."""
        if self.engine is None:
            os.environ.setdefault("JAX_PLATFORMS", "cpu")
            from shivya_daemon.mind import beat

            self.engine = beat
        self.engine.beat(Sight(), self.threat, self.loop, seed=self._seed)

    def inject(self, anomalies: float, weight: float | None = None, peer: bytes | None = None) -> None:
        """Count anomalies that did not happen, against a peer or for the node, and set the model's weight.

        A drill: it is recorded as such. Raises `ValueError` for numbers out of bounds.
        """
        if not 0.0 <= anomalies <= MAX_INJECTED:
            raise ValueError(f"anomalies must be a number from 0 to {MAX_INJECTED:g}, not {anomalies:g}")
        if weight is not None:
            if not 0.0 <= weight <= MAX_WEIGHT:
                raise ValueError(f"weight must be a number from 0 to {MAX_WEIGHT:g}, not {weight:g}")
            self.threat = replace(self.threat, weight=weight)
        self.drills += 1
        if anomalies:
            self.anomalies.count(Kind.DRILL, self._clock(), peer, anomalies)
        subject = None if peer is None else peer.hex()
        _log.warning("drill: %g anomalies against %s", anomalies, subject or "this node")
        self._write("DRILL", {"anomalies": anomalies, "weight": weight, "peer": subject})

    # A beat, in three parts

    def weigh(self, now: float, members: int) -> Suspicion:
        """Return how much there is against whom, in a mesh of so many other `members`.

        What nobody is to blame for raises an alarm and keeps nobody out, nor does what is held against a peer
        for whom there is no room; a drill is obeyed.
        """
        quarantine, below = self.quarantine, max(0.0, self._limit() - _JUST_BELOW)
        for peer in quarantine.out:
            standing = quarantine.standing(peer)
            if now < standing.until - standing.term + _ON_ITS_WAY:
                self.anomalies.pardon(peer)
        counts = {peer: count * quarantine.weight(peer) for peer, count in self.anomalies.peers(now).items()}
        levels = {peer: self.threat.level(count) for peer, count in counts.items()}
        inside = {peer: count for peer, count in counts.items() if peer not in quarantine.out}
        worst = max(inside, key=lambda peer: inside[peer], default=None)
        against = 0.0 if worst is None else inside[worst]
        own = self.anomalies.of(None, now)
        if self._seed:
            return Suspicion(own.count + sum(counts.values()), None, levels)
        unblamed = own.drills + min(own.count - own.drills, below)
        if worst is None or against <= below or not quarantine.room(members):
            return Suspicion(max(unblamed, min(against, below)), None, levels)
        return Suspicion(max(unblamed, against), worst, levels)

    def judge(self, sight: Sight) -> Outcome:
        """Judge a moment; without an engine, or where it breaks, by the threat alone. From any one thread."""
        if self.engine is not None:
            try:
                return self.engine.beat(sight, self.threat, self.loop, seed=self._seed)
            except Exception as error:  # whatever it is: who attacks the arithmetic must not end the guard
                self.engine = None
                _log.error("the guard goes on without its cores", exc_info=error)
        level = self.threat.level(sight.anomalies)
        action = "QUARANTINE" if level >= QUARANTINE else "ALERT" if level >= ALERT else "NOOP"
        return Outcome(action, threat=level, loop=self.loop)

    def settle(self, outcome: Outcome, suspicion: Suspicion, now: float) -> list[Change]:
        """Carry out what a beat decided about peers; returns those that stand otherwise now."""
        self._beats += 1
        self.outcome, self.loop = outcome, outcome.loop
        self.actions[outcome.action] += 1
        if not outcome.sound:
            self.anomalies.count(Kind.NOT_FINITE, now)
        still = frozenset(
            peer for peer in self.quarantine.out if suspicion.levels.get(peer, 0.0) >= QUARANTINE
        )
        changes = self.quarantine.advance(still, now)
        for change in changes:
            if change.now.state is State.QUARANTINED:
                self.anomalies.pardon(change.peer)
        culprit = suspicion.culprit if outcome.action == "QUARANTINE" else None
        if culprit is not None:
            changes.append(self.quarantine.commit(culprit, now))
            self.anomalies.pardon(culprit)
        self.history.append(Beat(self._beats, now, outcome, culprit))
        self._record_beat(outcome, culprit, now)
        for change in changes:
            self._write(change.now.state.upper(), _details(change, suspicion))
        self._train(now)
        return changes

    def summary(self) -> dict[str, object]:
        """Return the counts of beats by action since the last summary."""
        counts = self.actions - self._summed
        self._summed = Counter(self.actions)
        return {"beats": counts.total(), "actions": dict(counts), "threat": self.outcome.threat}

    # Helpers

    def _limit(self) -> float:
        """Anomalies from which a peer is kept out; a model of weight 0 keeps nobody out."""
        return self.threat.anomalies(QUARANTINE) if self.threat.weight > 0.0 else math.inf

    def _train(self, now: float) -> None:
        if not self.samples.take(self.anomalies, now) or self.engine is None or self._seed:
            return
        counts, labels = self.samples.answered
        self.threat, self.error, area = self.engine.train(self.threat, counts, labels)
        self.auc = area if 0.0 < sum(labels) < len(labels) else None

    def _record_beat(self, outcome: Outcome, culprit: bytes | None, now: float) -> None:
        if self._record_pulse is not None:
            _tell(self._record_pulse, {"beat": self._beats, "seconds": outcome.pulse})
        if self._record_flow is not None:
            for core, result in _results(outcome).items():
                _tell(self._record_flow, core, result)
        if self._record is None:
            return
        known = self._recorded.get(outcome.action)
        every = self._record_pulse is not None
        news = known is None or now - known[0] >= _REPEAT or known[1] != culprit
        if every or (news and outcome.action != "NOOP"):
            self._recorded[outcome.action] = now, culprit
            details = {"threat": outcome.threat, "peer": None if culprit is None else culprit.hex()}
            self._write(outcome.action, details)

    def _write(self, action: str, details: Mapping[str, object]) -> None:
        if self._record is not None:
            _tell(self._record, action, details)


def _tell(record: Callable[..., object], *entry: object) -> None:
    try:
        record(*entry)
    except Exception as error:  # a full disk must not end the guard
        _log.error("the guard could not record %s: %s", entry[0], error)


def _details(change: Change, suspicion: Suspicion) -> dict[str, Any]:
    return {
        "peer": change.peer.hex(),
        "before": str(change.before),
        "seconds": change.now.term,
        "strikes": change.now.strikes,
        "threat": suspicion.levels.get(change.peer, 0.0),
    }


def _results(outcome: Outcome) -> dict[str, dict[str, object]]:
    """What each core found, by its letter's name."""
    return {
        "regen": {"urgency": outcome.urgency, "cost": outcome.repairs},
        "balance": {"stability": outcome.stability},
        "entropy": {"threat_score": outcome.threat},
        "optimize": {"expected_gain": outcome.gain},
    }
