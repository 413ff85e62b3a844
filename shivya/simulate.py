"""``shivya simulate``: laws of load sharing side by side on the same simulated jobs.

Everything is checked before JAX is imported. The fleets then run in a thread of their own, because a compiled
run does not listen to signals: an interrupt ends the command at once, with what is already known.
"""

from __future__ import annotations

import json
import math
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from shivya.compiled import Apart, Interrupted, Show, keep_what_is_compiled, leave, progress
from shivya.errors import CommandError, ExitCode
from shivya.simulate_hosts import Hosts
from shivya_daemon.views.words import finite

if TYPE_CHECKING:
    from shivya.experiments import Row
    from shivya_kernels.fleet import Scenario

    _Run = Sequence[Row]
    """The rows of one law at one load, one per seed."""

LAWS = (
    "none",
    "random",
    "jsq2",
    "jsq2stale",
    "jsq6",
    "sed",
    "sed2",
    "sed6",
    "sedF",
    "sedAll",
    "steal",
    "diffusion",
    "second_order",
    "l2",
    "shivya",
    "oracle",
)
"""The names of `fleet.LAWS`, known before JAX is imported."""

REFERENCE = "sed"
"""The law that others are compared with; the first one where it is not among them."""

JOBS_LIMIT = 20_000_000
"""Most jobs of one batch."""


class _Plan(NamedTuple):
    """What was asked for, checked."""

    scenarios: tuple[Scenario, ...]
    """One per load."""
    laws: tuple[str, ...]
    seeds: tuple[int, ...]
    hosts: Hosts | None
    """With whom the seeds are shared."""

    @property
    def own_seeds(self) -> tuple[int, ...]:
        """Those that run here."""
        return self.seeds if self.hosts is None else self.hosts.share(self.seeds)

    @property
    def runs(self) -> int:
        """Each law at each load."""
        return len(self.scenarios) * len(self.laws)


def simulate(options: Namespace) -> int:
    """Compare laws of load sharing on the same simulated jobs."""
    hosts = Hosts.of(options)
    if hosts is None or hosts.prints:
        _check_outputs(options)
    runs: list[_Run] = []
    interrupted = False
    with Apart() as apart, nullcontext() if hosts is None else hosts.quiet():
        plan = _plan(options, hosts)
        try:
            with progress() as show:
                for run in apart.each(lambda: _runs(plan, show)):
                    runs.append(run)  # noqa: PERF402 -- those that are done are kept on Ctrl-C
        except Interrupted:
            interrupted = True
    if hosts is None or hosts.prints:
        _publish(options, plan, runs)
    if interrupted:
        sys.stderr.write(f"shivya simulate: interrupted, {len(runs)} of {plan.runs} runs are done\n")
        leave(ExitCode.INTERRUPTED)
    return ExitCode.OK


def _check_outputs(options: Namespace) -> None:
    """An output that cannot be written is told before the work, not after it."""
    if options.plot is not None and options.plot.suffix.lower() != ".svg":
        raise CommandError(ExitCode.USAGE, f"--plot draws SVG only; name a file.svg, not {options.plot}")
    for flag, path in (("--csv", options.csv), ("--plot", options.plot)):
        if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK)):
            raise CommandError(ExitCode.USAGE, f"{flag} cannot be written to {path}; name a file elsewhere")


def _plan(options: Namespace, hosts: Hosts | None) -> _Plan:
    from dataclasses import replace

    from shivya.simulate_scenario import ScenarioError, build, read

    for law in options.laws:
        if law not in LAWS:
            raise CommandError(ExitCode.USAGE, f"--laws: no law {law!r}; there are {', '.join(LAWS)}")
    try:
        values: dict[str, Any] = {} if options.file is None else read(options.file)
        if options.load and not values.keys().isdisjoint(("arrivals", "arrival_rates")):
            raise ScenarioError("--load means nothing beside a trace or arrival_rates; leave one out")
        given = {"nodes": options.nodes, "seconds": options.seconds}
        values |= {key: value for key, value in given.items() if value is not None}
        keep_what_is_compiled()
        scenario = build(values, str(options.file or "scenario"))
    except ScenarioError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    loads = dict.fromkeys(options.load or [scenario.load])
    scenarios = tuple(replace(scenario, load=load) for load in loads)
    seeds = tuple(range(options.seed0, options.seed0 + options.seeds))
    plan = _Plan(scenarios, tuple(dict.fromkeys(options.laws)), seeds, hosts)
    jobs = max(_jobs(scenario) for scenario in scenarios) * len(plan.own_seeds)
    if jobs > JOBS_LIMIT:
        raise CommandError(
            ExitCode.USAGE,
            f"about {jobs:.2g} jobs would run at a time, the most is {JOBS_LIMIT:.2g}; "
            "ask for fewer --seeds, --nodes or --seconds",
        )
    return plan


def _jobs(scenario: Scenario) -> float:
    """About how many jobs a fleet has."""
    if scenario.arrivals is not None:
        return len(scenario.arrivals)
    if scenario.arrival_rates is not None:
        return math.fsum(scenario.arrival_rates) * scenario.horizon + sum(scenario.backlog or ())
    shares = scenario.shares or (1 / scenario.nodes,) * scenario.nodes
    rate = math.fsum(rate * share for rate, share in zip(scenario.rates, shares, strict=True))
    return scenario.load * rate * scenario.nodes * scenario.horizon


def _runs(plan: _Plan, show: Show) -> Iterator[_Run]:
    """Yield every law at every load, and show how far each is."""
    from shivya import experiments
    from shivya_kernels.fleet import spread

    done = 0
    with nullcontext() if plan.hosts is None else plan.hosts.met():
        for scenario in plan.scenarios:
            fleets = spread(scenario, plan.own_seeds)
            for law in plan.laws:
                show(f"compiling {law}", done / plan.runs)
                told = partial(_show_run, show, plan.runs, done, law, scenario.horizon)
                rows = experiments.measure(fleets, law, told=told).rows  # not the trace, which may be large
                yield rows if plan.hosts is None else plan.hosts.gathered(rows)
                done += 1


def _show_run(show: Show, runs: int, done: int, law: str, horizon: float, seconds: float) -> None:
    """Show how far a run is: by the time in which jobs arrive, as how long the last take is not known."""
    what = f"simulating {law}" if seconds < horizon else f"draining {law}"
    show(what, (done + min(seconds / horizon, 1.0)) / runs)


def _publish(options: Namespace, plan: _Plan, runs: Sequence[_Run]) -> None:
    """Print the results, then write the files."""
    rows = [finite(row) for run in runs for row in run]
    if options.json:
        sys.stdout.write(json.dumps({"rows": rows}, indent=2) + "\n")
    elif runs:
        sys.stdout.write(_text(plan, runs))
    if options.csv is not None:
        import csv

        with options.csv.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0] if rows else ["law", "load", "seed"])
            writer.writeheader()
            writer.writerows(rows)
    if options.plot is not None:
        from shivya.simulate_plot import draw

        options.plot.write_text(draw(runs, _title(plan)), encoding="utf-8")


def _title(plan: _Plan) -> str:
    scenario, (first, last) = plan.scenarios[0], (plan.seeds[0], plan.seeds[-1])
    drawn = scenario.arrivals is None and scenario.arrival_rates is None
    load = f"load {scenario.load:g}, " if drawn and len(plan.scenarios) == 1 else ""
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    return f"{scenario.nodes} nodes, {scenario.seconds:g} s, {load}{seeds}"


def _text(plan: _Plan, runs: Sequence[_Run]) -> str:
    """A line per law and load: means over the seeds, and p99 beside the law that all are compared with."""
    from shivya.experiments import mean
    from shivya.tables import table

    reference = REFERENCE if REFERENCE in plan.laws else plan.laws[0]
    several = len(plan.scenarios) > 1
    extras = [
        (key, head)
        for key, head in (("jobs_refused", "REFUSED"), ("jobs_left", "NEVER DONE"))
        if any(row[key] for run in runs for row in run)
    ]
    lines = []
    for run in runs:
        law, load = run[0]["law"], run[0]["load"]
        beside = next((r for r in runs if (r[0]["law"], r[0]["load"]) == (reference, load)), None)
        lines.append(
            (
                law,
                *((f"{load:g}",) if several else ()),
                *(_time(mean(run, figure).value) for figure in ("mean", "p50", "p99", "p999")),
                *_beside(run, beside),
                f"{mean(run, 'moves_per_job').value:.2f}",
                *(str(sum(row[key] for row in run)) for key in ("jobs_lost", *dict(extras))),
            )
        )
    heads = (
        *("LAW", *(("LOAD",) if several else ()), "MEAN", "P50", "P99", "P99.9"),
        *(f"P99/{reference.upper()}", "95 %", "MOVES/JOB", "LOST", *dict(extras).values()),
    )
    note = (
        f"means over {len(plan.seeds)} seeds; P99/{reference.upper()}: geometric mean of the ratios on the "
        "same jobs, with Student's t interval over seeds"
        if len(plan.seeds) > 1
        else "one seed says little: with --seeds 3 or more there is an interval"
    )
    return f"{_title(plan)}\n\n{table(heads, lines)}\n{note}\n"


def _beside(run: _Run, reference: _Run | None) -> tuple[str, str]:
    from shivya.experiments import Estimate, ratio

    found = Estimate(math.nan, math.nan, math.nan) if reference is None else ratio(run, reference)
    value = f"{found.value:.2f}" if math.isfinite(found.value) else "-"
    if run is reference or not math.isfinite(found.low):
        return value, "-"
    return value, f"{found.low:.2f} - {found.high:.2f}"


def _time(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    if math.isinf(seconds):
        return "never"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
