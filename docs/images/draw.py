"""Draws the pictures of docs/concepts.md, with the numbers that the formulas give.

.venv/bin/python docs/images/draw.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
INK, FAINT, WORK, HOT, COOL = "#1f2933", "#9aa5b1", "#b44d12", "#f0a36b", "#bcd8ec"
RADIUS = 34.0

Point = tuple[float, float]


class Picture:
    """An SVG that is built from nodes, arrows and words."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._size, self._title = (width, height), title
        self._parts: list[str] = []

    def node(self, at: Point, lines: list[str], fill: str = COOL) -> None:
        """A circle with lines of text, the first of them bold."""
        x, y = at
        self._parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS:g}" fill="{fill}" stroke="{INK}"/>')
        for i, line in enumerate(lines):
            self.words((x, y + 5 + 16 * (i - (len(lines) - 1) / 2)), line, bold=i == 0)

    def words(self, at: Point, text: str, *, bold: bool = False, colour: str = INK) -> None:
        """A line of text, centred."""
        weight = ' font-weight="bold"' if bold else ""
        x, y = at
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="middle" fill="{colour}"{weight}>{text}</text>'
        )

    def link(self, a: Point, b: Point, colour: str = FAINT) -> None:
        """A line between two nodes."""
        start, end = _between(a, b)
        self._parts.append(f'<path d="M{start} L{end}" stroke="{colour}" fill="none"/>')

    def arrow(self, a: Point, b: Point, text: str, width: float = 2.0, side: float = 14.0) -> None:
        """An arrow from a node to another, with a text `side` pixels beside it."""
        start, end = _between(a, b)
        self._parts.append(
            f'<path d="M{start} L{end}" stroke="{WORK}" stroke-width="{width:g}" fill="none" '
            'marker-end="url(#head)"/>'
        )
        (ax, ay), (bx, by) = a, b
        length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5
        middle = ((ax + bx) / 2 - side * (by - ay) / length, (ay + by) / 2 + side * (bx - ax) / length + 5)
        self.words(middle, text, colour=WORK)

    def box(self, at: Point, size: Point, lines: list[str], fill: str = "#f4f6f8") -> None:
        """A box with lines of text, the first of them bold."""
        (x, y), (width, height) = at, size
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" '
            f'stroke="{FAINT}"/>'
        )
        for i, line in enumerate(lines):
            self.words((x + width / 2, y + 24 + 18 * i), line, bold=i == 0)

    def svg(self) -> str:
        """The whole picture."""
        width, height = self._size
        head = (
            '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{WORK}"/></marker>'
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                f'viewBox="0 0 {width} {height}" role="img" aria-label="{self._title}" '
                'font-family="sans-serif" font-size="13">',
                f"<title>{self._title}</title>",
                f"<defs>{head}</defs>",
                '<rect width="100%" height="100%" fill="#ffffff"/>',
                *self._parts,
                "</svg>\n",
            ]
        )


def _between(a: Point, b: Point) -> tuple[str, str]:
    """Where the line between two nodes leaves the one and reaches the other."""
    (ax, ay), (bx, by) = a, b
    length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5
    dx, dy = (bx - ax) / length * (RADIUS + 3), (by - ay) / length * (RADIUS + 3)
    return f"{ax + dx:.1f} {ay + dy:.1f}", f"{bx - dx:.1f} {by - dy:.1f}"


def potential() -> str:
    """A job at a busy node goes to where the sum of the way and the wait is least."""
    own, move = {"A": 4.0, "B": 2.0, "C": 0.2}, 0.07  # a hop of 20 ms and a gap of 50 ms
    w = dict(own)
    for _ in own:  # the fixed point of a chain
        w["B"] = min(own["B"], w["C"] + move)
        w["A"] = min(own["A"], w["B"] + move)
    picture = Picture(640, 170, "Waiting and potential of three nodes in a chain")
    at = {"A": (90.0, 80.0), "B": (320.0, 80.0), "C": (550.0, 80.0)}
    for name, place in at.items():
        picture.node(place, [name, f"wait {own[name]:g}"], HOT if own[name] > 1 else COOL)
        picture.words((place[0], 140), f"W = {w[name]:.2f} s", bold=True)
    picture.arrow(at["A"], at["B"], f"{w['B']:.2f} + {move:g} &lt; {own['A']:g}", side=-16)
    picture.arrow(at["B"], at["C"], f"{w['C']:.2f} + {move:g} &lt; {own['B']:g}", side=-16)
    return picture.svg()


def flow() -> str:
    """The least-energy flow that leaves as much everywhere: on a triangle, a third of each difference."""
    queues = {"A": 200, "B": 20, "C": 5}
    at = {"A": (150.0, 70.0), "B": (60.0, 210.0), "C": (240.0, 210.0)}
    picture = Picture(640, 270, "Queues of 200, 20 and 5 jobs, and the flow that makes them 75 each")
    left = dict(queues)
    for tail, head, side in (("A", "B", 16.0), ("A", "C", -18.0), ("B", "C", 16.0)):
        amount = (queues[tail] - queues[head]) // 3
        left[tail] -= amount
        left[head] += amount
        picture.arrow(at[tail], at[head], str(amount), width=1.5 + amount / 30, side=side)
    for name, place in at.items():
        picture.node(place, [name, f"{queues[name]} jobs"], HOT if queues[name] > 100 else COOL)
        picture.node((place[0] + 340, place[1]), [name, f"{left[name]} jobs"])
    for tail, head in (("A", "B"), ("A", "C"), ("B", "C")):
        picture.link((at[tail][0] + 340, at[tail][1]), (at[head][0] + 340, at[head][1]))
    picture.words((320, 145), "then", colour=FAINT)
    return picture.svg()


def parts() -> str:
    """Three flows: one that moves work, and two that only go round."""
    picture = Picture(640, 230, "Gradient, curl and harmonic flow")
    for centre, title, note, corners, turn in (
        (110.0, "gradient", "from full to empty", 3, False),
        (320.0, "curl", "round a triangle", 3, True),
        (530.0, "harmonic", "round a hole", 4, True),
    ):
        points = {
            3: [(centre, 45.0), (centre - 65, 150.0), (centre + 65, 150.0)],
            4: [(centre - 62, 42.0), (centre - 62, 152.0), (centre + 62, 152.0), (centre + 62, 42.0)],
        }[corners]
        for i, point in enumerate(points):
            picture.node(point, ["" if turn else ("full", "less", "least")[i]], COOL if i or turn else HOT)
        pairs = [(i, (i + 1) % corners) for i in range(corners)] if turn else [(0, 1), (0, 2), (1, 2)]
        for tail, head in pairs:
            picture.arrow(points[tail], points[head], "")
        picture.words((centre, 207), title, bold=True)
        picture.words((centre, 224), note)
    return picture.svg()


def planes() -> str:
    """What never waits, and what may refuse."""
    picture = Picture(640, 190, "The data plane and the ledger plane")
    picture.box(
        (20, 20), (600, 66), ["data plane: never waits", "loads · placement · flows · gossip · signals"]
    )
    picture.box(
        (20, 106),
        (600, 66),
        ["ledger plane: may refuse", "credits · ownership · reputation · decisions of witnesses"],
        "#fff7ef",
    )
    return picture.svg()


PICTURES: Mapping[str, Callable[[], str]] = {
    "concept-potential.svg": potential,
    "concept-flow.svg": flow,
    "concept-parts.svg": parts,
    "concept-planes.svg": planes,
}


def main() -> int:
    """Write all pictures beside this file."""
    for name, draw in PICTURES.items():
        (HERE / name).write_text(draw(), encoding="utf-8")
        sys.stdout.write(f"wrote docs/images/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
