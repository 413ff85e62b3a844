"""An ensemble over several devices, of one process or of two, gives what one device gives.

Run as a script this file is one process of a distributed job (``work``).
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shivya_kernels import ensemble, step
from shivya_kernels.complex import Capacity, SimplicialComplex

CAPACITY = Capacity(8, 16, 16)
PROCESSES, DEVICES_EACH, FLEETS, TICKS = 2, 2, 8, 3
PATIENCE = 400.0
"""Seconds until processes that should have met long ago are ended."""


def observe(seed: int, tick: int) -> step.Observation:
    """One fleet: its graph by the seed, its load by seed and tick."""
    shape = np.random.default_rng(seed)
    n = int(shape.integers(4, CAPACITY.vertices + 1))
    ring = [(i, (i + 1) % n) for i in range(n)]
    chords = [(i, (i + 2) % n) for i in range(n - 1) if n > 4 and shape.uniform() < 0.7]
    empty = step.Observation.empty(CAPACITY)
    rng = np.random.default_rng((seed, tick))
    here = np.arange(CAPACITY.vertices) < n

    def per_vertex(low: float, high: float) -> jax.Array:
        return jnp.where(here, rng.uniform(low, high, here.shape), 0.0)

    return replace(
        empty,
        complex=SimplicialComplex.from_edges(n, ring + chords, CAPACITY),
        own=empty.own.at[0].set(True),
        live=jnp.asarray(here),
        sensed=jnp.asarray(here),
        queue=jnp.round(per_vertex(0, 30)),
        service_rate=per_vertex(10, 20),
        arrival_rate=per_vertex(5, 15),
        potential=per_vertex(0, 1),
        slope=per_vertex(0, 0.1),
        traffic=jnp.asarray(rng.normal(size=CAPACITY.edges)),
    )


def fleets(among: range) -> tuple[step.Params, step.State, list[step.Observation]]:
    """Parameters, states before the first tick, and one batched observation per tick."""
    params = step.Params()
    keys = jax.random.split(jax.random.PRNGKey(0), FLEETS)[among.start : among.stop]
    ticks = [ensemble.stack([observe(seed, tick) for seed in among]) for tick in range(TICKS)]
    return params, ensemble.init(params, CAPACITY, keys), ticks


@lru_cache(maxsize=1)
def alone() -> list[tuple[step.State, Any, float]]:
    """The whole ensemble on one device: state, info and the sum of free energies after each tick."""
    params, states, ticks = fleets(range(FLEETS))
    lived = []
    for observations in ticks:
        states, info = ensemble.step(params, states, observations)
        lived.append((states, info, float(info.free_energy.sum())))
    return lived


def numbers(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def work(coordinator: str, index: int, folder: Path) -> None:
    """One process: steps its own share of the fleets, and saves them and the totals that it was told."""
    jax.distributed.initialize(coordinator, PROCESSES, index, initialization_timeout=int(PATIENCE))
    share = FLEETS // PROCESSES
    params, local, ticks = fleets(range(index * share, (index + 1) * share))
    mesh = jax.make_mesh((PROCESSES * DEVICES_EACH,), ("fleets",))
    states, totals = ensemble.shard(mesh, local), []
    for observations in ticks:
        spread = ensemble.shard(mesh, observations)
        states, info, total = ensemble.sharded_step(params, states, spread, mesh=mesh)
        totals.append(float(total))
    pieces = [
        np.concatenate([np.asarray(piece.data) for piece in leaf.addressable_shards])
        for leaf in jax.tree.leaves((states, info))
    ]
    np.savez(folder / f"{index}.npz", *pieces, totals=totals, devices=jax.device_count())
    jax.distributed.shutdown()


def run_together(folder: Path, coordinator: str) -> None:
    """The distributed job, from start to end. Fails with what the processes said."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "JAX_NUM_CPU_DEVICES": str(DEVICES_EACH),
    }
    logs = [folder / f"{index}.log" for index in range(PROCESSES)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for index, log in enumerate(logs):
            command = [sys.executable, __file__, coordinator, str(index), str(folder)]
            with log.open("wb") as output:
                started.append(
                    subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
                )
        codes = [process.wait(PATIENCE) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert codes == [0] * PROCESSES, "\n".join(log.read_text()[-2000:] for log in logs)


@pytest.mark.timeout(2.5 * PATIENCE)
def test_two_processes_with_two_devices_each_step_the_same_fleets(tmp_path: Path, coordinator: str) -> None:
    run_together(tmp_path, coordinator)
    lived = alone()
    (states, info, _), totals = lived[-1], [total for *_, total in lived]
    saved = [np.load(tmp_path / f"{index}.npz") for index in range(PROCESSES)]
    assert [int(part["devices"]) for part in saved] == [PROCESSES * DEVICES_EACH] * PROCESSES
    for position, expected in enumerate(numbers((states, info))):
        found = np.concatenate([part[f"arr_{position}"] for part in saved])
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    for part in saved:
        np.testing.assert_allclose(part["totals"], totals, rtol=1e-12)
    # Equal fleets would hide fleets that changed places.
    assert len(set(np.asarray(info.free_energy).tolist())) == FLEETS


def test_one_device_is_a_mesh_too_and_typed_keys_travel() -> None:
    params, states, ticks = fleets(range(FLEETS))
    states = replace(states, key=jax.random.wrap_key_data(states.key))
    mesh = jax.make_mesh((1,), ("fleets",))
    after, info, total = ensemble.sharded_step(
        params, ensemble.shard(mesh, states), ensemble.shard(mesh, ticks[0]), mesh=mesh
    )
    expected_after, expected, expected_total = alone()[0]
    np.testing.assert_array_equal(info.release, expected.release)
    np.testing.assert_allclose(total, expected_total, rtol=1e-14)
    np.testing.assert_array_equal(jax.random.key_data(after.key), expected_after.key)


def test_every_fleet_gets_what_it_would_get_alone() -> None:
    states, info, _ = alone()[-1]
    params, single, ticks = fleets(range(5, 6))
    state = jax.tree.map(lambda leaf: leaf[0], single)
    for observations in ticks:
        state, found = step.step(params, state, jax.tree.map(lambda leaf: leaf[0], observations))
    member = jax.tree.map(lambda leaf: leaf[5], (states, info))
    for expected, value in zip(numbers(member), numbers((state, found)), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9)


def test_an_ensemble_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        ensemble.stack([])


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
