"""What does one tick of the law cost: the compiled step alone, and the daemon's whole judgement?

The step is that of the daemon: 64 vertices, 256 edges, 512 triangles, padded. `judge()` turns a world into
arrays, steps, and turns what was found into a verdict, each time with other queues and traffic. The law is
started in a process of its own, which imports JAX, compiles and makes its first tick.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import combinations, count

import jax
import jax.numpy as jnp
import numpy as np

from shivya_daemon.mind.law import CAPACITY, Law
from shivya_daemon.settings import LawSettings
from shivya_daemon.world import Link, Vertex, World
from shivya_kernels import step
from shivya_kernels.complex import SimplicialComplex
from shivya_kernels.state import Observation, Params
from timing import Row, Timing, fix_environment, measure, once, publish, run_process

NODES = 13
"""This node and twelve link neighbours, all linked with each other: the densest first hop there is."""

START = """
import psutil
from shivya_daemon.mind.start import start_law
from shivya_daemon.settings import LawSettings
start_law(LawSettings(), bytes(20))
print(psutil.Process().memory_info().rss)
"""


def main() -> None:
    rows = [row for dtype in ("float64", "float32") for row in step_rows(dtype)]
    rows += judge_rows()
    rows += start_rows()
    publish("step", rows)


def step_rows(dtype: str) -> Iterator[Row]:
    """Compile and run the step on a full neighbourhood of `NODES`."""
    with jax.enable_x64(dtype == "float64"):
        params = Params()
        state = step.init(params, CAPACITY, jax.random.key(0))
        observation = neighbourhood()
        lowered, tracing = once(lambda: jax.jit(step.step).lower(params, state, observation))
        compiled, compiling = once(lowered.compile)
        for _ in range(20):
            state, _ = compiled(params, state, observation)
        running = measure(
            lambda: compiled(params, state, observation), finish=jax.block_until_ready, repeats=25
        )
    yield row("trace the step", dtype, tracing)
    yield row("compile the step", dtype, compiling)
    yield row("step", dtype, running)


def judge_rows() -> Iterator[Row]:
    """The daemon's tick: observe, step, judge, for worlds whose queues change every time."""
    law = Law(LawSettings(), seed=1)
    law.judge((world(1, 0),), 0.1, 0.2, 1e5)
    compilations: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration_secs, **_: compilations.append(event) if "backend_compile" in event else None
    )
    for nodes in (5, NODES):
        ticks = count()
        running = measure(
            lambda nodes=nodes, ticks=ticks: law.judge((world(nodes, next(ticks)),), 0.1, 0.2, 1e5),
            repeats=25,
        )
        yield row(f"judge(), {nodes} nodes", "float64", running, compilations=len(compilations))


def start_rows() -> Iterator[Row]:
    """A process that imports JAX and brings the law up, with an empty compile cache and then a full one."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **{k: v for k, v in os.environ.items() if k not in ("JAX_ENABLE_COMPILATION_CACHE", "XLA_FLAGS")},
            "XDG_CACHE_HOME": folder,
        }
        for label in ("empty", "warm"):
            printed, spent = run_process([sys.executable, "-c", START], environment=environment)
            memory = int(printed) / 2**20
            yield row(f"start the law, {label} compile cache", "float64", spent, resident_mib=memory)


def row(what: str, dtype: str, spent: Timing, **more: float) -> Row:
    return {
        "what": what,
        "dtype": dtype,
        "cpu_ms": 1e3 * spent.cpu,
        "cpu_ms_median": 1e3 * spent.cpu_median,
        "wall_ms": 1e3 * spent.wall,
        **more,
    }


def neighbourhood() -> Observation:
    """An observation of `NODES` loaded nodes, all linked, with traffic on every link."""
    rng = np.random.default_rng(0)
    pairs = list(combinations(range(NODES), 2))
    empty = Observation.empty(CAPACITY)
    vertices = np.arange(CAPACITY.vertices) < NODES

    def per_vertex(low: float, high: float) -> jax.Array:
        return jnp.asarray(np.where(vertices, rng.uniform(low, high, len(vertices)), 0.0), empty.queue.dtype)

    def per_edge(low: float, high: float) -> jax.Array:
        values = np.zeros(CAPACITY.edges)
        values[: len(pairs)] = rng.uniform(low, high, len(pairs))
        return jnp.asarray(values, empty.queue.dtype)

    return Observation(
        complex=SimplicialComplex.from_edges(CAPACITY.vertices, pairs, CAPACITY, vertices),
        self_vertex=empty.self_vertex,
        own=empty.own.at[0].set(True),
        slots=empty.slots,
        queue=jnp.round(per_vertex(0, 50)),
        servers=empty.servers,
        service_rate=per_vertex(10, 40),
        arrival_rate=per_vertex(5, 40),
        cpu=per_vertex(0, 1),
        memory=per_vertex(0, 1),
        network=empty.network + 1e5,
        potential=per_vertex(0, 1),
        slope=per_vertex(0, 0.1),
        own_sent=jnp.round(per_vertex(0, 3)),
        live=jnp.asarray(vertices),
        hop=per_vertex(0.001, 0.01),
        overrun=empty.overrun,
        age=per_vertex(0.01, 0.2),
        net_arrivals=per_vertex(5, 40),
        own_rate=per_vertex(0, 5),
        rtt=per_edge(0.001, 0.02),
        bandwidth=empty.bandwidth,
        remote_conductance=per_edge(0.5, 1),
        traffic=per_edge(-5, 5),
        sensed=jnp.asarray(vertices),
    )


def world(nodes: int, tick: int) -> World:
    """A full mesh of `nodes`, as the daemon surveys it; queues and traffic move from tick to tick."""
    ids = [bytes([n + 1]) * 20 for n in range(nodes)]
    own = Vertex(ids[0], (7 * tick) % 50, 1, 10.0, 9.0, 0.0)
    others = tuple(
        Vertex(ids[n], (5 * n + 3 * tick) % 30, 1, 20.0, 9.0, 0.05, True, 0.1, 0.02, n % 3, 0.002)
        for n in range(1, nodes)
    )
    links = tuple(
        Link(ids[a], ids[b], 0.004, 0.8 if a == 0 else None, float((a + b + tick) % 5))
        for a, b in combinations(range(nodes), 2)
    )
    return World("default", (own, *others), links, 1.0)


if __name__ == "__main__":
    fix_environment()
    main()
