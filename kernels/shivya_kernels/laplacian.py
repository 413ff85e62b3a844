"""Incidence operators of a complex, and solves with its vertex Laplacian.

All vectors here have capacity length. Index arrays must be arguments of the compiled call: closed over, XLA
folds the gathers at compile time, a minute's work on large complexes. On XLA's CPU back end products are
fastest as one gather or scatter per column of indices with no bounds to check, which padding makes needless,
and signs folded in: a triangle's boundary is + - + once its edges point from the lower vertex to the higher.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from shivya_kernels import cg, multigrid
from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.status import Status, flag

DENSE_VERTICES = 128
"""Largest capacity solved by dense Cholesky; above it, conjugate gradient."""


_IN_BOUNDS = "promise_in_bounds"


def vertex_difference(c: SimplicialComplex, a: Float[Array, "V"]) -> Float[Array, "E"]:
    """d0 a: head minus tail; zero on padded edges."""
    return jnp.where(c.edge_mask, _at(a, c.head) - _at(a, c.tail), 0)


def net_inflow(c: SimplicialComplex, f: Float[Array, "E"]) -> Float[Array, "V"]:
    """d0^T f: what flows into each vertex less what flows out."""
    f = jnp.where(c.edge_mask, f, 0)
    nothing = jnp.zeros(c.vertex_mask.shape, f.dtype)
    # Two sums and a difference: adding -f to the first sum would take a copy of f, and twice the time.
    return nothing.at[c.head].add(f, mode=_IN_BOUNDS) - nothing.at[c.tail].add(f, mode=_IN_BOUNDS)


def circulation(c: SimplicialComplex, f: Float[Array, "E"]) -> Float[Array, "T"]:
    """d1 f: the sum of the flow around each triangle's boundary; zero on padded triangles."""
    if c.triangle_mask.shape[0] == 0:
        return jnp.zeros(0, f.dtype)
    return _around(c, _sides(c), _upward(c, f))


def boundary(c: SimplicialComplex, b: Float[Array, "T"]) -> Float[Array, "E"]:
    """d1^T b: the flow on edges of circulations around triangles."""
    if c.triangle_mask.shape[0] == 0:
        return jnp.zeros(c.edge_mask.shape, b.dtype)
    return _upward(c, _along(c, _sides(c), jnp.where(c.triangle_mask, b, 0)))


def triangle_laplacian(c: SimplicialComplex) -> cg.Operator:
    """The product with d1 d1^T, for circulations that are zero on padded triangles."""
    if c.triangle_mask.shape[0] == 0:
        return lambda b: b
    sides = _sides(c)
    # Each edge's orientation occurs twice and cancels.
    return lambda b: _around(c, sides, _along(c, sides, b))


def component_sum(c: SimplicialComplex, values: Float[Array, "V"]) -> Float[Array, "V"]:
    """At each vertex, the sum over the existing vertices of its component; zero where none exists."""
    values = jnp.where(c.vertex_mask, values, 0)
    total = jax.ops.segment_sum(values, c.component, num_segments=c.vertex_mask.shape[0])
    return jnp.where(c.vertex_mask, _at(total, c.component), 0)


def remove_mean(c: SimplicialComplex, values: Float[Array, "V"]) -> Float[Array, "V"]:
    """The values less their mean per component: the projector onto the range of the vertex Laplacian."""
    size = component_sum(c, c.vertex_mask.astype(values.dtype))
    return jnp.where(c.vertex_mask, values - component_sum(c, values) / jnp.maximum(size, 1), 0)


def solve_laplacian(
    c: SimplicialComplex,
    rhs: Float[Array, "V"],
    weights: Float[Array, "E"] | None = None,
    *,
    start: Float[Array, "V"] | None = None,
    tolerance: ArrayLike | None = None,
    max_iterations: ArrayLike = 1000,
) -> tuple[Float[Array, "V"], cg.SolveInfo]:
    """Solve d0^T K d0 a = rhs, K = diag(weights) (None: all 1), with mean 0 per component.

    The part of `rhs` that does not sum to zero over a component is dropped. Weights of edges in use must be
    positive. Up to 128 vertices the solve is direct and `start`, `tolerance`, `max_iterations` play no part.
    Above, conjugate gradient, preconditioned by the complex's hierarchy if it has one and there are no
    weights.
    Works under jit, vmap and grad, also with respect to the weights.
    """

    def matvec(a: Array) -> Array:
        flow = vertex_difference(c, a)
        return net_inflow(c, flow if weights is None else weights * flow)

    if c.vertex_mask.shape[0] <= DENSE_VERTICES:
        return _solve_dense(c, matvec, rhs, weights)
    precondition = None
    if c.hierarchy is not None and weights is None:
        hierarchy = c.hierarchy
        precondition = lambda r: multigrid.apply(hierarchy, r)  # noqa: E731
    return cg.solve(
        matvec,
        rhs,
        project=lambda a: remove_mean(c, a),
        precondition=precondition,
        start=start,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def _solve_dense(
    c: SimplicialComplex, matvec: cg.Operator, rhs: Array, weights: Array | None
) -> tuple[Array, cg.SolveInfo]:
    """Cholesky of the Laplacian plus, on its kernel, the scaled projector: exact and mean-free."""
    finite = jnp.all(jnp.isfinite(rhs))
    rhs = remove_mean(c, jnp.where(finite, rhs, 0))
    factor = _factor(c, jnp.ones(c.edge_mask.shape, rhs.dtype) if weights is None else weights)

    def direct(operator: cg.Operator, b: Array) -> Array:
        x = jax.scipy.linalg.cho_solve((factor, True), b)
        # One step of iterative refinement, and the residual costs a product that is wanted anyway.
        x = x + jax.scipy.linalg.cho_solve((factor, True), remove_mean(c, b - operator(x)))
        return remove_mean(c, x)

    x: Array = jax.lax.custom_linear_solve(matvec, rhs, direct, symmetric=True)
    x = remove_mean(c, x)
    size = jnp.linalg.norm(rhs)
    residual = jnp.linalg.norm(rhs - matvec(x)) / jnp.where(size > 0, size, 1)
    status = flag(~finite, Status.NON_FINITE_INPUT) | flag(~jnp.all(jnp.isfinite(x)), Status.SINGULAR_MATRIX)
    return x, cg.SolveInfo(jnp.int32(0), residual, status)


def _factor(c: SimplicialComplex, weights: Array) -> Array:
    """Lower Cholesky factor of the Laplacian with each component's constant mode filled in."""
    n = c.vertex_mask.shape[0]
    w = jax.lax.stop_gradient(jnp.where(c.edge_mask, weights, 0))
    rows = jnp.concatenate([c.tail, c.head, c.tail, c.head])
    columns = jnp.concatenate([c.tail, c.head, c.head, c.tail])
    matrix = jnp.zeros((n, n), w.dtype).at[rows, columns].add(jnp.concatenate([w, w, -w, -w]))
    size = component_sum(c, c.vertex_mask.astype(w.dtype))
    level = component_sum(c, jnp.diagonal(matrix)) / jnp.maximum(size, 1)
    fill = jnp.where(level > 0, level, 1) / jnp.maximum(size, 1)
    together = c.vertex_mask[:, None] & (c.component[:, None] == c.component[None, :])
    matrix = (
        matrix
        + jnp.where(together, fill[:, None], 0)
        + jnp.diag(jnp.where(c.vertex_mask, 0, 1).astype(w.dtype))
    )
    factor: Array = jnp.linalg.cholesky(matrix, symmetrize_input=False)
    return factor


def _at(values: Array, index: Array) -> Array:
    """Gather without bounds checks: every index of a complex, padding included, is within its capacity."""
    return values.at[index].get(mode=_IN_BOUNDS)


def _upward(c: SimplicialComplex, f: Array) -> Array:
    """Between the edges' own orientation and that from the lower vertex to the higher, either way."""
    return jnp.where(c.tail < c.head, f, -f)


def _sides(c: SimplicialComplex) -> tuple[Array, Array, Array]:
    """Columns of edge indices vw, uw, uv, each contiguous."""
    vw, uw, uv = c.triangle_edges.T
    return vw, uw, uv


def _around(c: SimplicialComplex, sides: tuple[Array, Array, Array], upward: Array) -> Array:
    vw, uw, uv = (_at(upward, side) for side in sides)
    return jnp.where(c.triangle_mask, vw - uw + uv, 0)


def _along(c: SimplicialComplex, sides: tuple[Array, Array, Array], b: Array) -> Array:
    vw, uw, uv = sides
    f = jnp.zeros(c.edge_mask.shape, b.dtype).at[vw].add(b, mode=_IN_BOUNDS)
    return f.at[uw].add(-b, mode=_IN_BOUNDS).at[uv].add(b, mode=_IN_BOUNDS)
