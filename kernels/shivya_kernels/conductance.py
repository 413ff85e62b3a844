"""Conductance of a link: how readily it carries work, one number that both of its ends agree on.

Each end advertises its own estimate; the conductance in use is the mean of the two last advertised, so it is
symmetric by construction (Onsager reciprocity) and jumps at neither end when the other's heartbeat is late.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from shivya_kernels.shapes import as_float

_REFERENCE_RTT = 0.01
"""Round trip time in seconds that halves a link's conductance."""


@jax.jit
def advertised(
    thickness: Float[ArrayLike, "*E"], bandwidth_score: Float[ArrayLike, "*E"], rtt: Float[ArrayLike, "*E"]
) -> Float[Array, "*E"]:
    """What this end says of a link: thickness * bandwidth score / (1 + rtt / 10 ms); `rtt` >= 0 in
    seconds."""
    return as_float(thickness) * as_float(bandwidth_score) / (1.0 + as_float(rtt) / _REFERENCE_RTT)


@jax.jit
def symmetric(
    own: Float[ArrayLike, "*E"], remote: Float[ArrayLike, "*E"], remote_known: Bool[ArrayLike, "*E"]
) -> Float[Array, "*E"]:
    """The mean of both ends' last advertised values; this end's alone where the other's is unknown."""
    own = as_float(own)
    return jnp.where(jnp.asarray(remote_known, bool), 0.5 * (own + as_float(remote)), own)
