"""Fleets over two devices of one process: what one device gives, to the bit.

Run as a script this file is that process (``compare``); JAX takes the number of its devices at its start.
"""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from shivya import experiments

from shivya_kernels.fleet import Scenario, simulate, spread, worlds

SCENARIO = Scenario(nodes=8, mean_degree=3.0, hotspot=0.2, seconds=3.0, warm_up=1.0)
SEEDS = (3, 4, 5)
"""Odd, so that one of two devices has room for a fleet that is not there."""
OF_JOBS = ("node", "born", "sojourn", "moves", "placements", "measured")


def compare(law: str) -> None:
    """Run all fleets on the first device, and spread over both."""
    assert jax.device_count() == 2
    alone = experiments.measure(worlds(SCENARIO, SEEDS), law)
    used: set[int] = set()
    spread_over = spread(SCENARIO, SEEDS)

    def note(seconds: float) -> None:
        for array in jax.live_arrays():
            used.update(shard.device.id for shard in array.addressable_shards if array.ndim)

    assert [world.seeds for world in spread_over] == [(3,), (4, 5)]
    assert len({world.shape for world in spread_over}) == 1
    both = experiments.measure(spread_over, law, told=note)
    assert used == {0, 1}
    assert both.rows == alone.rows and both.seeds == SEEDS
    for fleet in range(len(SEEDS)):
        here, there = np.asarray(both.trace.fleet) == fleet, np.asarray(alone.trace.fleet) == fleet
        for name in OF_JOBS:
            assert_array_equal(
                np.asarray(getattr(both.trace, name))[here], np.asarray(getattr(alone.trace, name))[there]
            )
    assert_array_equal(both.trace.held, alone.trace.held)
    assert_array_equal(both.trace.peak, alone.trace.peak)
    assert_array_equal(both.trace.sent, both.trace.received)
    assert both.trace.summary() == pytest.approx(alone.trace.summary(), rel=1e-12)
    assert both.trace.seconds == alone.trace.seconds
    assert experiments.run(SCENARIO, law, SEEDS).rows == alone.rows


@pytest.mark.timeout(400)
@pytest.mark.parametrize("law", ["shivya", "oracle"])
def test_two_devices_give_the_rows_of_one(law: str) -> None:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    done = subprocess.run(
        [sys.executable, __file__, law], env=environment, capture_output=True, text=True, timeout=390
    )
    assert done.returncode == 0, done.stderr


def test_worlds_without_a_device_or_of_several_shapes_are_refused() -> None:
    one, other = (worlds(SCENARIO, seeds) for seeds in ((1,), (1, 2)))
    assert len(spread(SCENARIO, SEEDS)) == min(jax.device_count(), len(SEEDS))
    with pytest.raises(ValueError, match="need a device each, there "):
        simulate([one] * (jax.device_count() + 1), "none")
    with pytest.raises(ValueError, match=r"one shape; make them with fleet\.spread"):
        simulate([one, other], "none")


if __name__ == "__main__":
    compare(sys.argv[1])
