"""Libraries for the same problems as ours: imported where installed, timed in turn, named by version.

A library that is missing costs its rows and nothing else. Entrants of a contest are timed round after round,
one after the other, so that what else the machine does meets all of them; the least of the rounds counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax

from timing import Row, Timing, least, measure, once


@dataclass(frozen=True)
class Peer:
    """A library; `module` is None where it cannot be imported, and `reason` says why."""

    name: str
    module: Any
    reason: str = ""

    def absent(self, head: Row) -> Row:
        """The row that stands for its figures."""
        return {**head, "method": self.name, "note": self.reason}


@dataclass(frozen=True)
class Entrant:
    """One method of a contest: what was done once before it, what is done each time, and what else to tell.

    `fresh` marks a `call` that makes, untimed, the thing to call: for objects that remember their answer.
    """

    method: str
    call: Callable[[], Any]
    setup: Timing | None = None
    compiling: Timing | None = None
    fresh: bool = False
    per_call: int = 1
    told: Row = field(default_factory=dict)


def load(distribution: str, module: str) -> Peer:
    """The library under its distribution's name and version, never an exception."""
    try:
        name = f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return Peer(distribution, None, "not installed")
    try:
        return Peer(name, import_module(module))
    except Exception as error:  # A library made for another JAX may fail at import in any way.
        return Peer(name, None, f"does not import: {type(error).__name__}")


def contest(head: Row, entrants: Sequence[Entrant], rounds: int = 5) -> Iterator[Row]:
    """A row for each; `ratio` is the processor time over that of the first, microseconds are per unit."""
    taken: list[list[Timing]] = [[] for _ in entrants]
    for _ in range(rounds):
        for entrant, timings in zip(entrants, taken, strict=True):
            timings.append(_time(entrant))
    found = [least(timings) for timings in taken]
    base = found[0].cpu / entrants[0].per_call
    parts = {
        "setup_ms": [entrant.setup for entrant in entrants],
        "compile_ms": [entrant.compiling for entrant in entrants],
    }
    for at, (entrant, spent) in enumerate(zip(entrants, found, strict=True)):
        each = spent.cpu / entrant.per_call
        before = {key: timings[at] for key, timings in parts.items() if any(timings)}
        yield {
            **head,
            "method": entrant.method,
            **{key: None if timing is None else 1e3 * timing.cpu for key, timing in before.items()},
            "cpu_us": 1e6 * each,
            "cpu_us_median": 1e6 * spent.cpu_median / entrant.per_call,
            "wall_us": 1e6 * spent.wall / entrant.per_call,
            "ratio": each / base,
            **entrant.told,
        }


def compiled(call: Callable[..., Any], *values: Any) -> tuple[Callable[[], Any], Timing]:
    """The call on these values as a compiled program, and what tracing and compiling took."""
    program, compiling = once(lambda: jax.jit(call).lower(*values).compile())
    return (lambda: program(*values)), compiling


def _time(entrant: Entrant) -> Timing:
    if entrant.fresh:
        return once(entrant.call())[1]
    return measure(entrant.call, finish=jax.block_until_ready, repeats=3, least_seconds=0.02)
