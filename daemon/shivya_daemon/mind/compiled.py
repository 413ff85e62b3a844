"""The law's programs, compiled for one capacity before anybody calls them.

They keep nothing of how they were traced and refuse arrays of other shapes: so a daemon can let go of what
JAX remembers of tracing (`start.let_go`), a sixth of its memory, and never compiles in the middle of a tick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from shivya_daemon.mind.machine import stacked
from shivya_daemon.mind.observe import HostLoad, Observer
from shivya_daemon.mind.packed import Packed, pack
from shivya_daemon.mind.traced import blank, kept_in, lean, traced
from shivya_daemon.settings import LawSettings
from shivya_daemon.world import Vertex, World
from shivya_kernels import step
from shivya_kernels.complex import Capacity
from shivya_kernels.info import Info
from shivya_kernels.layers import SENSES
from shivya_kernels.state import Observation, Params, State


@dataclass(frozen=True)
class Compiled:
    """What a law calls, all in float64."""

    fresh: Callable[[Params, np.int64], State]
    """The state before the first tick, by the seed of its randomness."""
    tick: Callable[[Params, State, Observation], tuple[State, Packed]]
    """One step; the state that it is given is gone afterwards."""
    install: Callable[[State, Any], State]
    """Another program for each sense; the state that it is given is gone afterwards."""


@lru_cache(maxsize=4)
def compiled(capacity: Capacity) -> Compiled:
    """Compile for a capacity, or load from the cache on disk."""

    def fresh(params: Params, seed: Int[Array, ""]) -> State:
        return step.init(params, capacity, jax.random.key(seed))

    with jax.enable_x64(True):
        params, seed = parameters(LawSettings()), np.int64(0)
        state = jax.eval_shape(fresh, params, seed)
        alone = World("", (Vertex(bytes(20), 0, 1, 1.0, 0.0, 0.0),), (), 1.0)
        seen = Observer(capacity).observe(alone, HostLoad(0.0, 0.0, 0.0)).observation
        laws = stacked(((),) * SENSES, capacity.program)
        stepped = traced(kept_in(), step.step, (state, blank(Info)), params, state, seen)

        def tick(params: Params, state: State, observation: Observation) -> tuple[State, Packed]:
            ticked, info = stepped(params, state, observation)
            return ticked, pack(info)

        return Compiled(
            jax.jit(fresh).lower(params, seed).compile(),
            lean(jax.jit(tick, donate_argnums=1).lower(params, state, seen)),
            jax.jit(step.install, donate_argnums=0).lower(state, laws).compile(),
        )


def parameters(settings: LawSettings) -> Params:
    """Return the law's parameters in float64; wants `jax.enable_x64`."""
    return Params(
        gap=jnp.asarray(settings.gap),
        slope_share=jnp.asarray(settings.slope_share),
        drift=jnp.asarray(settings.drift),
        drift_fade=jnp.asarray(settings.drift_fade),
        drift_share=jnp.asarray(settings.drift_share),
        tick_seconds=jnp.asarray(settings.tick_interval),
    )
