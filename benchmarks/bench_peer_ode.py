"""Form and phase integrated in time: our steps beside diffrax and kuramoto.

Form: the activator and inhibitor on a geometric graph (mean degree about 8) with Metropolis weights. First
100 steps of a fixed length in one compiled program; ours and diffrax evaluate the same kinetics with the same
products. diffrax has no classical fourth-order scheme, so its table is given here as a solver of its own
kind, beside its Tsit5 (order five, six evaluations where ours has four). Then the same span, and a single
tick of 0.1 s, with error control at 1e-6: ours doubles steps, Tsit5 has its error from an embedded pair.
Phase: all-to-all oscillators, 200 steps of 0.05 s; kuramoto hands them to scipy's `odeint` at its default
tolerance, with the sum over all pairs. In float64, on one core. `error` is the largest from Dopri8 at 1e-12
(phase: `solve_ivp` at 1e-12), `ratio` the processor time over ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from bench_hodge import geometric_graph
from peers import Entrant, Peer, compiled, contest, load
from shivya_kernels import laplacian, morphogen, phase
from shivya_kernels.complex import SimplicialComplex
from timing import Row, fix_environment, publish

SIZES = (64, 1_000)
STEPS = 100
D_U, D_V, DT = 0.01, 0.1, 0.1
TOLERANCE = 1e-6
OSCILLATORS = (10, 100)
PHASE_STEPS, PHASE_DT, COUPLING = 200, 0.05, 2.5


def main() -> None:
    diffrax, kuramoto = load("diffrax", "diffrax"), load("kuramoto", "kuramoto")
    with jax.enable_x64(True):
        rows = [row for size in SIZES for row in form_rows(size, diffrax)]
        publish("peer_ode", rows + [row for size in OSCILLATORS for row in phase_rows(size, kuramoto)])


def form_rows(size: int, peer: Peer) -> Iterator[Row]:
    c = SimplicialComplex.from_edges(size, geometric_graph(size))
    weights = morphogen.metropolis_weights(c)
    start = jnp.asarray(np.random.default_rng(size).uniform(0.8, 1.3, (2, size)))
    given = (c, weights, start)

    def held(what: str, span: float, calls: dict[str, Callable[..., Any]]) -> Iterator[Row]:
        head, truth, entrants = {"what": f"form, {what}", "size": size}, None, []
        if peer.module is not None:
            truth = np.asarray(compiled(controlled(peer.module, "Dopri8", span, 1e-12), *given)[0]())
        for method, call in calls.items():
            program, compiling = compiled(call, *given)
            told = {} if truth is None else {"error": float(np.abs(np.asarray(program()) - truth).max())}
            entrants.append(Entrant(method, program, compiling=compiling, told=told))
        yield from contest(head, entrants)
        if peer.module is None:
            yield peer.absent(head)

    calls = {"shivya step_rk4": our_steps}
    if peer.module is not None:
        calls[f"{peer.name}, RK4"] = stepped(peer.module, classical(peer.module)())
        calls[f"{peer.name}, Tsit5"] = stepped(peer.module, peer.module.Tsit5())
    yield from held(f"{STEPS} fixed steps", STEPS * DT, calls)
    for what, span in (("100 ticks, error control", STEPS * DT), ("one tick, error control", DT)):
        calls = {"shivya advance": advanced(span)}
        if peer.module is not None:
            calls[f"{peer.name}, Tsit5"] = controlled(peer.module, "Tsit5", span, TOLERANCE)
        yield from held(what, span, calls)


def our_steps(c: SimplicialComplex, weights: jax.Array, y: jax.Array) -> Any:
    def step(_: int, y: jax.Array) -> Any:
        return jnp.stack(morphogen.step_rk4(y[0], y[1], weights, D_U, D_V, DT, complex=c))

    return jax.lax.fori_loop(0, STEPS, step, y)


def advanced(span: float) -> Callable[..., Any]:
    """Our integration with error control."""

    def solve(c: SimplicialComplex, weights: jax.Array, y: jax.Array) -> Any:
        u, v, _ = morphogen.advance(
            y[0], y[1], weights, D_U, D_V, span, complex=c, tolerance=TOLERANCE, max_substeps=4 * STEPS
        )
        return jnp.stack([u, v])

    return solve


def rates(_: Any, y: jax.Array, on: tuple[Any, ...]) -> jax.Array:
    """The kinetics of `morphogen` with its default parameters; small graphs by a dense matrix, as there."""
    u, v = y
    growth = 0.1 - u + u**2 / jnp.maximum(v, morphogen.FLOOR)
    if len(on) == 1:
        return jnp.stack([growth + D_U * (on[0] @ u), u**2 - v + D_V * (on[0] @ v)])
    c, weights = on

    def spread(x: jax.Array) -> jax.Array:
        return laplacian.net_inflow(c, -weights * laplacian.vertex_difference(c, x))

    return jnp.stack([growth + D_U * spread(u), u**2 - v + D_V * spread(v)])


def arguments(c: SimplicialComplex, weights: jax.Array) -> tuple[Any, ...]:
    """What the kinetics need: the Laplacian as a matrix where ours is dense too, else complex and weights."""
    n = c.vertex_mask.shape[0]
    if n > laplacian.DENSE_VERTICES:
        return c, weights
    joined = jnp.zeros((n, n)).at[c.tail, c.head].add(weights).at[c.head, c.tail].add(weights)
    return (joined - jnp.diag(joined.sum(axis=1)),)


def classical(diffrax: Any) -> Any:
    """The classical fourth-order method as a solver of diffrax; it estimates no error."""
    table = diffrax.ButcherTableau(
        a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
        b_sol=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
        b_error=np.zeros(4),
        c=np.array([0.5, 0.5, 1.0]),
    )

    class Classical(diffrax.AbstractERK):  # type: ignore[misc]
        tableau = table
        interpolation_cls = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

        def order(self, terms: Any) -> int:
            return 4

    return Classical


def stepped(diffrax: Any, solver: Any) -> Callable[..., Any]:
    return _solving(diffrax, solver, diffrax.ConstantStepSize(), STEPS * DT, STEPS)


def controlled(diffrax: Any, solver: str, span: float, tolerance: float) -> Callable[..., Any]:
    """With error control; the first step it tries is one tick."""
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)
    return _solving(diffrax, getattr(diffrax, solver)(), controller, span, 4096)


def _solving(diffrax: Any, solver: Any, controller: Any, span: float, most: int) -> Callable[..., Any]:
    def solve(c: SimplicialComplex, weights: jax.Array, y: jax.Array) -> Any:
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(rates),
            solver,
            0.0,
            span,
            DT,
            y,
            arguments(c, weights),
            stepsize_controller=controller,
            saveat=diffrax.SaveAt(t1=True),
            adjoint=diffrax.ForwardMode(),
            max_steps=most + 1,
        )
        return found.ys[0]

    return solve


def phase_rows(size: int, peer: Peer) -> Iterator[Row]:
    rng = np.random.default_rng(size)
    start, frequency = rng.uniform(-np.pi, np.pi, size), rng.normal(size=size)
    span = PHASE_STEPS * PHASE_DT

    def derivative(_: float, theta: np.ndarray) -> Any:
        return frequency + COUPLING / size * np.sin(theta[None, :] - theta[:, None]).sum(axis=1)

    truth = solve_ivp(derivative, (0, span), start, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]

    def steps(theta: jax.Array, omega: jax.Array) -> Any:
        def step(_: int, theta: jax.Array) -> Any:
            return phase.kuramoto_step(theta, omega, COUPLING, PHASE_DT)

        return jax.lax.fori_loop(0, PHASE_STEPS, step, theta)

    def told(theta: Any) -> Row:
        return {"error": float(np.abs(np.asarray(phase.wrap(np.asarray(theta) - truth))).max())}

    head = {"what": f"phase, {PHASE_STEPS} steps", "size": size}
    program, compiling = compiled(steps, jnp.asarray(start), jnp.asarray(frequency))
    entrants = [Entrant("shivya kuramoto_step", program, compiling=compiling, told=told(program()))]
    if peer.module is not None:
        # Its times are `linspace(0, T, T / dt)`: one more point makes them ours.
        model = peer.module.Kuramoto(COUPLING, span / (PHASE_STEPS + 1), span, natfreqs=frequency)
        everyone = np.ones((size, size))
        entrants.append(
            Entrant(
                peer.name,
                lambda: model.run(everyone, start),
                told=told(model.run(everyone, start)[:, -1]),
            )
        )
    yield from contest(head, entrants)
    if peer.module is None:
        yield peer.absent(head)


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
