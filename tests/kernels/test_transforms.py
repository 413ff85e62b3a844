"""Every public kernel under every transformation: one table, the same five questions of each row.

jit and vmap change nothing; padding changes nothing; float32 stays float32 and near; derivatives are finite
and those of finite differences; a second eager call compiles nothing. A row is added by naming a kernel and
saying how it is called on ``Inputs``; what a kernel computes is tested in its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shivya_kernels import beliefs, conductance, flow, hodge, linalg, morphogen, onsager, step
from shivya_kernels.complex import Capacity, SimplicialComplex

TIGHT = Capacity(6, 9, 4)
PADDED = Capacity(8, 12, 7)
GRAPHS = (
    [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5), (5, 3), (1, 3), (0, 4)],
    [(1, 0), (2, 1), (2, 0), (3, 2), (5, 3), (4, 5), (3, 4), (0, 5), (1, 4)],
)


class Inputs(NamedTuple):
    """What kernels are called on: generic positions, away from every kink."""

    levels: Any
    """Positive numbers per vertex: queues, potentials, concentrations."""
    rates: Any
    """Positive numbers per vertex: service rates, inhibitors."""
    vectors: Any
    """Three signed numbers per vertex."""
    flows: Any
    """Signed numbers per edge."""
    weights: Any
    """Positive numbers per edge: conductances, costs."""
    matrix: Any
    """Positive definite [4, 4]."""
    senses: Any
    """Signed numbers [4]."""
    action: Any
    """Signed numbers [2]."""


Kernel = Callable[[SimplicialComplex, Inputs], Any]


class Row(NamedTuple):
    """A kernel, called on a complex and vectors at its capacity."""

    name: str
    call: Kernel
    differentiable: bool = True
    on_complex: bool = True
    """False: it takes no vectors over vertices and edges, so padding is no question."""
    single: float = 1e-4
    """How near float32 must come to float64, relative to the largest value."""


def agent(x: Inputs) -> beliefs.Agent:
    mixing = jnp.asarray(np.random.default_rng(5).normal(size=(4, 4)), x.matrix.dtype)
    return beliefs.Agent(
        mu_prior=0.3 * x.senses,
        sigma_prior=x.matrix,
        G=mixing,
        sigma_s0=0.5 * x.matrix,
        W=mixing[:, :2],
        m=mixing[:, 2:],
        mu_pref=x.senses,
        sigma_pref=2.0 * x.matrix,
    )


def place(c: SimplicialComplex, x: Inputs) -> Any:
    asked = (0.4, 3.0, 2.0, 1.0, x.levels, 0.05 * x.rates, jnp.round(x.levels), x.rates, 0.01 * x.rates)
    found = flow.placement(*(jnp.asarray(value, x.levels.dtype) for value in asked), c.vertex_mask)
    return found._replace(view=jnp.where(c.vertex_mask, found.view, 0.0))


def tick(c: SimplicialComplex, x: Inputs) -> Any:
    """One step of a fleet, from the state before the first tick."""
    shapes = (c.vertex_mask, c.edge_mask, c.triangle_mask)
    capacity = Capacity(*(mask.shape[0] for mask in shapes), beliefs=4)
    dtype = x.levels.dtype

    def cast(leaf: Any) -> Any:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    params, empty = jax.tree.map(cast, (step.Params(), step.Observation.empty(capacity)))
    observation = replace(
        empty,
        complex=c,
        own=empty.own.at[0].set(True),
        live=c.vertex_mask,
        sensed=c.vertex_mask,
        queue=10.0 * x.levels,
        service_rate=jnp.where(c.vertex_mask, 10.0 * x.rates, 0.0),
        arrival_rate=5.0 * x.rates,
        potential=x.levels,
        slope=0.1 * x.rates,
        rtt=0.01 * x.weights,
        traffic=x.flows,
    )
    _, info = step.step(params, step.init(params, capacity, jax.random.PRNGKey(3)), observation)
    # How many iterations a solve took is no value: rounding decides.
    return replace(info, iterations=jnp.int32(0))


ROWS = (
    Row("hodge.gradient", lambda c, x: hodge.gradient(c, x.levels)),
    Row("hodge.curl", lambda c, x: hodge.curl(c, x.flows)),
    Row("hodge.divergence", lambda c, x: hodge.divergence(c, x.flows)),
    Row("hodge.decompose", lambda c, x: hodge.decompose(c, x.flows)[:5]),
    Row("hodge.project_out_curl", lambda c, x: hodge.project_out_curl(c, x.flows)),
    Row("flow.balancing_flow", lambda c, x: flow.balancing_flow(c, x.levels, x.rates)),
    Row("flow.balancing_flow, weighted", lambda c, x: flow.balancing_flow(c, x.levels, x.rates, x.weights)),
    Row("flow.waiting_potential", lambda c, x: flow.waiting_potential(c, x.levels, 0.3 * x.weights)),
    Row("flow.waiting_time", lambda c, x: flow.waiting_time(9.0 * x.levels, 2.0, x.rates)),
    Row("flow.tail_time", lambda c, x: flow.tail_time(9.0 * x.levels, 2.0, x.rates)),
    Row("flow.placement", place),
    Row(
        "flow.release",
        lambda c, x: flow.release(jnp.where(c.vertex_mask, 3.0 * x.levels, 0.0), 7, 0.4),
        differentiable=False,
    ),
    Row("beliefs.infer", lambda c, x: beliefs.infer(agent(x), x.senses, x.action), on_complex=False),
    Row("beliefs.posterior", lambda c, x: beliefs.posterior(agent(x), x.senses, x.action), on_complex=False),
    Row(
        "beliefs.variational_free_energy",
        lambda c, x: beliefs.variational_free_energy(agent(x), x.senses, -x.senses, x.matrix, x.action),
        on_complex=False,
    ),
    Row(
        "beliefs.descend, natural",
        lambda c, x: beliefs.descend(agent(x), x.senses, x.senses, x.action, rate=0.3, steps=4),
        on_complex=False,
    ),
    Row(
        "beliefs.descend, seed",
        lambda c, x: beliefs.descend(agent(x), x.senses, x.senses, x.action, rate=0.01, steps=4, form="seed"),
        on_complex=False,
    ),
    *(
        Row(
            f"beliefs.expected_free_energy, {form}",
            lambda c, x, form=form: beliefs.expected_free_energy(
                agent(x), x.senses, x.matrix, jnp.stack([x.action, -x.action]), form=form
            ),
            on_complex=False,
        )
        for form in ("risk_ambiguity", "seed")
    ),
    Row("linalg.stabilise", lambda c, x: linalg.stabilise(x.matrix), on_complex=False),
    Row("onsager.flows", lambda c, x: onsager.flows(c, x.weights, x.vectors)),
    Row("onsager.entropy_production", lambda c, x: onsager.entropy_production(c, x.weights, x.vectors)),
    Row("onsager.base_coupling", lambda c, x: onsager.base_coupling(1e6 * x.rates, 0.2 * x.levels)),
    Row("conductance.advertised", lambda c, x: conductance.advertised(x.weights, 0.8, 0.01 * x.weights)),
    Row("conductance.symmetric", lambda c, x: conductance.symmetric(x.weights, x.flows, x.flows > 0)),
    *(
        Row(
            f"conductance.tero_step, {name}",
            lambda c, x, response=response: conductance.tero_step(
                x.weights, 1.0 + x.weights, c, x.levels, 0.1, response=response
            ),
        )
        for name, response in (
            ("linear", conductance.linear),
            ("power", conductance.Power(1.2)),
            ("sigmoid", conductance.Sigmoid()),
        )
    ),
    Row("conductance.seed_step", lambda c, x: conductance.seed_step(x.weights, 0.1 * x.flows)),
    Row(
        "conductance.prune_links",
        lambda c, x: conductance.prune_links(c, x.weights, 1, 5.0),
        differentiable=False,
    ),
    Row("morphogen.cfl_dt", lambda c, x: morphogen.cfl_dt(c, 0.1, x.rates[0], 9.0, x.weights)),
    Row("morphogen.rest", lambda c, x: morphogen.rest(*x.levels[:4])),
    Row(
        "morphogen.metropolis_weights",
        lambda c, x: morphogen.metropolis_weights(c).astype(x.weights.dtype),
        differentiable=False,
    ),
    Row(
        "morphogen.step_rk4",
        lambda c, x: morphogen.step_rk4(x.levels, x.rates, x.weights, 0.02, 0.5, 0.05, complex=c),
    ),
    Row(
        "morphogen.advance",
        lambda c, x: morphogen.advance(
            *(jnp.where(c.vertex_mask, v, 1.0) for v in (x.levels, x.rates)),
            x.weights,
            0.02,
            0.5,
            0.2,
            complex=c,
            max_substeps=16,
        )[:2],
        single=1e-3,
    ),
    Row("step.step", tick, single=1e-3),
)

each_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
differentiable_rows = [row for row in ROWS if row.differentiable]


def complex_of(graph: int, capacity: Capacity = TIGHT) -> SimplicialComplex:
    return SimplicialComplex.from_edges(6, GRAPHS[graph], capacity)


def inputs(seed: int) -> Inputs:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(4, 4))
    drawn = Inputs(
        levels=rng.uniform(0.5, 2.0, 6),
        rates=rng.uniform(0.8, 1.6, 6),
        vectors=rng.normal(size=(6, 3)),
        flows=rng.normal(size=9),
        weights=rng.uniform(0.5, 1.5, 9),
        matrix=root @ root.T + np.eye(4),
        senses=rng.normal(size=4),
        action=0.3 * rng.normal(size=2),
    )
    return Inputs(*map(jnp.asarray, drawn))


def floats(tree: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def assert_near(found: Any, expected: Any, relative: float) -> None:
    """Leaf by leaf: the same type, whole numbers equal, floats within `relative` of the largest."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        value, wanted = np.asarray(one), np.asarray(other)
        assert value.dtype.kind == wanted.dtype.kind
        reach = np.abs(wanted).max(initial=1.0) if wanted.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(value, wanted, rtol=0.0, atol=relative * reach)


@pytest.fixture(scope="session")
def compilations() -> list[str]:
    """Grows by an entry whenever anything is compiled."""
    seen: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **__: seen.append(event) if "backend_compile" in event else None
    )
    return seen


@each_row
def test_jit_and_vmap_change_nothing_and_a_second_call_compiles_nothing(
    row: Row, compilations: list[str]
) -> None:
    """Two fleets in one call, their complexes stacked too."""
    complexes, xs = [complex_of(0), complex_of(1)], [inputs(1), inputs(2)]
    eager = [row.call(complexes[0], xs[0])]
    before = len(compilations)
    eager.append(row.call(complexes[1], xs[1]))
    assert len(compilations) == before
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *zip(complexes, xs, strict=True))
    batch = jax.jit(jax.vmap(row.call))(*stacked)
    for index, expected in enumerate(eager):
        assert_near(jax.tree.map(lambda leaf, i=index: leaf[i], batch), expected, 1e-10)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.on_complex], ids=[row.name for row in ROWS if row.on_complex]
)
def test_padding_changes_nothing_whatever_it_holds(row: Row) -> None:
    x = inputs(1)
    tight = row.call(complex_of(0), x)
    wider = PADDED.vertices - TIGHT.vertices, PADDED.edges - TIGHT.edges

    def pad(values: Any, by: int) -> Any:
        return jnp.pad(values, [(0, by), *[(0, 0)] * (values.ndim - 1)], constant_values=7.0)

    full = x._replace(
        **{name: pad(getattr(x, name), wider[0]) for name in ("levels", "rates", "vectors")},
        **{name: pad(getattr(x, name), wider[1]) for name in ("flows", "weights")},
    )
    found = row.call(complex_of(0, PADDED), full)
    leading = jax.tree.map(lambda wide, small: wide[tuple(slice(n) for n in small.shape)], found, tight)
    assert_near(leading, tight, 1e-10)


@each_row
def test_float32_stays_float32_and_near(row: Row) -> None:
    c, x = complex_of(0), inputs(1)
    single = row.call(c, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), x))
    assert all(leaf.dtype == jnp.float32 for leaf in floats(single))
    assert_near(single, row.call(c, x), row.single)


@pytest.mark.parametrize("row", differentiable_rows, ids=[row.name for row in differentiable_rows])
def test_derivatives_are_finite_and_those_of_finite_differences(row: Row) -> None:
    """A fixed mixture of all that the kernel returns, along one random direction in all that it is given."""
    c, x, rng = complex_of(0), inputs(1), np.random.default_rng(9)
    mixture = [rng.normal(size=leaf.shape) for leaf in floats(jax.eval_shape(row.call, c, x))]

    def value(x: Inputs) -> Any:
        return sum((m * leaf).sum() for m, leaf in zip(mixture, floats(row.call(c, x)), strict=True))

    both = jax.jit(jax.value_and_grad(value))
    _, slopes = both(x)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), x)
    symmetric = direction.matrix + direction.matrix.T
    direction = direction._replace(matrix=symmetric)
    sides = [jax.tree.map(lambda leaf, d, h=h: leaf + h * d, x, direction) for h in (1e-6, -1e-6)]
    up, down = (both(side)[0] for side in sides)
    along = sum((s * d).sum() for s, d in zip(slopes, direction, strict=True))
    assert all(np.isfinite(leaf).all() for leaf in slopes)
    assert any(np.asarray(leaf).any() for leaf in slopes)
    np.testing.assert_allclose(along, (up - down) / 2e-6, rtol=1e-5, atol=1e-6)
