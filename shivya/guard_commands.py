"""What `shivya guard` does: runs a guard alone, or drills the one of a running node."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shivya.ask import ask
from shivya.commands import show as show_document
from shivya.commands import socket_of
from shivya.errors import CommandError, ExitCode
from shivya.tables import table
from shivya_daemon.views.words import duration, number, plain

if TYPE_CHECKING:
    from shivya_daemon.guard.arbiter import Beat
    from shivya_daemon.guard.sight import Sight
    from shivya_daemon.ledgers.audit import Ledger

_LOOK_EVERY = 0.1  # seconds between two looks at a running node
_SHOWN = 20  # beats in a table


def run(options: Namespace) -> int:
    """Run a guard alone for some beats, on nothing or on what a running node sees."""
    from shivya_daemon.guard.arbiter import Arbiter
    from shivya_daemon.guard.sight import Sight

    with ExitStack() as ending:
        ledger = None if options.ledger is None else ending.enter_context(_ledger(options.ledger))
        try:
            arbiter = Arbiter(
                k_flows=options.k_flows,
                p_nodes=options.p_nodes,
                t_threshold=options.t_threshold,
                seed=options.seed_formulas,
                sense=_eyes(socket_of(options)) if options.mesh else Sight,
                record=None if ledger is None else ledger.record_action,
                record_pulse=None if ledger is None else ledger.record_pulse,
                record_flow=None if ledger is None else ledger.record_flow_result,
            )
            arbiter.load()
            if options.anomalies:
                arbiter.inject(options.anomalies)
            beats = arbiter.start(beats=options.beats)
        except ValueError as error:
            raise CommandError(ExitCode.USAGE, str(error)) from None
    document = {
        "beats": [_row(beat) for beat in beats],
        "actions": dict(arbiter.actions),
        "weights": dict(zip("RBEO", arbiter.loop.weights, strict=True)),
        "model": {"weight": arbiter.threat.weight, "bias": arbiter.threat.bias},
        "stable": arbiter.loop.stable,
    }
    show_document(document, _beats_text if not options.json else None)
    return ExitCode.OK


def inject(options: Namespace) -> int:
    """Drill the running node's guard with anomalies that did not happen; the log says that it is a drill."""
    answer = ask(
        socket_of(options),
        "INJECT",
        anomalies=options.anomalies,
        weight=options.weight,
        peer=options.peer,
    )
    show_document(answer, _drill_text if not options.json else None)
    return ExitCode.OK


def show(options: Namespace) -> int:
    """Show what the running node's guard sees, and whom it keeps out."""
    guard = ask(socket_of(options), "STATUS").get("guard")
    if not isinstance(guard, dict):
        raise CommandError(ExitCode.REFUSED, "this daemon runs no guard; it is of an earlier version")
    show_document(guard, _guard_text if not options.json else None)
    return ExitCode.OK


@contextmanager
def _ledger(folder: Path) -> Iterator[Ledger]:
    """Open the audit ledger in `folder`, or begin one; what cannot be is said in one line."""
    from shivya_daemon.ledgers.audit import Ledger, LedgerError

    try:
        with Ledger.open(folder) as ledger:
            yield ledger
    except LedgerError as error:
        raise CommandError(ExitCode.FAILED, str(error)) from None


def _eyes(path: Path) -> Callable[[], Sight]:
    """Return what looks at the daemon on `path`, ten times a second at most."""
    from shivya_daemon.guard.sight import LinkSight, Sight

    seen, due = Sight(), 0.0

    def look() -> Sight:
        nonlocal seen, due
        if time.monotonic() < due:
            return seen
        due = time.monotonic() + _LOOK_EVERY
        status = ask(path, "STATUS")
        try:
            guard = status["guard"]
            peers = [float(peer["anomalies"]) for peer in guard["peers"] if peer["state"] != "quarantined"]
            seen = Sight(
                anomalies=max([float(guard["anomalies"]), *peers]),
                links=tuple(
                    LinkSight(abs(float(link["reported"])), link["breaker"] != "closed")
                    for link in status["links"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CommandError(
                ExitCode.FAILED, f"the daemon is of another version and its answer lacks {error}"
            ) from None
        return seen

    return look


def _row(beat: Beat) -> dict[str, Any]:
    outcome = beat.outcome
    return {
        "beat": beat.number,
        "action": outcome.action,
        "threat": outcome.threat,
        "urgency": outcome.urgency,
        "stability": outcome.stability,
        "gain": outcome.gain,
        "vector": list(outcome.vector),
        "pulse_seconds": outcome.pulse,
        "error_seconds": outcome.loop.error,
        "granted_seconds": outcome.loop.grant,
        "weights": dict(zip("RBEO", outcome.loop.weights, strict=True)),
    }


def _beats_text(document: dict[str, Any]) -> str:
    rows = [
        (
            str(beat["beat"]),
            plain(beat["action"]),
            number(beat["threat"]),
            number(beat["stability"]),
            number(beat["gain"]),
            duration(beat["pulse_seconds"]),
            duration(beat["granted_seconds"]),
        )
        for beat in document["beats"][-_SHOWN:]
    ]
    weights = ", ".join(f"{core} {weight:.3f}" for core, weight in document["weights"].items())
    heads = ("BEAT", "ACTION", "THREAT", "STABILITY", "GAIN", "PULSE", "GRANTED")
    return f"{table(heads, rows, left=2)}\nweights: {weights}\n"


def _drill_text(answer: dict[str, Any]) -> str:
    against = "the node" if answer["peer"] is None else str(answer["peer"])[:8]
    return f"drill: {answer['anomalies']:g} anomalies against {against}\n"


def _guard_text(guard: dict[str, Any]) -> str:
    kinds = ", ".join(f"{plain(kind)} {count:.1f}" for kind, count in guard["kinds"].items() if count >= 0.05)
    vetoes = ", ".join(f"{plain(step)} {count}" for step, count in guard["vetoes"].items())
    facts = (
        ("action", plain(guard["action"])),
        ("threat", f"{guard['threat']:.3f}"),
        ("anomalies", f"{guard['anomalies']:.1f} of this node{': ' + kinds if kinds else ''}"),
        ("vetoes", vetoes or "none"),
        ("granted", f"{duration(guard['granted_seconds'])} of processor per beat"),
    )
    text = "".join(f"{key:<12}{value}\n" for key, value in facts)
    rows = [
        (
            plain(peer["name"] or "-", 32),
            plain(peer["id"], 40)[:8],
            plain(peer["state"], 16),
            f"{peer['threat']:.3f}",
            f"{peer['anomalies']:.1f}",
            duration(peer["seconds_left"]) if peer["seconds_left"] else "-",
            str(peer["strikes"]),
        )
        for peer in guard["peers"]
    ]
    if not rows:
        return f"{text}\nnothing against any peer\n"
    heads = ("PEER", "ID", "STATE", "THREAT", "ANOMALIES", "LEFT", "STRIKES")
    return f"{text}\n{table(heads, rows, left=3)}"
