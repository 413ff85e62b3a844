"""What a simulated fleet is given: its graph, its machines, its load, its faults, and what nodes can know."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Literal

Sizes = Literal["exponential", "lognormal", "deterministic"]

MICROSECONDS = 1_000_000
"""Times of events are whole microseconds in 32 bits: exact over half an hour, on any device."""

LONGEST_HOP = 10.0
"""Seconds that a job may take over a link: what is under way is kept per time step."""


@dataclass(frozen=True)
class Outage:
    """One node, by number or the one with most arrivals per service rate, between two times in seconds."""

    start: float
    end: float
    node: int | Literal["busiest"] = "busiest"
    factor: float = 4.0
    """By how much it is slower; a crash does not read it."""


@dataclass(frozen=True)
class Failure:
    """Nodes that are cut off for good at a time, in seconds, and whose clients turn elsewhere.

    From then on a job sent to them comes back, and their arrivals come to their surviving neighbours, each to
    any of them (to any survivor, where no neighbour survives). Clients also try again what was lost: as many
    jobs as the scenario's backlog has there.
    """

    nodes: tuple[int, ...]
    """By number; none at all is allowed, and compiles the same program."""
    at: float


@dataclass(frozen=True)
class Scenario:
    """The world of an ensemble; times in seconds, rates in jobs per second. Hashable.

    The information model is part of it: a node knows what its neighbours' heartbeats said, `latency` +
    `extra_age` after they left at the sender's own phase, and how many of its jobs they had counted by then.
    """

    nodes: int = 64
    mean_degree: float = 6.1
    """Of the random geometric graph in the unit square; components are joined by their shortest links."""
    edges: tuple[tuple[int, int], ...] | None = None
    """The graph itself, instead of a random one."""
    rates: tuple[float, ...] = (10.0, 20.0, 40.0)
    """Service rates that nodes draw theirs from; that of all of a node's servers together."""
    shares: tuple[float, ...] | None = (0.4, 0.4, 0.2)
    """How often each rate is drawn; None: node i has rates[i]."""
    rate_spread: tuple[float, ...] | None = None
    """How well rates per node are known: relative standard deviations of the true ones, drawn per fleet."""
    servers: int | tuple[int, ...] = 1
    """Jobs that a node serves at a time, each with its share of the rate; of all nodes, or one per node."""
    sizes: Sizes = "exponential"
    size_variation: float = 10.0
    """Squared coefficient of variation of lognormal sizes; the mean size is 1."""

    load: float = 0.85
    """Arrivals over the fleet's service rate."""
    seconds: float = 60.0
    """Measured time, after the warm-up; then the fleet is drained."""
    warm_up: float = 15.0
    bursts: bool = True
    """Each node's arrivals alternate between `burst_high` and `burst_low` times their mean, else Poisson."""
    burst_high: float = 2.5
    burst_low: float = 0.5
    burst_seconds: float = 2.0
    calm_seconds: float = 6.0
    hotspot: float = 0.05
    """Share of all arrivals that one node gets; 0: all nodes alike."""
    arrival_rates: tuple[float, ...] | None = None
    """Mean arrivals from outside at each node instead of `load` and `hotspot`."""
    arrival_spread: tuple[float, ...] | None = None
    """How well these are known: relative standard deviation of each, drawn per fleet (gamma)."""
    backlog: tuple[int, ...] | None = None
    """Jobs that each node holds at time 0, those in service included."""
    arrivals: tuple[tuple[int, float, float], ...] | None = None
    """A recorded trace of (node, time, size) instead of random arrivals."""

    hop: float = 0.02
    """Transfer time of a job over one link."""
    hop_spread: float = 1.0
    """How unlike links are: that of each lies between `hop` over this and `hop` times this, uniformly in the
    logarithm, drawn per fleet and rounded to steps."""
    hops: tuple[float, ...] | None = None
    """Transfer times of the links in `edges`, in their order, instead of `hop` for all. Fluid fleets take
    every link for one of `typical_hop`."""
    latency: float = 0.01
    """Of a heartbeat or a request over one link."""
    heartbeat: float = 0.1
    """Between two heartbeats, and between two repairs, of a node."""
    change: float | None = None
    """Heartbeats on change, as daemons send them (.03): one is due when W and its slope together have moved
    by more seconds since the last, or the own wait by four times as many, half of `heartbeat` after it at the
    soonest. Without a potential W is the own wait: .08 makes as many. None: at a fixed pace. Fluid fleets do
    not read it: they hear one each `period`."""
    silence: float = 0.3
    """With heartbeats on change, the longest time between two."""
    extra_age: float = 0.0
    loss: float = 0.0
    """Share of heartbeats lost."""
    ttl: float = 1.0
    """Age beyond `extra_age` at which a neighbour ceases to exist."""
    misstatement: float = 1.0
    """Configured rates are this factor too high or too low, drawn per node."""

    crash: Outage | None = None
    """What the node holds waits for its return; what lands there is lost; what arrives there is refused."""
    slow: Outage | None = None
    """Jobs started in that time take `factor` times as long."""
    partition: tuple[float, float] | None = None
    """From when until when the two halves of the square (of the node numbers, if edges are given) are cut
    off from each other. A job sent over a cut link comes back after two hops' time."""
    failure: Failure | None = None

    step: float = 0.005
    drain: float = 600.0
    """Longest time for draining; what is left then counts as never done."""

    def __post_init__(self) -> None:
        """Reject what cannot be simulated. Raises ValueError, naming the field."""
        positive = ("nodes", "load", "seconds", "hop", "latency", "heartbeat", "step", "ttl")
        for name in (*positive, "misstatement", "size_variation"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("hop", "latency", "heartbeat", "extra_age"):
            ratio = getattr(self, name) / self.step
            if not (math.isfinite(ratio) and abs(ratio - round(ratio)) < 1e-6 and ratio >= 0):
                raise ValueError(f"{name} must be a multiple of the step of {self.step} s")
        self._check_links()
        if self.heartbeat < 2 * self.step:
            raise ValueError("heartbeat must be at least two steps")
        self._check_change()
        if not 0 <= self.loss <= 1 or not 0 <= self.hotspot <= 1:
            raise ValueError("loss and hotspot are shares between 0 and 1")
        if not self.rates or min(self.rates) <= 0:
            raise ValueError("rates must be positive")
        wanted = self.nodes if self.shares is None else len(self.shares)
        if len(self.rates) != wanted:
            raise ValueError(f"rates has {len(self.rates)} entries, needs {wanted}")
        self._check_nodes()
        if sum(fault is not None for fault in (self.crash, self.partition, self.failure)) > 1:
            raise ValueError("crash, partition and failure cannot be combined: simulate one after the other")
        if self.end > 2000:
            raise ValueError("warm_up + seconds + drain must stay below 2000 s (32-bit microseconds)")

    def _check_change(self) -> None:
        """Reject heartbeats on change that no time step or no neighbour's patience allows."""
        if self.change is None:
            return
        if not (math.isfinite(self.change) and self.change >= 0):
            raise ValueError("change must be a number of seconds, 0 or more")
        if self.steps(self.heartbeat) % 2 or self.steps(self.heartbeat) < 4:
            raise ValueError(f"beside change, heartbeat must be 4, 6, 8 or more steps of {self.step} s")
        if not self.period <= self.silence < self.ttl:
            raise ValueError("silence must be at least half of heartbeat, and below ttl")

    def _check_links(self) -> None:
        """Reject transfer times that no link can have."""
        if not (math.isfinite(self.hop_spread) and self.hop_spread >= 1):
            raise ValueError(f"hop_spread must be 1 or more, not {self.hop_spread}")
        if self.hops is not None:
            self._check_hops(self.hops)
        if self.longest_hop > LONGEST_HOP:
            raise ValueError(f"hop, hop_spread and hops must keep every link within {LONGEST_HOP:g} s")

    def _check_hops(self, hops: tuple[float, ...]) -> None:
        """Reject transfer times that are not one for each link."""
        if self.edges is None or len(hops) != len(self.edges) or self.hop_spread != 1:
            raise ValueError("hops has one entry for each of edges, and leaves no room for hop_spread")
        if not all(math.isfinite(hop) and hop > 0 for hop in hops):
            raise ValueError("hops must be positive")

    def _check_nodes(self) -> None:
        """Reject what is given per node and does not fit the nodes."""
        bounds = {"arrival_rates": 0, "arrival_spread": 0, "rate_spread": 0, "backlog": 0, "servers": 1}
        for name, least in bounds.items():
            values = getattr(self, name)
            given = values if isinstance(values, tuple) else () if values is None else (values,) * self.nodes
            if isinstance(values, tuple) and len(values) != self.nodes:
                raise ValueError(f"{name} has {len(values)} entries, there are {self.nodes} nodes")
            if not all(math.isfinite(value) and value >= least for value in given):
                raise ValueError(f"{name} must be {least} or more at every node")
        if self.arrivals is not None and (self.arrival_rates or self.backlog or self.failure):
            raise ValueError("arrivals that are recorded leave no room for arrival_rates, backlog or failure")
        if self.arrival_spread is not None and self.arrival_rates is None:
            raise ValueError("arrival_spread says how well arrival_rates are known; give those, too")
        if self.rate_spread is not None and self.shares is not None:
            raise ValueError("rate_spread says how well rates per node are known; give those, without shares")
        if self.failure is not None:
            failed = set(self.failure.nodes)
            if not failed <= set(range(self.nodes)) or len(failed) >= self.nodes:
                raise ValueError(f"failure names nodes outside 0..{self.nodes - 1}, or all of them")

    @property
    def period(self) -> float:
        """Between two moments at which a node may send a heartbeat, seconds."""
        return self.heartbeat if self.change is None else self.heartbeat / 2

    @property
    def horizon(self) -> float:
        """When arrivals end, seconds."""
        return self.warm_up + self.seconds

    @property
    def end(self) -> float:
        """When the simulation ends even if jobs are left, seconds."""
        return self.horizon + self.drain

    @property
    def unlike(self) -> bool:
        """Whether links differ in their transfer times."""
        return self.hop_spread > 1 or self.hops is not None

    @property
    def typical_hop(self) -> float:
        """Median of the transfer times of links, seconds."""
        return statistics.median(self.hops) if self.hops else self.hop

    @property
    def longest_hop(self) -> float:
        """Of all transfer times that links can have, seconds."""
        return max(self.hops) if self.hops else self.hop * self.hop_spread

    def steps(self, seconds: float) -> int:
        """A duration in time steps."""
        return round(seconds / self.step)
