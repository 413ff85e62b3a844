"""Scenario files: the world of an ensemble of fleets as TOML, checked key by key before anything is loaded.

Keys are the fields of `shivya_kernels.fleet.Scenario`; its two faults are tables of their own, and a recorded
trace of jobs is a CSV file beside it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from shivya import toml_file

if TYPE_CHECKING:
    from shivya_kernels.fleet import Outage, Scenario

TRACE_HEADER = ("node", "time", "size")
TRACE_LIMIT = 2_000_000
"""Most jobs that a recorded trace may have."""


class ScenarioError(ValueError):
    """A scenario that cannot be simulated; one line that names the file, the key and what to write."""


@dataclass(frozen=True)
class _Kind:
    """One type of value: how a person is told of it, and how TOML's value is checked."""

    expected: str
    holds: Callable[[Any], bool]


def _whole(value: object, least: int = 0) -> bool:
    return type(value) is int and value >= least


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _list(value: object, holds: Callable[[Any], bool], least: int = 1) -> bool:
    return isinstance(value, list) and len(value) >= least and all(map(holds, value))


_COUNT = _Kind("a whole number, 1 or more", lambda x: _whole(x, 1))
_POSITIVE = _Kind("a number greater than 0", lambda x: _number(x) and x > 0)
_NOT_NEGATIVE = _Kind("a number, 0 or more", lambda x: _number(x) and x >= 0)
_SHARE = _Kind("a number from 0 to 1", lambda x: _number(x) and 0 <= x <= 1)
_SWITCH = _Kind("true or false", lambda x: type(x) is bool)
_SIZES = _Kind(
    "'exponential', 'lognormal' or 'deterministic'",
    lambda x: x in ("exponential", "lognormal", "deterministic"),
)
_RATES = _Kind("a list of numbers greater than 0", lambda x: _list(x, _POSITIVE.holds))
_SHARES = _Kind(
    "a list of shares from 0 to 1 that sum to 1",
    lambda x: _list(x, _SHARE.holds) and math.isclose(math.fsum(x), 1, abs_tol=1e-9),
)
_EACH = _Kind("a list of numbers, 0 or more, one per node", lambda x: _list(x, _NOT_NEGATIVE.holds))
_EACH_LINK = _Kind("a list of numbers greater than 0, one per edge", lambda x: _list(x, _POSITIVE.holds))
_COUNTS = _Kind("a list of whole numbers, one per node", lambda x: _list(x, _whole))
_SERVERS = _Kind(
    "a whole number, 1 or more, or a list of them, one per node",
    lambda x: _COUNT.holds(x) or _list(x, _COUNT.holds),
)
_NODES = _Kind("a list of node numbers", lambda x: _list(x, _whole))
_EDGES = _Kind(
    "a list of pairs of node numbers, such as [[0, 1], [1, 2]]",
    lambda x: _list(x, lambda pair: _list(pair, _whole, 2) and len(pair) == 2),
)
_WINDOW = _Kind(
    "two times in seconds, [from, until]",
    lambda x: _list(x, _NOT_NEGATIVE.holds, 2) and len(x) == 2 and x[0] < x[1],
)
_NODE = _Kind("a node number or 'busiest'", lambda x: x == "busiest" or _whole(x))
_FILE = _Kind("the path of a CSV file", lambda x: isinstance(x, str) and x != "")

KEYS: Mapping[str, _Kind] = MappingProxyType(
    {
        "nodes": _COUNT,
        "mean_degree": _POSITIVE,
        "edges": _EDGES,
        "rates": _RATES,
        "shares": _SHARES,
        "rate_spread": _EACH,
        "servers": _SERVERS,
        "sizes": _SIZES,
        "size_variation": _POSITIVE,
        "load": _POSITIVE,
        "seconds": _POSITIVE,
        "warm_up": _NOT_NEGATIVE,
        "bursts": _SWITCH,
        "burst_high": _POSITIVE,
        "burst_low": _POSITIVE,
        "burst_seconds": _POSITIVE,
        "calm_seconds": _POSITIVE,
        "hotspot": _SHARE,
        "arrival_rates": _EACH,
        "arrival_spread": _EACH,
        "backlog": _COUNTS,
        "trace": _FILE,
        "hop": _POSITIVE,
        "hop_spread": _POSITIVE,
        "hops": _EACH_LINK,
        "latency": _POSITIVE,
        "heartbeat": _POSITIVE,
        "change": _NOT_NEGATIVE,
        "silence": _POSITIVE,
        "extra_age": _NOT_NEGATIVE,
        "loss": _SHARE,
        "ttl": _POSITIVE,
        "misstatement": _POSITIVE,
        "partition": _WINDOW,
        "step": _POSITIVE,
        "drain": _NOT_NEGATIVE,
    }
)
"""What may stand in [scenario]: the fields of a `Scenario`, less the outages, and `trace` for arrivals."""

_CRASH: Mapping[str, _Kind] = MappingProxyType({"start": _NOT_NEGATIVE, "end": _POSITIVE, "node": _NODE})
TABLES: Mapping[str, Mapping[str, _Kind]] = MappingProxyType(
    {
        "scenario": KEYS,
        "crash": _CRASH,
        "slow": MappingProxyType({**_CRASH, "factor": _POSITIVE}),
        "failure": MappingProxyType({"nodes": _NODES, "at": _NOT_NEGATIVE}),
    }
)
"""The tables of a file and what may stand in each."""

_HEADS = ", ".join(f"[{name}]" for name in TABLES)


def read(path: Path) -> dict[str, Any]:
    """Read a file's values: those of [scenario] by their keys, the other tables under their names.

    Raises `ScenarioError` for a file that cannot be read, an unknown key, or a value out of its range.
    """
    document = toml_file.read(path, ScenarioError, "name a scenario file (TOML)")
    for name, table in document.items():
        if name not in TABLES or not isinstance(table, dict):
            raise ScenarioError(
                f"{path}: {name} stands outside the known tables; write it below one of {_HEADS}"
            )
        for key, value in table.items():
            _check(path, name, key, value)
    values = dict(document.pop("scenario", {})) | document
    for name, keys in (("crash", ("start", "end")), ("slow", ("start", "end")), ("failure", ("nodes", "at"))):
        _check_fault(path, name, keys, values.get(name))
    for name in ("trace", "arrival_rates"):
        if name in values and "load" in values:
            raise ScenarioError(f"{path}: load means nothing beside {name}, which has its own; leave one out")
    if "trace" in values:
        values["arrivals"] = read_trace(path.parent / values.pop("trace"))
    return values


def _check(path: Path, table: str, key: str, value: object) -> None:
    known = TABLES[table]
    if key not in known:
        raise ScenarioError(f"{path}: [{table}] has no key {key!r}; it may have {', '.join(known)}")
    if not known[key].holds(value):
        text = str(value)
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise ScenarioError(f"{path}: {table}.{key} must be {known[key].expected}, not {shown}")


def _check_fault(path: Path, name: str, keys: tuple[str, ...], fault: Mapping[str, Any] | None) -> None:
    if fault is None:
        return
    for key in keys:
        if key not in fault:
            wanted = "the numbers of the nodes" if key == "nodes" else "the time in seconds"
            raise ScenarioError(f"{path}: [{name}] lacks {key}; write {wanted}")
    if "end" in fault and fault["end"] <= fault["start"]:
        raise ScenarioError(f"{path}: {name}.end must be later than {name}.start")


def read_trace(path: Path) -> tuple[tuple[int, float, float], ...]:
    """Read recorded jobs, one `node,time,size` a line, below that header or without one.

    Raises `ScenarioError` for a file that cannot be read, and for the first line that is no job.
    """
    jobs: list[tuple[int, float, float]] = []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for number, cells in enumerate(csv.reader(stream), start=1):
                if not cells or (number == 1 and tuple(cell.strip() for cell in cells) == TRACE_HEADER):
                    continue
                jobs.append(_job(f"{path} line {number}", cells))
                if len(jobs) > TRACE_LIMIT:
                    raise ScenarioError(f"{path} has more than {TRACE_LIMIT} jobs; simulate a part of it")
    except OSError as error:
        raise ScenarioError(f"cannot read {path}: {error.strerror}; trace names a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ScenarioError(f"{path} is not a CSV file in UTF-8: {error}") from None
    if not jobs:
        raise ScenarioError(f"{path} has no jobs; write one node,time,size a line")
    return tuple(jobs)


def _job(at: str, cells: list[str]) -> tuple[int, float, float]:
    try:
        node, time, size = int(cells[0]), float(cells[1]), float(cells[2])
        good = len(cells) == 3 and node >= 0 and 0 <= time < math.inf and 0 < size < math.inf
    except (ValueError, IndexError):
        good = False
    if not good:
        raise ScenarioError(
            f"{at} must be node,time,size: a node number, seconds from the start, seconds of work at rate 1"
        )
    return node, time, size


def build(values: Mapping[str, Any], origin: str) -> Scenario:
    """Make the scenario of checked values; what does not fit together is told with `origin` before it.

    Raises `ScenarioError`.
    """
    from shivya_kernels.fleet.scenario import Failure, Outage, Scenario

    fields = {name: _frozen(value) for name, value in values.items()}
    for name, fault in (("crash", Outage), ("slow", Outage), ("failure", Failure)):
        if name in fields:
            fields[name] = fault(**{key: _frozen(value) for key, value in fields[name].items()})
    if "rates" in fields:
        # Rates alone are one per node; shares beside them are how often each is drawn.
        fields.setdefault("shares", None)
    try:
        scenario = Scenario(**fields)
    except ValueError as error:
        raise ScenarioError(f"{origin}: {error}") from None
    wrong = _misfit(scenario)
    if wrong:
        raise ScenarioError(f"{origin}: {wrong}")
    return scenario


def _frozen(value: Any) -> Any:
    """Lists as tuples, so that a scenario is hashable."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _misfit(scenario: Scenario) -> str | None:
    """What is wrong between the parts of a scenario, and the remedy."""
    nodes, horizon = scenario.nodes, scenario.horizon
    among = f"there are {nodes} nodes, 0 to {nodes - 1}; raise nodes or name another"
    faults: tuple[tuple[str, Outage | None], ...] = (("crash", scenario.crash), ("slow", scenario.slow))
    for name, outage in faults:
        if outage is not None and outage.node != "busiest" and outage.node >= nodes:
            return f"{name}.node is {outage.node}, but {among}"
    starts = {name: outage.start for name, outage in faults if outage is not None}
    if scenario.partition is not None:
        starts["partition"] = scenario.partition[0]
    if scenario.failure is not None:
        starts["failure"] = scenario.failure.at
    for name, start in starts.items():
        if start >= horizon:
            return (
                f"{name} begins at {start:g} s, but the last job comes at warm_up + seconds = {horizon:g} s"
            )
    if scenario.edges is not None:
        pairs = {tuple(sorted(edge)) for edge in scenario.edges}
        if max(map(max, scenario.edges)) >= nodes:
            return f"edges name node {max(map(max, scenario.edges))}, but {among}"
        if len(pairs) < len(scenario.edges) or any(a == b for a, b in pairs):
            return "edges must join two different nodes, each pair once"
    if scenario.arrivals is not None:
        last, latest = max(job[0] for job in scenario.arrivals), max(job[1] for job in scenario.arrivals)
        if last >= nodes:
            return f"trace has jobs at node {last}, but {among}"
        if latest > horizon:
            return f"trace has a job at {latest:g} s, after warm_up + seconds = {horizon:g} s; raise seconds"
    return None
