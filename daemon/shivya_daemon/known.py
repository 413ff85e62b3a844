"""What this node knows of the mesh, and whom it does not know: the answer to KNOWN, for `shivya whatif`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shivya_daemon.core.heartbeat import service_tag
from shivya_daemon.core.node import Node, PeerView
from shivya_daemon.recent import Past, Recent
from shivya_daemon.settings import LawSettings
from shivya_daemon.world import Vertex, World


def known(
    node: Node, world: World, peers: Mapping[bytes, PeerView], recent: Recent, law: LawSettings
) -> dict[str, Any]:
    """Return nodes, links and the unknown ones for the service of `world`, which must be as of now."""
    own = world.own.id
    heard = [vertex for vertex in world.vertices if vertex.age <= world.stale_after]
    silent = {vertex.id: vertex.age for vertex in world.vertices if vertex.age > world.stale_after}
    ids = {vertex.id for vertex in heard}

    def name(identity: bytes) -> str:
        profile = node.profile(identity)
        told = peers[identity].name if identity in peers else ""
        return told or (profile.name if profile else "")

    def why(identity: bytes) -> str:
        if identity in silent:
            return f"nothing was heard of it for {silent[identity]:.1f} s"
        peer = peers.get(identity)
        if peer is not None and peer.linked:
            tag = service_tag(world.service)
            return (
                "it has not told its load yet" if tag in peer.descriptors else "it does not offer the service"
            )
        return "it is more than two links away, or does not offer the service"

    others = sorted((node.members | silent.keys()) - ids - {own})
    return {
        "node": own.hex(),
        "service": world.service,
        "law": asdict(law),
        "nodes": [
            {"name": name(vertex.id), **_row(vertex, own, recent.past(world.service, vertex.id))}
            for vertex in heard
        ],
        "links": [
            {
                "from": link.tail.hex(),
                "to": link.head.hex(),
                "rtt_seconds": link.rtt,
                "traffic": link.traffic,
            }
            for link in world.links
            if link.tail in ids and link.head in ids
        ],
        "unknown": [{"id": other.hex(), "name": name(other), "why": why(other)} for other in others],
    }


def _row(vertex: Vertex, own: bytes, past: Past | None) -> dict[str, Any]:
    """Return one node: as last heard, and its last minute."""
    told = vertex.direct or vertex.id == own
    return {
        "id": vertex.id.hex(),
        "links_away": 0 if vertex.id == own else 1 if vertex.direct else 2,
        "age_seconds": vertex.age,
        "queue": vertex.queue,
        "servers": vertex.servers,
        "service_rate": vertex.service_rate,
        "arrival_rate": vertex.arrival_rate if told else None,
        "past": None
        if past is None
        else {**asdict(past), "counts": [round(jobs, 3) for jobs in past.counts]},
    }
