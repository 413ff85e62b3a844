"""The live screen of one node: `render` draws a snapshot, `Tui` keeps it on the terminal.

Names of peers are chosen by their owners: every one passes through `plain` into a `Text`, which is never read
as markup. Colour repeats what a word already says, so nothing is lost under NO_COLOR.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.views.words import duration, health, number, plain

_WIDE = 132
"""From this width on the tables stand side by side."""
_NAME_WIDTH = 24
_MAX_REMEDIES = 3
_HEALTH_STYLE = {"ok": "bold green", "starting": "bold cyan", "degraded": "bold yellow", "failed": "bold red"}

_Row = tuple[str, ...]


class Tui:
    """Shows snapshots on the terminal's alternate screen; leaving the context gives the terminal back.

    `update` writes to the terminal and may block while that is stopped, so call it outside the event loop.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Draw one frame in the terminal's present size."""
        width, height = self._console.size
        self._live.update(render(snapshot, width, height), refresh=True)


def render(snapshot: Snapshot, width: int, height: int) -> RenderableType:
    """Return the screen of `snapshot` in at most `height` lines of `width` columns."""
    head, foot = _header(snapshot), _footer(snapshot, width)
    room = height - len(head) - len(foot)
    cells, peers, flows = _cell_rows(snapshot), _peer_rows(snapshot), _flow_rows(snapshot)
    body: list[RenderableType]
    if width >= _WIDE:
        cell_room, flow_room = _share(room, (len(cells), len(flows)))
        sides = Table.grid(expand=True, padding=(0, 2))
        sides.add_column(ratio=1)
        sides.add_column(ratio=1)
        left = Group(_section(_CELLS, cells, cell_room), _section(_FLOWS, flows, flow_room))
        sides.add_row(left, _section(_PEERS, peers, room))
        body = [sides]
    else:
        rooms = _share(room, (len(cells), len(peers), len(flows)))
        sections = ((_CELLS, cells), (_PEERS, peers), (_FLOWS, flows))
        body = [_section(heads, rows, r) for (heads, rows), r in zip(sections, rooms, strict=True)]
    return Group(*head, *body, *foot)


def _header(s: Snapshot) -> list[Text]:
    word = health(s.law, s.status)
    title = _line("shivya ", (plain(s.name, 32), "bold"), f"  {plain(s.node_id, 40)[:8]}  ")
    title.append(word.upper(), _HEALTH_STYLE[word])
    title.append(f"  up {duration(s.uptime_seconds)}  {plain(s.address, 48)}  {plain(s.version, 24)}")
    law = _line(
        ("law ", "dim"), f"{plain(s.law, 16)}, tick {s.tick}",
        f" ({duration(s.tick_seconds_p50)})" if s.tick_seconds_p50 is not None else "",
        ("   free energy ", "dim"), number(s.collective_free_energy),
        ("   curl ", "dim"), number(s.curl_norm),
        ("   harmonic ", "dim"), number(s.harmonic_norm),
    )  # fmt: skip
    counts = [f"{plain(name.replace('_', ' '), 32)} {number(value)}" for name, value in s.traffic.items()]
    host = [f"{name} {s.host[name]:.0%}" for name in ("cpu", "memory") if name in s.host]
    return [title, law, _line(("   ".join((*host, *counts)), "dim"))]


def _footer(s: Snapshot, width: int) -> list[Text]:
    """Return the drops and the remedies, which are wrapped: they are there to be read."""
    drops = ", ".join(f"{plain(reason, 40)} {count}" for reason, count in s.drops.items() if count)
    lines = [_line(("drops ", "dim"), drops or "none")]
    hidden = len(s.status) - _MAX_REMEDIES
    for text in s.status[:_MAX_REMEDIES]:
        first, *rest = textwrap.wrap(plain(text, 500), max(width - 2, 20), max_lines=2) or [""]
        lines.append(_line(("! ", "bold yellow"), first))
        lines += [_line("  ", line) for line in rest]
    if hidden > 0:
        lines.append(_line(f"  and {hidden} more; see 'shivya status'"))
    return lines


_CELLS = ("CELL", "QUEUE", "SERVERS", "RATE/S", "IN/S", "WAITING", "POTENTIAL", "F")
_PEERS = ("PEER", "ID", "RTT", "AGE", "QUEUE", "RATE/S", "CONDUCT", "OFFLOAD/S")
_FLOWS = ("HAND OVER TO", "SERVICE", "RATE/S")


def _cell_rows(s: Snapshot) -> list[_Row]:
    return [
        (
            plain(cell.service, _NAME_WIDTH),
            str(cell.queue),
            str(cell.servers),
            number(cell.service_rate),
            number(cell.arrival_rate),
            duration(cell.waiting_seconds),
            duration(cell.potential_seconds),
            number(cell.free_energy),
        )
        for cell in s.cells
    ]


def _peer_rows(s: Snapshot) -> list[_Row]:
    """Return the peers, linked ones first: they are the ones that share work."""
    links = {link.id: link for link in s.links}
    rows: list[_Row] = []
    for peer in sorted(s.peers, key=lambda peer: (peer.id not in links, peer.name, peer.id)):
        link = links.get(peer.id)
        rows.append(
            (
                plain(peer.name, _NAME_WIDTH),
                plain(peer.id, 40)[:8],
                duration(peer.rtt_seconds),
                duration(peer.age_seconds),
                str(peer.queue),
                number(peer.service_rate),
                number(link.conductance) if link else "-",
                number(link.reported) if link else "-",
            )
        )
    return rows


def _flow_rows(s: Snapshot) -> list[_Row]:
    flows = sorted(s.flows, key=lambda flow: -flow.rate)
    return [
        (plain(f.name or f.to, _NAME_WIDTH), plain(f.service, _NAME_WIDTH), number(f.rate)) for f in flows
    ]


def _share(room: int, wanted: Sequence[int]) -> list[int]:
    """Divide `room` lines among sections of `wanted` rows and a head line each, the smallest first."""
    given = [0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for position, i in enumerate(order):
        given[i] = max(0, min(max(wanted[i], 1) + 1, room // (len(order) - position)))
        room -= given[i]
    return given


def _section(heads: _Row, rows: Sequence[_Row], room: int) -> RenderableType:
    """Return a table of at most `room` lines; what does not fit is counted in its last line."""
    if room <= 0:
        return Group()
    table = Table(box=None, expand=True, padding=(0, 1), pad_edge=False, header_style="bold reverse")
    for i, head in enumerate(heads):
        name = i == 0
        table.add_column(
            head,
            justify="left" if name else "right",
            no_wrap=True,
            ratio=1 if name else None,
            min_width=6 if name else None,
        )
    body = room - 1
    shown = rows if len(rows) <= body else rows[: max(body - 1, 0)]
    for row in shown:
        table.add_row(*(Text(cell, overflow="ellipsis") for cell in row))
    if not rows and body > 0:
        table.add_row(Text("none", style="dim"))
    elif len(shown) < len(rows) and body > 0:
        table.add_row(Text(f"and {len(rows) - len(shown)} more", style="dim"))
    return table


def _line(*parts: str | tuple[str, str]) -> Text:
    """Return one line that is cut, never wrapped, so that the height stays known."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
