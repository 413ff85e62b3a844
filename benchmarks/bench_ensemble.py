"""How many vertices does an ensemble step per second, on one core and on two?

`ensemble.step` ticks random geometric fleets (mean degree 8) that fill their slots, small ones and those of
the daemon's size; queues and traffic are drawn anew at each tick, so no solve starts from its own answer.
Links stand for the whole run, so complexes are prefactored; one row shows the step without that. The 128
small fleets have no room for grown beliefs or long laws. `lax.map` steps one fleet after the other. Two
processes are a `jax.distributed` job: a core and half of the fleets each, `ensemble.sharded_step`, and one
sum of free energies per tick over loopback. Rows below a step are the kernels that take most of it, batched
alike; `share` is their part of it. Rates are per second of processor time of one core, times the cores.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shivya_kernels import beliefs, ensemble, flow, hodge, morphogen, step
from shivya_kernels.complex import Capacity, SimplicialComplex
from shivya_kernels.prefactor import prefactor
from timing import ROOT, Row, Timing, fix_environment, measure, publish

SHAPES = {
    256: Capacity(16, 64, 128),
    128: Capacity(16, 64, 128, beliefs=4, program=8),
    64: Capacity(64, 256, 512),
}
"""Fleets in one batch, and the slots of each."""
DTYPES = ("float64", "float32")
DEGREE = 8.0
PROCESSES = 2
TICKS = 40
MESH = ("fleets",)


def main() -> None:
    rows = [row for fleets in SHAPES for dtype in DTYPES for row in one_process(fleets, dtype)]
    publish("ensemble", [*rows, *two_processes()])


def one_process(fleets: int, dtype: str) -> Iterator[Row]:
    """The batched step, and where its time goes."""
    with jax.enable_x64(dtype == "float64"):
        params, states, looks = prepare(SHAPES[fleets], range(fleets))
        spent, iterations = ticking(ensemble.step, params, states, looks)
        whole = row("step, vmap", fleets, dtype, spent, iterations=float(iterations.mean()))
        yield {**whole, "slowest": int(iterations.max())}
        if fleets == 128:
            return
        plain = tuple(replace(look, complex=replace(look.complex, green=None)) for look in looks)
        spent, iterations = ticking(ensemble.step, params, states, plain)
        iterated = row("step, not prefactored", fleets, dtype, spent, iterations=float(iterations.mean()))
        yield {**iterated, "slowest": int(iterations.max())}
        if dtype == "float64":
            spent, _ = ticking(one_by_one, params, states, looks)
            yield row("step, lax.map", fleets, dtype, spent)
            for name, call, values in kernels(params, looks[0]):
                spent = measure(
                    lambda call=call, values=values: call(*values),
                    finish=jax.block_until_ready,
                    repeats=7,
                    least_seconds=0.02,
                )
                part = row(name, fleets, dtype, spent)
                yield {**part, "share": part["cpu_ms"] / whole["cpu_ms"]}


def two_processes() -> list[Row]:
    """The same batches split over two processes on a core each; processor time is the sum of both."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        command = [sys.executable, __file__, f"127.0.0.1:{holder.getsockname()[1]}"]
        children = [
            subprocess.Popen([*command, str(index)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for index in range(PROCESSES)
        ]
        outputs = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise RuntimeError(f"the distributed job ended with {[child.returncode for child in children]}")
    rows = []
    # The collectives library greets on standard output; the figures are the last line.
    for spent in zip(*(json.loads(output.splitlines()[-1]) for output in outputs), strict=True):
        fleets, dtype = spent[0]["fleets"], spent[0]["dtype"]
        cpu, wall = sum(one["cpu"] for one in spent), max(one["wall"] for one in spent)
        timing = Timing(cpu, cpu, wall, wall)
        rows.append(row("step, two processes", fleets, dtype, timing, cores=PROCESSES))
    return rows


def work(coordinator: str, index: int) -> None:
    """One of the two processes: every shape in turn; prints seconds per tick."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {index % (os.cpu_count() or 1)})
    jax.distributed.initialize(coordinator, PROCESSES, index)
    mesh = jax.make_mesh((PROCESSES,), MESH)
    found = []
    for fleets in SHAPES:
        for dtype in DTYPES:
            with jax.enable_x64(dtype == "float64"):
                share = fleets // PROCESSES
                own = range(index * share, (index + 1) * share)
                params, states, looks = prepare(SHAPES[fleets], own)
                spread = [ensemble.shard(mesh, look) for look in looks]
                states, turns = ensemble.shard(mesh, states), cycle(spread)
                for tick in range(TICKS + 4):
                    if tick == 4:
                        jax.block_until_ready(states)
                        wall, cpu = time.perf_counter(), time.process_time()
                    states, _, total = ensemble.sharded_step(params, states, next(turns), mesh=mesh)
                jax.block_until_ready((states, total))
                spent = {
                    "cpu": (time.process_time() - cpu) / TICKS,
                    "wall": (time.perf_counter() - wall) / TICKS,
                }
                found.append({"fleets": fleets, "dtype": dtype, **spent})
    print(json.dumps(found))
    jax.distributed.shutdown()


def prepare(
    capacity: Capacity, seeds: range
) -> tuple[step.Params, step.State, tuple[step.Observation, step.Observation]]:
    """Parameters, states before the first tick, and two looks at every fleet that share its links alone."""
    params = step.Params()
    states = ensemble.init(params, capacity, jax.random.split(jax.random.key(0), len(seeds)))
    first, second = (ensemble.stack([observe(capacity, seed, tick) for seed in seeds]) for tick in (0, 1))
    links = prefactor(first.complex)
    return params, states, (replace(first, complex=links), replace(second, complex=links))


def observe(capacity: Capacity, seed: int, tick: int) -> step.Observation:
    """One fleet with every slot in use: links by the seed, load by seed and tick."""
    n = capacity.vertices
    pairs = geometric_pairs(n, seed)[: capacity.edges]
    while True:
        cliques = SimplicialComplex.from_edges(n, pairs)
        if cliques.num_triangles <= capacity.triangles:
            break
        pairs = pairs[:-1]
    empty, rng = step.Observation.empty(capacity), np.random.default_rng((seed, tick))

    def per_vertex(low: float, high: float) -> jax.Array:
        return jnp.asarray(rng.uniform(low, high, n), empty.queue.dtype)

    def per_edge(low: float, high: float) -> jax.Array:
        return jnp.asarray(rng.uniform(low, high, capacity.edges), empty.queue.dtype)

    everyone = jnp.ones(n, bool)
    return replace(
        empty,
        complex=SimplicialComplex.from_edges(n, pairs, capacity),
        own=empty.own.at[0].set(True),
        live=everyone,
        sensed=everyone,
        queue=jnp.round(per_vertex(0, 50)),
        service_rate=per_vertex(10, 40),
        arrival_rate=per_vertex(5, 40),
        cpu=per_vertex(0, 1),
        memory=per_vertex(0, 1),
        potential=per_vertex(0, 1),
        slope=per_vertex(0, 0.1),
        hop=per_vertex(0.001, 0.01),
        rtt=per_edge(0.001, 0.02),
        remote_conductance=per_edge(0.5, 1),
        traffic=per_edge(-5, 5),
    )


def geometric_pairs(n: int, seed: int) -> np.ndarray:
    """Links of points in the unit square, in random order, by the radius that gives the mean degree."""
    rng = np.random.default_rng(seed)
    points = rng.random((n, 2))
    near = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)) < np.sqrt(DEGREE / (np.pi * n))
    return rng.permutation(np.argwhere(np.triu(near, 1)))


def ticking(tick: Callable[..., Any], params: Any, states: Any, looks: Any) -> tuple[Timing, np.ndarray]:
    """Time per tick while states move on and looks alternate; iterations of each fleet's last tick."""
    compiled = jax.jit(tick).lower(params, states, looks[0]).compile()
    turns, found = cycle(looks), None

    def advance() -> Any:
        nonlocal states, found
        states, found = compiled(params, states, next(turns))
        return states, found

    for _ in range(4):
        advance()
    spent = measure(advance, finish=jax.block_until_ready, repeats=9)
    return spent, np.asarray(found.iterations)


def one_by_one(
    params: step.Params, states: step.State, observations: step.Observation
) -> tuple[step.State, step.Info]:
    """The ensemble without batching."""
    return jax.lax.map(lambda fleet: step.step(params, *fleet), (states, observations))


def kernels(
    params: step.Params, look: step.Observation
) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """The kernels behind the layers, each batched over fleets as the step batches them."""
    c, dims, senses = look.complex, 8, 4
    dtype = look.queue.dtype

    def batched(call: Callable[..., Any], *values: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return jax.jit(jax.vmap(call)), values

    def infer(seen: Any) -> Any:
        agent = beliefs.Agent(
            jnp.zeros(dims, dtype),
            10.0 * jnp.eye(dims, dtype=dtype),
            jnp.eye(senses, dims, dtype=dtype),
            params.sensor_variance * jnp.eye(senses, dtype=dtype),
            params.attention * jnp.ones((senses, 1), dtype),
            jnp.zeros((dims, 1), dtype),
            jnp.zeros(senses, dtype),
            jnp.eye(senses, dtype=dtype),
        )
        lanes = jax.tree.map(lambda leaf: jnp.repeat(leaf[..., None], len(seen), axis=-1), agent)
        return beliefs.infer(lanes, seen.T, jnp.ones((1, len(seen)), dtype))

    def form(c: SimplicialComplex, stress: Any) -> Any:
        weights = morphogen.metropolis_weights(c).astype(dtype)
        return morphogen.advance(1.1 + stress, 1.2 + stress, weights, 0.01, 0.1, 0.1, complex=c)

    sensed = jnp.stack([look.potential, look.slope, look.cpu, look.memory], axis=-1)
    yield "hodge.decompose", *batched(hodge.decompose, c, look.traffic)
    yield "beliefs.infer, every vertex", *batched(infer, sensed)
    yield "flow.balancing_flow", *batched(flow.balancing_flow, c, look.queue, look.service_rate)
    yield "morphogen.advance", *batched(form, c, look.cpu)


def row(what: str, fleets: int, dtype: str, spent: Timing, cores: int = 1, **more: float) -> Row:
    vertices = SHAPES[fleets].vertices
    return {
        "what": what,
        "vertices": vertices,
        "fleets": fleets,
        "dtype": dtype,
        "cores": cores,
        "cpu_ms": 1e3 * spent.cpu,
        "wall_ms": 1e3 * spent.wall,
        "vertices_per_second": cores * fleets * vertices / spent.cpu,
        **more,
    }


if __name__ == "__main__":
    if sys.argv[1:]:
        work(sys.argv[1], int(sys.argv[2]))
    else:
        fix_environment(one_core=True)
        main()
