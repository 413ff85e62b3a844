"""Neighbourhoods for tests of one tick of the law."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shivya_kernels import step
from shivya_kernels.complex import Capacity, SimplicialComplex

CAPACITY = Capacity(12, 28, 56, 8, 32)
"""Of all tests of the step: to compile it for another one takes half a minute."""
KEY = jax.random.PRNGKey(0)
RING = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]


def observe(
    n: int = 4,
    edges: list[tuple[int, int]] = RING,
    *,
    capacity: Capacity = CAPACITY,
    live: list[int] | None = None,
    **values: Any,
) -> step.Observation:
    """n idle vertices that serve 10 jobs per second; `values` replace the leading entries of fields."""
    empty = step.Observation.empty(capacity)
    slots = np.arange(capacity.vertices)
    heard = slots < n if live is None else np.isin(slots, live)
    at_rest = {"service_rate": 10.0, "cpu": 0.2, "memory": 0.3, "potential": 0.1, "slope": 0.1}
    changes = {name: np.where(slots < n, value, 0.0) for name, value in at_rest.items()}
    for name, given in values.items():
        changes[name] = np.array(getattr(empty, name))
        changes[name][: len(given)] = given
    return replace(
        empty,
        complex=SimplicialComplex.from_edges(n, edges, capacity),
        own=jnp.asarray(slots == 0),
        live=jnp.asarray(heard & (slots > 0)),
        sensed=jnp.asarray(heard),
        **{name: jnp.asarray(value, empty.queue.dtype) for name, value in changes.items()},
    )


def start(capacity: Capacity = CAPACITY) -> tuple[step.Params, step.State]:
    params = step.Params()
    return params, step.init(params, capacity, KEY)


def assert_finite(tree: Any) -> None:
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert np.isfinite(leaf).all()
