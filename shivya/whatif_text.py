"""What `shivya whatif` says: JSON with stable field names, or two tables and notes."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from shivya import whatif_mesh
from shivya.tables import table
from shivya.whatif_mesh import Overload
from shivya.whatif_twins import FIGURES, Band, Outlook, Question
from shivya_daemon.views.words import finite, number, plain

_TIMES = ("p50", "p99", "mean")
_SHORT_WATCH = 30.0
"""Seconds of history below which a person is told how little is known."""
_HEADS = {
    "p50": "p50 in system",
    "p99": "p99 in system",
    "mean": "mean in system",
    "largest_queue": "largest queue",
    "held": "jobs held",
    "utilisation": "utilisation",
    "moves_per_job": "moves per job",
}


def document(question: Question, now: Outlook, then: Outlook | None) -> dict[str, Any]:
    """The object of --json: times in seconds, null for what never ends."""
    mesh = question.mesh
    return {
        "service": mesh.service,
        "seconds": question.seconds,
        "twins": question.twins,
        "seed": question.seed,
        "failed": [mesh.nodes[i].id for i in question.failed],
        "load": question.factor,
        "nodes": [
            {key: value for key, value in asdict(node).items() if key != "counts"} for node in mesh.nodes
        ],
        "bursts": asdict(whatif_mesh.bursts(mesh)),
        "now": _bands(now),
        "then": None if then is None else _bands(then),
        "held_last_minute": math.fsum(node.held for node in mesh.nodes),
        "overload": {
            "now": [_overload(part) for part in whatif_mesh.overloads(mesh, (), 1.0)],
            "then": [_overload(part) for part in _overloads(question)],
        },
        "unknown": [{"name": name, "why": why} for name, why in mesh.unknown],
    }


def _bands(outlook: Outlook) -> dict[str, dict[str, float | None]]:
    return {figure: finite(asdict(band)) for figure, band in outlook.items()}


def _overload(part: Overload) -> dict[str, Any]:
    return {**asdict(part), "growth": part.growth}


def _overloads(question: Question) -> tuple[Overload, ...]:
    return whatif_mesh.overloads(question.mesh, question.failed, question.factor)


def text(question: Question, now: Outlook, then: Outlook | None) -> str:
    """The nodes, the figures of both, and what must be known to read them."""
    mesh, failed = question.mesh, question.failed
    rates = whatif_mesh.turned(mesh, failed, question.factor)
    nodes = [
        (plain(node.label, 32), str(node.queue), str(node.servers), number(round(node.service_rate, 1)))
        + (number(round(node.arrival_rate, 1)),)
        + ((("fails" if i in failed else number(round(rates[i], 1))),) if then is not None else ())
        for i, node in enumerate(mesh.nodes)
    ]
    columns = ("NODE", "QUEUE", "SERVERS", "RATE/S", "ARRIVALS/S", *(("THEN",) if then is not None else ()))
    heads = ("", "NOW", "90 %", *(("THEN", "90 %") if then is not None else ()))
    rows = []
    for figure in FIGURES:
        cells = _cells(figure, now[figure])
        rows.append((_HEADS[figure], *cells, *(() if then is None else _cells(figure, then[figure]))))
    notes = "".join(f"{plain(note, 1000)}\n" for note in _notes(question, now))
    return f"{_title(question)}\n\n{table(columns, nodes)}\n{table(heads, rows)}\n{notes}"


def _title(question: Question) -> str:
    mesh = question.mesh
    arrivals = math.fsum(node.arrival_rate for node in mesh.nodes)
    capacity = math.fsum(node.service_rate for node in mesh.nodes)
    changes = [f"{plain(mesh.nodes[i].label, 40)} fails" for i in question.failed]
    changes += [f"load x {question.factor:g}"] if question.factor != 1.0 else []
    return (
        f"{len(mesh.nodes)} nodes, service {mesh.service}: {arrivals:.1f} jobs/s come, {capacity:.1f} can be "
        f"served; {question.twins} twins, {question.seconds:g} s on"
        + (f"; then: {', '.join(changes)}" if changes else "")
    )


def _cells(figure: str, band: Band) -> tuple[str, str]:
    def cell(value: float) -> str:
        if math.isnan(value):
            return "-"
        if math.isinf(value):
            return "never"
        if figure in _TIMES:
            return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.0f} ms"
        if figure == "utilisation":
            return f"{100 * value:.0f} %"
        return f"{value:.2f}" if figure == "moves_per_job" else number(round(value, 1))

    return cell(band.median), f"{cell(band.low)} - {cell(band.high)}"


def _notes(question: Question, now: Outlook) -> list[str]:
    mesh, notes = question.mesh, []
    before = whatif_mesh.overloads(mesh, (), 1.0)
    for when, parts in (("now", before), ("then", _overloads(question) if question.changes else ())):
        notes += [
            f"OVERLOAD {when}: {', '.join(part.nodes)} get {part.arrivals:.1f} jobs/s and serve at most "
            f"{part.capacity:.1f}; rates exceed what is left: the queue grows by {part.growth:.1f} jobs/s"
            for part in parts
        ]
    if mesh.unknown:
        listed = "; ".join(f"{name} ({why})" for name, why in mesh.unknown)
        notes.append(f"not known here and left out: {listed}")
    guessed = [node.label for node in mesh.nodes if node.estimated]
    if guessed:
        notes.append(
            f"two links away, so that their arrivals are estimated from their queues: {', '.join(guessed)}"
        )
    if question.failed:
        notes.append(
            "clients of failed nodes turn to the surviving neighbours in equal shares, and try again"
        )
    held = math.fsum(node.held for node in mesh.nodes)
    band = now["held"]
    notes.append(
        f"check: the mesh held {held:.1f} jobs on average of late, its twins as it is hold {band.median:.1f} "
        f"({band.low:.1f} - {band.high:.1f})"
    )
    watched = min(node.seconds for node in mesh.nodes)
    if watched < _SHORT_WATCH:
        notes.append(f"rates are known from {watched:.0f} s only; ask again when a minute has been seen")
    return notes
