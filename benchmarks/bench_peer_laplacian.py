"""The potential of a flow, one solve with a graph Laplacian: ours beside lineax.

d0^T d0 a = d0^T f on a geometric graph (mean degree about 8), in float64, on one core, each as one compiled
program on the same arrays. lineax's conjugate gradient gets our products with d0, a right-hand side of norm
one and the 2-norm, so that it stops at the same relative residual of 1e-8 as ours; its Cholesky gets the
dense matrix with the constant mode filled in, and factors at each call, as ours does up to 128 vertices.
"Prefactored" is prepared once per graph: Green's operator up to 512 edges, a multigrid preconditioner above.
`ratio` is the processor time over ours, `residual` the true relative one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench_hodge import MOST_ITERATIONS, TOLERANCE, geometric_graph, operators
from peers import Entrant, Peer, compiled, contest, load
from shivya_kernels import hodge, laplacian
from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.prefactor import prefactor
from timing import Row, fix_environment, once, publish

SIZES = (50, 128, 200, 1_000, 10_000)
LARGEST_DENSE = 1_000
Solve = Callable[[SimplicialComplex, jax.Array], Any]


def main() -> None:
    peer = load("lineax", "lineax")
    with jax.enable_x64(True):
        publish("peer_laplacian", [row for size in SIZES for row in rows_of(size, peer)])


def rows_of(size: int, peer: Peer) -> Iterator[Row]:
    pairs = geometric_graph(size)
    plain = SimplicialComplex.from_edges(size, pairs)
    prepared, preparing = once(lambda: prefactor(plain))
    flow = np.random.default_rng(size).standard_normal(len(pairs))
    d0, _ = operators(plain)
    driven = d0.T @ flow

    def entrant(method: str, solve: Solve, c: SimplicialComplex = plain, setup: Any = None) -> Entrant:
        program, compiling = compiled(solve, c, jnp.asarray(flow))
        rest = driven - d0.T @ (d0 @ np.asarray(program()))
        told = {"residual": float(np.linalg.norm(rest) / np.linalg.norm(driven))}
        return Entrant(method, program, setup, compiling, told=told)

    entrants = [entrant("shivya", ours), entrant("shivya, prefactored", ours, prepared, preparing)]
    if peer.module is not None:
        entrants.append(entrant(f"{peer.name} CG", by_conjugate_gradient(peer.module)))
        if size <= LARGEST_DENSE:
            entrants.append(entrant(f"{peer.name} Cholesky", by_cholesky(peer.module)))
    yield from contest({"vertices": size, "edges": len(pairs)}, entrants)
    if peer.module is None:
        yield peer.absent({"vertices": size, "edges": len(pairs)})


def ours(c: SimplicialComplex, f: jax.Array) -> jax.Array:
    """The potential alone: what the curl would cost is left out by the compiler."""
    return hodge.decompose(c, f, tolerance=TOLERANCE, max_iterations=MOST_ITERATIONS).potential


def by_conjugate_gradient(lineax: Any) -> Solve:
    solver = lineax.CG(rtol=0.0, atol=TOLERANCE, norm=jnp.linalg.norm, max_steps=MOST_ITERATIONS)

    def solve(c: SimplicialComplex, f: jax.Array) -> Any:
        driven = laplacian.net_inflow(c, f)
        size = jnp.linalg.norm(driven)
        operator = lineax.FunctionLinearOperator(
            lambda a: laplacian.net_inflow(c, laplacian.vertex_difference(c, a)),
            jax.eval_shape(lambda: driven),
            lineax.positive_semidefinite_tag,
        )
        return size * lineax.linear_solve(operator, driven / size, solver).value

    return solve


def by_cholesky(lineax: Any) -> Solve:
    def solve(c: SimplicialComplex, f: jax.Array) -> Any:
        n = c.vertex_mask.shape[0]
        joined = jnp.zeros((n, n), f.dtype).at[c.tail, c.head].add(1.0).at[c.head, c.tail].add(1.0)
        together = c.component[:, None] == c.component[None, :]
        matrix = jnp.diag(joined.sum(axis=1)) - joined + together / together.sum(axis=1)
        operator = lineax.MatrixLinearOperator(matrix, lineax.positive_semidefinite_tag)
        return lineax.linear_solve(operator, laplacian.net_inflow(c, f), lineax.Cholesky()).value

    return solve


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
