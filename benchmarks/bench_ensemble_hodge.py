"""Hodge decomposition of one random flow on each of 1,024 random geometric complexes of 64 vertices.

Complexes are padded to common shapes and stacked; what depends on them alone is done beforehand on every side
and shown as set-up. All in float64, on one core. `ratio` is the processor time over ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bench_hodge import DEGREE, TOLERANCE, assembled
from shivya_kernels import hodge
from shivya_kernels.complex import Capacity, SimplicialComplex
from shivya_kernels.prefactor import prefactor
from timing import Row, Timing, fix_environment, measure, once, publish

COMPLEXES = 1024
VERTICES = 64


def main() -> None:
    with jax.enable_x64(True):
        publish("ensemble_hodge", rows())


def rows() -> list[Row]:
    """Every method on the same stack of complexes and flows."""
    rng = np.random.default_rng(VERTICES)
    graphs = [geometric_graph(rng) for _ in range(COMPLEXES)]
    tight = [SimplicialComplex.from_edges(VERTICES, pairs) for pairs in graphs]
    size = Capacity(VERTICES, max(c.num_edges for c in tight), max(c.num_triangles for c in tight))
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(SimplicialComplex.from_edges(VERTICES, g, size) for g in graphs)
    )
    f = np.zeros((COMPLEXES, size.edges))
    for flow, pairs in zip(f, graphs, strict=True):
        flow[: len(pairs)] = rng.standard_normal(len(pairs))
    flows = jnp.asarray(f)

    prepared, preparing = once(lambda: jax.block_until_ready(prefactor(stacked)))
    nothing = Timing(0.0, 0.0, 0.0, 0.0)
    found = []
    for method, c, setup, compute in (
        ("shivya, prefactored", prepared, preparing, jax.vmap(decompose)),
        ("shivya, vmap of iterations", stacked, nothing, jax.vmap(decompose)),
        (
            "shivya, one after another",
            stacked,
            nothing,
            lambda c, f: jax.lax.map(lambda x: decompose(*x), (c, f)),
        ),
    ):
        compiled, compiling = once(lambda c=c, compute=compute: jax.jit(compute).lower(c, flows).compile())
        found.append(row(method, setup, compiling, lambda c=c, compiled=compiled: compiled(c, flows)))
    solvers, assembling = once(lambda: [assembled(c) for c in tight])

    def loop() -> list[Any]:
        return [solve(flow[: c.num_edges]) for solve, flow, c in zip(solvers, f, tight, strict=True)]

    found.append(row("scipy cg, a loop", assembling, None, loop))
    return [{**entry, "ratio": entry["cpu_ms"] / found[0]["cpu_ms"]} for entry in found]


def geometric_graph(rng: np.random.Generator) -> NDArray[np.int64]:
    """Points in the unit square, joined within the radius that gives a mean degree of about `DEGREE`."""
    points = rng.random((VERTICES, 2))
    near = ((points[:, None] - points) ** 2).sum(axis=2) < DEGREE / (np.pi * VERTICES)
    return np.argwhere(np.triu(near, 1))


def decompose(c: SimplicialComplex, f: jax.Array) -> hodge.HodgeParts:
    return hodge.decompose(c, f, tolerance=TOLERANCE)


def row(method: str, setup: Timing, compiling: Timing | None, solve: Callable[[], Any]) -> Row:
    spent = measure(solve, finish=jax.block_until_ready, repeats=3)
    return {
        "complexes": COMPLEXES,
        "vertices": VERTICES,
        "method": method,
        "setup_ms": 1e3 * setup.cpu,
        "compile_ms": None if compiling is None else 1e3 * compiling.cpu,
        "cpu_ms": 1e3 * spent.cpu,
        "cpu_ms_median": 1e3 * spent.cpu_median,
        "wall_ms": 1e3 * spent.wall,
    }


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
