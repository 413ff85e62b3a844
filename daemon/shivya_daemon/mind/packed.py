"""Many small arrays as one: to fetch forty of them from a compiled call takes as long as the call itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@partial(jax.tree_util.register_dataclass, data_fields=("values",), meta_fields=("shapes", "structure"))
@dataclass(frozen=True)
class Packed:
    """The leaves of a PyTree, one behind the other, in float64."""

    values: jax.Array
    shapes: tuple[tuple[int, ...], ...]
    structure: jax.tree_util.PyTreeDef


def pack(tree: Any) -> Packed:
    """Pack arrays whose numbers float64 holds exactly: floats, flags, and integers of up to 53 bits."""
    leaves, structure = jax.tree.flatten(tree)
    values = jnp.concatenate([jnp.ravel(leaf).astype(jnp.float64) for leaf in leaves])
    return Packed(values, tuple(jnp.shape(leaf) for leaf in leaves), structure)


def unpack(packed: Packed) -> Any:
    """Return the PyTree, every leaf a NumPy array of float64 whatever it was before."""
    values, leaves, start = np.asarray(packed.values), [], 0
    for shape in packed.shapes:
        end = start + prod(shape)
        leaves.append(values[start:end].reshape(shape))
        start = end
    return jax.tree.unflatten(packed.structure, leaves)
