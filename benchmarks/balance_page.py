"""Puts what `bench_fleet`, `bench_balance` and `bench_demo` measured into docs/balance.md, at its marks."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Sequence
from typing import Any

from timing import RESULTS, ROOT, Row

PAGE = ROOT / "docs" / "balance.md"
COMPARED = ("sed", "sedAll", "shivya", "oracle")


def main() -> None:
    fleet, balance, demo = map(_rows, ("fleet", "balance", "demo"))
    PAGE.write_text(filled(PAGE.read_text(), tables(fleet, balance, demo)))


def _rows(name: str) -> list[Row]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def filled(page: str, found: dict[str, list[str]]) -> str:
    """Return the page with each table between its marks; raises KeyError for a mark without a table."""

    def put(match: re.Match[str]) -> str:
        lines = found[match[2]]
        if len(lines) < 3:  # a head without rows
            lines = ["Not measured yet."]
        elif (PAGE.parent / "images" / f"balance-{match[2]}.svg").exists():
            lines = [f"![p99 against {match[2]}](images/balance-{match[2]}.svg)", "", *lines]
        return "\n".join([match[1], *lines, match[3]])

    return re.sub(r"(<!-- begin (\w+) -->)\n.*?(<!-- end \2 -->)", put, page, flags=re.DOTALL)


def tables(fleet: Sequence[Row], balance: Sequence[Row], demo: Sequence[Row]) -> dict[str, list[str]]:
    """Return the tables by name, from the rows of the three benchmarks."""
    # The yardstick runs first; what it is made of is shown before it.
    fleet = sorted(fleet, key=lambda row: row["what"] == "build" and row["law"].startswith("+"))
    by_regime: dict[str, dict[str, Row]] = {}
    for row in fleet:
        if row["what"] in ("laws", "regimes") and row["law"] in COMPARED:
            by_regime.setdefault(row["regime"], {})[row["law"]] = row
    heap = [(row["law"], _seconds(row)) for row in balance if row["axis"] == "heap"]
    return {
        "demo": _demo(demo),
        "regimes": _regimes(by_regime),
        "heap": _table(("law", "seconds (95 %)"), heap),
        **{axis: _axis(axis, balance) for axis in ("load", "age", "loss")},
        **{
            what: _laws([row for row in fleet if row["what"] == what])
            for what in ("laws", "build", "ablation")
        },
        "telemetry": _telemetry([row for row in fleet if row["what"] == "telemetry"]),
        **{
            what: _beside(rival, [row for row in fleet if row["what"] == what])
            for what, rival in (("ideas", "shivya"), ("elsewhere", "shivya"), ("light", "sed"))
        },
    }


def _telemetry(rows: Sequence[Row]) -> list[str]:
    by_regime: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_regime.setdefault(row["regime"], {})[row["law"]] = row
    names = ("sed", "sedAll", "shivya")
    heads = ("regime", *(f"{name}, ms / moves / heartbeats" for name in names))
    heads += ("p99 of shivya beside sed", "beside sedAll", "mean beside sed")
    return _table(
        heads,
        [
            (
                regime,
                *(
                    f"{_ms(row['p99_ms'])} / {row['moves']:.2f} / {row['heartbeats']:.1f}"
                    for row in (laws[name] for name in names)
                ),
                f"{laws['shivya']['ratio'] / laws['sed']['ratio']:.2f}",
                _ratio(laws["shivya"]),
                f"{laws['shivya']['mean_ratio'] / laws['sed']['mean_ratio']:.2f}",
            )
            for regime, laws in by_regime.items()
        ],
    )


def _beside(rival: str, rows: Sequence[Row]) -> list[str]:
    heads = ("regime", "law", f"p99 beside {rival}", f"mean beside {rival}", "moves per job", "lost")
    return _table(
        heads,
        [
            (
                row["regime"],
                row["law"],
                _ratio(row),
                f"{row['mean_ratio']:.2f}",
                f"{row['moves']:.2f}",
                row["lost"],
            )
            for row in rows
        ],
    )


def _regimes(regimes: dict[str, dict[str, Row]]) -> list[str]:
    heads = ("regime", "sed, ms / moves", "sedAll", "**shivya**", "oracle", "mean of shivya beside sed")
    return _table(
        heads,
        [
            (
                regime,
                f"{_ms(laws['sed']['p99_ms'])} / {laws['sed']['moves']:.2f}",
                *(
                    f"{_ratio(laws[name])} / {laws[name]['moves']:.2f}" if name in laws else "-"
                    for name in COMPARED[1:]
                ),
                f"{laws['shivya']['mean_ratio']:.2f}",
            )
            for regime, laws in regimes.items()
        ],
    )


def _demo(rows: Sequence[Row]) -> list[str]:
    """Geometric means over the runs of a fleet; each p99 as measured beside them."""
    fleets: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        fleets.setdefault((row["nodes"], row["links"], row["slow"], row["seed"], row["law"]), []).append(row)
    heads: tuple[str, ...] = ("nodes", "links", "slower by", "seed", "law", "p50, ms", "simulated", "p99")
    heads += ("simulated", "p99 of each run", "moves per job", "simulated", "kB/s per node", "lost or twice")

    def mean(runs: Sequence[Row], what: str) -> float:
        return statistics.geometric_mean([row[what] for row in runs]) if runs[0][what] else 0.0

    return _table(
        heads,
        [
            (
                *fleet,
                *(
                    _ms(mean(runs, f"{side}{figure}_ms"))
                    for figure in ("p50", "p99")
                    for side in ("", "sim_")
                ),
                ", ".join(_ms(row["p99_ms"]) for row in runs),
                *(f"{mean(runs, side):.2f}" for side in ("moves", "sim_moves")),
                f"{mean(runs, 'bytes_per_node_s') / 1e3:.1f}" if runs[0]["bytes_per_node_s"] else "-",
                sum(row["lost"] + row["twice"] for row in runs),
            )
            for fleet, runs in fleets.items()
        ],
    )


def _axis(axis: str, rows: Sequence[Row]) -> list[str]:
    heads = (
        axis,
        "law",
        "mean, ms",
        "p50 (95 %)",
        "p99 (95 %)",
        "p99.9 (95 %)",
        "p99 beside sed",
        "moves per job",
    )
    return _table(
        heads,
        [
            (
                f"{row['value']:g}",
                row["law"],
                _ms(row["mean_ms"]),
                *(
                    f"{_ms(row[f'{name}_ms'])} ({_ms(row[f'{name}_low'])} - {_ms(row[f'{name}_high'])})"
                    for name in ("p50", "p99", "p999")
                ),
                _ratio(row),
                f"{row['moves']:.2f}",
            )
            for row in rows
            if row["axis"] == axis
        ],
    )


def _laws(rows: Sequence[Row]) -> list[str]:
    heads = ("law", "p99, ms", "p99 beside sed", "mean beside sed", "p99.9 beside sed", "moves per job")
    return _table(
        heads,
        [
            (
                row["law"],
                _ms(row["p99_ms"]),
                _ratio(row),
                f"{row['mean_ratio']:.2f}",
                f"{row['p999_ratio']:.2f}",
                f"{row['moves']:.2f}",
            )
            for row in rows
        ],
    )


def _ratio(row: Row) -> str:
    value, low, high = row["ratio"], row["low"], row["high"]
    if not math.isfinite(value):
        return "-"
    return f"{value:.2f}" if high - low < 1e-9 else f"{value:.2f} ({low:.2f} - {high:.2f})"


def _ms(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "-"


def _seconds(row: Row) -> str:
    value, low, high = (row[f"p99_{part}"] / 1e3 for part in ("ms", "low", "high"))
    return f"{value:.1f}" if high - low < 0.1 else f"{value:.1f} ({low:.1f} - {high:.1f})"


def _table(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> list[str]:
    rows = (heads, ("---",) * len(heads), *lines)
    return [f"| {' | '.join(map(str, cells))} |" for cells in rows]


if __name__ == "__main__":
    main()
