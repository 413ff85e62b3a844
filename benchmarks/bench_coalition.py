"""Harsanyi dividends and Shapley values of whole games: ours, plain NumPy and a dictionary over subsets.

Every method starts from the values of all coalitions, in float64, on one core. A batch is one call for all
its games where a method can; the recursion over subsets is what general libraries for such games do, and is
timed on small games only. `ratio` is the processor time over ours, `error` the largest deviation from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from shivya_kernels import coalition
from timing import Row, fix_environment, measure, once, publish

CASES = ((4, 1), (8, 1), (8, 1024), (12, 1), (16, 1))
"""Players and games per call."""
LARGEST_RECURSION = 8

Values = NDArray[np.float64]


def main() -> None:
    with jax.enable_x64(True):
        publish("coalition", [row for players, games in CASES for row in rows_of(players, games)])


def rows_of(players: int, games: int) -> Iterator[Row]:
    values = np.random.default_rng(players).standard_normal((games, 1 << players))
    dividends: dict[str, Callable[[Values], Values]] = {"numpy butterfly": butterfly}
    if players <= 8:
        matrix = sign_matrix(players)
        dividends["numpy sign matrix"] = lambda v: v @ matrix.T
    if players <= LARGEST_RECURSION and games == 1:
        dividends["python dictionary over subsets"] = recursion
    shares = {"numpy butterfly": lambda v: shares_of(butterfly(v))}
    yield from compare("dividends", coalition.harsanyi_dividends, dividends, values)
    yield from compare("Shapley values", coalition.shapley_values, shares, values)


def compare(
    what: str, ours: Any, rivals: dict[str, Callable[[Values], Values]], values: Values
) -> Iterator[Row]:
    """Ours first, then each rival on the same games."""
    given = jnp.asarray(values)
    compiled, compiling = once(lambda: ours.lower(given).compile())
    expected = np.asarray(compiled(given))
    base = measure(lambda: compiled(given), finish=jax.block_until_ready)
    games, coalitions = values.shape
    head = {"what": what, "players": coalitions.bit_length() - 1, "games": games}
    yield {
        **head,
        "method": "shivya",
        "compile_ms": 1e3 * compiling.cpu,
        "cpu_us": 1e6 * base.cpu,
        "cpu_us_median": 1e6 * base.cpu_median,
        "cpu_us_per_game": 1e6 * base.cpu / games,
        "ratio": 1.0,
    }
    for method, call in rivals.items():
        spent = measure(lambda call=call: call(values), repeats=5)
        yield {
            **head,
            "method": method,
            "cpu_us": 1e6 * spent.cpu,
            "cpu_us_median": 1e6 * spent.cpu_median,
            "cpu_us_per_game": 1e6 * spent.cpu / games,
            "ratio": spent.cpu / base.cpu,
            "error": float(np.abs(call(values) - expected).max()),
        }


def butterfly(values: Values) -> Values:
    """In place, one pass per player."""
    found = values.copy()
    for bit in range(values.shape[-1].bit_length() - 1):
        halves = found.reshape(len(found), -1, 2, 1 << bit)
        halves[:, :, 1] -= halves[:, :, 0]
    return found


def sign_matrix(players: int) -> Values:
    matrix = np.ones((1, 1))
    for _ in range(players):
        matrix = np.kron(np.array([[1.0, 0.0], [-1.0, 1.0]]), matrix)
    return matrix


def recursion(values: Values) -> Values:
    """Each coalition less its parts, smaller ones first."""
    (game,) = values
    found: dict[int, float] = {}
    for mask in range(len(game)):
        parts, part = 0.0, mask
        while part:
            part = (part - 1) & mask
            parts += found[part]
        found[mask] = float(game[mask]) - parts
    return np.array([list(found.values())])


def shares_of(dividends: Values) -> Values:
    masks = np.arange(dividends.shape[-1])
    members = masks[:, None] >> np.arange(dividends.shape[-1].bit_length() - 1) & 1
    return (dividends / np.maximum(members.sum(1), 1)) @ members


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
