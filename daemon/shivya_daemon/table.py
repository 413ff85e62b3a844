"""The neighbour table that clients decide by, and the load that heartbeats carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from shivya_daemon.core.heartbeat import (
    MAX_NEIGHBOURS,
    MAX_SECONDS,
    NeighbourLoad,
    ServiceLoad,
    service_tag,
)
from shivya_daemon.core.node import PeerView
from shivya_daemon.services import ServiceView
from shivya_daemon.settings import LawSettings
from shivya_daemon.verdict import Verdict
from shivya_daemon.world import World


def neighbour_table(
    world: World,
    verdict: Verdict,
    peers: Mapping[bytes, PeerView],
    tick: int,
    law: LawSettings,
    *,
    draining: bool = False,
) -> dict[str, Any]:
    """Return the table line of docs/socket.md for one service."""
    tag = service_tag(world.service)
    rows = []
    for vertex in world.vertices[1:]:
        if not world.candidate(vertex):
            continue
        peer = peers[vertex.id]
        descriptor = peer.descriptors.get(tag)
        rows.append(
            {
                "id": vertex.id.hex(),
                "name": peer.name,
                "address": descriptor.address or None if descriptor else None,
                "potential": vertex.potential,
                "slope": vertex.slope,
                "service_rate": vertex.service_rate,
                "queue": vertex.queue,
                "servers": vertex.servers,
                "hop": vertex.hop,
                "age": vertex.age,
                "out": vertex.own_sent,
                "flow": verdict.release.get(vertex.id, 0),
                "net_arrivals": vertex.net_arrivals,
                "own_rate": vertex.own_rate,
            }
        )
    return {
        "service": world.service,
        "tick": tick,
        "gap": law.gap,
        "hop_limit": law.hop_limit,
        "stale_after": law.stale_after,
        "draining": draining,
        "kappa": law.kappa,
        "pull_wait": law.pull_wait,
        "drift": law.drift,
        "drift_fade": law.drift_fade,
        "drift_share": law.drift_share,
        "service_rate": world.own.service_rate,
        "servers": world.own.servers,
        "neighbours": rows,
    }


def full(load: ServiceLoad) -> ServiceLoad:
    """Return what a node that drains says instead of `load`: it serves nothing, and the wait is endless.

    What it accepted so far stays, so that its neighbours' accounts close.
    """
    return replace(
        load,
        service_rate=0.0,
        waiting=MAX_SECONDS,
        potential=MAX_SECONDS,
        second_potential=MAX_SECONDS,
        next_hop=None,
    )


def service_load(world: World, verdict: Verdict, view: ServiceView) -> ServiceLoad:
    """Return what the next heartbeats say of one service."""
    return ServiceLoad(
        tag=service_tag(world.service),
        queue=world.own.queue,
        servers=world.own.servers,
        service_rate=world.own.service_rate,
        arrival_rate=world.own.arrival_rate,
        waiting=verdict.waiting,
        potential=verdict.potential,
        slope=verdict.slope,
        second_potential=verdict.second_potential,
        second_slope=verdict.second_slope,
        next_hop=verdict.next_hop,
        neighbours=tuple(
            NeighbourLoad(
                node=v.id,
                queue=v.queue,
                servers=v.servers,
                service_rate=v.service_rate,
                age=v.age,
                accepted=view.accepted.get(v.id, 0) & 0xFFFFFFFF,
                offload=view.offloads.get(v.id, 0.0),
                inflow=v.inflow,
            )
            for v in world.vertices[1:]
            if v.direct
        )[:MAX_NEIGHBOURS],
        net_arrivals=view.net_arrivals,
    )
