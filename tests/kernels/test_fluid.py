"""Fluid fleets: nothing is lost, fleets do not touch, derivatives are true, queues are as with whole jobs."""

from __future__ import annotations

from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from shivya_kernels.fleet import Outage, Params, Scenario, World, worlds
from shivya_kernels.fleet.fluid import FluidTrace, delay_quantile, fluid
from shivya_kernels.fleet.fluid_feed import feed

SMALL = Scenario(nodes=8, mean_degree=3.0, hotspot=0.25, load=0.9, seconds=20.0, warm_up=1.0)
FAULTS = replace(
    SMALL,
    seconds=5.0,
    crash=Outage(1.0, 2.5),
    slow=Outage(3.0, 4.0, node=2),
    loss=0.3,
    hop=0.06,
    extra_age=0.1,
)


def test_feeds_have_all_jobs_and_all_work():
    world = worlds(SMALL, [3, 4])
    fed = feed(world)
    real = world.owner < 2
    assert fed.seconds == 0.05
    assert fed.jobs.sum() == real.sum()
    assert_allclose(fed.work.sum(), world.size[real].sum(dtype=float), rtol=1e-5)
    place = int(world.home[17])
    mine = real & (world.home == place)
    assert_allclose(
        np.cumsum(fed.jobs[:, place]),
        [(world.born[mine] <= (k + 1) * 50_000).sum() for k in range(fed.jobs.shape[0])],
    )


@pytest.mark.parametrize(
    ("sizes", "variation"), [("exponential", 1.0), ("lognormal", 4.0), ("deterministic", 0.0)]
)
def test_sizes_keep_their_mean_and_variance(sizes, variation):
    world = worlds(replace(SMALL, sizes=sizes, size_variation=4.0, seconds=60.0), [1])
    fed, size = feed(world), world.size[world.owner == 0]
    shifted, long, often = fed.shifted[0], fed.long[0], fed.often[0]
    mean = shifted + (often * long).sum()
    square = 2 * (often * long**2).sum() + 2 * shifted * (mean - shifted) + shifted**2
    assert_allclose([mean, square - mean**2], [size.mean(), size.var()], rtol=1e-4, atol=1e-6)
    assert_allclose(size.var(), variation, rtol=0.7)


def test_steps_divide_the_heartbeat():
    world = worlds(replace(SMALL, heartbeat=0.15), [0])
    assert feed(world).seconds == pytest.approx(0.05)
    assert feed(world, step=0.06).seconds == pytest.approx(0.05)
    assert feed(world, step=0.2).seconds == pytest.approx(0.15)
    with pytest.raises(ValueError, match="shorter than the world's"):
        feed(world, step=0.001)


def accounted(trace: FluidTrace) -> None:
    """Every job is somewhere, once, and the records of queues agree."""
    total = trace.done + trace.refused + trace.lost + trace.held + trace.flying
    assert_allclose(total, trace.arrived, rtol=1e-12)
    record = trace.record
    assert min(float(x.min()) for x in record) >= -1e-9
    queued = (record.fresh + record.moved - record.handed).sum()
    assert_allclose(queued, (trace.done + trace.held).sum(), rtol=1e-9)
    assert (np.asarray(trace.moves) > 10).all()


def test_nothing_is_lost_when_nodes_crash_and_heartbeats_are_lost():
    trace = fluid(feed(worlds(FAULTS, [5, 6])), Params())
    accounted(trace)
    assert (np.asarray(trace.refused) > 1).all()
    assert (np.asarray(trace.lost) > 0.1).all()


def test_nothing_is_lost_over_a_cut():
    cut = replace(SMALL, partition=(1.0, 3.0), seconds=4.0, hop=0.12, servers=2)
    trace = fluid(feed(worlds(cut, [5, 6])), Params())
    accounted(trace)
    assert float(trace.lost.sum()) == 0


def quantiles(world: World, gaps: tuple[float, float] = (0.05, 0.05), **changes: float) -> np.ndarray:
    """Of two fleets; always the same shapes, so that they compile once."""
    return np.asarray(delay_quantile(fluid(feed(world), Params(gap=jnp.array(gaps), **changes))))


def test_fleets_do_not_touch_and_have_parameters_of_their_own():
    both = worlds(SMALL, [5, 6])
    plain = quantiles(both)
    assert_allclose(quantiles(worlds(SMALL, [6, 5], both.shape)), plain[::-1], rtol=1e-9)
    wide = quantiles(both, (0.4, 0.05))
    assert_allclose(wide[1], plain[1], rtol=1e-9)
    assert wide[0] > 1.02 * plain[0]


def sojourns(world: World, fleet: int) -> np.ndarray:
    """Of the measured jobs of a fleet that each wait at home for those before them (Lindley 1952)."""
    mine = np.nonzero(world.owner == fleet)[0]
    free = np.zeros(world.shape.places)
    times = []
    for job in mine:
        place, born = world.home[job], world.born[job] / 1e6
        free[place] = max(free[place], born) + world.size[job] / world.rate[place]
        if born > SMALL.warm_up:
            times.append(free[place] - born)
    return np.array(times)


def test_waiting_without_moves_is_that_of_whole_jobs():
    """A gap that nothing is worth leaves queues to themselves, where the fluid has the very same work."""
    room = worlds(SMALL, [5, 6]).shape
    world = worlds(replace(SMALL, load=0.6, hotspot=0.0), [5, 6], room)
    found = quantiles(world, (1e3, 1e3), gain=0.0, pull_wait=1e3)
    expected = [np.quantile(sojourns(world, fleet), 0.99) for fleet in range(2)]
    assert_allclose(found, expected, rtol=0.15)


def test_derivatives_are_true():
    """Against central differences; at full sharpness they would be those of a chaotic path."""
    fed = feed(worlds(replace(SMALL, nodes=5, seconds=3.0, warm_up=0.5), [2]))
    names = tuple(f.name for f in fields(Params) if f.name not in ("momentum", "hops"))
    at = jnp.array([getattr(Params(), name) for name in names], float)

    def score(x: jax.Array) -> jax.Array:
        params = replace(Params(), **dict(zip(names, x, strict=True)))
        return jnp.log(delay_quantile(fluid(fed, params, 0.08))).sum()

    # Runs for a moment, so most of its time would go into optimising it.
    both = jax.jit(jax.value_and_grad(score), compiler_options={"xla_backend_optimization_level": 0})
    found = np.asarray(both(at)[1])
    steps = 1e-6 * np.asarray(at)
    numerical = [
        (both(at.at[k].add(h))[0] - both(at.at[k].add(-h))[0]) / (2 * h) for k, h in enumerate(steps)
    ]
    assert np.isfinite(found).all()
    assert_allclose(found, numerical, rtol=1e-4, atol=1e-6)
    assert (np.abs(found) > 1e-4).sum() >= 8, dict(zip(names, found, strict=True))
