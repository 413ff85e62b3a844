"""L2 against "same as last time" on what a real daemon sensed for 32 minutes (tests/data)."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from shivya_kernels.fitting import fit


def test_a_law_found_on_a_recorded_trace_foretells_the_wait_of_its_last_third() -> None:
    """At least 10 % less square error than "as before"; the full figures are in docs/benchmarks.md."""
    path = Path(__file__).resolve().parent.parent / "data" / "trace-ramp.npz"
    trace = np.load(path)["senses"].astype(np.float64)
    assert trace.shape[0] >= 30 * 60 * 10
    found = fit(trace[:, :1], jax.random.key(0), 3)
    assert found.ratio[0] < 0.9
