"""The values of a beat: what is seen, what is remembered, what comes out. No JAX here."""

from __future__ import annotations

import math
from typing import TypeAlias

from msgspec import Struct, field

LINKS = 16
VERTICES = 32
"""Links and vertices that a beat looks at; own links come first, and a node has at most 12."""

MAX_INJECTED, MAX_WEIGHT = 1000.0, 10.0
"""Anomalies of a drill, and the weight that it may set."""

ALERT, QUARANTINE = 0.60, 0.85
"""Threat from which an alarm is raised, and from which a peer is kept out."""

SET_POINT, MOST_GRANTED = 0.02, 0.05
"""Processor seconds per beat: what the loop aims at, and the most that it grants to optimisation."""

Weights: TypeAlias = tuple[float, ...]
"""Of the cores R, B, E, O."""


class Threat(Struct, frozen=True):
    """The two numbers behind threat = sigmoid(weight * anomalies + bias)."""

    weight: float = 0.12
    bias: float = -3.0

    def level(self, anomalies: float) -> float:
        """Return the threat of so many anomalies; the kernel's `threat`, for where no JAX runs."""
        x = self.weight * anomalies + self.bias
        if x >= 0:
            return 1.0 / (1.0 + math.exp(-x))
        grown = math.exp(x)
        return grown / (1.0 + grown)

    def anomalies(self, level: float) -> float:
        """Return how many anomalies make a threat of `level`."""
        return (math.log(level / (1.0 - level)) - self.bias) / self.weight

    def bounded(self) -> Threat:
        """Return the nearest model within bounds: whoever feeds it cannot teach it to see all or nothing.

        Quarantine then begins between 13 and 104 anomalies.
        """
        return Threat(min(max(self.weight, 0.06), 0.24), min(max(self.bias, -4.5), -1.5))


class LinkSight(Struct, frozen=True):
    """One own link."""

    traffic: float
    """Size of the flow on it, jobs per second."""
    suspect: bool
    """Whether its breaker is open, or its peer under suspicion."""


class VertexSight(Struct, frozen=True):
    """One node of the neighbourhood: seconds of waiting now, and once the recommended flow is applied."""

    waiting: float
    after: float


class Sight(Struct, frozen=True):
    """All that a beat looks at."""

    anomalies: float = 0.0
    links: tuple[LinkSight, ...] = ()
    vertices: tuple[VertexSight, ...] = ()
    cost: tuple[float, float] = (0.0, 0.0)
    """Held-out error of the running law, and p99 in seconds under the running parameters; 0 where unknown."""
    cost_after: tuple[float, float] = (0.0, 0.0)
    """The same for the best candidates."""
    cpu: float = 0.0
    """Processor seconds of the last beat, control and optimisation together."""
    dt: float = 0.0
    """Seconds since the last beat."""
    flows: float = 4.0
    live: float = 5.0
    """k and P of the pulse: flows per node, and live nodes."""


class Loop(Struct, frozen=True):
    """The closed loop: its plant is a beat's processor time, its actuator what optimisation is granted."""

    set_point: float = SET_POINT
    """Processor seconds per beat."""
    most: float = MOST_GRANTED
    """Largest grant."""
    grant: float = 0.0
    """Processor seconds per beat that optimisation may use."""
    weights: Weights = (0.25, 0.25, 0.15, 0.35)
    integral: float = 0.0
    error: float = 0.0
    started: bool = False
    stable: bool = False
    """Whether the error fell in the last beat, or is below 1 ms."""


class Outcome(Struct, frozen=True):
    """What a beat found."""

    action: str = "NOOP"
    """QUARANTINE, ALERT, APPLY_BALANCE, APPLY_OPTIMIZE or NOOP."""
    urgency: float = 0.0
    stability: float = 0.0
    threat: float = 0.0
    gain: float = 0.0
    repairs: int = 0
    sound: bool = True
    """False: a number was not finite, and counted as zero."""
    pulse: float = 0.0
    """Seconds to the next beat of a guard that runs alone."""
    change: float = 0.0
    """Of the grant, and of the weight of O."""
    vector: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    """The scores of R, B, E, O times their weights: for display."""
    loop: Loop = field(default_factory=Loop)
