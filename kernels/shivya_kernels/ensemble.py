"""Many fleets in one call: the step that a daemon runs, batched over neighbourhoods and spread over devices.

Every array of an ensemble has the batch as its leading axis, a quarter faster on XLA's CPU back end than the
batch as trailing axis; all fleets share one capacity. Over several devices, of one process or of many
(``jax.distributed``), each device steps its own fleets: a solver's loop runs until the slowest fleet of its
device is done, not the slowest of all, and only the collective free energy crosses between devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from shivya_kernels import step as single
from shivya_kernels.complex import Capacity
from shivya_kernels.step import Info, Observation, Params, State

Tree = TypeVar("Tree")


def stack(members: Sequence[Tree]) -> Tree:
    """Several PyTrees of the same structure and shapes as one, with a leading batch axis.

    Raises ValueError for no members, or where structures or shapes differ.
    """
    if not members:
        raise ValueError("an ensemble needs at least one member")
    stacked: Tree = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    return stacked


def init(params: Params, capacity: Capacity, keys: PRNGKeyArray) -> State:
    """The state before the first tick, one fleet per key. Raises DimensionMismatch as ``step.init`` does."""
    states: State = jax.vmap(lambda key: single.init(params, capacity, key))(keys)
    return states


@jax.jit
def step(params: Params, states: State, observations: Observation) -> tuple[State, Info]:
    """One tick of every fleet: ``step.step`` over the leading axis, with shared parameters.

    Each fleet gets what it would get alone; fleets wait for each other in the loops of solvers only.
    """
    ticked: tuple[State, Info] = jax.vmap(single.step, in_axes=(None, 0, 0))(params, states, observations)
    return ticked


def shard(mesh: Mesh, local: Tree) -> Tree:
    """A batched PyTree spread evenly over all devices of `mesh`, along the leading axis.

    `local` is this process's part (with one process: all of it), in the order of the mesh's devices. Raises
    ValueError when its length is no multiple of this process's devices.
    """
    sharding = NamedSharding(mesh, _over(mesh))

    def place(leaf: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            keys: Array = jax.random.wrap_key_data(
                place(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
            )
            return keys
        placed: Array = jax.make_array_from_process_local_data(sharding, leaf)  # type: ignore[no-untyped-call]
        return placed

    spread: Tree = jax.tree.map(place, local)
    return spread


@partial(jax.jit, static_argnames="mesh")
def sharded_step(
    params: Params, states: State, observations: Observation, *, mesh: Mesh
) -> tuple[State, Info, Float[Array, ""]]:
    """``step`` of an ensemble spread by ``shard``, and the free energy of all fleets together, in nats.

    States and infos stay with their fleets; the sum is known to every device. Where the mesh spans several
    processes all must make the same call: one that does not leaves the others waiting.
    """

    def step_own(
        params: Params, states: State, observations: Observation
    ) -> tuple[State, Info, Float[Array, ""]]:
        states, info = step(params, states, observations)
        total: Array = jax.lax.psum(info.free_energy.sum(), mesh.axis_names)  # type: ignore[no-untyped-call]
        return states, info, total

    everywhere = PartitionSpec()  # type: ignore[no-untyped-call]
    # The check of what varies between devices refuses loops that start from constants, as the solvers' do.
    spread = jax.shard_map(
        step_own,
        mesh=mesh,
        in_specs=(everywhere, _over(mesh), _over(mesh)),
        out_specs=(_over(mesh), _over(mesh), everywhere),
        check_vma=False,
    )
    ticked: tuple[State, Info, Array] = spread(params, states, observations)
    return ticked


def _over(mesh: Mesh) -> PartitionSpec:
    """The leading axis over every axis of the mesh, the others whole."""
    return PartitionSpec(mesh.axis_names)  # type: ignore[no-untyped-call]
