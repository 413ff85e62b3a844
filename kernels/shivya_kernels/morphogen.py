"""Reaction and diffusion on a graph: the activator and inhibitor from which form grows (Gierer, Meinhardt
1972).

    u' = a + s - b u + u^2 / v + D_u Lap u,        v' = c u^2 - d v + D_v Lap v,

with a source s per vertex and (Lap u)_i = sum_j w_ij (u_j - u_i). Weights are a symmetric matrix [v, v],
whose diagonal plays no part, or one weight per edge with `complex` given; ``c`` is the kinetic constant
throughout. The kinetics divide by v no smaller than ``FLOOR``.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int32, UInt32

from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.laplacian import DENSE_VERTICES, net_inflow, vertex_difference
from shivya_kernels.shapes import as_float, resize
from shivya_kernels.status import Status, flag

FLOOR = 1e-5
"""Least inhibitor that the activator's growth is divided by."""

_CFL = 0.45


class AdvanceInfo(NamedTuple):
    """How an error-controlled integration went."""

    substeps: Int32[Array, ""]
    """Substeps tried, rejected ones included."""
    status: UInt32[Array, ""]


class _Model(NamedTuple):
    weights: Array
    """Per edge where `complex` is given, else the matrix whose product is Lap."""
    complex: SimplicialComplex | None
    d_u: Array
    d_v: Array
    source: Array
    a: Array
    b: Array
    c: Array
    d: Array


@jax.jit
def cfl_dt(
    graph: Float[ArrayLike, "V V"] | SimplicialComplex,
    d_u: ArrayLike,
    d_v: ArrayLike,
    requested: ArrayLike,
    weights: Float[ArrayLike, "E"] | None = None,
) -> Float[Array, ""]:
    """The requested time step, or 0.45 / (largest diffusion * largest weighted degree) if that is shorter.

    `graph` is a weight matrix, or a complex with edge `weights` (None: all 1). Covers diffusion only.
    """
    if isinstance(graph, SimplicialComplex):
        k = jnp.ones(graph.edge_mask.shape, float) if weights is None else as_float(weights)
        degree = _degree(graph, k)
    else:
        matrix = as_float(graph)
        degree = matrix.sum(axis=1) - jnp.diagonal(matrix)
    speed = jnp.maximum(d_u, d_v) * degree.max()
    limit = jnp.where(speed > 0, _CFL / jnp.where(speed > 0, speed, 1.0), jnp.inf)
    return jnp.minimum(as_float(requested), limit)


@jax.jit
def rest(
    a: ArrayLike = 0.1, b: ArrayLike = 1.0, c: ArrayLike = 1.0, d: ArrayLike = 1.0
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The steady state (u, v) of the kinetics without source, alike on every vertex: (1.1, 1.21) by
    default."""
    basal, decay, growth, leak = map(as_float, (a, b, c, d))
    u = (basal + leak / growth) / decay
    return u, growth * u**2 / leak


@jax.jit
def metropolis_weights(c: SimplicialComplex) -> Float[Array, "E"]:
    """Edge weights 1 / max(degree of either end), zero on padding (Xiao, Boyd 2004).

    The Laplacian's eigenvalues stay in [0, 2] on every graph, below the band in which the default parameters
    form Turing patterns by themselves ([18.9, 52.9]), so that form follows stress and not the number of
    links.
    """
    degree = _degree(c, jnp.ones(c.edge_mask.shape, float))
    widest = jnp.maximum(jnp.maximum(degree[c.tail], degree[c.head]), 1.0)
    return jnp.where(c.edge_mask, 1.0 / widest, 0.0)


@jax.jit
def step_rk4(
    u: Float[ArrayLike, "V"],
    v: Float[ArrayLike, "V"],
    laplacian_weights: Float[ArrayLike, "V V"] | Float[ArrayLike, "E"],
    d_u: ArrayLike,
    d_v: ArrayLike,
    dt: ArrayLike,
    a: ArrayLike = 0.1,
    b: ArrayLike = 1.0,
    c: ArrayLike = 1.0,
    d: ArrayLike = 1.0,
    *,
    source: Float[ArrayLike, "*V"] = 0.0,
    complex: SimplicialComplex | None = None,
) -> tuple[Float[Array, "V"], Float[Array, "V"]]:
    """One classical fourth-order Runge-Kutta step of dt; no substeps, no clipping. See ``advance`` for
    both."""
    y = jnp.stack([as_float(u), as_float(v)])
    model = _model(laplacian_weights, complex, y.shape[1], d_u, d_v, source, a, b, c, d)
    after = _rk4(model, y, as_float(dt))
    return after[0], after[1]


@partial(jax.jit, static_argnames=("tolerance", "max_substeps"))
def advance(
    u: Float[ArrayLike, "V"],
    v: Float[ArrayLike, "V"],
    laplacian_weights: Float[ArrayLike, "V V"] | Float[ArrayLike, "E"],
    d_u: ArrayLike,
    d_v: ArrayLike,
    dt: ArrayLike,
    a: ArrayLike = 0.1,
    b: ArrayLike = 1.0,
    c: ArrayLike = 1.0,
    d: ArrayLike = 1.0,
    *,
    source: Float[ArrayLike, "*V"] = 0.0,
    complex: SimplicialComplex | None = None,
    tolerance: float = 1e-6,
    max_substeps: int = 64,
) -> tuple[Float[Array, "V"], Float[Array, "V"], AdvanceInfo]:
    """Integrate over dt with substeps whose local error, relative to 1 + |value|, stays below `tolerance`.

    The error is measured by step doubling (Hairer, Norsett, Wanner 1993, II.4); a substep that makes a
    concentration negative is rejected, so results are >= 0. Substeps never exceed ``cfl_dt``. After
    `max_substeps` trials the state reached so far is returned and NOT_CONVERGED is set; values that are not
    finite count as zero and set NON_FINITE_INPUT. Differentiable in both modes, with the substeps held fixed.
    """
    given = jnp.stack(jnp.broadcast_arrays(as_float(u), as_float(v), as_float(source)))
    finite = jnp.isfinite(given)
    start = jnp.where(finite, given, 0.0)
    model = _model(laplacian_weights, complex, start.shape[1], d_u, d_v, start[2], a, b, c, d)
    y0, dt = jnp.maximum(start[:2], 0.0), as_float(dt)
    tolerance = max(tolerance, 50.0 * float(np.finfo(given.dtype).eps))
    y, reached, shares, tried = _integrate(*jax.lax.stop_gradient((model, y0, dt)), tolerance, max_substeps)
    y = _with_derivative(model, y0, dt, shares, y)
    status = flag(reached < 1.0, Status.NOT_CONVERGED) | flag(~finite.all(), Status.NON_FINITE_INPUT)
    return y[0], y[1], AdvanceInfo(tried, status)


def _model(
    weights: ArrayLike, complex: SimplicialComplex | None, size: int, *parameters: ArrayLike
) -> _Model:
    matrix = as_float(weights)
    if complex is not None:
        edges = jnp.where(complex.edge_mask, resize(matrix, complex.edge_mask.shape[0]), 0.0)
        vertices = complex.vertex_mask.shape[0]
        if vertices > DENSE_VERTICES:
            return _Model(edges, complex, *map(as_float, parameters))
        matrix = jnp.zeros((vertices, vertices), edges.dtype)
        matrix = matrix.at[complex.tail, complex.head].add(edges).at[complex.head, complex.tail].add(edges)
        matrix = matrix[:size, :size]
    return _Model(matrix - jnp.diag(matrix.sum(axis=1)), None, *map(as_float, parameters))


def _degree(c: SimplicialComplex, weights: Float[Array, "*E"]) -> Float[Array, "V"]:
    k = jnp.where(c.edge_mask, resize(weights, c.edge_mask.shape[0]), 0.0)
    ends = jnp.concatenate([c.tail, c.head])
    return jax.ops.segment_sum(jnp.concatenate([k, k]), ends, num_segments=c.vertex_mask.shape[0])


def _diffusion(model: _Model, x: Float[Array, "V"]) -> Float[Array, "V"]:
    if model.complex is None:
        return model.weights @ x
    padded = resize(x, model.complex.vertex_mask.shape[0])
    inflow = net_inflow(model.complex, -model.weights * vertex_difference(model.complex, padded))
    return inflow[: x.shape[0]]


def _rates(model: _Model, y: Float[Array, "2 V"]) -> Float[Array, "2 V"]:
    u, v = y
    growth = model.a + model.source - model.b * u + u**2 / jnp.maximum(v, FLOOR)
    inhibition = model.c * u**2 - model.d * v
    return jnp.stack(
        [growth + model.d_u * _diffusion(model, u), inhibition + model.d_v * _diffusion(model, v)]
    )


def _rk4(model: _Model, y: Float[Array, "2 V"], dt: Float[Array, ""]) -> Float[Array, "2 V"]:
    k1 = _rates(model, y)
    k2 = _rates(model, y + 0.5 * dt * k1)
    k3 = _rates(model, y + 0.5 * dt * k2)
    k4 = _rates(model, y + dt * k3)
    return y + dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def _two_halves(model: _Model, y: Float[Array, "2 V"], dt: Float[Array, ""]) -> Float[Array, "2 V"]:
    return _rk4(model, _rk4(model, y, 0.5 * dt), 0.5 * dt)


class _Progress(NamedTuple):
    y: Float[Array, "2 V"]
    reached: Float[Array, ""]
    """Share of dt done, exactly 1 at the end."""
    trial: Float[Array, ""]
    """Share of dt that the next substep tries."""
    shares: Float[Array, "N"]
    """Share of each accepted trial, 0 where rejected or not made."""
    tried: Int32[Array, ""]


def _integrate(
    model: _Model, y0: Float[Array, "2 V"], dt: Float[Array, ""], tolerance: float, max_substeps: int
) -> tuple[Array, Array, Array, Array]:
    graph = model.weights if model.complex is None else model.complex
    edge_weights = None if model.complex is None else model.weights
    longest = cfl_dt(graph, model.d_u, model.d_v, dt, edge_weights) / jnp.where(dt > 0, dt, 1.0)

    def advance_once(p: _Progress) -> _Progress:
        share = jnp.minimum(p.trial, 1.0 - p.reached)
        once, twice = _rk4(model, p.y, share * dt), _two_halves(model, p.y, share * dt)
        # Doubling a fourth-order step divides the error by 16, so the difference is 15 times what is left.
        error = (jnp.abs(twice - once) / (15.0 * tolerance * (1.0 + jnp.abs(twice)))).max()
        accepted = (error <= 1.0) & (twice >= 0.0).all()
        factor = jnp.clip(0.9 * jnp.maximum(error, 1e-10) ** -0.2, 0.2, 4.0)
        # An error that is not a number, or too small to explain the rejection, only says: much shorter.
        factor = jnp.where(accepted, factor, jnp.minimum(jnp.where(jnp.isfinite(error), factor, 0.2), 0.5))
        return _Progress(
            jnp.where(accepted, twice, p.y),
            jnp.where(accepted, p.reached + share, p.reached),
            jnp.minimum(share * factor, longest),
            p.shares.at[p.tried].set(jnp.where(accepted, share, 0.0)),
            p.tried + 1,
        )

    def unfinished(p: _Progress) -> Array:
        return (p.reached < 1.0) & (p.tried < max_substeps)

    zero = jnp.zeros((), y0.dtype)
    start = _Progress(y0, zero, longest + zero, jnp.zeros(max_substeps, y0.dtype), jnp.int32(0))
    end = jax.lax.while_loop(unfinished, advance_once, start)
    return end.y, end.reached, end.shares, end.tried


@jax.custom_jvp
def _with_derivative(
    model: _Model,
    y0: Float[Array, "2 V"],
    dt: Float[Array, ""],
    shares: Float[Array, "N"],
    y: Float[Array, "2 V"],
) -> Float[Array, "2 V"]:
    """y, with the derivative of the substeps that led there: a while loop has none in reverse mode."""
    return y


@_with_derivative.defjvp
def _replay_tangent(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    *inputs, shares, y = primals

    def replay(model: _Model, y0: Array, dt: Array) -> Array:
        return jax.lax.scan(lambda x, share: (_two_halves(model, x, share * dt), None), y0, shares)[0]

    _, tangent = jax.jvp(replay, tuple(inputs), tuple(tangents[:3]))
    return y, tangent
