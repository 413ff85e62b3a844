"""What this node knows of one service, as plain values: itself, its neighbours, and the links between them.

`survey` reads the members' last heartbeats and the books of the local applications; it is the only place
where the two meet. The law (`mind`) turns a `World` into arrays, the fallback and the neighbour table read it
as it is. No node keeps everybody's load: a world reaches two hops.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from shivya_daemon.core.heartbeat import service_tag
from shivya_daemon.core.node import PeerView
from shivya_daemon.services import ServiceView
from shivya_daemon.settings import LawSettings

UNMEASURED_HOP = 0.005  # seconds; until a heartbeat has been echoed


@dataclass(frozen=True)
class Vertex:
    """A node that offers the service, with what was last heard of its load."""

    id: bytes
    queue: int
    servers: int
    service_rate: float
    arrival_rate: float
    age: float
    """Seconds since the numbers were true at the node itself, as far as known; 0 for this node."""
    direct: bool = False
    """A link neighbour of this node."""
    potential: float = 0.0
    """Direct neighbours: advertised expected waiting, the best that does not lead back through this node."""
    slope: float = 0.0
    """Direct neighbours: advertised rise of the potential per job sent there, seconds."""
    own_sent: int = 0
    """Direct neighbours: jobs this node sent there that its last heartbeat did not acknowledge."""
    hop: float = 0.0
    """Direct neighbours: transfer time, seconds."""
    inflow: float = 0.0
    """Direct neighbours: jobs per second it reports sending here."""
    overrun: float = 0.0
    """This node: seconds by which the next server to be free takes longer for it than usual."""
    net_arrivals: float | None = None
    """Direct neighbours: jobs per second that it takes and does not pass on; None: it did not tell."""
    own_rate: float = 0.0
    """Direct neighbours: jobs per second that this node sent there of late."""


@dataclass(frozen=True)
class Link:
    """An undirected link, stored from the lower to the higher node id."""

    tail: bytes
    head: bytes
    rtt: float | None
    remote_conductance: float | None
    """Conductance advertised by the far end; None when this node is not an end, or has not heard it."""
    traffic: float
    """Reported offload in jobs per second, positive from tail to head."""
    score: float = 0.5
    """Bandwidth score of an own link, 0 to 1; of others the score of a link not measured yet."""


@dataclass(frozen=True)
class World:
    """One service as this node sees it; `vertices[0]` is the node itself."""

    service: str
    vertices: tuple[Vertex, ...]
    links: tuple[Link, ...]
    stale_after: float

    @property
    def own(self) -> Vertex:
        """This node."""
        return self.vertices[0]

    def candidate(self, vertex: Vertex) -> bool:
        """Return whether new work may be sent to `vertex`."""
        return vertex.direct and vertex.age <= self.stale_after and vertex.service_rate > 0


def survey(
    own_id: bytes,
    view: ServiceView,
    peers: Iterable[PeerView],
    now: float,
    law: LawSettings,
) -> World:
    """Put together what is known of the service of `view`: this node, link neighbours, and theirs."""
    tag = service_tag(view.name)
    direct: dict[bytes, Vertex] = {}
    remote: dict[bytes, Vertex] = {}
    links: dict[tuple[bytes, bytes], Link] = {}
    hearsay: dict[tuple[bytes, bytes], float] = {}
    offloads: dict[tuple[bytes, bytes], float] = {
        (own_id, peer): rate for peer, rate in view.offloads.items()
    }
    for peer in peers:
        load = peer.services.get(tag)
        if load is None or not peer.linked:
            continue
        age = max(0.0, now - peer.received[tag])
        backwards = load.next_hop == own_id
        direct[peer.id] = Vertex(
            id=peer.id,
            queue=load.queue,
            servers=load.servers,
            service_rate=load.service_rate,
            arrival_rate=load.arrival_rate,
            age=age,
            direct=True,
            potential=load.second_potential if backwards else load.potential,
            slope=load.second_slope if backwards else load.slope,
            own_sent=view.out.get(peer.id, 0),
            hop=UNMEASURED_HOP if peer.rtt is None else max(peer.rtt / 2, law.minimum_hop),
            inflow=next((other.offload for other in load.neighbours if other.node == own_id), 0.0),
            net_arrivals=load.net_arrivals,
            own_rate=view.paces.get(peer.id, 0.0),
        )
        low, high = sorted((own_id, peer.id))
        score = Link.score if peer.bandwidth_score is None else peer.bandwidth_score
        links[low, high] = Link(low, high, peer.rtt, peer.conductance, 0.0, score)
        for other in load.neighbours:
            offloads[peer.id, other.node] = other.offload
            if other.node == own_id:
                continue
            hearsay[other.node, peer.id] = other.inflow
            ends = (peer.id, other.node) if peer.id < other.node else (other.node, peer.id)
            if ends not in links:
                links[ends] = Link(*ends, None, None, 0.0)
            age_there = age + other.age
            known = remote.get(other.node)
            if known is None or age_there < known.age:
                remote[other.node] = Vertex(
                    other.node, other.queue, other.servers, other.service_rate, 0.0, age_there
                )
    offloads = hearsay | offloads  # what an end says itself counts
    own = Vertex(
        own_id, view.queue, view.servers, view.service_rate, view.arrival_rate, 0.0, overrun=view.overrun
    )
    others = [*direct.values(), *(v for key, v in remote.items() if key not in direct)]
    return World(
        service=view.name,
        vertices=(own, *sorted(others, key=lambda v: (not v.direct, v.id))),
        links=tuple(
            Link(
                low,
                high,
                link.rtt,
                link.remote_conductance,
                offloads.get((low, high), 0.0) - offloads.get((high, low), 0.0),
                link.score,
            )
            for (low, high), link in sorted(links.items())
        ),
        stale_after=law.stale_after,
    )


def without(world: World, outcasts: frozenset[bytes]) -> World:
    """Return the world as if these nodes were not there: neither they nor a link to them."""
    if not outcasts or not any(v.id in outcasts for v in world.vertices):
        return world
    return replace(
        world,
        vertices=tuple(v for v in world.vertices if v.id not in outcasts),
        links=tuple(k for k in world.links if k.tail not in outcasts and k.head not in outcasts),
    )
