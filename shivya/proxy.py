"""A mesh in one process: record what the nodes measure, and ask what each link should carry.

The same computation as ``shivya reconcile``, for a caller who holds the numbers of all nodes, such as a
scheduler, a notebook or a test. No daemon is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shivya.settlement import Mesh, Settlement, build_complex, settle

if TYPE_CHECKING:
    from shivya_kernels.complex import SimplicialComplex


class UnknownNode(ValueError):
    """A name that is none of the mesh's nodes."""


class UnknownEdge(ValueError):
    """Two nodes that no offload edge joins."""


class DuplicateNode(ValueError):
    """A node that was named twice."""


@dataclass(frozen=True)
class EdgeRecommendation:
    """What one link should carry: `rate` work units per second from `source` to `target`, never negative.

    The other fields are positive from `source` to `target` too; `balancing` is in work units, the rest per
    second.
    """

    source: str
    target: str
    rate: float
    reported: float
    gradient: float
    curl: float
    harmonic: float
    balancing: float


class WorkloadMeshProxy:
    """A fixed mesh whose nodes and links are known by name.

    Queues and offload rates start at 0, capacities (service rates) at 1 work unit per second. Raises
    `DuplicateNode`, `UnknownNode`, or `ValueError` for no nodes, a self loop or a link named twice.
    """

    def __init__(self, nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> None:
        self._index: dict[str, int] = {}
        for node in nodes:
            if node in self._index:
                raise DuplicateNode(f"duplicate node `{node}`")
            self._index[node] = len(self._index)
        if not self._index:
            raise ValueError("a mesh needs at least one node")
        self._edges: dict[tuple[int, int], int] = {}
        for source, target in edges:
            tail, head = self._vertex(source), self._vertex(target)
            if tail == head:
                raise ValueError(f"edge from `{source}` to itself; a link joins two nodes")
            if (tail, head) in self._edges or (head, tail) in self._edges:
                raise ValueError(f"duplicate edge between `{source}` and `{target}`")
            self._edges[tail, head] = len(self._edges)
        self._queues = [0.0] * len(self._index)
        self._capacities = [1.0] * len(self._index)
        self._rates = [0.0] * len(self._edges)
        self._complex: SimplicialComplex | None = None
        self._last: Settlement | None = None

    def record_queue_len(self, node: str, length: float) -> None:
        """Record the work waiting at `node`, in work units; raises `UnknownNode` or `ValueError`."""
        vertex = self._vertex(node)
        if not 0 <= length < math.inf:
            raise ValueError(f"queue of `{node}` must be a finite number >= 0, not {length}")
        self._queues[vertex] = float(length)

    def record_capacity(self, node: str, rate: float) -> None:
        """Record the service rate of `node`, in work units/s; raises `UnknownNode` or `ValueError`."""
        vertex = self._vertex(node)
        if not 0 < rate < math.inf:
            raise ValueError(f"capacity of `{node}` must be a finite number > 0, not {rate}")
        self._capacities[vertex] = float(rate)

    def record_offload(self, source: str, target: str, rate: float) -> None:
        """Record the measured offload from `source` to `target`, in work units per second.

        The last call for a link holds, in whichever direction. Raises `UnknownNode`, `UnknownEdge`, or
        `ValueError` for a rate that is not finite.
        """
        tail, head = self._vertex(source), self._vertex(target)
        if not math.isfinite(rate):
            raise ValueError(f"offload from `{source}` to `{target}` must be a finite number, not {rate}")
        if (edge := self._edges.get((tail, head))) is not None:
            self._rates[edge] = float(rate)
        elif (edge := self._edges.get((head, tail))) is not None:
            self._rates[edge] = -float(rate)
        else:
            raise UnknownEdge(f"no offload edge between `{source}` and `{target}`")

    def settle(self) -> list[EdgeRecommendation]:
        """Return what each link should carry, in the order in which the links were named.

        The first call imports JAX and compiles, later ones do neither. Raises `OverflowError` if the recorded
        numbers are too large to compute with.
        """
        mesh = Mesh(
            nodes=tuple(self._index),
            queues=tuple(self._queues),
            capacities=tuple(self._capacities),
            edges=tuple(self._edges),
            rates=tuple(self._rates),
            conductances=(1.0,) * len(self._edges),
        )
        if self._complex is None:
            self._complex = build_complex(mesh)
        self._last = settle(mesh, self._complex)
        return [_recommendation(mesh, self._last, edge) for edge in range(len(mesh.edges))]

    @property
    def last_curl_norm(self) -> float | None:
        """Euclidean norm of the curl part of the offload at the last `settle`; None before the first."""
        return None if self._last is None else self._last.curl_norm

    @property
    def last_harmonic_norm(self) -> float | None:
        """Euclidean norm of the harmonic part of the offload at the last `settle`; None before the first."""
        return None if self._last is None else self._last.harmonic_norm

    def _vertex(self, node: str) -> int:
        try:
            return self._index[node]
        except KeyError:
            raise UnknownNode(f"unknown node `{node}`") from None


def _recommendation(mesh: Mesh, settlement: Settlement, edge: int) -> EdgeRecommendation:
    tail, head = mesh.edges[edge]
    sign = -1.0 if settlement.recommended[edge] < 0 else 1.0
    source, target = (tail, head) if sign > 0 else (head, tail)
    return EdgeRecommendation(
        source=mesh.nodes[source],
        target=mesh.nodes[target],
        rate=sign * float(settlement.recommended[edge]),
        reported=sign * mesh.rates[edge],
        gradient=sign * float(settlement.gradient[edge]),
        curl=sign * float(settlement.curl[edge]),
        harmonic=sign * float(settlement.harmonic[edge]),
        balancing=sign * float(settlement.balancing[edge]),
    )
