"""Hodge decomposition of edge flows: what is driven, what circulates, what goes round the holes.

flow = d0 a + d1^T b + h (Lim, "Hodge Laplacians on Graphs", SIAM Review 2020; Jiang, Lim, Yao, Ye,
"Statistical ranking and combinatorial Hodge theory", 2011). Signs are those of `complex`:
(d0 a)(u -> v) = a_v - a_u, and d1 sums a flow around [u < v < w] with the edges' orientation. Unlike
dense pseudo-inverses, which end at a few thousand edges, only products with d0 and d1 are formed above 128
vertices. A complex that many flows are decomposed on is first passed through `prefactor`.

Vectors of a padded complex may be passed unpadded. Results have the length passed; a result over another kind
of cell is then unpadded too, unless the complex is traced and its count unknown: then it has capacity length.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from shivya_kernels import cg, laplacian
from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.padding import Lengths, lengths
from shivya_kernels.shapes import as_float, resize
from shivya_kernels.status import Status, flag


class HodgeParts(NamedTuple):
    """The three orthogonal parts of a flow and what generates the first two."""

    gradient: Float[Array, "E"]
    """d0 a: driven by a potential."""
    curl: Float[Array, "E"]
    """d1^T b: round and round filled triangles."""
    harmonic: Float[Array, "E"]
    """The rest: round holes; neither divergence nor circulation."""
    potential: Float[Array, "V"]
    """a, of mean zero on each component."""
    circulation: Float[Array, "T"]
    """b, of least norm."""
    info: cg.SolveInfo
    """Iterations (sum), relative residual (the larger) and status of the two solves."""


Warm = HodgeParts | tuple[Float[ArrayLike, "V"] | None, Float[ArrayLike, "T"] | None]
"""Where to start from: an earlier decomposition, or its potential and circulation."""


def gradient(c: SimplicialComplex, potential: Float[ArrayLike, "V"]) -> Float[Array, "E"]:
    """d0: potential at the head minus potential at the tail. Raises DimensionMismatch."""
    potential = as_float(potential)
    result: Array = _gradient(c, potential, lengths(c, vertices=[potential]))
    return result


def curl(c: SimplicialComplex, f: Float[ArrayLike, "E"]) -> Float[Array, "T"]:
    """d1: the circulation around each triangle [u < v < w], f_vw - f_uw + f_uv. Raises DimensionMismatch."""
    f = as_float(f)
    result: Array = _curl(c, f, lengths(c, edges=[f]))
    return result


def divergence(c: SimplicialComplex, f: Float[ArrayLike, "E"]) -> Float[Array, "V"]:
    """d0^T: net inflow of each vertex, what arrives less what leaves. Raises DimensionMismatch."""
    f = as_float(f)
    result: Array = _divergence(c, f, lengths(c, edges=[f]))
    return result


def decompose(
    c: SimplicialComplex,
    f: Float[ArrayLike, "E"],
    *,
    tolerance: ArrayLike | None = None,
    max_iterations: ArrayLike = 1000,
    warm: Warm | None = None,
) -> HodgeParts:
    """Split a flow into gradient, curl and harmonic parts: mutually orthogonal, summing to the flow.

    The potential is solved for directly up to 128 vertices of capacity, by conjugate gradient above, as the
    circulation always is, to a relative residual of `tolerance` (default 1e-12 with up to 128 vertices and
    1e-8 above; in float32 1e-6 and 1e-5). `warm` takes the parts of an earlier, similar flow as the start, or
    its (potential, circulation), either of which may be None. On a complex with Green's operator
    (`prefactor`) nothing is iterated, and these arguments play no part. Differentiable, also on disconnected
    complexes and where tetrahedra make d1 d1^T singular.

    Returns HodgeParts. NOT_CONVERGED is set in info.status when max_iterations did not suffice; NaN or
    infinity in the flow gives zero parts and NON_FINITE_INPUT. Raises DimensionMismatch.
    """
    f = as_float(f)
    start = (warm.potential, warm.circulation) if isinstance(warm, HodgeParts) else warm
    parts: HodgeParts = _decompose(c, f, tolerance, max_iterations, start, lengths(c, edges=[f]))
    return parts


def project_out_curl(
    c: SimplicialComplex, f: Float[ArrayLike, "E"], *, tolerance: ArrayLike | None = None
) -> Float[Array, "E"]:
    """The flow without its curl part: the same divergence, and no circulation around any triangle.

    On a complex with Green's operator nothing is iterated. A flow that is not finite gives zero. Raises
    DimensionMismatch.
    """
    f = as_float(f)
    result: Array = _project_out_curl(c, f, tolerance, lengths(c, edges=[f]))
    return result


@partial(jax.jit, static_argnames="out")
def _gradient(c: SimplicialComplex, potential: Array, out: Lengths) -> Array:
    return resize(laplacian.vertex_difference(c, resize(potential, c.vertex_mask.shape[0])), out.edges)


@partial(jax.jit, static_argnames="out")
def _curl(c: SimplicialComplex, f: Array, out: Lengths) -> Array:
    return resize(laplacian.circulation(c, resize(f, c.edge_mask.shape[0])), out.triangles)


@partial(jax.jit, static_argnames="out")
def _divergence(c: SimplicialComplex, f: Array, out: Lengths) -> Array:
    return resize(laplacian.net_inflow(c, resize(f, c.edge_mask.shape[0])), out.vertices)


@partial(jax.jit, static_argnames="out")
def _decompose(
    c: SimplicialComplex,
    f: Array,
    tolerance: ArrayLike | None,
    max_iterations: ArrayLike,
    start: tuple[ArrayLike | None, ArrayLike | None] | None,
    out: Lengths,
) -> HodgeParts:
    finite, f = _admit(c, f)
    if c.green is None:
        a, b, info = _solve(c, f, tolerance, max_iterations, start or (None, None))
    else:
        a, b, info = _apply_green(c, c.green, f)
    gradient_part, curl_part = laplacian.vertex_difference(c, a), laplacian.boundary(c, b)
    return HodgeParts(
        resize(gradient_part, out.edges),
        resize(curl_part, out.edges),
        resize(f - gradient_part - curl_part, out.edges),
        resize(a, out.vertices),
        resize(b, out.triangles),
        info._replace(status=info.status | flag(~finite, Status.NON_FINITE_INPUT)),
    )


def _solve(
    c: SimplicialComplex,
    f: Array,
    tolerance: ArrayLike | None,
    max_iterations: ArrayLike,
    start: tuple[ArrayLike | None, ArrayLike | None],
) -> tuple[Array, Array, cg.SolveInfo]:
    """Potential and circulation by one solve each."""
    tolerance = _tolerance(c, f) if tolerance is None else tolerance
    a0, b0 = (None if x is None else as_float(x) for x in start)
    a, driven = laplacian.solve_laplacian(
        c,
        laplacian.net_inflow(c, f),
        start=None if a0 is None else resize(a0, c.vertex_mask.shape[0]),
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    b, turning = _solve_circulation(c, f, b0, tolerance, max_iterations)
    info = cg.SolveInfo(
        driven.iterations + turning.iterations,
        jnp.maximum(driven.residual, turning.residual),
        driven.status | turning.status,
    )
    return a, _of_least_norm(c, b), info


def _apply_green(c: SimplicialComplex, green: Array, f: Array) -> tuple[Array, Array, cg.SolveInfo]:
    """Potential d0^T G f and circulation d1 G f."""
    exact = f.astype(green.dtype)
    x = jnp.where(c.edge_mask, green @ exact, 0)
    a, b = laplacian.net_inflow(c, x), laplacian.circulation(c, x)
    rest = exact - laplacian.vertex_difference(c, a) - laplacian.boundary(c, b)
    # Rounding of the flow itself is no fault of the solve, however small the driven or turning part is.
    noise = 16 * float(np.finfo(f.dtype).eps) * jnp.linalg.norm(exact)
    limit = cg.default_tolerance(f.dtype)

    def relative(left: Array, right: Array) -> Array:
        scale = jnp.maximum(jnp.linalg.norm(right), noise / limit)
        ratio: Array = jnp.linalg.norm(left) / jnp.where(scale > 0, scale, 1)
        return ratio

    residual = jax.lax.stop_gradient(
        jnp.maximum(
            relative(laplacian.net_inflow(c, rest), laplacian.net_inflow(c, exact)),
            relative(laplacian.circulation(c, rest), laplacian.circulation(c, exact)),
        )
    ).astype(f.dtype)
    info = cg.SolveInfo(jnp.int32(0), residual, flag(residual > limit, Status.NOT_CONVERGED))
    return a.astype(f.dtype), b.astype(f.dtype), info


@partial(jax.jit, static_argnames="out")
def _project_out_curl(c: SimplicialComplex, f: Array, tolerance: ArrayLike | None, out: Lengths) -> Array:
    _, f = _admit(c, f)
    tolerance = _tolerance(c, f) if tolerance is None else tolerance
    if c.green is None:
        b, _ = _solve_circulation(c, f, None, tolerance, 1000)
    else:
        _, b, _ = _apply_green(c, c.green, f)
    return resize(f - laplacian.boundary(c, b), out.edges)


def _admit(c: SimplicialComplex, f: Array) -> tuple[Array, Array]:
    """Whether the flow is finite; and it, at capacity length, zero on padded edges and if it is not."""
    f = jnp.where(c.edge_mask, resize(f, c.edge_mask.shape[0]), 0)
    finite = jnp.all(jnp.isfinite(f))
    return finite, jnp.where(finite, f, 0)


def _tolerance(c: SimplicialComplex, f: Array) -> float:
    loose = cg.default_tolerance(f.dtype)
    small = c.vertex_mask.shape[0] <= laplacian.DENSE_VERTICES
    return (1e-12 if loose <= 1e-8 else 1e-6) if small else loose


def _solve_circulation(
    c: SimplicialComplex, f: Array, start: Array | None, tolerance: ArrayLike, max_iterations: ArrayLike
) -> tuple[Array, cg.SolveInfo]:
    """d1 d1^T b = d1 f: singular beside tetrahedra, but the right-hand side is in its range."""
    rounding = 16 * float(np.finfo(f.dtype).eps) * jnp.linalg.norm(f)
    return cg.solve(
        laplacian.triangle_laplacian(c),
        laplacian.circulation(c, f),
        start=None
        if start is None
        else jnp.where(c.triangle_mask, resize(start, c.triangle_mask.shape[0]), 0),
        tolerance=tolerance,
        max_iterations=max_iterations,
        noise=rounding,
    )


@jax.custom_jvp
def _of_least_norm(c: SimplicialComplex, b: Array) -> Array:
    """b itself, which lies in the range of d1; its cotangents, which need not, are projected onto it."""
    return b


@_of_least_norm.defjvp
def _project_tangent(
    primals: tuple[SimplicialComplex, Array], tangents: tuple[SimplicialComplex, Array]
) -> tuple[Array, Array]:
    c, b = primals
    _, tangent = tangents
    around, _ = cg.solve_linear(
        lambda f: laplacian.boundary(c, laplacian.circulation(c, f)),
        laplacian.boundary(c, tangent),
        tolerance=_tolerance(c, b),
    )
    return b, laplacian.circulation(c, around)
