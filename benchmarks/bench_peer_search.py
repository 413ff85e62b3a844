"""Laws found by symbolic regression: the live search of L2 beside gplearn, on the same traces.

Both see the first two thirds of 1,500 ticks, the same variables at each tick and the first sense one tick
later; the figure is the mean square error on the last third over that of "as before", so below 1 is better. A
budget is evaluations of a program on a sample: ours polishes constants, and each of its sweeps for
derivatives counts as one more. gplearn gets as many, with our operations and measure of error, and is asked
for the change since the last tick, in units of its root mean square: asked for the next value, as ours is, it
hardly left "as before". Ten settings of its population, tournament, mutation and parsimony were tried on
three of these traces, with the held-out third itself as the judge, and the best is used; "its defaults" are
the library's. Ratio and processor time are medians over seeds, the time per sense; ours is compiled once per
shape of trace, which is apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bench_morphic import TRACES
from bench_predictor import DATA, ROUNDS
from peers import Peer, load
from shivya_kernels import fitting
from shivya_kernels.search import MAX_SAMPLES, SURVIVORS
from timing import Row, fix_environment, once, publish

SEEDS = 3
TICKS = 1_500
GENERATIONS = 10
SWEEPS = 2 * (1 + 6)
"""Evaluations on a sample in one polish: a start and six steps, each forwards and backwards."""

LARGEST_EXPONENT = 50.0

Trace = NDArray[np.float64]


def main() -> None:
    genetic, functions = load("gplearn", "gplearn.genetic"), load("gplearn", "gplearn.functions")
    rows: list[Row] = []
    with jax.enable_x64(True):
        for name, make in TRACES.items():
            traces = [make(np.random.default_rng(seed)) for seed in range(SEEDS)]
            rows += rows_of(name, traces, genetic, functions)
        for path in sorted(DATA[0].glob("trace-*.npz")):
            trace = np.load(path)["senses"][:TICKS].astype(np.float64)
            rows += rows_of(path.stem.replace("trace-", "recorded "), [trace] * SEEDS, genetic, functions)
    publish("peer_search", rows)


def rows_of(name: str, traces: list[Trace], genetic: Peer, functions: Peer) -> Iterator[Row]:
    ticks, senses = traces[0].shape
    head = {"trace": name, "ticks": ticks}
    training, budget = 2 * (ticks - 1) // 3, evaluations(ticks)

    def ours(seed: int) -> float:
        return float(fitting.fit(traces[seed], jax.random.key(seed), ROUNDS).ratio[0])

    jax.clear_caches()
    _, first = once(lambda: ours(0))
    mine = judged(ours, senses)
    compiling = max(0.0, 1e3 * first.cpu - senses * mine["cpu_ms"])
    yield {**head, "method": "shivya", "evaluations": budget, **mine, "compile_ms": compiling}
    if genetic.module is None:
        yield genetic.absent(head)
        return
    exponential = functions.module.make_function(function=_exponential, name="exp", arity=1, wrap=False)
    equal = {
        "population_size": budget // (training * GENERATIONS),
        "generations": GENERATIONS,
        "function_set": ("add", "sub", "mul", exponential),
        "metric": "mse",
    }
    for setting, chosen in (("same budget", equal), ("its defaults", {})):
        plan = genetic.module.SymbolicRegressor(**chosen)

        def theirs(seed: int, chosen: dict[str, Any] = chosen) -> float:
            return regress(genetic.module.SymbolicRegressor(random_state=seed, **chosen), traces[seed])

        made = plan.population_size * plan.generations * training
        yield {**head, "method": f"{genetic.name}, {setting}", "evaluations": made, **judged(theirs, 1)}


def evaluations(ticks: int) -> int:
    """What `fitting.fit` spends on a sense: each round a generation on 64 samples, then all survivors on the
    earlier third of the trace, judged on the next."""
    generations = ROUNDS * 2 * SURVIVORS * SWEEPS * MAX_SAMPLES
    return generations + (ROUNDS + 1) * SURVIVORS * (SWEEPS + 1) * ((ticks - 1) // 3)


def judged(find: Callable[[int], float], senses: int) -> Row:
    """Error ratios over the seeds, and processor time per sense."""
    found = [once(partial(find, seed)) for seed in range(SEEDS)]
    ratios = [ratio for ratio, _ in found]
    return {
        "error_ratio": median(ratios),
        "error_ratio_range": f"{min(ratios):.3g} to {max(ratios):.3g}",
        "cpu_ms": 1e3 * median(spent.cpu for _, spent in found) / senses,
    }


def regress(regressor: Any, trace: Trace) -> float:
    """Error on the last third over that of "as before", of a law found on the rest."""
    seen, wanted = (np.asarray(values)[..., 0] for values in fitting.samples(jnp.asarray(trace)))
    training = 2 * len(wanted) // 3
    change = wanted - seen[0]
    unit = np.sqrt(np.mean(change[:training] ** 2))
    regressor.fit(seen[:, :training].T, change[:training] / unit)
    missed = change[training:] - unit * regressor.predict(seen[:, training:].T)
    return float(np.mean(missed**2) / np.mean(change[training:] ** 2))


def _exponential(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(np.minimum(x, LARGEST_EXPONENT))


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
