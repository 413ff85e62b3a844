"""What tuning may change about the law: scalars, each with its unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def float_dtype() -> jnp.dtype[Any]:
    """The float type in force: float64 where x64 is enabled, else float32."""
    return jnp.dtype(jnp.result_type(float))


def _scalar(value: float) -> Callable[[], Array]:
    return lambda: jnp.asarray(value, float_dtype())


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Params:
    """Everything ``tune`` may change: scalar leaves in the float type in force when built."""

    # L0: placement and repair.
    gap: Float[Array, ""] = field(default_factory=_scalar(0.05))
    """Seconds a move must gain beyond the hop itself."""
    slope_share: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """Band of waiting times that the advertised slope averages over, as a share of gap + the shortest hop."""
    drift: Float[Array, ""] = field(default_factory=_scalar(0.5))
    """Trust in the forecast of a neighbour's potential; 0: none."""
    drift_fade: Float[Array, ""] = field(default_factory=_scalar(0.4))
    """Age of its heartbeat, in seconds, at which the forecast is not trusted at all."""
    drift_share: Float[Array, ""] = field(default_factory=_scalar(0.5))
    """Largest forecast fall over hop + gap; below 1."""
    horizon: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """Seconds over which a balancing flow is shown as a rate."""

    # L1: beliefs.
    prior_variance: Float[Array, ""] = field(default_factory=_scalar(10.0))
    """Variance of the belief about a vertex never seen."""
    forgetting: Float[Array, ""] = field(default_factory=_scalar(1e-3))
    """Share of the way back to the broad prior that a covariance goes per tick (process noise)."""
    sensor_variance: Float[Array, ""] = field(default_factory=_scalar(0.01))
    """Sigma_s0 = sensor_variance I: the noise no attention removes."""
    attention: Float[Array, ""] = field(default_factory=_scalar(4.6))
    """W at full attention (a = 1): each channel adds variance exp(-attention)."""

    probe: Float[Array, ""] = field(default_factory=_scalar(2.0))
    """Attention of a probe, where 1 is everyday attention."""
    growth_margin: Float[Array, ""] = field(default_factory=_scalar(3.0))
    """Nats by which the last observations must speak for a dimension on trial."""
    growth_variance: Float[Array, ""] = field(default_factory=_scalar(10.0))
    """Prior variance of a grown dimension."""

    # L3: conductance and fusion.
    opening: Float[Array, ""] = field(default_factory=_scalar(0.5))
    """Share by which to shed or to absorb opens the links of a cell."""
    fusion: Float[Array, ""] = field(default_factory=_scalar(0.1))
    """Per second and unit of conductance, how fast beliefs about silent vertices follow their neighbours'."""
    thickness_rate: Float[Array, ""] = field(default_factory=_scalar(0.05))
    """Per second, how fast a link's thickness follows its use."""

    # L4: form (Gierer-Meinhardt) and the stress that feeds it.
    diffusion_u: Float[Array, ""] = field(default_factory=_scalar(0.01))
    """Diffusion of the activator, per second."""
    diffusion_v: Float[Array, ""] = field(default_factory=_scalar(0.1))
    """Diffusion of the inhibitor, per second."""
    production: Float[Array, ""] = field(default_factory=_scalar(0.1))
    """a: basal production of the activator, per second."""
    activator_decay: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """b: decay of the activator, per second."""
    inhibitor_growth: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """c: production of the inhibitor by the activator, per second."""
    inhibitor_decay: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """d: decay of the inhibitor, per second."""
    stress_gain: Float[Array, ""] = field(default_factory=_scalar(2.0))
    """Source of activator per second at full stress; at rest u rises by stress_gain * stress / b."""
    stress_wait: Float[Array, ""] = field(default_factory=_scalar(1.0))
    """Seconds of queueing that count as half of full stress."""
    novelty: Float[Array, ""] = field(default_factory=_scalar(5.0))
    """Free energy (nats) above which an observation is a surprise."""
    surprise_scale: Float[Array, ""] = field(default_factory=_scalar(20.0))
    """Nats above ``novelty`` that count as half of full stress."""
    split_above: Float[Array, ""] = field(default_factory=_scalar(2.0))
    """Activator above which a cell splits."""
    cull_below: Float[Array, ""] = field(default_factory=_scalar(0.05))
    """Activator below which a cell may go."""
    refractory_seconds: Float[Array, ""] = field(default_factory=_scalar(10.0))
    """Seconds after a split in which neither half splits."""
    patience_seconds: Float[Array, ""] = field(default_factory=_scalar(60.0))
    """Seconds without work after which a cell may wither."""
    tick_seconds: Float[Array, ""] = field(default_factory=_scalar(0.1))
    """Seconds of thickness, fusion and form that pass per tick."""
