"""What do the symbolic laws of the mesh cost, and do they foretell better than "as before"?

Cost: the laws of four senses evaluated for 64 vertices, short and at the full 32 instructions, alone in a
compiled call (the empty call beside it is the dispatch), and one generation of the search: 32 programs on 64
samples. Worth: laws fitted to the first two thirds of synthetic traces, judged on the last third, as the mean
square error over that of "as before".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from shivya_kernels import fitting, formula, prediction
from shivya_kernels.morphic import Expression, Program, compile_expression
from shivya_kernels.search import MAX_SAMPLES, population, search
from timing import Row, fix_environment, measure, once, publish

VERTICES, SENSES, CAPACITY = 64, 4, 32
TICKS, SEEDS, ROUNDS = 1_500, 5, 60
NAMES = prediction.names(("wait", "use", "cpu", "memory"))


def main() -> None:
    rows = [row for dtype in ("float64", "float32") for row in cost_rows(dtype)]
    with jax.enable_x64(True):
        rows += list(worth_rows())
    publish("morphic", rows)


def cost_rows(dtype: str) -> Iterator[Row]:
    with jax.enable_x64(dtype == "float64"):
        rng = np.random.default_rng(0)
        nobody = prediction.forget(VERTICES, SENSES, jnp.dtype(dtype))
        everybody = jnp.ones(VERTICES, bool)
        observed = jnp.asarray(rng.uniform(size=(VERTICES, SENSES)), dtype)
        memory = prediction.remember(nobody, observed, everybody, ~everybody)
        full = reduce(lambda law, k: ("add", law, ("var", k % 9)), range(1, 16), ("var", 0))
        empty = jax.jit(lambda memory: memory.recent[0])
        empty(memory)
        yield cost("dispatch of an empty call", dtype, lambda: empty(memory))
        for what, law in (("predict, 'as before'", ("var", 0)), ("predict, 32 instructions", ("exp", full))):
            laws = stacked(law)
            yield cost(what, dtype, lambda laws=laws: prediction.predict(laws, memory))

        current = population(len(NAMES), CAPACITY)
        seen = jnp.asarray(rng.uniform(size=(len(NAMES), MAX_SAMPLES)), dtype)
        target = jnp.asarray(rng.uniform(size=MAX_SAMPLES), dtype)
        key = jax.random.key(0)
        _, compiling = once(lambda: jax.block_until_ready(search(key, current, seen, target)))
        for generation in range(5):
            current, _ = search(jax.random.fold_in(key, generation), current, seen, target)
        yield {
            **cost("search, one generation", dtype, lambda: search(key, current, seen, target)),
            "compile_ms": 1e3 * compiling.cpu,
        }


def cost(what: str, dtype: str, call: Callable[[], object]) -> Row:
    spent = measure(call, finish=jax.block_until_ready, repeats=25)
    return {
        "what": what,
        "dtype": dtype,
        "cpu_us": 1e6 * spent.cpu,
        "cpu_us_median": 1e6 * spent.cpu_median,
        "wall_us": 1e6 * spent.wall,
    }


def worth_rows() -> Iterator[Row]:
    """Of the first sense: the median over seeds, and the whole range."""
    for what, make in TRACES.items():
        fitted = [
            fitting.fit(make(np.random.default_rng(seed)), jax.random.key(seed), ROUNDS)
            for seed in range(SEEDS)
        ]
        ratios = sorted(float(one.ratio[0]) for one in fitted)
        law = jax.tree.map(lambda stack: stack[0], fitted[0].laws)
        yield {
            "what": f"error ratio, {what}",
            "dtype": "float64",
            "ratio": ratios[len(ratios) // 2],
            "ratio_range": f"{ratios[0]:.3g} to {ratios[-1]:.3g}",
            "law_of_seed_0": formula.text(law, NAMES),
        }


def stacked(law: Expression) -> Program:
    """The same law for every sense."""
    program = compile_expression(law, CAPACITY)
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * SENSES), program)


def autoregressive(rng: np.random.Generator) -> NDArray[np.float64]:
    """x' = 0.4 + 0.6 x + noise: the best law leaves (1 + 0.6) / 2 = 0.8 of the error of "as before"."""
    x = np.zeros(TICKS)
    for t in range(1, TICKS):
        x[t] = 0.4 + 0.6 * x[t - 1] + 0.1 * rng.normal()
    return x[:, None]


def seasonal(rng: np.random.Generator) -> NDArray[np.float64]:
    """A wave of 40 ticks under observation noise."""
    wave = np.sin(2.0 * np.pi * np.arange(TICKS) / 40.0)
    return (1.0 + wave + 0.05 * rng.normal(size=TICKS))[:, None]


def bursty_queue(rng: np.random.Generator) -> NDArray[np.float64]:
    """A server of 20 jobs/s seen every 0.1 s: log1p of the waiting seconds, and the utilisation it measures.

    Arrivals are a Markov-modulated Poisson process: 10 jobs/s, in bursts 30; bursts last 2 s on average and
    begin 4 s after the last. Utilisation is an exponential mean over about 1 s.
    """
    jobs, use, burst, trace = 0.0, 0.5, False, np.zeros((TICKS, 2))
    for t in range(TICKS):
        burst = rng.random() < (0.95 if burst else 0.025)
        arrivals = rng.poisson(3.0 if burst else 1.0)
        jobs = max(jobs + arrivals - rng.poisson(2.0), 0.0)
        use += 0.1 * (arrivals / 2.0 - use)
        trace[t] = np.log1p(jobs / 20.0), use
    return trace


TRACES = {"autoregressive": autoregressive, "seasonal": seasonal, "bursty queue": bursty_queue}


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
