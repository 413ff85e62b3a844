"""Clique complex, boundary matrices and Hodge parts of a geometric graph: ours beside TopoNetX.

Same graphs (mean degree about 8) and cells up to triangles, in float64, on one core. TopoNetX keeps simplices
in a trie with attributes, of any dimension and name; ours is arrays of indices, and the matrices are made
from it only here, for who wants them. TopoNetX has no decomposition: its Laplacians of vertices and of
triangles (converted to float64) go to scipy's conjugate gradient at a relative residual of 1e-8, with all
matrices made beforehand. "One edge" is an edge taken out with its triangles and put back: in place in the
trie, whose matrices are then to be made anew; into two new complexes, ready to compute with, in ours. `ratio`
is the processor time over ours, `difference` the largest from ours: of the matrices' entries, and of
gradient and curl.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import cg

from bench_hodge import MOST_ITERATIONS, TOLERANCE, geometric_graph, operators, ours
from peers import Entrant, Peer, compiled, contest, load
from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.prefactor import prefactor
from timing import Row, Timing, fix_environment, once, publish

SIZES = (50, 200, 1_000)


def main() -> None:
    peer, graphs = load("TopoNetX", "toponetx"), load("networkx", "networkx")
    with jax.enable_x64(True):
        publish("peer_topology", [row for size in SIZES for row in rows_of(size, peer, graphs)])


def rows_of(size: int, peer: Peer, graphs: Peer) -> Iterator[Row]:
    pairs = geometric_graph(size)
    pairs = pairs[np.lexsort(pairs.T[::-1])]  # TopoNetX's order of edges
    c = SimplicialComplex.from_edges(size, pairs)
    flow = np.random.default_rng(size).standard_normal(len(pairs))
    head = {"vertices": size, "edges": c.num_edges, "triangles": c.num_triangles}
    build = Entrant("shivya", lambda: SimplicialComplex.from_edges(size, pairs))
    matrices = Entrant("shivya, as scipy.sparse", lambda: operators(c))
    edge = pairs[:1]
    change = Entrant("shivya", lambda: c.with_edges(removed=edge).with_edges(added=edge))
    prepared, preparing = once(lambda: prefactor(c))
    parts = [
        decomposing("shivya", c, flow),
        decomposing("shivya, prefactored", prepared, flow, preparing),
    ]
    if peer.module is None:
        for what, entrants in (("build", [build]), ("boundary matrices", [matrices]), ("Hodge parts", parts)):
            yield from contest({**head, "what": what}, entrants)
            yield peer.absent({**head, "what": what})
        return

    def lifted() -> Any:
        graph = graphs.module.Graph()
        graph.add_nodes_from(range(size))
        graph.add_edges_from(pairs.tolist())
        return peer.module.transform.graph_to_clique_complex(graph, max_rank=2)

    theirs = lifted()
    named = tuple(pairs[0].tolist())

    def matrices_of() -> list[Any]:
        return [theirs.incidence_matrix(rank) for rank in (1, 2)]

    def changed() -> None:
        around = list(theirs.get_cofaces(named, 1))
        for simplex in around:
            theirs.remove_maximal_simplex(simplex)
        theirs.remove_maximal_simplex(named)
        theirs.add_simplices_from([named, *around])

    def changed_anew() -> list[Any]:
        changed()
        return matrices_of()

    lower, upper = matrices_of()
    d0, d1 = operators(c)
    wrong = max(np.abs(lower.T - d0).max(), np.abs(upper.T - d1).max())
    yield from contest({**head, "what": "build"}, [build, Entrant(peer.name, lifted)])
    yield from contest(
        {**head, "what": "one edge"},
        [change, Entrant(f"{peer.name}, trie", changed), Entrant(f"{peer.name}, matrices too", changed_anew)],
    )
    yield from contest(
        {**head, "what": "boundary matrices"},
        [matrices, Entrant(peer.name, matrices_of, told={"difference": float(wrong)})],
    )
    solve, assembling = once(lambda: assembled(theirs))
    gradient, curl, _ = parts[0].call()
    apart = [
        np.abs(np.asarray(one) - two).max() for one, two in zip((gradient, curl), solve(flow), strict=True)
    ]
    rival = Entrant(
        f"{peer.name} and scipy cg", lambda: solve(flow), assembling, told={"difference": float(max(apart))}
    )
    yield from contest({**head, "what": "Hodge parts"}, [*parts, rival])


def decomposing(
    method: str, c: SimplicialComplex, flow: NDArray[np.float64], setup: Timing | None = None
) -> Entrant:
    """Our decomposition as an entrant."""
    program, compiling = compiled(ours, c, jnp.asarray(flow))
    return Entrant(method, program, setup, compiling)


def assembled(theirs: Any) -> Callable[[NDArray[np.float64]], tuple[Any, Any]]:
    """Gradient and curl of a flow by TopoNetX's own matrices."""
    lower, upper = (theirs.incidence_matrix(rank).astype(np.float64) for rank in (1, 2))
    below = theirs.hodge_laplacian_matrix(0).astype(np.float64).tocsr()
    above = theirs.down_laplacian_matrix(2).astype(np.float64).tocsr()
    lower_t, upper_t = lower.T.tocsr(), upper.T.tocsr()
    settings = {"rtol": TOLERANCE, "maxiter": MOST_ITERATIONS}

    def solve(f: NDArray[np.float64]) -> tuple[Any, Any]:
        potential, _ = cg(below, lower @ f, **settings)
        circulation, _ = cg(above, upper_t @ f, **settings)
        return lower_t @ potential, upper @ circulation

    return solve


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
