"""The two calls: a batch of fleets under a law, and one fleet from a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from shivya_kernels.fleet import devices, discrete
from shivya_kernels.fleet.discrete import Told
from shivya_kernels.fleet.handover import Omniscience
from shivya_kernels.fleet.laws import Law, Params, Place, law_of
from shivya_kernels.fleet.omniscience import omniscience
from shivya_kernels.fleet.scenario import Scenario
from shivya_kernels.fleet.trace import FleetTrace, joined, trace_of
from shivya_kernels.fleet.world import World, roomy, worlds


def simulate(
    world: World | Sequence[World],
    law: Law | str | Place,
    params: Params | None = None,
    told: Told | None = None,
) -> FleetTrace:
    """Run a batch of fleets under one law until every job is done. Compiles once per shape and law.

    Several worlds, as `spread` makes them, run on a device each; the trace is that of all fleets in a row.
    `told` hears now and then how many seconds have been simulated.
    """
    law = law_of(law)
    each = (world,) if isinstance(world, World) else world
    sees = [omniscience(one, law) for one in each]
    if len(each) == 1:
        return _run(each[0], sees[0], law, params, told)
    bare, chunk = [_bare(one) for one in each], _chunk(each[0])
    outcomes = devices.run(bare, law, _numbers(law, params), sees, chunk, told)
    traces = [trace_of(one, outcome) for one, outcome in zip(each, outcomes, strict=True)]
    return joined(traces, [len(one.seeds) for one in each])


def rollout(
    key: Array, scenario: Scenario, law: Law | str | Place, params: Params | None = None
) -> FleetTrace:
    """One fleet, drawn from the key.

    Under ``jit`` and ``vmap`` the fleet is drawn by a callback to the host, into arrays with room for any; a
    fleet that does not fit them all the same raises ValueError. Many fleets run faster by `simulate`.
    """
    law = law_of(law)
    words = jax.random.key_data(key)
    if not isinstance(words, jax.core.Tracer):
        return simulate(worlds(scenario, [_seed(words)]), law, params)
    room = roomy(scenario)

    def draw(words: Any) -> tuple[World, Omniscience]:
        world = worlds(scenario, [_seed(words)], room)
        return _bare(world), omniscience(world, law)

    like = jax.eval_shape(lambda drawn: drawn, draw(np.zeros(2, np.uint32)))
    world, sees = jax.pure_callback(draw, like, words, vmap_method="sequential")
    return _run(world, sees, law, params)


def _run(
    world: World, sees: Omniscience, law: Law, params: Params | None, told: Told | None = None
) -> FleetTrace:
    outcome = discrete.run(_bare(world), law, _numbers(law, params), sees, _chunk(world), told)
    return trace_of(world, outcome)


def _numbers(law: Law, params: Params | None) -> Params:
    chosen = law.params if params is None else params
    numbers: Params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), chosen)
    return numbers


def _chunk(world: World) -> int:
    """Decisions taken at a time: a fraction of those of a step, for few are put off by others."""
    return int(min(max(world.shape.places // 256 * 16, 16), 256))


def _bare(world: World) -> World:
    """What a program is compiled for is the shape; scenario and seeds would compile it anew."""
    return replace(world, scenario=None, seeds=())


def _seed(words: Any) -> int:
    return int(np.random.SeedSequence(np.asarray(words).ravel().tolist()).generate_state(1)[0])
