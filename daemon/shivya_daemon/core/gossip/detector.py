"""Phi-accrual failure detection (Hayashibara et al. 2004) in chitchat's form: phi = silence / mean interval.

What arrives is that a gossip counter advanced; the counter's size says nothing. The mean is kept in constant
space: a sum and a count that forget at the pace of a window, with a prior. It is never taken below a floor,
nor below the mean over the whole fleet, nor below the pace that the budget allows in a fleet of this size:
where a fleet grows, digests reach a node more rarely, and its own past says less than that.
"""

from __future__ import annotations

from heapq import heappop, heappush

from msgspec import Struct

from shivya_daemon.core.gossip.settings import GossipSettings

_FLEET_WINDOW = 256  # intervals, over all nodes
_NEWS_BYTES = 24  # at least, that a node must send and receive for each counter it hears of anew
_OUTAGE = 4.0  # times the pace, from which an interval is an outage in a fleet too large for `max_interval`


class _Arrivals(Struct):
    at: float
    """Last sign of life."""
    counted_at: float
    """Last advance of the counter: what intervals are measured between."""
    count: int = 0
    total: float = 0.0


class Detector:
    """When each watched node was last known alive, and which have been silent for too long."""

    def __init__(self, settings: GossipSettings) -> None:
        self._settings = settings
        self._watched: dict[bytes, _Arrivals] = {}
        self._checks: list[tuple[float, int, bytes, _Arrivals]] = []
        """One entry for each watched node: when to look at it again; entries of former watches lapse."""
        self._serial = 0
        self._forgiven = float("-inf")
        self._fleet_mean = 0.0

    def watch(self, node: bytes, now: float) -> None:
        """Start judging `node` as of now, from the prior; what was learned of it before is forgotten."""
        arrivals = self._watched[node] = _Arrivals(now, now)
        self._check(node, arrivals, now + self._soonest)

    def unwatch(self, node: bytes) -> None:
        """Stop judging `node`."""
        self._watched.pop(node, None)

    def arrived(self, node: bytes, now: float) -> None:
        """Note that the counter of a watched node advanced, by however much."""
        arrivals = self._watched[node]
        interval = now - max(arrivals.counted_at, self._forgiven)
        arrivals.at = arrivals.counted_at = now
        if not 0 < interval <= max(self._settings.max_interval, _OUTAGE * self._pace):
            return
        if arrivals.count < self._settings.window:
            arrivals.count += 1
        else:
            arrivals.total -= arrivals.total / arrivals.count
        arrivals.total += interval
        self._fleet_mean += (interval - self._fleet_mean) / _FLEET_WINDOW

    def heard(self, node: bytes, now: float) -> None:
        """Note another sign of life: it postpones judgement, and teaches nothing about counters."""
        arrivals = self._watched.get(node)
        if arrivals is not None:
            arrivals.at = max(arrivals.at, now)

    def forgive(self, now: float) -> None:
        """Count no silence before `now`: this node did not listen."""
        self._forgiven = max(self._forgiven, now)

    def last_heard(self, node: bytes) -> float | None:
        """Return the time of the last sign of life of a watched node."""
        arrivals = self._watched.get(node)
        return None if arrivals is None else arrivals.at

    def phi(self, node: bytes, now: float) -> float:
        """Return how suspect `node` is; 0 for one that is not watched."""
        arrivals = self._watched.get(node)
        if arrivals is None:
            return 0.0
        return max(0.0, now - max(arrivals.at, self._forgiven)) / self._mean(arrivals)

    def due(self, now: float) -> list[bytes]:
        """Return the nodes whose phi exceeds the threshold; each is watched until `unwatch`."""
        suspects: list[bytes] = []
        again: list[tuple[float, bytes, _Arrivals]] = []
        while self._checks and self._checks[0][0] <= now:
            _, _, node, arrivals = heappop(self._checks)
            if self._watched.get(node) is not arrivals:
                continue
            start = max(arrivals.at, self._forgiven)
            deadline = start + self._settings.threshold * self._mean(arrivals)
            if now > deadline:
                suspects.append(node)
            # Its own mean may shrink before the deadline comes, down to that of the fleet.
            again.append((min(max(deadline, now), now + self._soonest), node, arrivals))
        for at, node, arrivals in again:
            self._check(node, arrivals, at)
        return suspects

    def __len__(self) -> int:
        return len(self._watched)

    @property
    def _soonest(self) -> float:
        """Silence that makes a node suspect whose counter comes as often as any."""
        return self._settings.threshold * self._least

    @property
    def _pace(self) -> float:
        """Mean interval at which counters can come at best, with so many nodes and so many bytes."""
        return len(self._watched) * _NEWS_BYTES / self._settings.budget

    @property
    def _least(self) -> float:
        return max(self._fleet_mean, self._pace, self._settings.floor)

    def _check(self, node: bytes, arrivals: _Arrivals, at: float) -> None:
        self._serial += 1
        heappush(self._checks, (at, self._serial, node, arrivals))

    def _mean(self, arrivals: _Arrivals) -> float:
        settings = self._settings
        prior = max(settings.prior_interval, self._least)
        weight = settings.prior_weight
        mean = (arrivals.total + weight * prior) / (arrivals.count + weight)
        return max(mean, self._least)
