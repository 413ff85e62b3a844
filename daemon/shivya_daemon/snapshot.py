"""The frozen picture of a node that every view sees.

Views import this module and nothing else of the daemon. `to_json` gives the object that
`shivya status --json` prints; its field names are stable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class PeerRow:
    """One live peer, as this node sees it."""

    id: str
    name: str
    address: str
    rtt_seconds: float | None
    """None until a heartbeat has been echoed."""
    age_seconds: float
    """Since its last datagram."""
    services: tuple[str, ...] = ()
    queue: int = 0
    service_rate: float = 0.0
    free_energy: float | None = None
    capabilities: Mapping[str, object] = field(default_factory=dict)
    """What it announces: `compute`, `storage`, `gateway`, `witness`, `tags`, those that it has."""
    seeks: Mapping[str, object] = field(default_factory=dict)
    """What it seeks in others, likewise."""
    phase: float | None = None
    """Of its oscillator, in rad; None until it told one."""


@dataclass(frozen=True)
class LinkRow:
    """One link of this node, with its conductance (one symmetric number)."""

    id: str
    name: str
    address: str
    rtt_seconds: float | None
    age_seconds: float
    conductance: float
    reported: float
    """Measured offload along the link in jobs per second, positive away from this node."""
    state: str = "established"
    breaker: str = "closed"
    """`closed`: work flows; `open` and `half-open`: none does."""
    bandwidth: float | None = None
    """Towards the neighbour, in bytes per second; None until measured."""
    thickness: float = 1.0
    degree: int = 0
    """Links of the neighbour."""
    linked_seconds: float = 0.0
    """Since both ends agreed."""


@dataclass(frozen=True)
class ResourceRow:
    """One resource: what is free here and in the fleet."""

    resource: str
    """compute (millicores), storage (MiB), bandwidth (bytes per second) or credit."""
    free: float
    """Share of `capacity`, 0 to 1."""
    capacity: float
    fleet_free: float
    """Share of what all known nodes have."""
    direction: str | None
    """Name of the link neighbour that has most of it free, if that is more than here."""


@dataclass(frozen=True)
class CellRow:
    """One cell (worker slot) of this node."""

    id: str
    service: str
    queue: int
    servers: int
    service_rate: float
    arrival_rate: float
    waiting_seconds: float
    potential_seconds: float
    free_energy: float
    activator: float
    inhibitor: float
    belief: tuple[float, ...] = ()
    action: str = "hold"
    """What the cell chose to do: hold, shed, absorb or probe."""
    dimensions: int = 0
    """Belief dimensions in use, permanent and grown; 0 while no law runs."""
    predictor: Mapping[str, object] | None = None
    """`laws` that foretell each sense, as algebra, their `error_ratio` to "same as last time", and counts of
    searches, laws accepted and dropped, and failed searches. None while no law runs."""


@dataclass(frozen=True)
class FlowRow:
    """Recommended transfer from this node to a neighbour, in jobs per second."""

    to: str
    name: str
    service: str
    rate: float


@dataclass(frozen=True)
class SettleRow:
    """One edge of the known mesh: what was reported on it, its Hodge parts, and what is recommended."""

    source: str
    target: str
    service: str
    reported: float
    gradient: float
    curl: float
    harmonic: float
    balancing: float
    recommended: float
    source_id: str = ""
    target_id: str = ""
    conductance: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Row with the field names of `shivya reconcile`."""
        row = asdict(self)
        ends = {"from": row.pop("source"), "to": row.pop("target")}
        return ends | {"from_id": row.pop("source_id"), "to_id": row.pop("target_id")} | row


@dataclass(frozen=True)
class Snapshot:
    """All that a view may know of the node, at one instant."""

    node_id: str
    name: str
    version: str
    address: str
    port: int
    uptime_seconds: float
    law: str
    """`starting` until the first compiled step has run, then `running`; `failed`, with a text in `status`; or
    `off`, as the settings have it."""
    tick: int = 0
    tick_seconds_p50: float | None = None
    collective_free_energy: float | None = None
    curl_norm: float = 0.0
    harmonic_norm: float = 0.0
    peers: tuple[PeerRow, ...] = ()
    links: tuple[LinkRow, ...] = ()
    cells: tuple[CellRow, ...] = ()
    flows: tuple[FlowRow, ...] = ()
    settle: tuple[SettleRow, ...] = ()
    resources: tuple[ResourceRow, ...] = ()
    capabilities: Mapping[str, object] = field(default_factory=dict)
    """What this node announces, as in `PeerRow`."""
    seeks: Mapping[str, object] = field(default_factory=dict)
    traffic: Mapping[str, float] = field(default_factory=dict)
    """Totals since start: datagrams and bytes, in and out; jobs sent to and accepted from neighbours."""
    drops: Mapping[str, int] = field(default_factory=dict)
    """Datagrams dropped, by reason."""
    host: Mapping[str, float] = field(default_factory=dict)
    """Telemetry of the machine: cpu, memory (0 to 1), network bytes per second."""
    guard: Mapping[str, object] | None = None
    """None: this node runs no guard."""
    phase: Mapping[str, float] | None = None
    """`theta` of this node in rad, `order` (0 to 1) of all phases it hears; None before its first beat."""
    ledger: Mapping[str, object] | None = None
    """None: this node keeps no ledger."""
    leases: Mapping[str, object] = field(default_factory=dict)
    """`quota` of what is lent, `held` by this node, `granted` to others and itself."""
    credits: Mapping[str, object] | None = None
    """How this node stands with the ledger of credits; None: it has none."""
    spirit: Mapping[str, object] | None = None
    """The organism that lives here, as docs/spirits.md has it; None: none does."""
    draining: bool = False
    """Whether it takes no new work and is about to stop."""
    status: tuple[str, ...] = ()
    """Remedy texts of the status bits that are set; empty when all is well."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of `shivya status --json`."""
        document = asdict(replace(self, spirit=None))  # a copy of thousands of numbers would serve nobody
        document["spirit"] = self.spirit
        document["settle"] = [row.to_json() for row in self.settle]
        for key in ("peers", "links", "cells", "flows", "resources", "status"):
            document[key] = list(document[key])
        document["drops"] = dict(self.drops)
        return document
