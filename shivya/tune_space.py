"""Which numbers of the law may be tuned, and how far: a box in which the law stays stable, as a smooth map.

A point is one unbounded number per parameter; the logistic function takes it into the parameter's range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from shivya_kernels.fleet import Params


class Range(NamedTuple):
    """Open interval of a parameter; `geometric` ones are searched on a logarithmic scale."""

    low: float
    high: float
    geometric: bool = False


RANGES: Mapping[str, Range] = MappingProxyType(
    {
        "gap": Range(0.005, 0.5, True),
        # Wider windows count ways that no job would take: at 1.4, moves double.
        "slope_share": Range(0.05, 1.2),
        "own_sent": Range(0.3, 2.0, True),
        "drift": Range(0.0, 1.0),
        "drift_fade": Range(0.05, 2.0, True),
        # From 1 on, a cycle of falls that were only forecast could sustain itself.
        "drift_share": Range(0.05, 0.95),
        "drift_seconds": Range(0.2, 5.0, True),
        "kappa": Range(0.0, 0.6),
        "prior_jobs": Range(1.0, 200.0, True),
        "rate_seconds": Range(0.5, 20.0, True),
        # With information one period old, the flow alone is stable up to a gain of 1; the guard adds to that.
        "gain": Range(0.2, 1.5),
        "pull_wait": Range(0.01, 0.5, True),
    }
)
"""By field of `fleet.Params`."""


def point(params: Params, names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The point of given parameters; what lies outside its range is moved inside."""
    shares = []
    for name in names:
        value, (low, high, geometric) = float(getattr(params, name)), RANGES[name]
        share = np.log(value / low) / np.log(high / low) if geometric else (value - low) / (high - low)
        shares.append(np.clip(share, 0.01, 0.99))
    x = np.array(shares)
    return np.asarray(np.log(x / (1 - x)), float)


def parameters(at: Any, names: Sequence[str], start: Params) -> Params:
    """The parameters at a point [.., names]; those not named are those of `start`."""
    x = jax.nn.sigmoid(at)
    found: dict[str, Any] = {}
    for k, name in enumerate(names):
        low, high, geometric = RANGES[name]
        share = x[..., k]
        found[name] = low * (high / low) ** share if geometric else low + (high - low) * share
    return replace(start, **found)


def numbers(params: Params, names: Sequence[str]) -> dict[str, float]:
    """The named parameters as plain numbers, of six digits."""
    return {name: float(f"{float(getattr(params, name)):.6g}") for name in names}
