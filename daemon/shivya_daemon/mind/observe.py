"""Turns a `World` into the padded arrays of an `Observation`, with sticky slots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shivya_daemon.mind.slots import OWN_SLOTS, SlotMap
from shivya_daemon.world import Link, Vertex, World
from shivya_kernels.complex import Capacity, CapacityExceeded, SimplicialComplex
from shivya_kernels.prefactor import prefactor
from shivya_kernels.state import Observation

UNKNOWN = -1.0  # of a remote conductance, of net arrivals
_Key = tuple[tuple[int, ...], tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class HostLoad:
    """Telemetry of this machine, as the law takes it: shares from 0 to 1, bytes per second."""

    cpu: float = 0.0
    memory: float = 0.0
    network: float = 0.0


@dataclass(frozen=True)
class Observed:
    """One observation, and what its indices mean."""

    observation: Observation
    slots: dict[bytes, int]
    links: tuple[Link, ...]
    """In edge order."""
    moved: NDArray[np.int32] | None
    """Old edge index of each edge, -1 for a new one; None when no edge has moved."""
    overflow: bool


@dataclass
class Observer:
    """Builds observations of one service; remembers slots, and the complex while nobody comes or goes."""

    capacity: Capacity
    _map: SlotMap = field(init=False)
    _complex: SimplicialComplex = field(init=False)
    """Of the last world; there is none before the first."""
    _key: _Key = field(init=False, default=((), ()))
    _edges: dict[tuple[bytes, bytes], int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._map = SlotMap(self.capacity.vertices)

    def observe(self, world: World, host: HostLoad) -> Observed:
        """Return the arrays for `world`; what does not fit the capacity is left out, farthest first."""
        slots, crowded = self._map.assign(world.own.id, (v.id for v in world.vertices[1:]))
        vertices = [v for v in world.vertices if v.id in slots]
        links = [link for link in world.links if link.tail in slots and link.head in slots]
        links, moved = self._settle_edges(vertices, links, slots)
        crowded = crowded or len(links) < sum(1 for k in world.links if k.tail in slots and k.head in slots)
        return Observed(
            self._arrays(world, host, vertices, links, slots), slots, tuple(links), moved, crowded
        )

    def _settle_edges(
        self, vertices: list[Vertex], links: list[Link], slots: dict[bytes, int]
    ) -> tuple[list[Link], NDArray[np.int32] | None]:
        """Rebuild the complex when membership or links changed; say where each edge was before."""
        # Own links first, so that an overflow costs the far ones.
        own = vertices[0].id
        ranked = sorted(links, key=lambda k: own not in (k.tail, k.head))[: self.capacity.edges]
        while True:
            kept = sorted(ranked, key=lambda k: (k.tail, k.head))
            pairs = tuple((slots[k.tail], slots[k.head]) for k in kept)
            key = (tuple(sorted(slots[v.id] for v in vertices)), pairs)
            if key == self._key:
                break
            active = np.zeros(self.capacity.vertices, bool)
            active[list(key[0])] = True
            try:
                self._complex = prefactor(
                    SimplicialComplex.from_edges(self.capacity.vertices, list(pairs), self.capacity, active)
                )
                break
            except CapacityExceeded:  # triangles: thin out from the far end until they fit
                ranked = ranked[: -max(1, len(ranked) // 8)]
        named = {(k.tail, k.head): i for i, k in enumerate(kept)}
        if key == self._key and named == self._edges:
            return kept, None
        moved = np.full(self.capacity.edges, -1, np.int32)
        for name, index in named.items():
            moved[index] = self._edges.get(name, -1)
        self._key, self._edges = key, named
        return kept, moved

    def _arrays(
        self, world: World, host: HostLoad, vertices: list[Vertex], links: list[Link], slots: dict[bytes, int]
    ) -> Observation:
        size, length = self.capacity.vertices, len(links)
        index = [slots[v.id] for v in vertices]

        def per_vertex(values: list[Any], rest: float = 0.0) -> NDArray[np.float64]:
            array = np.full(size, rest)
            array[index] = values
            return array

        def mask(values: list[bool]) -> NDArray[np.bool_]:
            array = np.zeros(size, bool)
            array[index] = values
            return array

        def per_edge(values: list[float], rest: float) -> NDArray[np.float64]:
            array = np.full(self.capacity.edges, rest)
            array[:length] = values
            return array

        own = np.zeros(size, bool)
        own[0] = True
        arrays: dict[str, Any] = {
            "self_vertex": np.int32(0),
            "own": own,
            "slots": (np.arange(size) < OWN_SLOTS) & ~own,
            "queue": per_vertex([v.queue for v in vertices]),
            "servers": per_vertex([v.servers for v in vertices], 1.0),
            "service_rate": per_vertex([v.service_rate for v in vertices]),
            "arrival_rate": per_vertex([v.arrival_rate for v in vertices]),
            "cpu": np.where(own, host.cpu, 0.0),
            "memory": np.where(own, host.memory, 0.0),
            "network": np.float64(host.network),
            "potential": per_vertex([v.potential for v in vertices]),
            "slope": per_vertex([v.slope for v in vertices]),
            "own_sent": per_vertex([v.own_sent for v in vertices]),
            "live": mask([v.age <= world.stale_after and v.service_rate > 0 for v in vertices]),
            "hop": per_vertex([v.hop for v in vertices]),
            "overrun": per_vertex([v.overrun for v in vertices]),
            "age": per_vertex([v.age for v in vertices]),
            "net_arrivals": per_vertex(
                [UNKNOWN if v.net_arrivals is None else v.net_arrivals for v in vertices], UNKNOWN
            ),
            "own_rate": per_vertex([v.own_rate for v in vertices]),
            "rtt": per_edge([k.rtt or 0.0 for k in links], 0.0),
            "bandwidth": per_edge([k.score for k in links], 1.0),
            "remote_conductance": per_edge(
                [UNKNOWN if k.remote_conductance is None else k.remote_conductance for k in links], UNKNOWN
            ),
            "traffic": per_edge([k.traffic for k in links], 0.0),
            "sensed": mask([v.age <= world.stale_after for v in vertices]),
        }
        return Observation(complex=self._complex, **arrays)  # numpy as it is: jit takes it in one call
