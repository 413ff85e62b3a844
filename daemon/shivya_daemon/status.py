"""Puts the frozen `Snapshot` together from what the daemon holds at the end of a tick."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from msgspec import structs

from shivya_daemon.core.gossip.announcement import Profile
from shivya_daemon.core.gossip.capabilities import Capabilities
from shivya_daemon.core.gossip.resources import Resource
from shivya_daemon.core.node import LinkView, Node, PeerView
from shivya_daemon.services import ServiceView
from shivya_daemon.snapshot import CellRow, FlowRow, LinkRow, PeerRow, ResourceRow, SettleRow
from shivya_daemon.verdict import EdgeVerdict, Learned, Verdict
from shivya_daemon.world import World


@dataclass(frozen=True)
class Judged:
    """One service at one tick: what was known, what the books say, what the law answered."""

    world: World
    view: ServiceView
    verdict: Verdict


def peer_rows(node: Node, peers: Iterable[PeerView], phases: Mapping[bytes, float]) -> tuple[PeerRow, ...]:
    """Return one row per live peer."""
    profiles = {peer.id: node.profile(peer.id) or Profile() for peer in peers}
    return tuple(
        PeerRow(
            id=peer.id.hex(),
            name=peer.name or profiles[peer.id].name,  # heartbeats, with names, come from linked peers only
            address=format_address(peer.address),
            rtt_seconds=peer.rtt,
            age_seconds=peer.age,
            services=tuple(sorted(d.name for d in peer.descriptors.values())),
            queue=sum(load.queue for load in peer.services.values()),
            service_rate=sum(load.service_rate for load in peer.services.values()),
            free_energy=peer.free_energy,
            capabilities=capability_row(profiles[peer.id].capabilities),
            seeks=capability_row(profiles[peer.id].seeks),
            phase=phases.get(peer.id),
        )
        for peer in peers
    )


def capability_row(capabilities: Capabilities) -> dict[str, object]:
    """Return what is there of a set of capabilities, in the words of the settings."""
    compute, storage = capabilities.compute, capabilities.storage
    row: dict[str, object] = {
        "compute": None if compute is None else structs.asdict(compute),
        "storage": None if storage is None else structs.asdict(storage),
        "gateway": list(capabilities.gateway) or None,
        "witness": capabilities.witness,
        "tags": list(capabilities.tags) or None,
    }
    return {key: value for key, value in row.items() if value is not None}


def link_rows(
    own: bytes, links: Iterable[LinkView], peers: Iterable[PeerView], judged: Iterable[Judged]
) -> tuple[LinkRow, ...]:
    """Return one row per link of this node; offloads of all services added up."""
    known = {peer.id: peer for peer in peers}
    reported: dict[bytes, float] = {}
    conductance: dict[bytes, float] = {}
    for item in judged:
        for peer, edge, sign in _incident(own, item.verdict.edges):
            reported[peer] = reported.get(peer, 0.0) + sign * edge.reported
            conductance[peer] = edge.conductance
    return tuple(
        LinkRow(
            id=link.id.hex(),
            name=link.name,
            address="" if link.address is None else format_address(link.address),
            rtt_seconds=link.rtt,
            age_seconds=known[link.id].age if link.id in known else 0.0,
            conductance=conductance.get(link.id, link.conductance),
            reported=reported.get(link.id, 0.0),
            state=link.state,
            breaker=link.breaker,
            bandwidth=link.bandwidth,
            thickness=link.thickness,
            degree=link.degree,
            linked_seconds=link.age,
        )
        for link in links
    )


def resource_rows(node: Node, names: Mapping[bytes, str], now: float) -> tuple[ResourceRow, ...]:
    """Return one row per resource."""
    rows = []
    for resource in Resource:
        readings = node.resource_readings(resource, now)
        own = readings[node.id]
        capacity = sum(reading.capacity for reading in readings.values())
        free = sum(reading.free * reading.capacity for reading in readings.values())
        towards = node.flow_direction(resource)
        rows.append(
            ResourceRow(
                resource=resource.name.lower(),
                free=own.free,
                capacity=own.capacity,
                fleet_free=free / capacity if capacity else 0.0,
                direction=None if towards is None else names.get(towards) or towards.hex(),
            )
        )
    return tuple(rows)


def cell_rows(own: bytes, judged: Iterable[Judged], learned: Mapping[str, Learned]) -> tuple[CellRow, ...]:
    """Return one row per service that this node's cell offers."""
    return tuple(
        CellRow(
            id=f"{own.hex()[:8]}/{item.world.service}",
            service=item.world.service,
            queue=item.view.queue,
            servers=item.view.servers,
            service_rate=item.view.service_rate,
            arrival_rate=item.view.arrival_rate,
            waiting_seconds=item.verdict.waiting,
            potential_seconds=item.verdict.potential,
            free_energy=item.verdict.free_energy,
            activator=item.verdict.activator,
            inhibitor=item.verdict.inhibitor,
            belief=item.verdict.belief,
            action=item.verdict.action,
            dimensions=item.verdict.dimensions,
            predictor=asdict(learned[item.world.service]) if item.world.service in learned else None,
        )
        for item in judged
    )


def flow_rows(own: bytes, names: Mapping[bytes, str], judged: Iterable[Judged]) -> tuple[FlowRow, ...]:
    """Return the recommended flows that leave this node."""
    return tuple(
        FlowRow(peer.hex(), names.get(peer, ""), item.world.service, sign * edge.recommended)
        for item in judged
        for peer, edge, sign in _incident(own, item.verdict.edges)
        if sign * edge.recommended > 1e-9
    )


def settle_rows(names: Mapping[bytes, str], judged: Iterable[Judged]) -> tuple[SettleRow, ...]:
    """Return every known link with its Hodge parts and recommendation."""
    return tuple(
        SettleRow(
            names.get(edge.tail) or edge.tail.hex(),
            names.get(edge.head) or edge.head.hex(),
            item.world.service,
            edge.reported,
            edge.gradient,
            edge.curl,
            edge.harmonic,
            edge.balancing,
            edge.recommended,
            edge.tail.hex(),
            edge.head.hex(),
            edge.conductance,
        )
        for item in judged
        for edge in item.verdict.edges
    )


def format_address(address: tuple[str, int]) -> str:
    """Return host:port, with brackets around an IPv6 host."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _incident(own: bytes, edges: Iterable[EdgeVerdict]) -> Iterable[tuple[bytes, EdgeVerdict, float]]:
    """Yield (other end, edge, +1 if the edge leaves this node else -1) of this node's edges."""
    for edge in edges:
        if edge.tail == own:
            yield edge.head, edge, 1.0
        elif edge.head == own:
            yield edge.tail, edge, -1.0
