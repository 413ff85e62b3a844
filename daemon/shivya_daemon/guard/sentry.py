"""The guard in a daemon: what it sees of the node, and what it does there. One call before the control step,
one within, one after.

It keeps peers out, holds back flow, splits, culls and new laws, and sets the learner's share of a processor.
It never adds: every verdict that it returns moves at most what the law's did.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from shivya_daemon.core.anomalies import Kind
from shivya_daemon.core.errors import EncodeError
from shivya_daemon.core.node import Node
from shivya_daemon.core.signals.frame import Flood
from shivya_daemon.core.signals.signals import SignalRefused
from shivya_daemon.guard.arbiter import Arbiter, Record, Suspicion
from shivya_daemon.guard.books import Books
from shivya_daemon.guard.quarantine import Change, State
from shivya_daemon.guard.sight import ALERT, LinkSight, Outcome, Sight, VertexSight
from shivya_daemon.services import ServiceView
from shivya_daemon.verdict import Verdict
from shivya_daemon.world import World

ALERT_SIGNAL = "guard.alert"
SHARE = 0.01
"""Of one processor: the most that optimisation is ever granted, on average."""

Costs: TypeAlias = tuple[float, float]
Step: TypeAlias = Literal["split", "cull", "swap"]

_TELL_EVERY = 60.0  # seconds between two alarms to the fleet
_NOTICE_EVERY = 1.0  # seconds
_SURPRISE_WEIGHT = 0.2  # a node whose load surprises it all the time is not under attack
_ALARMED = frozenset({"ALERT", "QUARANTINE"})
_log = logging.getLogger(__name__)


class Sentry:
    """Eyes and hands of one daemon's guard. All methods but `judge` are for the event loop."""

    def __init__(
        self,
        node: Node,
        interval: float,
        record: Record | None = None,
        cpu: Callable[[], float] = time.process_time,
        arbiter: Arbiter | None = None,
    ) -> None:
        self.arbiter = arbiter or Arbiter(most=SHARE * interval, record=record)
        self.arbiter.anomalies = node.anomalies
        self.vetoes: Counter[str] = Counter()
        """Steps held back, by kind; of flow, jobs."""
        self._node = node
        self._interval = interval
        self._cpu = cpu
        self._books = Books()
        self._before: tuple[float, float] | None = None
        self._used = 0.0
        self._suspicion = Suspicion()
        self._last: tuple[tuple[World, ...], Mapping[str, Verdict]] = ((), {})
        self._noticed_at = self._told_at = float("-inf")

    @property
    def outcasts(self) -> frozenset[bytes]:
        """Peers that are kept out of links and complex now."""
        return self.arbiter.quarantine.out

    @property
    def share(self) -> float:
        """What share of one processor optimisation may use."""
        return self.arbiter.loop.grant / self._interval

    @property
    def alarmed(self) -> bool:
        """Whether the last beat raised an alarm, or worse."""
        return self.arbiter.outcome.action in _ALARMED

    def permits(self, step: Step) -> bool:
        """Return whether a split, a cull or another law may go ahead; a veto is counted.

        Under an alarm nothing is changed that works: what looks like a reason may be the attack.
        """
        if self.alarmed:
            self.vetoes[step] += 1
        return not self.alarmed

    def inject(self, anomalies: float, weight: float | None, peer: bytes | None) -> None:
        """Run a drill; raises `ValueError`."""
        self.arbiter.inject(anomalies, weight, peer)

    # A beat

    def look(self, now: float, cost: Costs = (0.0, 0.0), cost_after: Costs = (0.0, 0.0)) -> Sight:
        """Return what the next beat is judged by: the evidence as of now, and what the last step found."""
        cpu = self._cpu()
        dt = 0.0
        if self._before is not None:
            dt, self._used = now - self._before[0], cpu - self._before[1]
        self._before = now, cpu
        members = len(self._node.members)
        self._suspicion = self.arbiter.weigh(now, members)
        worlds, verdicts = self._last
        return Sight(
            anomalies=self._suspicion.anomalies,
            links=self._links(worlds, now),
            vertices=_neighbourhood(worlds, verdicts),
            cost=cost,
            cost_after=cost_after,
            cpu=self._used,
            dt=dt,
            live=members + 1.0,
        )

    def judge(self, sight: Sight) -> Outcome:
        """Judge it: the compiled part. May run in another thread, one call at a time."""
        return self.arbiter.judge(sight)

    def act(
        self,
        outcome: Outcome,
        worlds: Sequence[tuple[World, ServiceView]],
        verdicts: dict[str, Verdict],
        now: float,
    ) -> dict[str, Verdict]:
        """Do what the beat decided; returns the verdicts without what is held back."""
        for change in self.arbiter.settle(outcome, self._suspicion, now):
            self._carry_out(change, now)
        if outcome.action in _ALARMED:
            self._alarm(outcome, now)
        self._notice(worlds, verdicts, now)
        self._last = tuple(world for world, _ in worlds), verdicts
        return {service: self._veto(verdict) for service, verdict in verdicts.items()}

    # What is seen

    def _notice(
        self, worlds: Sequence[tuple[World, ServiceView]], verdicts: Mapping[str, Verdict], now: float
    ) -> None:
        """Count what shows in the control step alone."""
        if now - self._noticed_at < _NOTICE_EVERY:
            return
        self._noticed_at = now
        if any(verdict.novel for verdict in verdicts.values()):
            self.arbiter.anomalies.count(Kind.SURPRISE, now, weight=_SURPRISE_WEIGHT)
        if self._node.settings.wire == "secure":
            peers = self._node.peers(now)
            for peer, jobs in self._books.excess([view for _, view in worlds], peers, self._node.id):
                self.arbiter.anomalies.count(Kind.CONSERVATION, now, peer, jobs)

    def _links(self, worlds: Sequence[World], now: float) -> tuple[LinkSight, ...]:
        traffic: dict[bytes, float] = {}
        own = self._node.id
        for world in worlds:
            for link in world.links:
                if own in (link.tail, link.head):
                    other = link.head if link.tail == own else link.tail
                    traffic[other] = traffic.get(other, 0.0) + abs(link.traffic)
        levels = self._suspicion.levels
        return tuple(
            LinkSight(
                traffic.get(link.id, 0.0), link.breaker != "closed" or levels.get(link.id, 0.0) >= ALERT
            )
            for link in self._node.link_views(now)
        )

    # What is done

    def _carry_out(self, change: Change, now: float) -> None:
        peer, name = change.peer, change.peer.hex()[:8]
        match change.now.state:
            case State.QUARANTINED:
                try:
                    self._node.quarantine(peer, now)
                except ValueError as error:
                    _log.error("peer %s cannot be kept out: %s", name, error)
                else:
                    _log.warning("peer %s is kept out for %g s", name, change.now.term)
            case State.PROBATION:
                self._node.readmit(peer)
                _log.info("peer %s is back, on probation", name)
            case State.FREE:
                _log.info("peer %s has passed its probation", name)

    def _alarm(self, outcome: Outcome, now: float) -> None:
        """Tell the log and the fleet, once a minute at most."""
        if now - self._told_at < _TELL_EVERY:
            return
        self._told_at = now
        _log.warning("alarm: threat %.2f, %.0f anomalies", outcome.threat, self._suspicion.anomalies)
        try:
            self._node.signal(Flood(), ALERT_SIGNAL, f"{outcome.threat:.3f}".encode(), now)
        except (EncodeError, SignalRefused) as error:
            _log.warning("the fleet was not told: %s", error)

    def _veto(self, verdict: Verdict) -> Verdict:
        levels = self._suspicion.levels
        held = {
            peer: jobs
            for peer, jobs in verdict.release.items()
            if peer in self.outcasts or levels.get(peer, 0.0) >= ALERT
        }
        if held:
            self.vetoes["flow"] += sum(held.values())
            release = {peer: jobs for peer, jobs in verdict.release.items() if peer not in held}
            verdict = replace(verdict, release=release)
        if verdict.would_split and not self.permits("split"):
            verdict = replace(verdict, would_split=False)
        return verdict

    # What is told

    def report(self, now: float, names: Mapping[bytes, str]) -> dict[str, Any]:
        """Return the object `guard` of `shivya status --json`."""
        arbiter, anomalies = self.arbiter, self.arbiter.anomalies
        outcome, loop, own = arbiter.outcome, arbiter.loop, anomalies.of(None, now)
        known = dict.fromkeys([*arbiter.quarantine.standings, *anomalies.peers(now)])
        return {
            "action": outcome.action,
            "threat": outcome.threat,
            "cores": "running" if arbiter.engine is not None else "threat only",
            "urgency": outcome.urgency,
            "stability": outcome.stability,
            "gain": outcome.gain,
            "repairs": outcome.repairs,
            "vector": list(outcome.vector),
            "weights": dict(zip("RBEO", loop.weights, strict=True)),
            "pulse_seconds": outcome.pulse,
            "beat_cpu_seconds": self._used,
            "set_point_seconds": loop.set_point,
            "granted_seconds": loop.grant,
            "stable": loop.stable,
            "anomalies": own.count,
            "kinds": {str(kind): count for kind, count in own.kinds.items()},
            "peers": [self._row(peer, names, now) for peer in known],
            "actions": dict(arbiter.actions),
            "vetoes": dict(self.vetoes),
            "drills": arbiter.drills,
            "model": {
                "weight": arbiter.threat.weight,
                "bias": arbiter.threat.bias,
                "samples": len(arbiter.samples),
                "error": arbiter.error,
                "auc": arbiter.auc,
            },
        }

    def _row(self, peer: bytes, names: Mapping[bytes, str], now: float) -> dict[str, Any]:
        standing, evidence = self.arbiter.quarantine.standing(peer), self.arbiter.anomalies.of(peer, now)
        weight = self.arbiter.quarantine.weight(peer)
        return {
            "id": peer.hex(),
            "name": names.get(peer, ""),
            "state": str(standing.state),
            "seconds_left": max(0.0, standing.until - now) if standing.state is not State.FREE else 0.0,
            "strikes": standing.strikes,
            "anomalies": evidence.count,
            "threat": self.arbiter.threat.level(weight * evidence.count),
            "kinds": {str(kind): count for kind, count in evidence.kinds.items()},
        }


def _neighbourhood(worlds: Sequence[World], verdicts: Mapping[str, Verdict]) -> tuple[VertexSight, ...]:
    """Return the waiting at this node and its neighbours, of the service that is spread most unevenly."""
    best: tuple[VertexSight, ...] = ()
    widest = -1.0
    for world in worlds:
        verdict = verdicts.get(world.service)
        if verdict is None:
            continue
        moved: dict[bytes, float] = {}
        for edge in verdict.edges:  # over the horizon of one second for which flows are recommended
            moved[edge.tail] = moved.get(edge.tail, 0.0) - edge.recommended
            moved[edge.head] = moved.get(edge.head, 0.0) + edge.recommended
        rows = tuple(
            VertexSight(v.queue / v.service_rate, max(0.0, v.queue + moved.get(v.id, 0.0)) / v.service_rate)
            for v in world.vertices
            if (v.direct or v is world.own) and v.service_rate > 0.0
        )
        spread = max((row.waiting for row in rows), default=0.0) - min(
            (row.waiting for row in rows), default=0.0
        )
        if spread > widest:
            best, widest = rows, spread
    return best
