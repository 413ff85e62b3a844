"""Hodge decomposition of a random flow on a random geometric complex: ours against scipy and plain JAX.

All solve the same normal equations, d0^T d0 a = d0^T f and d1 d1^T b = d1 f, to a relative residual of 1e-8,
on the same complex, in float64, on one core. What is done once per complex (assembling, building) or once per
shape (compiling) is apart; `ratio` is the processor time over ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg as jax_cg
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg
from scipy.spatial import cKDTree

from shivya_kernels import hodge
from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.prefactor import prefactor
from timing import Row, Timing, fix_environment, measure, once, publish

SIZES = (100, 1_000, 10_000, 100_000)
DEGREE = 8.0
TOLERANCE = 1e-8
MOST_ITERATIONS = 10_000
Parts = tuple[Any, Any, Any]
"""Gradient and curl part of a flow (the harmonic part remains), and iterations where they are told."""


def main() -> None:
    with jax.enable_x64(True):
        publish("hodge", [row for size in SIZES for row in rows_of(size)])


def rows_of(size: int) -> Iterator[Row]:
    """Every method on one complex; `ratio` is its processor time over ours."""
    pairs = geometric_graph(size)
    c, building = once(lambda: SimplicialComplex.from_edges(size, pairs))
    jax.block_until_ready(c)
    prepared, preparing = once(lambda: prefactor(SimplicialComplex.from_edges(size, pairs)))
    f = np.random.default_rng(size).standard_normal(len(pairs))
    repeats = 15 if size < 10_000 else 5 if size < 100_000 else 2

    def row(method: str, setup: Timing, compiling: Timing | None, solve: Callable[[], Parts]) -> Row:
        spent = measure(solve, finish=jax.block_until_ready, repeats=repeats)
        gradient, curl, iterations = solve()
        return {
            "vertices": size,
            "edges": c.num_edges,
            "triangles": c.num_triangles,
            "method": method,
            "setup_ms": 1e3 * setup.cpu,
            "compile_ms": None if compiling is None else 1e3 * compiling.cpu,
            "cpu_ms": 1e3 * spent.cpu,
            "cpu_ms_median": 1e3 * spent.cpu_median,
            "wall_ms": 1e3 * spent.wall,
            "iterations": None if iterations is None else int(iterations),
            "residual": residual(c, f, np.asarray(gradient), np.asarray(curl)),
        }

    flow = jnp.asarray(f)
    rows = []
    for method, on, setup, compute in (
        ("shivya", prepared, preparing, ours),
        ("shivya, not prefactored", c, building, ours),
        ("jax.scipy cg", c, building, plain_jax),
    ):
        compiled, compiling = once(lambda on=on, compute=compute: jax.jit(compute).lower(on, flow).compile())
        rows.append(row(method, setup, compiling, lambda on=on, compiled=compiled: compiled(on, flow)))
    for method, assemble in (("scipy cg, assembled", assembled), ("scipy cg, factored", factored)):
        solve, assembling = once(lambda assemble=assemble: assemble(c))
        rows.append(row(method, assembling, None, lambda solve=solve: solve(f)))
    for entry in rows:
        yield {**entry, "ratio": entry["cpu_ms"] / rows[0]["cpu_ms"]}


def geometric_graph(size: int) -> NDArray[np.int64]:
    """Points in the unit square, joined within the radius that gives a mean degree of about `DEGREE`."""
    points = np.random.default_rng(size).random((size, 2))
    radius = np.sqrt(DEGREE / (np.pi * size))
    return np.asarray(cKDTree(points).query_pairs(radius, output_type="ndarray"), np.int64)


def residual(c: SimplicialComplex, f: NDArray[Any], gradient: NDArray[Any], curl: NDArray[Any]) -> float:
    """The larger of the two true relative residuals, with operators that no method solved with."""
    d0, d1 = operators(c)
    driven, turning = d0.T @ f, d1 @ f
    return max(
        float(np.linalg.norm(driven - d0.T @ gradient) / np.linalg.norm(driven)),
        float(np.linalg.norm(turning - d1 @ curl) / np.linalg.norm(turning)),
    )


def ours(c: SimplicialComplex, f: jax.Array) -> Parts:
    parts = hodge.decompose(c, f, tolerance=TOLERANCE, max_iterations=MOST_ITERATIONS)
    return parts.gradient, parts.curl, parts.info.iterations


def plain_jax(c: SimplicialComplex, f: jax.Array) -> Parts:
    """The library's solver, with gathers and `segment_sum` for the products with d0 and d1."""
    n, e = c.vertex_mask.shape[0], c.edge_mask.shape[0]

    def d0(a: jax.Array) -> jax.Array:
        return a[c.head] - a[c.tail]

    def d0_t(f: jax.Array) -> jax.Array:
        ends = jnp.concatenate([c.head, c.tail])
        return jax.ops.segment_sum(jnp.concatenate([f, -f]), ends, num_segments=n)

    def d1(f: jax.Array) -> jax.Array:
        return jnp.sum(f[c.triangle_edges] * c.triangle_signs, axis=1)

    def d1_t(b: jax.Array) -> jax.Array:
        around = (c.triangle_signs * b[:, None]).reshape(-1)
        return jax.ops.segment_sum(around, c.triangle_edges.reshape(-1), num_segments=e)

    settings = {"tol": TOLERANCE, "maxiter": MOST_ITERATIONS}
    a, _ = jax_cg(lambda x: d0_t(d0(x)), d0_t(f), **settings)
    b, _ = jax_cg(lambda x: d1(d1_t(x)), d1(f), **settings)
    return d0(a), d1_t(b), None


def assembled(c: SimplicialComplex) -> Callable[[NDArray[Any]], Parts]:
    """Both Laplacians multiplied out beforehand."""
    d0, d1 = operators(c)
    return _scipy_solver(d0, d1, (d0.T @ d0).tocsr(), (d1 @ d1.T).tocsr())


def factored(c: SimplicialComplex) -> Callable[[NDArray[Any]], Parts]:
    """Two products per iteration in place of one with a matrix of many more entries."""
    d0, d1 = operators(c)
    d0_t, d1_t = d0.T.tocsr(), d1.T.tocsr()
    n, t = d0.shape[1], d1.shape[0]
    return _scipy_solver(
        d0,
        d1,
        LinearOperator((n, n), matvec=lambda x: d0_t @ (d0 @ x), dtype=np.float64),
        LinearOperator((t, t), matvec=lambda x: d1 @ (d1_t @ x), dtype=np.float64),
    )


def operators(c: SimplicialComplex) -> tuple[sparse.csr_array, sparse.csr_array]:
    """d0 [e, n] and d1 [t, e] as sparse matrices."""
    pairs, e, t = c.edges, c.num_edges, c.num_triangles
    rows = np.repeat(np.arange(e), 2)
    d0 = sparse.csr_array((np.tile([-1.0, 1.0], e), (rows, pairs.reshape(-1))), shape=(e, c.num_vertices))
    sides, signs = np.asarray(c.triangle_edges)[:t], np.asarray(c.triangle_signs, float)[:t]
    rows = np.repeat(np.arange(t), 3)
    d1 = sparse.csr_array((signs.reshape(-1), (rows, sides.reshape(-1))), shape=(t, e))
    return d0, d1


def _scipy_solver(
    d0: sparse.csr_array, d1: sparse.csr_array, below: Any, above: Any
) -> Callable[[NDArray[Any]], Parts]:
    d0_t, d1_t = d0.T.tocsr(), d1.T.tocsr()

    def solve(f: NDArray[Any]) -> Parts:
        steps = count()
        settings = {"rtol": TOLERANCE, "maxiter": MOST_ITERATIONS, "callback": lambda _: next(steps)}
        a, _ = cg(below, d0_t @ f, **settings)
        b, _ = cg(above, d1 @ f, **settings)
        return d0 @ a, d1_t @ b, next(steps)

    return solve


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
