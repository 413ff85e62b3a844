"""``shivya tune``: better numbers for the law of load sharing, for a fleet of one's own.

Everything is checked before JAX is imported, and nothing is written but by the last step. The search runs in
a thread of its own, because compiled code does not listen to signals: an interrupt ends the command at once.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from shivya import tune_file
from shivya.compiled import Apart, Interrupted, keep_what_is_compiled, leave, progress
from shivya.errors import CommandError, ExitCode
from shivya_daemon.views.words import finite

if TYPE_CHECKING:
    from shivya.experiments import Estimate, Row
    from shivya.tune_search import Outcome, Plan

T = TypeVar("T")

NAMES = (
    "gap",
    "slope_share",
    "own_sent",
    "drift",
    "drift_fade",
    "drift_share",
    "drift_seconds",
    "kappa",
    "prior_jobs",
    "rate_seconds",
    "gain",
    "pull_wait",
)
"""Parameters that can be tuned, known before JAX is imported."""

_SHOWN = 8
"""Candidates that are shown."""
_FIGURES = ("p99", "p999", "p50", "mean", "moves_per_job")


def tune(options: Namespace) -> int:
    """Tune the law's parameters by gradient through simulated fleets, and write those that prove better."""
    _check(options)
    there = _content(options.output)
    started = time.monotonic()
    try:
        plan, outcome = _run(options, started)
    except Interrupted:
        sys.stderr.write("shivya tune: interrupted, nothing was written\n")
        leave(ExitCode.INTERRUPTED)
    document = _document(options, plan, outcome, time.monotonic() - started)
    refusal = _refusal(outcome, options.output)
    if refusal is not None:
        refusal += "; nothing was written" + ("" if there is None else f", {options.output} is as it was")
    elif _content(options.output) != there:
        refusal = f"{options.output} was changed meanwhile; nothing was written"
    if options.json:
        shown = {"written": refusal is None, "file": str(options.output), **document}
        sys.stdout.write(json.dumps(finite(shown), indent=2) + "\n")
    else:
        sys.stdout.write(_text(plan, outcome, options.output))
    sys.stdout.flush()
    if refusal is not None:
        raise CommandError(ExitCode.FAILED, refusal)
    tune_file.write(options.output, document)
    return ExitCode.OK


def _check(options: Namespace) -> None:
    """What cannot be done is told before the work, not after it."""
    output: Path = options.output
    if output.is_dir() or not os.access(output.parent, os.W_OK | os.X_OK):
        raise CommandError(
            ExitCode.USAGE, f"--output cannot be written to {output}; name a file in a folder of yours"
        )
    _existing(output, tune_file.numbers)
    for name in options.only or ():
        if name not in NAMES:
            raise CommandError(ExitCode.USAGE, f"--only: no parameter {name!r}; there are {', '.join(NAMES)}")


def _existing(output: Path, read: Callable[[Path], T]) -> T | None:
    """Read the parameters that are in the file already, if there is one; no other file is written over."""
    if not output.exists():
        return None
    try:
        if not output.is_file():
            raise tune_file.ParametersError(f"{output} is no ordinary file")
        return read(output)
    except tune_file.ParametersError as error:
        raise CommandError(
            ExitCode.USAGE, f"--output is there and holds no parameters: {error}; give another name"
        ) from None


def _content(output: Path) -> bytes | None:
    """What the file holds; None where there is no such file."""
    try:
        return output.read_bytes()
    except OSError:
        return None


def _plan(options: Namespace) -> Plan:
    from shivya.simulate_scenario import ScenarioError, build, read

    try:
        values = read(options.file)
        keep_what_is_compiled()
        scenario = build(values, str(options.file))
    except ScenarioError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    from shivya.tune_search import Plan

    wanted = options.only or tune_file.DAEMON_KEYS
    names = tuple(name for name in NAMES if name in wanted)
    return Plan(scenario, names, options.seed, _existing(options.output, tune_file.read))


def _run(options: Namespace, started: float) -> tuple[Plan, Outcome]:
    """Check, and search; raises `Interrupted`."""
    allowed = 60 * float(options.minutes)

    def spent() -> float:
        return (time.monotonic() - started) / allowed

    with Apart() as apart:
        plan = _plan(options)
        from shivya import tune_search

        with progress() as show:
            for item in apart.each(lambda: tune_search.search(plan, spent)):
                if not isinstance(item, tune_search.Progress):
                    return plan, item
                show(item.what, item.share)
    raise AssertionError("a search ends with its outcome")


def _refusal(outcome: Outcome, output: Path) -> str | None:
    """Why the parameters are not to be used, if so."""
    if outcome.chosen is None:
        tried = len(outcome.candidates)
        return f"none of {tried} candidates was better than the defaults on the validation fleets"
    found = outcome.ratio()
    if not found.high < 1:
        return (
            f"p99 on the test fleets is {_interval(found)} of the defaults', which is not shown to be better"
        )
    if outcome.existing and not (found := outcome.beside_existing()).high < 1:
        return (
            f"p99 on the test fleets is {_interval(found)} of that with the parameters in {output}, "
            "which is not shown to be better"
        )
    return None


def _document(options: Namespace, plan: Plan, outcome: Outcome, seconds: float) -> dict[str, dict[str, Any]]:
    """All there is to know, as tables of a file."""
    from shivya import tune_space
    from shivya.version import __version__

    tuned = tune_space.numbers(outcome.parameters, (*plan.names, *tune_file.DAEMON_KEYS))
    existing = {"existing": _compared(outcome.existing, outcome.after)} if outcome.existing else {}
    chosen = outcome.chosen
    return {
        "law": {name: tuned[name] for name in tune_file.DAEMON_KEYS},
        "parameters": {name: tuned[name] for name in NAMES if name in tuned},
        "defaults": tune_space.numbers(outcome.defaults, [name for name in NAMES if name in tuned]),
        "scenario": {
            "file": options.file.name,
            "sha256": tune_file.scenario_hash(plan.scenario),
            "version": __version__,
        },
        "splits": {name: [seeds[0], seeds[-1]] for name, seeds in plan.splits.items()},
        "test": _compared(outcome.before, outcome.after),
        **existing,
        "search": {
            "seed": plan.seed,
            "gradient_steps": outcome.steps,
            "found_by": chosen.found_by if chosen else "nothing",
            "fluid_p99_before": outcome.surrogate[0],
            "fluid_p99_after": outcome.surrogate[1],
            "validated": [c.found_by for c in outcome.candidates],
            "validation_ratios": [c.validation.value for c in outcome.candidates],
            "seconds": round(seconds, 1),
        },
    }


def _compared(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Any]:
    """Every figure on the test fleets before and after, and their paired ratio."""
    from shivya import experiments

    found: dict[str, Any] = {}
    for figure in _FIGURES:
        ratio = experiments.ratio(after, before, figure)
        found |= {
            f"{figure}_before": experiments.mean(before, figure).value,
            f"{figure}_after": experiments.mean(after, figure).value,
            f"{figure}_ratio": ratio.value,
            f"{figure}_interval": [ratio.low, ratio.high],
        }
    return found


def _text(plan: Plan, outcome: Outcome, output: Path) -> str:
    """What changed, what it is worth on the test fleets, and what was tried."""
    from shivya import tune_space
    from shivya.tables import table

    before, after = (tune_space.numbers(p, plan.names) for p in (outcome.defaults, outcome.parameters))
    changed = [(name, f"{before[name]:.4g}", f"{after[name]:.4g}") for name in plan.names]
    fleets = f"{len(outcome.before)} TEST FLEETS"
    tested = [table((fleets, "DEFAULT", "TUNED", "RATIO", "95 %"), _rows(outcome.before, outcome.after))]
    if outcome.existing:
        head = (fleets, output.name, "TUNED", "RATIO", "95 %")
        tested.append(table(head, _rows(outcome.existing, outcome.after)))
    return "\n".join(
        (
            table(("PARAMETER", "DEFAULT", "TUNED"), changed),
            *tested,
            table(("CANDIDATE", "P99 ON VALIDATION", "AND TRAINING"), _tried(outcome)),
            f"found by: {outcome.chosen.found_by if outcome.chosen else 'nothing'}\n",
        )
    )


def _tried(outcome: Outcome) -> list[tuple[str, str, str]]:
    """The best candidates on the validation worlds, beside the defaults."""
    known = [c for c in outcome.candidates if math.isfinite(c.validation.value)]
    ranked = sorted(known, key=lambda c: c.validation.value)[:_SHOWN]
    rows = [
        (c.found_by, f"{c.validation.value:.3f}", _interval(c.everywhere) if c.everywhere else "")
        for c in ranked
    ]
    rest = len(outcome.candidates) - len(ranked)
    return [*rows, (f"and {rest} more", "", "")] if rest else rows


def _rows(before: Sequence[Row], after: Sequence[Row]) -> list[tuple[str, ...]]:
    """A comparison for people: times in milliseconds."""
    compared = _compared(before, after)
    rows: list[tuple[str, ...]] = []
    for figure in _FIGURES:
        name, unit = (figure.replace("_", " "), 1) if figure == "moves_per_job" else (f"{figure}, ms", 1000)
        old, new, ratio = (compared[f"{figure}_{what}"] for what in ("before", "after", "ratio"))
        low, high = compared[f"{figure}_interval"]
        rows.append(
            (name, f"{unit * old:.3g}", f"{unit * new:.3g}", f"{ratio:.3f}", f"{low:.3f} - {high:.3f}")
        )
    return rows


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} - {estimate.high:.3f})"
