"""Plots of laws compared, as SVG written by hand: bars for one load, lines over several.

A plot shows the mean p99 over seeds and its 95 % interval. Its axis of time starts at 0, or is logarithmic
where the laws are more than five times apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from shivya.experiments import Estimate, mean

if TYPE_CHECKING:
    from shivya.experiments import Row

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 780, 110, 150, 68, 56
_BAR, _LINES_HEIGHT = 30, 340
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Distinct to all kinds of colour vision (Okabe and Ito 2008); more laws than colours are dashed."""
_INK, _GRID = "#222222", "#DDDDDD"
_SUBTITLE = "p99 of the time in system: mean over seeds and its 95 % interval"


@dataclass(frozen=True)
class _Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values between the ends, about five."""
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = (1, 2, 5) if self.high < 200 * self.low else (1,)
            marks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        else:
            rough = (self.high - self.low) / 5
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
            marks = [step * k for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [mark for mark in marks if self.low * (1 - 1e-9) <= mark <= self.high * (1 + 1e-9)]


def draw(runs: Sequence[Sequence[Row]], title: str, against: str = "load", label: str = "load") -> str:
    """Return the plot of runs, each the rows of one law at one load, as an SVG document.

    `against` is another field of the rows to plot over, `label` what the axis then says.
    """
    curves: dict[str, dict[float, Estimate]] = {}
    for run in runs:
        curves.setdefault(run[0]["law"], {})[run[0][against]] = mean(run, "p99")
    loads = sorted({load for curve in curves.values() for load in curve})
    if len(loads) > 1:
        height, body = _TOP + _LINES_HEIGHT + _BOTTOM, _lines(curves, loads, label)
    else:
        height, body = _TOP + max(len(curves), 1) * _BAR + _BOTTOM, _bars(curves)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-label={quoteattr(title)} '
        f'font-family="sans-serif" font-size="13" fill="{_INK}">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#FFFFFF"/>',
        _words(_LEFT, 28, title, size=15),
        _words(_LEFT, 50, _SUBTITLE),
        *body,
        "</svg>\n",
    ]
    return "\n".join(parts)


def _bars(curves: Mapping[str, Mapping[float, Estimate]]) -> Iterator[str]:
    laws = {law: estimate for law, curve in curves.items() for estimate in curve.values()}
    times = _time_axis(list(laws.values()), _LEFT, _WIDTH - _RIGHT)
    bottom = _TOP + max(len(laws), 1) * _BAR
    for tick in times.ticks():
        yield _stroke(times(tick), _TOP, times(tick), bottom, _GRID)
        yield _words(times(tick), bottom + 18, f"{tick:g}", anchor="middle")
    yield _words((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 42, _axis_label(times), anchor="middle")
    for row, (law, estimate) in enumerate(laws.items()):
        top = _TOP + row * _BAR
        middle, tip = top + _BAR / 2, times(estimate.value) if _known(estimate) else times.end
        yield _words(_LEFT - 8, middle + 4, law, anchor="end")
        yield (
            f'<rect x="{_LEFT}" y="{top + 5}" width="{tip - _LEFT:.1f}" height="{_BAR - 10}" '
            f'fill="{_COLOURS[0]}" fill-opacity="{0.75 if _known(estimate) else 0.25}"/>'
        )
        yield from _whisker(times, estimate, middle, across=False)
        edge = times(estimate.high) if math.isfinite(estimate.high) else tip
        yield _words(max(edge, tip) + 8, middle + 4, _reading(estimate))


def _lines(
    curves: Mapping[str, Mapping[float, Estimate]], loads: Sequence[float], label: str
) -> Iterator[str]:
    bottom, right = _TOP + _LINES_HEIGHT, _WIDTH - _RIGHT
    times = _time_axis([e for curve in curves.values() for e in curve.values()], bottom, _TOP)
    margin = (loads[-1] - loads[0]) * 0.04
    across = _Scale(loads[0] - margin, loads[-1] + margin, _LEFT, right)
    for tick in times.ticks():
        yield _stroke(_LEFT, times(tick), right, times(tick), _GRID)
        yield _words(_LEFT - 8, times(tick) + 4, f"{tick:g}", anchor="end")
    for load in loads:
        yield _stroke(across(load), bottom, across(load), bottom + 5, _INK)
        yield _words(across(load), bottom + 20, f"{load:g}", anchor="middle")
    yield _words((_LEFT + right) / 2, bottom + 44, label, anchor="middle")
    unit = _words(0, 0, _axis_label(times), anchor="middle")
    yield f'<g transform="translate(40 {(_TOP + bottom) / 2:.1f}) rotate(-90)">{unit}</g>'
    for row, (law, curve) in enumerate(curves.items()):
        colour = _COLOURS[row % len(_COLOURS)]
        dash = f' stroke-dasharray="{4 * (row // len(_COLOURS))} 3"' if row >= len(_COLOURS) else ""
        known = {load: estimate for load, estimate in sorted(curve.items()) if _known(estimate)}
        # Beside each other, or intervals at the same load would hide one another.
        aside = 3 * (row - (len(curves) - 1) / 2)
        points = " ".join(f"{across(load) + aside:.1f},{times(e.value):.1f}" for load, e in known.items())
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        for load, estimate in known.items():
            at = across(load) + aside
            yield f'<circle cx="{at:.1f}" cy="{times(estimate.value):.1f}" r="3" fill="{colour}"/>'
            yield from _whisker(times, estimate, at, across=True, colour=colour)
        level = _TOP + 12 + 20 * row
        yield (
            f'<line x1="{right + 16}" y1="{level}" x2="{right + 40}" y2="{level}" stroke="{colour}" '
            f'stroke-width="2"{dash}/>'
        )
        yield _words(right + 46, level + 4, law)


def _time_axis(estimates: Sequence[Estimate], start: float, end: float) -> _Scale:
    values = [estimate.value for estimate in estimates if _known(estimate)]
    if not values:
        return _Scale(0.0, 1.0, start, end)
    top = max([*values, *(estimate.high for estimate in estimates if math.isfinite(estimate.high))])
    if max(values) <= 5 * min(values):
        return _Scale(0.0, top * 1.05, start, end)
    return _Scale(min(values) / 2, top * 1.2, start, end, logarithmic=True)


def _axis_label(times: _Scale) -> str:
    return "seconds, logarithmic" if times.logarithmic else "seconds"


def _known(estimate: Estimate) -> bool:
    return math.isfinite(estimate.value) and estimate.value > 0


def _reading(estimate: Estimate) -> str:
    if _known(estimate):
        return f"{estimate.value:.3g}"
    return "never done" if math.isinf(estimate.value) else "no jobs"


def _whisker(
    times: _Scale, estimate: Estimate, at: float, *, across: bool, colour: str = _INK
) -> Iterator[str]:
    """An interval with its end caps; `across` for a vertical axis of time. What leaves the axis is cut."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return
    low, high = times(estimate.low), times(estimate.high)
    for a, b, c, d in ((low, at, high, at), (low, at - 4, low, at + 4), (high, at - 4, high, at + 4)):
        yield _stroke(b, a, d, c, colour) if across else _stroke(a, b, c, d, colour)


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _words(x: float, y: float, text: str, *, anchor: str = "start", size: int = 0) -> str:
    size_of = f' font-size="{size}"' if size else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{size_of}>{escape(text)}</text>'
