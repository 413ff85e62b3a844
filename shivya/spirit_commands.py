"""What `shivya spirit` does: lists, summons, dismisses, sets and shows what lives on the mesh."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from shivya.ask import ask
from shivya.commands import show, socket_of
from shivya.tables import table
from shivya_daemon.views.words import duration, plain

_SETTINGS = ("speed", "exploration", "decay")


def spirits(options: Namespace) -> int:
    """Show the spirits whose packages are on the running node."""
    return _show(ask(socket_of(options), "SPIRITS"), _list_text, options)


def summon(options: Namespace) -> int:
    """Let a spirit live on the mesh: here, and on every node that follows."""
    name = str(options.name)
    if "/" in name or name.endswith(".spirit"):
        name = str(Path(name).absolute())
    given = {key: getattr(options, key) for key in _SETTINGS}
    return _show(ask(socket_of(options), "SUMMON", name=name, **given), _spirit_text, options)


def dismiss(options: Namespace) -> int:
    """Let no spirit live on the mesh any more."""
    return _show(ask(socket_of(options), "DISMISS"), _spirit_text, options)


def tune(options: Namespace) -> int:
    """Change a setting of the spirit on the mesh."""
    answer = ask(socket_of(options), "SPIRIT", **{options.setting: options.value})
    return _show(answer, _spirit_text, options)


def show_spirit(options: Namespace) -> int:
    """Show the spirit on the mesh: its panel, and what crosses this node's links."""
    return _show(ask(socket_of(options), "SPIRIT"), _spirit_text, options)


def _show(document: Any, text: Any, options: Namespace) -> int:
    show(document, None if options.json else text)
    return 0


def _list_text(document: dict[str, Any]) -> str:
    rows = [
        (
            plain(row["name"], 32),
            plain(row["version"]),
            plain(row["tier"]),
            plain(row["licence"], 24),
            "summoned" if row["summoned"] else "",
            "built in" if row["built_in"] else "installed",
            plain(row["digest"])[:12],
        )
        for row in document["spirits"]
    ]
    text = table(("SPIRIT", "VERSION", "TIER", "LICENCE", "STATE", "FROM", "DIGEST"), rows, left=7)
    return text + "".join(f"left out: {plain(line, 200)}\n" for line in document["refused"])


def _spirit_text(document: dict[str, Any]) -> str:
    known, spirit = document["summoned"], document["spirit"]
    if known is None:
        return "no spirit is summoned; see 'shivya spirit list'\n"
    settings = ", ".join(f"{key} {known['settings'][key]:g}" for key in _SETTINGS)
    head = f"{plain(known['name'])}: {settings}\n"
    if spirit is None:
        why = document["why_not"] or "its first round is under way"
        return f"{head}it does not live here yet: {plain(why, 300)}\n"
    panel = spirit["panel"]
    facts = [
        ("lives here", f"{duration(spirit['age'])}, {spirit['now']:.1f} s of its own time"),
        ("nodes", f"{panel['nodes']}"),
        ("cells", f"{panel['cells']} here, {panel['mesh_cells']} in all"),
        ("tubes", f"{panel['tubes']} here, {panel['mesh_tubes']} in all"),
        ("nutrient", f"{panel['nutrient']:.3f} here, {panel['mesh_nutrient']:.3f} in all"),
        ("in transit", f"{panel['in_transit']:.4f}"),
        ("efficiency", f"{panel['efficiency']:.3f} of the straight ways between foods"),
        ("cost", f"{panel['cost']:.2f} times the shortest tree"),
    ]
    levels = {row[5]: (row[4] >= 0, row[7], row[8]) for row in spirit["foods"]}
    rows = []
    for link in spirit["links"]:
        found, nutrient, phase = levels.get(link["id"], (False, None, None))
        rows.append(
            (
                plain(link["name"] or link["id"][:8], 32),
                "found" if found else "not yet",
                "-" if nutrient is None else f"{nutrient:.3f}",
                "-" if phase is None else f"{phase:.2f}",
                f"{link['sent'] / 1e9:.3f}",
                f"{link['received'] / 1e9:.3f}",
            )
        )
    heads = ("NEIGHBOUR", "FOOD", "ITS NUTRIENT", "ITS PHASE", "SENT", "RECEIVED")
    parts = [head + "".join(f"{key:<12}{value}\n" for key, value in facts)]
    parts.append(table(heads, rows, left=2) if rows else "no links, so no food\n")
    return "\n".join(parts)
