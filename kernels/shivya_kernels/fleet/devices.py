"""Fleets over the devices of a process: a world for each, all of one shape, run side by side by one program.

Nothing crosses between devices, and each is done when its own fleets are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from shivya_kernels.fleet import discrete
from shivya_kernels.fleet.discrete import Midway, Outcome, Told
from shivya_kernels.fleet.handover import Omniscience
from shivya_kernels.fleet.laws import Law, Params
from shivya_kernels.fleet.scenario import Scenario
from shivya_kernels.fleet.world import World, alike

_AXIS = "device"


def spread(scenario: Scenario, seeds: Sequence[int]) -> tuple[World, ...]:
    """Worlds for `simulate`, one for each device of this process, with consecutive seeds each.

    One world where there is one device. No device is without a seed.
    """
    count = min(len(seeds), len(jax.local_devices()))
    ends = [len(seeds) * k // count for k in range(count + 1)]
    groups = [seeds[begin:end] for begin, end in pairwise(ends)]
    return alike(scenario, groups, max(map(len, groups)))


def run(
    worlds: Sequence[World],
    law: Law,
    params: Params,
    sees: Sequence[Omniscience],
    chunk: int,
    told: Told | None,
) -> list[Outcome]:
    """``discrete.run`` of every world on a device of its own. The worlds have no scenario and no seeds.

    Raises ValueError where there are more worlds than devices, or worlds of several shapes.
    """
    there, shape = jax.local_devices(), worlds[0].shape
    if any(world.shape != shape for world in worlds):
        raise ValueError("worlds on several devices must have one shape; make them with fleet.spread")
    if len(worlds) > len(there):
        raise ValueError(f"{len(worlds)} worlds need a device each, there are {len(there)}")
    mesh = Mesh(np.array(there[: len(worlds)]), (_AXIS,))
    stacked = (_stacked(worlds), _stacked(sees))
    world, all_see = jax.device_put(stacked, NamedSharding(mesh, _one_each()))

    def further(now: Midway, until: np.int32) -> tuple[Midway, Array]:
        both: tuple[Midway, Array] = _go_on(world, law, params, all_see, chunk, now, until, mesh)
        return both

    now = discrete.in_parts(_begin(world, law, chunk, mesh), further, shape, told)
    left = [np.asarray(values) for values in _end(world, now, mesh)]
    return [Outcome(*(values[k] for values in left)) for k in range(len(worlds))]


@partial(jax.jit, static_argnames=("law", "chunk", "mesh"))
def _begin(world: World, law: Law, chunk: int, mesh: Mesh) -> Midway:
    now: Midway = _on_each(mesh, lambda w: discrete.begin(w, law, chunk))(world)
    return now


@partial(jax.jit, static_argnames=("law", "chunk", "mesh"), donate_argnames="now")
def _go_on(
    world: World,
    law: Law,
    params: Params,
    sees: Omniscience,
    chunk: int,
    now: Midway,
    until: Array | np.int32,
    mesh: Mesh,
) -> tuple[Midway, Array]:
    def one(w: World, s: Omniscience, n: Midway) -> tuple[Midway, Array]:
        further: tuple[Midway, Array] = discrete.go_on(w, law, params, s, chunk, n, until)
        return further

    both: tuple[Midway, Array] = _on_each(mesh, one)(world, sees, now)
    return both


@partial(jax.jit, static_argnames="mesh")
def _end(world: World, now: Midway, mesh: Mesh) -> Outcome:
    outcome: Outcome = _on_each(mesh, discrete.end)(world, now)
    return outcome


def _on_each(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on each device alone, of arguments whose leading axis is that of the devices."""

    def alone(*arguments: Any) -> Any:
        found = function(*jax.tree.map(lambda x: x[0], arguments))
        return jax.tree.map(lambda x: x[None], found)

    # The check of what varies between devices refuses loops that start from constants, as those of a run do.
    return jax.shard_map(alone, mesh=mesh, in_specs=_one_each(), out_specs=_one_each(), check_vma=False)


def _one_each() -> PartitionSpec:
    return PartitionSpec(_AXIS)  # type: ignore[no-untyped-call]


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
