"""What one mesh should do, from one description of it: the computation behind `reconcile` and the proxy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shivya_kernels.complex import SimplicialComplex

HORIZON = 1.0
"""Seconds over which the balancing flow is spread."""


@dataclass(frozen=True)
class Mesh:
    """A checked mesh: vertices by index, each undirected edge once, in the caller's order and orientation.

    Queues are in work units, capacities (service rates) and rates in work units per second.
    """

    nodes: tuple[str, ...]
    queues: tuple[float, ...]
    capacities: tuple[float, ...]
    edges: tuple[tuple[int, int], ...]
    rates: tuple[float, ...]
    """Reported offload of each edge, positive from its tail to its head."""
    conductances: tuple[float, ...]


@dataclass(frozen=True)
class Settlement:
    """Parts of the reported flow, and the flow to make instead; per edge, positive from tail to head."""

    gradient: NDArray[np.float64]
    curl: NDArray[np.float64]
    harmonic: NDArray[np.float64]
    balancing: NDArray[np.float64]
    """Work units to move so that waiting is equal within each connected component."""
    recommended: NDArray[np.float64]
    """Work units per second: balancing / HORIZON, within what each node holds."""
    targets: NDArray[np.float64]
    """Queue of each node once the balancing flow has been made."""
    curl_norm: float
    harmonic_norm: float
    betti: tuple[int, int]
    status: str
    """``ok``, or what was wrong and its remedy."""


def build_complex(mesh: Mesh) -> SimplicialComplex:
    """Return the complex of a mesh in float64; it depends on nodes and edges only, so callers may keep it."""
    import jax

    from shivya_kernels.complex import SimplicialComplex

    with jax.enable_x64(True):
        return SimplicialComplex.from_edges(len(mesh.nodes), mesh.edges)


def settle(mesh: Mesh, complex: SimplicialComplex) -> Settlement:
    """Decompose the reported flow and find the least-energy flow that equalises waiting time.

    Raises `OverflowError` if the numbers of the mesh are too large for float64 arithmetic.

    Sources: Jiang, Lim, Yao, Ye 2011 (the decomposition); Cybenko 1989 and Muthukrishnan, Ghosh, Schultz 1998
    (balancing by a graph Laplacian).
    """
    import jax
    import numpy as np

    from shivya_kernels import flow, hodge, status

    queues, capacities = np.array(mesh.queues), np.array(mesh.capacities)
    with jax.enable_x64(True):
        parts = hodge.decompose(complex, np.array(mesh.rates))
        balancing = np.asarray(flow.balancing_flow(complex, queues, capacities, np.array(mesh.conductances)))
    gradient, curl, harmonic = (np.asarray(part) for part in (parts.gradient, parts.curl, parts.harmonic))
    targets = _targets(mesh, queues, capacities, np.asarray(complex.component))
    if not all(np.isfinite(values).all() for values in (gradient, curl, harmonic, balancing, targets)):
        raise OverflowError(
            "the queues, rates or conductances are too large to compute with; use larger units"
        )
    return Settlement(
        gradient=gradient,
        curl=curl,
        harmonic=harmonic,
        balancing=balancing,
        recommended=_within_holdings(mesh, queues, balancing / HORIZON),
        targets=targets,
        curl_norm=float(np.linalg.norm(curl)),
        harmonic_norm=float(np.linalg.norm(harmonic)),
        betti=complex.betti,
        status="; ".join(status.describe(int(parts.info.status))) or "ok",
    )


def _targets(
    mesh: Mesh, queues: NDArray[np.float64], capacities: NDArray[np.float64], component: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Share each component's queues by capacity."""
    import numpy as np

    component = component[: len(mesh.nodes)]
    waiting = np.bincount(component, queues) / np.maximum(
        np.bincount(component, capacities), np.finfo(float).tiny
    )
    shares: NDArray[np.float64] = capacities * waiting[component]
    return shares


def _within_holdings(
    mesh: Mesh, queues: NDArray[np.float64], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scale each node's outflows down together where they exceed what it holds over the horizon."""
    import numpy as np

    ends = np.array(mesh.edges, dtype=int).reshape(-1, 2)
    sources = np.where(rates >= 0, ends[:, 0], ends[:, 1])
    leaving = np.bincount(sources, np.abs(rates), minlength=len(queues)) * HORIZON
    share = np.divide(queues, leaving, out=np.ones_like(queues), where=leaving > queues)
    scaled: NDArray[np.float64] = rates * share[sources]
    return scaled
