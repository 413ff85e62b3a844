"""What can be drawn with characters: bars, sparklines, charts, a ring of phases. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    """The characters to draw with; every one is one column wide."""

    levels: str
    """Of a column, from empty to full."""
    parts: str
    """Of the last place of a bar, from almost empty to full."""
    rule: str
    dot: str
    outward: str
    inward: str
    cut: str
    """What stands for text left out."""


BLOCKS = Glyphs(" ▁▂▃▄▅▆▇█", "▏▎▍▌▋▊▉█", "─", "·", "→", "←", "…")
ASCII = Glyphs(" .:-=+*#", "-=#", "-", ".", ">", "<", "~")
OWN, OTHER = "@", "o"


def bar(share: float | None, width: int, glyphs: Glyphs = BLOCKS) -> str:
    """Return a bar of `width` columns, filled from the left by a share of 0 to 1; None: nothing known."""
    share = share if share is not None and math.isfinite(share) else 0.0
    steps = len(glyphs.parts)
    filled = round(min(max(share, 0.0), 1.0) * width * steps)
    if share > 0.0:
        filled = max(filled, 1)  # little is not nothing
    whole, part = divmod(filled, steps)
    return (glyphs.parts[-1] * whole + (glyphs.parts[part - 1] if part else "")).ljust(width, glyphs.dot)


def chart(values: Sequence[float], width: int, height: int, glyphs: Glyphs = BLOCKS) -> list[str]:
    """Return `height` lines of `width` columns, the newest value at the right, scaled to what is shown.

    Changes of less than a hundredth of the level are drawn as small as they are, around half height.
    """
    shown = [value for value in values if math.isfinite(value)][-width:]
    top = len(glyphs.levels) - 1
    low, high = (min(shown), max(shown)) if shown else (0.0, 0.0)
    least = max(abs(low), abs(high)) / 100
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    span = high - low
    steps = height * top
    filled = [1 + round((steps - 1) * ((value - low) / span if span > 0.0 else 0.5)) for value in shown]
    return [
        "".join(glyphs.levels[min(max(level - top * row, 0), top)] for level in filled).rjust(width)
        for row in reversed(range(height))
    ]


def strip(own: float | None, others: Iterable[float | None], width: int, glyphs: Glyphs = BLOCKS) -> str:
    """Return the ring of phases (rad) cut open at 0: this node as ``@``, others as ``o``."""
    places = [glyphs.dot] * width
    for phase, mark in _marks(own, others):
        places[int(phase / math.tau * width) % width] = mark
    return "".join(places)


def ring(
    own: float | None, others: Iterable[float | None], height: int, glyphs: Glyphs = BLOCKS
) -> list[str]:
    """Return the ring of phases in `height` lines of ``2 * height`` columns: 0 at the right, then upward."""
    canvas = [[" "] * (2 * height) for _ in range(height)]

    def put(phase: float, mark: str) -> None:
        row = round((height - 1) / 2 * (1 - math.sin(phase)))
        column = round((2 * height - 1) / 2 * (1 + math.cos(phase)))
        canvas[row][column] = mark

    for step in range(8 * height):
        put(step / (8 * height) * math.tau, glyphs.dot)
    for phase, mark in _marks(own, others):
        put(phase, mark)
    return ["".join(row) for row in canvas]


def _marks(own: float | None, others: Iterable[float | None]) -> Iterable[tuple[float, str]]:
    """Yield what stands where, this node last: it is never hidden."""
    for phase in others:
        if phase is not None and math.isfinite(phase):
            yield phase % math.tau, OTHER
    if own is not None and math.isfinite(own):
        yield own % math.tau, OWN
