"""What the law says about one service at one tick, as plain values; and the answer while no law runs yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shivya_daemon.placement import waiting_time
from shivya_daemon.world import World


@dataclass(frozen=True)
class EdgeVerdict:
    """One link, positive from tail to head: reported jobs per second, its parts, and what is recommended."""

    tail: bytes
    head: bytes
    reported: float
    gradient: float
    curl: float
    harmonic: float
    balancing: float
    """Jobs to move so that waiting becomes equal."""
    recommended: float
    """Jobs per second: `balancing` over a horizon of one second."""
    conductance: float
    advertised: float
    """This node's own value of the conductance, before it is averaged with the other end's."""


@dataclass(frozen=True)
class Verdict:
    """Placement, repair and diagnosis of one service."""

    service: str
    waiting: float
    """Expected time in system of a job that would arrive here now and stay, seconds."""
    potential: float
    """The same when it may be passed on."""
    slope: float
    next_hop: bytes | None
    """Neighbour through which the potential is reached; None = this node itself."""
    second_potential: float
    second_slope: float
    release: Mapping[bytes, int] = field(default_factory=dict)
    """Whole jobs to hand over to each neighbour in this tick, before the guard."""
    edges: tuple[EdgeVerdict, ...] = ()
    curl_norm: float = 0.0
    harmonic_norm: float = 0.0
    collective_free_energy: float | None = None
    free_energy: float = 0.0
    """Of this node's own cell."""
    belief: tuple[float, ...] = ()
    activator: float = 0.0
    inhibitor: float = 0.0
    action: str = "hold"
    """What this node's own cell chose to do: hold, shed, absorb or probe."""
    dimensions: int = 0
    """Belief dimensions of the own cell in use, permanent and grown; 0 while no law runs."""
    would_split: bool = False
    """The form advises another cell, in this tick."""
    shares: Mapping[bytes, float] = field(default_factory=dict)
    """Shapley share of each node of the neighbourhood in what pooling its queues saves, job seconds."""
    senses: tuple[float, ...] = ()
    """What the own cell observed: log1p of the wait, utilisation, cpu, memory."""
    novel: bool = False
    """The own cell is surprised: a search for a better predictor is worth its while."""
    status: tuple[str, ...] = ()


@dataclass(frozen=True)
class Learned:
    """How the predictor of one service stands."""

    laws: Mapping[str, str]
    """The law in use of each sense, as algebra; `last` says "as before"."""
    error_ratio: Mapping[str, float] = field(default_factory=dict)
    """Its square error over that of "as before", on the newest third of the history."""
    searches: int = 0
    accepted: int = 0
    """Laws that replaced another."""
    dropped: int = 0
    """Laws given up because they had become worse than "as before"."""
    failed: int = 0
    """Searches that ended in an error."""


def shortest_expected_delay(world: World) -> Verdict:
    """Answer without the law: every node advertises its own waiting, nobody hands over what already waits."""
    own = world.own
    waiting = waiting_time(own.queue, own.servers, own.service_rate, own.overrun)
    slope = 1.0 / own.service_rate
    return Verdict(world.service, waiting, waiting, slope, None, waiting, slope)
