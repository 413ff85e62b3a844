"""The screen of one node: `render` lays a snapshot out, compact or full by the size of the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace

from rich.text import Text

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.views import panels
from shivya_daemon.views.lines import DIM, Cell, beside, fit, line, share, table, title
from shivya_daemon.views.looking import PAGES, View
from shivya_daemon.views.panels import Rows, figure
from shivya_daemon.views.strokes import BLOCKS, Glyphs, chart, strip
from shivya_daemon.views.words import credit, duration, health, number, plain

WIDE, HIGH = 132, 36
"""From this size on the screen is full: panels stand side by side."""
_MAX_REMEDIES = 3
_RING, _CHART = 7, 5
_HIGHEST_RING, _HIGHEST_CHART = 15, 12
_HEALTH_STYLE = {
    "ok": "bold green",
    "starting": "bold cyan",
    "degraded": "bold yellow",
    "failed": "bold red",
    "gone": "bold red",
}
_HELP = (
    ("q", "leave"),
    ("?", "this page"),
    ("/", "show only rows with a text in their names; enter keeps it, escape ends it"),
    ("tab", f"next page: {', '.join(PAGES)}"),
    ("p", "stand still; p again goes on"),
    ("escape", "everything again"),
)
_WORDS = (
    ("WAITING", "time a job that arrives now would spend here"),
    ("POTENTIAL", "the same, here or behind the best neighbour: what the mesh equalises"),
    ("ACTION", "what the cell chose: hold, shed, absorb or probe"),
    ("BELIEF", "what the cell takes to be so; GROWN: dimensions added on evidence; F: its free energy"),
    ("CONDUCT", "how readily a link carries work; a word instead of it: the breaker is open, none flows"),
    ("SENT/S", "jobs a second that applications did hand over"),
    ("FLOW/S", "jobs a second that the law recommends to hand over"),
    ("free energy", "of the nodes around, in nats, by the second: lower is better understood"),
    ("curl, harmonic", "work that goes round in circles, around triangles and around holes"),
    ("threat", "0 to 1: from .60 an alarm, from .85 the peer at fault is kept out"),
    ("order", "0 to 1: how much the nodes tick together"),
)


def render(
    snapshot: Snapshot,
    width: int,
    height: int,
    *,
    view: View = View(),  # noqa: B008  # frozen
    energies: Sequence[float] = (),
    glyphs: Glyphs = BLOCKS,
    gone: float | None = None,
) -> list[Text]:
    """Return the screen of `snapshot` as exactly `height` lines of exactly `width` columns.

    `energies` is the free energy by the second, the newest last; `gone` how many seconds ago the node last
    answered, None while it does.
    """
    full = width >= WIDE and height >= HIGH
    s = _filtered(snapshot, view.filter)
    head = _header(s, width, energies, glyphs, gone, full=full)[: max(1, height // 4)]
    foot = _footer(s, width, view)[-max(1, height // 3) :]
    room = max(height - len(head) - len(foot), 0)
    if view.help:
        body = _help(width)
    elif view.page != PAGES[0]:
        body = _page(view.page, s, width, room, energies, glyphs)
    elif full:
        body = _full(s, width, room, energies, glyphs)
    else:
        body = _compact(s, width, room, glyphs)
    body = [*body[:room], *[line()] * (room - len(body))]
    return [fit(each, width, glyphs) for each in [*head, *body, *foot][:height]]


def _filtered(s: Snapshot, text: str) -> Snapshot:
    if not text:
        return s
    wanted = text.casefold()

    def has(*names: str) -> bool:
        return any(wanted in name.casefold() for name in names)

    return replace(
        s,
        cells=tuple(c for c in s.cells if has(c.service, c.action)),
        peers=tuple(p for p in s.peers if has(p.name, p.id, p.address)),
        flows=tuple(f for f in s.flows if has(f.name, f.to, f.service)),
    )


def _header(
    s: Snapshot, width: int, energies: Sequence[float], glyphs: Glyphs, gone: float | None, *, full: bool
) -> list[Text]:
    word = health(s.law, s.status) if gone is None else "gone"
    law = f"law {plain(s.law, 16)}, tick {s.tick}"
    if s.tick_seconds_p50 is not None:
        law += f" ({duration(s.tick_seconds_p50)})"
    parts: list[Cell] = [
        ("shivya ", DIM), (plain(s.name, 32), "bold"), f"  {plain(s.node_id, 40)[:8]}  ",
        (word.upper(), _HEALTH_STYLE[word]), "  ",
    ]  # fmt: skip
    if gone is not None:
        parts += [(f"no answer for {duration(gone)}; this is its last state", "bold"), "  "]
    elif s.draining:
        parts += [("DRAINING", "bold yellow"), "  "]
    parts += [f"up {duration(s.uptime_seconds)}  {plain(s.address, 48)}  {plain(s.version, 24)}"]
    second: list[Cell] = [
        law, ("  curl ", DIM), number(s.curl_norm), ("  harmonic ", DIM), number(s.harmonic_norm),
    ]  # fmt: skip
    for name in ("cpu", "memory"):
        if name in s.host:
            second += [(f"  {name} ", DIM), f"{s.host[name]:.0%}"]
    if s.credits is not None:
        second += [("  credits ", DIM), credit(s.credits.get("balance")) if s.credits.get("open") else "-"]
    second += panels.spirit(s)
    lines = [line(*parts), line(*second)]
    if not full:
        energy = number(s.collective_free_energy)
        guard = panels.threat(s, 6, glyphs)
        lines += [
            line(("free energy ", DIM), f"{energy} ", *_spark(energies, width, energy, glyphs)),
            line(*guard),
        ]
        lines[-1].append_text(line(*_phase(s, glyphs)))
    return lines


def _spark(energies: Sequence[float], width: int, beside_: str, glyphs: Glyphs) -> list[Cell]:
    room = min(max(width - len(beside_) - 20, 0), len(energies))
    return (
        [(chart(energies, room, 1, glyphs)[0], "cyan"), (f" {len(energies[-room:])} s", DIM)] if room else []
    )


def _phase(s: Snapshot, glyphs: Glyphs) -> list[Cell]:
    if s.phase is None:
        return []
    drawn = strip(figure(s.phase, "theta"), (peer.phase for peer in s.peers), 8, glyphs)
    order = figure(s.phase, "order")
    return [("  phase ", DIM), drawn, ("  order ", DIM), "-" if order is None else f"{order:.2f}"]


def _footer(s: Snapshot, width: int, view: View) -> list[Text]:
    """Return the drops, the remedies, which are wrapped (they are there to be read), and the keys."""
    drops = ", ".join(f"{plain(reason, 40)} {count}" for reason, count in s.drops.items() if count)
    lines = [line(("drops ", DIM), drops or "none")]
    for text in s.status[:_MAX_REMEDIES]:
        first, *rest = textwrap.wrap(plain(text, 500), max(width - 2, 20), max_lines=2) or [""]
        lines.append(line(("! ", "bold yellow"), first))
        lines += [line("  ", each) for each in rest]
    hidden = len(s.status) - _MAX_REMEDIES
    if hidden > 0:
        lines.append(line(f"  and {hidden} more; see 'shivya status'"))
    if view.keys:
        lines.append(_keys(view))
    return lines


def _keys(view: View) -> Text:
    if view.leaving:
        return line(("q again stops this node; any other key goes on", "bold yellow"))
    if view.typing:
        return line(
            ("/", "bold"), plain(view.filter), ("_", "bold"), ("   enter keeps it, escape ends it", DIM)
        )
    parts: list[Cell] = []
    for key, text in (
        ("q", "stop" if view.owner else "quit"),
        ("?", "help"),
        ("/", "filter"),
        ("tab", "page"),
    ):
        parts += [(key, "bold"), (f" {text}  ", DIM)]
    parts += [("p", "bold"), (" go on" if view.paused else " pause", DIM)]
    if view.page != PAGES[0]:
        parts += [("   page ", DIM), (view.page, "bold")]
    if view.filter:
        parts += [("   only ", DIM), (plain(view.filter), "bold")]
    if view.paused:
        parts += [("   PAUSED", "bold yellow")]
    return line(*parts)


def _tables(found: Sequence[tuple[Sequence[str], Rows]], width: int, room: int, glyphs: Glyphs) -> list[Text]:
    rooms = share(room, [len(rows) for _, rows in found])
    return [
        text
        for (heads, rows), r in zip(found, rooms, strict=True)
        for text in table(heads, rows, width, r, glyphs)
    ]


def _compact(s: Snapshot, width: int, room: int, glyphs: Glyphs) -> list[Text]:
    found = [
        (panels.CELLS, panels.cell_rows(s)),
        (panels.BELIEFS, panels.belief_rows(s)),
        (panels.NARROW_LINKS, panels.link_rows(s, glyphs, 6, narrow=True)),
    ]
    if room < 12:  # too low for all of it
        found.pop(1)
    return _tables(found, width, room, glyphs)


def _full(s: Snapshot, width: int, room: int, energies: Sequence[float], glyphs: Glyphs) -> list[Text]:
    half = (width - 2) // 2
    guard = panels.guard_lines(s, half, 12, glyphs)
    left = _tables(
        [
            (panels.CELLS, panels.cell_rows(s)),
            (panels.BELIEFS, panels.belief_rows(s)),
            (panels.DROPS, panels.drop_rows(s)),
        ],
        half,
        room - len(guard) - _CHART - 3,
        glyphs,
    )
    rest = room - len(left) - len(guard) - 3
    energy = _energy(s, half, min(max(rest, _CHART), _HIGHEST_CHART), energies, glyphs)
    left += [line(), *energy, title("guard", half, glyphs), *guard]
    half = width - 2 - half
    right = _tables(
        [(panels.LINKS, panels.link_rows(s, glyphs, 16)), (panels.FLOWS, panels.flow_rows(s, glyphs, 24))],
        half,
        room - _RING - 2,
        glyphs,
    )
    high = min(max(room - len(right) - 2, _RING), _HIGHEST_RING)
    right += [line(), title("phase", half, glyphs), *panels.phase_lines(s, high - 1 + high % 2, glyphs)]
    return beside(left, right, width, glyphs)


def _energy(s: Snapshot, width: int, height: int, energies: Sequence[float], glyphs: Glyphs) -> list[Text]:
    head = f"free energy {number(s.collective_free_energy)}, the last {min(len(energies), width)} s"
    return [
        title(head, width, glyphs),
        *(line((row, "cyan")) for row in chart(energies, width, height, glyphs)),
    ]


def _page(
    name: str, s: Snapshot, width: int, room: int, energies: Sequence[float], glyphs: Glyphs
) -> list[Text]:
    length = max(min(width // 6, 40), 6)
    match name:
        case "cells":
            energy = _energy(s, width, _CHART, energies, glyphs) if room > 2 * _CHART else []
            found = [(panels.CELLS, panels.cell_rows(s)), (panels.BELIEFS, panels.belief_rows(s))]
            return [*_tables(found, width, room - len(energy), glyphs), *energy]
        case "links":
            narrow = width < 100
            heads = panels.NARROW_LINKS if narrow else panels.LINKS
            rows = panels.link_rows(s, glyphs, 6 if narrow else length, narrow=narrow)
            return table(heads, rows, width, room, glyphs)
        case "flows":
            return table(panels.FLOWS, panels.flow_rows(s, glyphs, length), width, room, glyphs)
        case "guard":
            tail = panels.phase_lines(s, _RING, glyphs) if room > 2 * _RING else []
            return [*panels.guard_lines(s, width, room - len(tail), glyphs), *tail]
        case _:
            sums = [(panels.TRAFFIC, panels.traffic_rows(s)), (panels.DROPS, panels.drop_rows(s))]
            return _tables(sums, width, room, glyphs)


def _help(width: int) -> list[Text]:
    lines = []
    for rows in (_HELP, _WORDS):
        for word, text in rows:
            first, *rest = textwrap.wrap(text, max(width - 16, 20))
            lines.append(line((word.ljust(16), "bold"), first))
            lines += [line(" " * 16, each) for each in rest]
    return lines
