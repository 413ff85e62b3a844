"""What the screen says of a snapshot, panel by panel. Names of peers pass through `plain` first.

Colour repeats what a word, a number or a length already says, so nothing is lost without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.text import Text

from shivya_daemon.snapshot import CellRow, Snapshot
from shivya_daemon.views.lines import DIM, Cell, line, table
from shivya_daemon.views.strokes import Glyphs, bar, ring
from shivya_daemon.views.words import duration, number, plain

CELLS = ("CELL", "QUEUE", "SERVERS", "RATE/S", "IN/S", "WAITING", "POTENTIAL", "ACTION")
BELIEFS = ("BELIEF ABOUT", "WAIT", "UTILISED", "CPU", "MEMORY", "GROWN", "F", "LAW OF WAIT")
LINKS = ("LINK", "ID", "RTT", "AGE", "QUEUE", "RATE/S", "CONDUCT", "SENT/S", "FLOW/S", "")
NARROW_LINKS = tuple(head for head in LINKS if head != "ID")
FLOWS = ("HAND OVER TO", "SERVICE", "RATE/S", "")
JUDGED = ("PEER JUDGED", "STATE", "ENDS IN", "ANOMALIES")
DROPS = ("DROPPED BECAUSE", "DATAGRAMS")
TRAFFIC = ("SINCE THE START", "COUNT")
_NAME = 32
_LAW = 24
_SENSES = 4  # of a belief; what follows has been grown
Rows = list[list[Cell]]


def cell_rows(s: Snapshot) -> Rows:
    """Return one row per cell."""
    return [
        [
            plain(cell.service, _NAME),
            str(cell.queue),
            str(cell.servers),
            brief(cell.service_rate),
            brief(cell.arrival_rate),
            duration(cell.waiting_seconds),
            duration(cell.potential_seconds),
            plain(cell.action, 10),
        ]
        for cell in s.cells
    ]


def belief_rows(s: Snapshot) -> Rows:
    """Return what each cell believes, senses first, and by which law it foretells its waiting."""
    return [_belief(cell) for cell in s.cells]


def _belief(cell: CellRow) -> list[Cell]:
    wait, utilised, cpu, memory = (*cell.belief[:_SENSES], *[None] * _SENSES)[:_SENSES]
    laws = (cell.predictor or {}).get("laws")
    law = laws.get("wait") if isinstance(laws, Mapping) else None
    return [
        plain(cell.service, _NAME),
        "-" if wait is None else duration(math.expm1(min(wait, 50.0))),  # believed as log1p of seconds
        *(
            "-" if part is None or not math.isfinite(part) else f"{part:.0%}"
            for part in (utilised, cpu, memory)
        ),
        str(max(cell.dimensions - _SENSES, 0)),
        number(cell.free_energy),
        "-" if law is None else plain(law, _LAW),
    ]


def link_rows(s: Snapshot, glyphs: Glyphs, length: int, *, narrow: bool = False) -> Rows:
    """Return the peers, linked ones first: they are the ones that share work. Bars are `length` long."""
    links = {link.id: link for link in s.links}
    flows: dict[str, float] = {}
    for row in s.flows:
        flows[row.to] = flows.get(row.to, 0.0) + row.rate
    most = max((abs(rate) for rate in (*flows.values(), *(k.reported for k in s.links))), default=0.0)
    rows: Rows = []
    for peer in sorted(s.peers, key=lambda peer: (peer.id not in links, peer.name, peer.id)):
        link, flow = links.get(peer.id), flows.get(peer.id, 0.0)
        rtt = peer.rtt_seconds if link is None or link.rtt_seconds is None else link.rtt_seconds
        shown = flow or (link.reported if link else 0.0)
        open_ = link is not None and link.breaker != "closed"
        rows.append(
            [
                (plain(peer.name or peer.id[:8], _NAME), "bold" if link else DIM),
                *([] if narrow else [plain(peer.id, 40)[:8]]),
                duration(rtt),
                duration(peer.age_seconds),
                str(peer.queue),
                brief(peer.service_rate),
                (plain(link.breaker, 9), "yellow")
                if link and open_
                else brief(link.conductance if link else None),
                brief(link.reported) if link else "-",
                brief(flow) if link else "-",
                _flow_bar(shown, most, length, glyphs),
            ]
        )
    return rows


def _flow_bar(rate: float, most: float, length: int, glyphs: Glyphs) -> Cell:
    if not rate or not most or not math.isfinite(rate / most):
        return (" " + glyphs.dot * length, DIM)
    arrow, style = (glyphs.outward, "cyan") if rate > 0 else (glyphs.inward, "magenta")
    return (arrow + bar(abs(rate) / most, length, glyphs), style)


def flow_rows(s: Snapshot, glyphs: Glyphs, length: int) -> Rows:
    """Return the recommended hand-overs, the largest first."""
    most = max((flow.rate for flow in s.flows), default=0.0)
    return [
        [
            plain(flow.name or flow.to, _NAME),
            plain(flow.service, _NAME),
            brief(flow.rate),
            _flow_bar(flow.rate, most, length, glyphs),
        ]
        for flow in sorted(s.flows, key=lambda flow: -flow.rate)
    ]


def guard_lines(s: Snapshot, width: int, room: int, glyphs: Glyphs) -> list[Text]:
    """Return what the guard sees and did, and the peers it has evidence against."""
    guard = s.guard
    if guard is None:
        return [line(("this node runs no guard", DIM))][:room]
    lines = [
        line(*threat(s, 20, glyphs)),
        _pairs(guard, ("urgency", "stability", "gain", "anomalies")),
        _counts("weights", guard.get("weights")),
        _counts("did", guard.get("actions")),
        _counts("vetoed", guard.get("vetoes")),
        _counts("evidence", guard.get("kinds")),
    ]
    return [*lines[:room], *table(JUDGED, judged_rows(guard), width, room - len(lines), glyphs)]


def judged_rows(guard: Mapping[str, object]) -> Rows:
    """Return the peers that the guard has evidence against."""
    peers = guard.get("peers")
    rows: Rows = []
    for peer in peers if isinstance(peers, Sequence) and not isinstance(peers, str) else ():
        if isinstance(peer, Mapping):
            state = plain(peer.get("state"), 16)
            rows.append(
                [
                    plain(peer.get("name") or peer.get("id"), _NAME),
                    (state, "bold red" if state == "quarantined" else ""),
                    duration(figure(peer, "seconds_left")),
                    number(figure(peer, "anomalies")),
                ]
            )
    return rows


def kept_out(guard: Mapping[str, object]) -> int:
    """Return how many peers are quarantined."""
    peers = guard.get("peers")
    rows = peers if isinstance(peers, Sequence) and not isinstance(peers, str) else ()
    return sum(isinstance(peer, Mapping) and peer.get("state") == "quarantined" for peer in rows)


def threat(s: Snapshot, length: int, glyphs: Glyphs) -> list[Cell]:
    """Return the guard in the parts of one line."""
    if s.guard is None:
        return [("guard ", DIM), "none"]
    level = figure(s.guard, "threat")
    style = "green" if level is None or level < 0.6 else "yellow" if level < 0.85 else "bold red"
    parts: list[Cell] = [
        ("guard ", DIM),
        plain(s.guard.get("action"), 16),
        ("  threat ", DIM),
        (bar(level, length, glyphs), style),
        f" {'-' if level is None else format(level, '.2f')}",
    ]
    if out := kept_out(s.guard):
        parts += [("  kept out ", DIM), (str(out), "bold red")]
    return parts


def spirit(s: Snapshot) -> list[Cell]:
    """Return the spirit that lives here in the parts of a line; none where none does."""
    panel = None if s.spirit is None else s.spirit.get("panel")
    if s.spirit is None or not isinstance(panel, Mapping):
        return []
    cells, nodes = figure(panel, "cells"), figure(panel, "nodes")
    said = f"{plain(s.spirit.get('name'), 32)} {number(cells)} cells, {number(nodes)} nodes"
    return [("  spirit ", DIM), (said, "magenta")]


def phase_lines(s: Snapshot, height: int, glyphs: Glyphs) -> list[Text]:
    """Return the ring of phases, with what it says beside it."""
    own = None if s.phase is None else figure(s.phase, "theta")
    drawn = ring(own, (peer.phase for peer in s.peers), height, glyphs)
    order = None if s.phase is None else figure(s.phase, "order")
    heard = sum(peer.phase is not None for peer in s.peers)
    said = {
        height // 2 - 1: f"order {'-' if order is None else format(order, '.3f')}",
        height // 2: f"@ this node, o {heard} peer{'' if heard == 1 else 's'}",
        height // 2 + 1: "1 = all in step",
    }
    return [line(row, "   ", (said.get(i, ""), DIM)) for i, row in enumerate(drawn)]


def drop_rows(s: Snapshot) -> Rows:
    """Return the reasons for which datagrams were dropped, the commonest first."""
    found = sorted(((count, reason) for reason, count in s.drops.items() if count), reverse=True)
    return [[plain(reason.replace("_", " "), 40), str(count)] for count, reason in found]


def traffic_rows(s: Snapshot) -> Rows:
    """Return the totals since the node started, and the load of its machine."""
    rows: Rows = [[plain(name.replace("_", " "), 40), number(count)] for name, count in s.traffic.items()]
    host: Rows = [
        [f"{name} of this machine", f"{s.host[name]:.0%}"] for name in ("cpu", "memory") if name in s.host
    ]
    return host + rows


def brief(value: float | None) -> str:
    """Return a number in three digits or so, for a column."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 99.95 else number(float(f"{value:.3g}"))


def figure(values: Mapping[str, object], key: str) -> float | None:
    """Return a number of a mapping whose values nobody has checked."""
    value = values.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _pairs(values: Mapping[str, object], keys: Sequence[str]) -> Text:
    parts: list[Cell] = []
    for key in keys:
        parts += [(f"{key} ", DIM), f"{number(figure(values, key))}  "]
    return line(*parts)


def _counts(head: str, values: object) -> Text:
    found = values if isinstance(values, Mapping) else {}
    shown = [f"{plain(k, 24)} {number(figure(found, k))}" for k in found if figure(found, k)]
    return line((f"{head} ", DIM), ", ".join(shown) or "nothing")
