"""What a fluid fleet is fed: the jobs of a world as work per time step, and its graph, on the host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shivya_kernels.fleet.scenario import MICROSECONDS
from shivya_kernels.fleet.world import World

STEP_SECONDS = 0.05
"""Longest time step of the fluid."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Feed:
    """A batch of fleets for ``fluid``: T time steps of `seconds`, M places as in the world."""

    seconds: float = field(metadata={"static": True})
    turns: int = field(metadata={"static": True})
    """Time steps per heartbeat period."""
    lag: int = field(metadata={"static": True})
    """Time steps from a heartbeat's leaving to its counting."""
    warm_up: float = field(metadata={"static": True})
    hop: float = field(metadata={"static": True})
    """Seconds per hop."""
    world: World
    """The graph, without its jobs."""
    jobs: Any
    """[T, M] jobs that arrive."""
    work: Any
    """[T, M] and their work, seconds of service at rate 1."""
    turn: Any
    """[M] the turn of its period in which a place's heartbeat leaves."""
    shifted: Any
    """[B] sizes as the mixture d + (p of Exp(a), 1 - p of Exp(b)) of their mean and variance: d,"""
    long: Any
    """[B, 2] the means a and b,"""
    often: Any
    """[B, 2] and p and 1 - p (Whitt 1982)."""


def feed(world: World, step: float = STEP_SECONDS) -> Feed:
    """Bin the jobs of a world, in the longest time steps up to `step` seconds that divide a heartbeat period.

    Raises ValueError for a step shorter than the world's own.
    """
    shape = world.shape
    ratio = step * MICROSECONDS / shape.step
    if ratio < 1 - 1e-9:
        raise ValueError(
            f"a fluid step of {step} s is shorter than the world's {shape.step / MICROSECONDS} s"
        )
    turns = next(m for m in range(1, shape.phases + 1) if shape.phases % m == 0 and shape.phases / m <= ratio)
    each = shape.phases // turns
    steps = -(-shape.horizon // each)
    real = np.asarray(world.owner) < shape.fleets
    when = (np.asarray(world.born)[real].astype(np.int64) - 1) // (each * shape.step)
    cell = np.clip(when, 0, steps - 1) * shape.places + np.asarray(world.home)[real]
    size, total = np.asarray(world.size)[real].astype(float), steps * shape.places
    jobs = np.bincount(cell, minlength=total).reshape(steps, shape.places)
    work = np.bincount(cell, size, minlength=total).reshape(steps, shape.places)
    owner = np.asarray(world.owner)[real]
    shifted, long, often = (
        np.stack(part)
        for part in zip(*(_mixture(size[owner == b]) for b in range(shape.fleets)), strict=True)
    )
    return Feed(
        seconds=each * shape.step / MICROSECONDS,
        turns=turns,
        lag=round(shape.delay / each),
        warm_up=shape.warm_up / MICROSECONDS,
        hop=shape.hop * shape.step / MICROSECONDS,
        world=_graph(world),
        jobs=jobs.astype(np.float32),
        work=work.astype(np.float32),
        turn=(np.arange(shape.places) // shape.rows * turns // shape.phases).astype(np.int32),
        shifted=shifted,
        long=long,
        often=often,
    )


def _graph(world: World) -> World:
    """What is left without the jobs and their bookkeeping, so that like fleets share one compiled program."""
    none = np.zeros(0, np.int32)
    shape = replace(world.shape, jobs=0, burst=0, listeners=0, history=0)
    bare = dict.fromkeys(("born", "home", "owner", "first", "hears"), none)
    return replace(world, shape=shape, scenario=None, seeds=(), size=none.astype(np.float32), **bare)


def _mixture(size: np.ndarray[Any, Any]) -> tuple[Any, Any, Any]:
    """A constant and two exponentials of the same mean and variance; balanced means above variation 1."""
    mean = float(size.mean()) if len(size) else 1.0
    variation = float(size.var()) / mean**2 if len(size) else 1.0
    if variation <= 1:
        scale = np.sqrt(variation) * mean
        return np.float32(mean - scale), np.full(2, scale, np.float32), np.full(2, 0.5, np.float32)
    share = (1 + np.sqrt((variation - 1) / (variation + 1))) / 2
    often = np.array([share, 1 - share], np.float32)
    return np.float32(0), (mean / (2 * often)).astype(np.float32), often


def device(fed: Feed) -> Feed:
    """The feed's arrays in the float type in force."""
    kind = jnp.result_type(float)

    def put(x: Any) -> Any:
        array = jnp.asarray(x)
        return array.astype(kind) if jnp.issubdtype(array.dtype, jnp.floating) else array

    moved: Feed = jax.tree.map(put, fed)
    return moved
