"""One Runge-Kutta step of the form, and one reconciliation of flows: ours, numpy and scipy.

Form: a step of the activator and inhibitor on a random geometric graph (mean degree 8), in float64, on one
core. The rivals are the same four stages written by hand, with a dense matrix and with a sparse one.
Reconcile: the Hodge decomposition of a random flow on such a complex to a relative residual of 1e-8,
alone and many at once, beside scipy's conjugate gradient on assembled matrices. Many at once share one
complex that is prefactored beforehand (`setup_ms`, for all of them); one alone is not, nor does the
reference keep anything between calls. `difference` is the largest from scipy's result; `reference_ms` is
what the compiled reference takes per call, measured on a 2.5 GHz machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from bench_hodge import assembled, geometric_graph
from shivya_kernels import hodge, morphogen
from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.prefactor import prefactor
from timing import Row, Timing, fix_environment, measure, once, publish

FORM = {100: 0.107, 1_000: 9.4}
RECONCILE = {50: 0.63, 200: 8.0, 500: 38.0}
"""Vertices, and the reference's milliseconds."""
BATCH = 64
TOLERANCE = 1e-8
D_U, D_V = 0.01, 0.1
Rates = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    with jax.enable_x64(True):
        rows = [row for size in FORM for row in form_rows(size)]
        publish("rk4", rows + [row for size in RECONCILE for row in reconcile_rows(size)])


def form_rows(size: int) -> Iterator[Row]:
    """One step at a time, and `BATCH` states at once, per state."""
    pairs = geometric_graph(size)
    c = SimplicialComplex.from_edges(size, pairs)
    laplacian = matrix(size, pairs)
    rng = np.random.default_rng(size)
    many = rng.uniform(0.8, 1.3, (BATCH, 2, size))
    dt = float(morphogen.cfl_dt(c, D_U, D_V, 0.1))
    expected = step_by_hand(many[0], dt, lambda x: (laplacian @ x.T).T)

    def ours(c: SimplicialComplex, y: Any) -> Any:
        weights = jnp.ones(len(pairs))
        return jnp.stack(morphogen.step_rk4(y[0], y[1], weights, D_U, D_V, dt, complex=c))

    def row(method: str, spent: Timing, found: Any, calls: int = 1) -> Row:
        difference = float(np.abs(np.asarray(found) - expected).max())
        return entry("form", size, method, spent, FORM[size], calls, difference=difference)

    single = compiled(ours, c, jnp.asarray(many[0]))
    batch = compiled(jax.vmap(ours, in_axes=(None, 0)), c, jnp.asarray(many))
    yield row("shivya", timed(single), single())
    yield row(f"shivya, {BATCH} at once", timed(batch), batch()[0], BATCH)
    dense = laplacian.toarray()
    for name, product in (("numpy, dense", dense), ("scipy, sparse", laplacian)):

        def by_hand(product: Any = product) -> np.ndarray:
            return step_by_hand(many[0], dt, lambda x: (product @ x.T).T)

        yield row(name, timed(by_hand), by_hand())


def reconcile_rows(size: int) -> Iterator[Row]:
    """One decomposition at a time, and `BATCH` flows on one complex at once, per flow."""
    c = SimplicialComplex.from_edges(size, geometric_graph(size))
    flows = np.random.default_rng(size).standard_normal((BATCH, c.num_edges))
    solve = assembled(c)
    gradient, curl, _ = solve(flows[0])
    expected = flows[0] - gradient - curl

    def ours(c: SimplicialComplex, f: Any) -> Any:
        return hodge.decompose(c, f, tolerance=TOLERANCE).harmonic

    def row(method: str, spent: Timing, found: Any, calls: int = 1) -> Row:
        difference = float(np.abs(np.asarray(found) - expected).max())
        return entry("reconcile", size, method, spent, RECONCILE[size], calls, difference=difference)

    single = compiled(ours, c, jnp.asarray(flows[0]))
    prepared, preparing = once(lambda: jax.block_until_ready(prefactor(c, largest=c.num_edges)))
    batch = compiled(jax.vmap(ours, in_axes=(None, 0)), prepared, jnp.asarray(flows))
    yield row("shivya", timed(single), single())
    together = row(f"shivya, {BATCH} at once", timed(batch), batch()[0], BATCH)
    yield {**together, "setup_ms": 1e3 * preparing.cpu}
    yield row("scipy cg, assembled", timed(lambda: solve(flows[0])), expected)


def matrix(size: int, pairs: np.ndarray) -> sparse.csr_array:
    """The graph Laplacian, neighbours less self."""
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    links = sparse.csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(size, size))
    return sparse.csr_array(links - sparse.diags_array(links.sum(axis=1)))


def step_by_hand(y: np.ndarray, dt: float, spread: Rates) -> np.ndarray:
    """The classical step as one writes it in numpy, with the parameters of `step_rk4`."""

    def rates(y: np.ndarray) -> np.ndarray:
        u, v = y
        growth = 0.1 - u + u**2 / np.maximum(v, morphogen.FLOOR)
        return np.stack([growth, u**2 - v]) + np.array([[D_U], [D_V]]) * spread(y)

    k1 = rates(y)
    k2 = rates(y + 0.5 * dt * k1)
    k3 = rates(y + 0.5 * dt * k2)
    k4 = rates(y + dt * k3)
    return y + dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def compiled(call: Callable[..., Any], *values: Any) -> Callable[[], Any]:
    """The call on these values, compiled beforehand; the complex is an argument, not a constant."""
    program = jax.jit(call).lower(*values).compile()
    return lambda: program(*values)


def timed(call: Callable[[], Any]) -> Timing:
    return measure(call, finish=jax.block_until_ready, repeats=9, least_seconds=0.02)


def entry(
    what: str, size: int, method: str, spent: Timing, reference: float, calls: int, **more: float
) -> Row:
    each = 1e3 * spent.cpu / calls
    return {
        "what": what,
        "vertices": size,
        "method": method,
        "cpu_ms": each,
        "wall_ms": 1e3 * spent.wall / calls,
        "reference_ms": reference,
        "times_faster": reference / each,
        **more,
    }


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
