"""Lines of text in columns: tables whose height is known before they are drawn.

A `Text` is never read as markup, and one line is cut, never wrapped. Plain strings are joined first and
styled by position: a frame of fifty lines costs a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from shivya_daemon.views.strokes import BLOCKS, Glyphs

Cell = str | tuple[str, str]
"""Text, or text and its style."""
HEAD = "bold reverse"
DIM = "dim"
_NAME_WIDTH, _LEAST_NAME = 24, 6
_GAP = 2


def line(*parts: Cell) -> Text:
    """Return one line of plain and styled parts."""
    return Text.assemble(*parts, no_wrap=True, end="")


def fit(text: Text, width: int, glyphs: Glyphs = BLOCKS) -> Text:
    """Return `text` in exactly `width` columns."""
    size = text.cell_len
    if size > width:
        text = text.copy()
        text.truncate(max(width - 1, 0))
        text.append(glyphs.cut[:width])
        size = text.cell_len
    if size < width:
        text = text.copy()
        text.append(" " * (width - size))
    return text


def beside(left: Sequence[Text], right: Sequence[Text], width: int, glyphs: Glyphs = BLOCKS) -> list[Text]:
    """Return two blocks side by side, in halves of `width`."""
    gap = 2
    half = (width - gap) // 2
    rows = max(len(left), len(right))
    padded = [[*block, *[line()] * (rows - len(block))] for block in (left, right)]
    return [
        Text.assemble(fit(a, half, glyphs), " " * gap, fit(b, width - gap - half, glyphs), end="")
        for a, b in zip(*padded, strict=True)
    ]


def title(text: str, width: int, glyphs: Glyphs) -> Text:
    """Return a line that names what stands below it."""
    return line((f"{glyphs.rule * 2} {text} ".ljust(width, glyphs.rule), "bold"))


def table(
    heads: Sequence[str], rows: Sequence[Sequence[Cell]], width: int, room: int, glyphs: Glyphs = BLOCKS
) -> list[Text]:
    """Return at most `room` lines: heads, then rows; what does not fit is counted in the last line.

    The first column is a name, to the left and as wide as there is room; the others are to the right. Columns
    that do not fit are left out, the last first.
    """
    if room <= 0:
        return []
    body = room - 1
    shown = rows if len(rows) <= body else rows[: max(body - 1, 0)]
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in shown]
    widths = [max(cell_len(row[i]) for row in (heads, *texts)) for i in range(len(heads))]
    while len(widths) > 1 and _LEAST_NAME + sum(widths[1:]) + _GAP * (len(widths) - 1) > width:
        widths.pop()
    rest = width - sum(widths[1:]) - _GAP * (len(widths) - 1)
    widths[0] = max(min(rest, max(widths[0], _NAME_WIDTH)), 1)
    spread = rest - widths[0]  # a wide screen: put the columns apart
    gaps = [_GAP + (spread // (len(widths) - 1) if len(widths) > 1 else 0)] * (len(widths) - 1)
    gaps = [min(gap, 4) for gap in gaps]
    lines = [line((_row(heads, widths, gaps, glyphs).ljust(width)[:width], HEAD))]
    for row, cells in zip(shown, texts, strict=True):
        text = line(_row(cells, widths, gaps, glyphs))
        end = widths[0]
        for i, cell in enumerate(row[: len(widths)]):
            if i:
                end += gaps[i - 1] + widths[i]
            if not isinstance(cell, str):
                text.stylize(cell[1], end - widths[i], end)
        lines.append(text)
    if not rows and body > 0:
        lines.append(line(("none", DIM)))
    elif len(shown) < len(rows) and body > 0:
        lines.append(line((f"and {len(rows) - len(shown)} more", DIM)))
    return lines


def share(room: int, wanted: Sequence[int]) -> list[int]:
    """Divide `room` lines among tables of `wanted` rows and a head each, the smallest first."""
    given = [0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for position, i in enumerate(order):
        given[i] = max(0, min(max(wanted[i], 1) + 1, room // (len(order) - position)))
        room -= given[i]
    return given


def _row(cells: Sequence[str], widths: Sequence[int], gaps: Sequence[int], glyphs: Glyphs) -> str:
    name = cells[0]
    if cell_len(name) > widths[0]:
        name = set_cell_size(name, widths[0] - 1) + glyphs.cut
    parts = [set_cell_size(name, widths[0])]
    for cell, width, gap in zip(cells[1:], widths[1:], gaps, strict=False):
        parts.append(" " * (gap + width - cell_len(cell)) + cell)
    return "".join(parts)
