"""Writes the parts of these pages that follow from the code; run it when the tests say that they differ.

    .venv/bin/python docs/generate.py            # writes
    .venv/bin/python docs/generate.py --check    # says which pages differ, and exits with 1 if any do

A part stands between two comments: `<!-- written by docs/generate.py: NAME -->` and `<!-- end -->`. All
around them is written by hand. Nothing here imports JAX; what is not plain data is read from the sources.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from typing import Any

from reference import ROOT, names_that_hold, other_modules
from shivya import cli, command_tree, config
from shivya.command_tree import Command
from shivya.drop_words import WORDS
from shivya.errors import ExitCode

from shivya_daemon.ledgers.credits.refusals import Refusal
from shivya_daemon.settings import (
    CAPABILITY_KEYS,
    CapabilitySettings,
    CreditSettings,
    DaemonSettings,
    LawSettings,
    QuotaSettings,
    SpiritSettings,
)

DOCS = ROOT / "docs"
SETTINGS = ROOT / "daemon" / "shivya_daemon" / "settings.py"

_PART = re.compile(r"(<!-- written by docs/generate\.py: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TYPES = {
    "a text": "text",
    "a whole number": "integer",
    "a finite number": "number",
    "true or false": "switch",
}


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a bar inside a cell would end it, so it is escaped."""
    lines = [list(heads)]
    lines.append(["---"] * len(lines[0]))
    lines += [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(
        "|" + "|".join(f" {cell} " if cell != "---" else cell for cell in row) + "|\n" for row in lines
    )


# Settings


def settings() -> str:
    """Every setting of a daemon outside of a table."""
    return _settings(DaemonSettings, "", {f.name: f.name for f in fields(DaemonSettings)})


def law() -> str:
    """The numbers of the law."""
    return _settings(LawSettings, "law.", {f.name: f.name for f in fields(LawSettings)})


def capabilities() -> str:
    """What a node offers; what it seeks has the same keys."""
    return _settings(CapabilitySettings, "capabilities.", CAPABILITY_KEYS)


def quota() -> str:
    """What a node lends."""
    return _settings(QuotaSettings, "quota.", {f.name: f.name for f in fields(QuotaSettings)})


def credits() -> str:
    """Where the ledger is."""
    return _settings(CreditSettings, "credits.", {f.name: f.name for f in fields(CreditSettings)})


def spirits() -> str:
    """Whether spirits live here."""
    return _settings(SpiritSettings, "spirits.", {f.name: f.name for f in fields(SpiritSettings)})


def _settings(kind: Any, table_name: str, keys: Mapping[str, str]) -> str:
    said, flags = _field_docs(kind.__name__), _flags()
    by_name = {f.name: f for f in fields(kind)}
    rows = []
    for key, name in keys.items():
        full = table_name + key
        if full not in config._KINDS:
            continue  # a table, which has a section of its own
        flag, help_text = flags.get(config._flag(full), ("", ""))
        expected = config._KINDS[full].expected
        rows.append(
            (
                f"`{key}`",
                f"`{config._variable(full)}`",
                f"`{flag}`" if flag else "-",
                _TYPES.get(expected, expected.removeprefix("a ")),
                _default(by_name[name]),
                _line(said.get(name) or help_text),
            )
        )
    heads = ("key", "variable", "flag", "type", "default", "what")
    if not any(row[2] != "-" for row in rows):
        heads, rows = (*heads[:2], *heads[3:]), [(*row[:2], *row[3:]) for row in rows]
    return table(heads, rows)


def _default(field: Field[Any]) -> str:
    value = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[misc]
    match value:
        case None:
            return "none"
        case True | False:
            return str(value).lower()
        case ():
            return "`[]`"
        case str():
            return f'`"{value}"`'
    return f"`{value}`"


def _flags() -> dict[str, tuple[str, str]]:
    """Flags of `shivya daemon`: by the long form, how it is written and what it does."""
    found = {}
    for argument in _commands()["daemon"].arguments:
        for flag in argument.flags:
            value = f" {argument.metavar}" if argument.metavar else ""
            written = f"{flag} [{argument.metavar}]" if argument.optional else flag + value
            found[flag] = (written, re.sub(r" \(default.*\)$", "", argument.help))
    return found


def _field_docs(class_name: str) -> dict[str, str]:
    """The text under each field of a class of settings."""
    tree = ast.parse(SETTINGS.read_text())
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name)
    return dict(_texts_under(body))


def _texts_under(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for node, below in pairwise(body):
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            target = node.targets[0] if isinstance(node.targets[0], ast.Name) else None
        if (
            isinstance(target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            yield target.id, str(below.value.value)


def _line(text: str) -> str:
    """A docstring as a cell: one line, begun as the middle of a sentence."""
    text = re.sub(r"\bNone\b", "none", " ".join(text.split()).rstrip("."))
    return text[:1].lower() + text[1:] if re.match(r"[A-Z]([a-z]+)?\b", text) else text


# Commands, exit codes, refusals


def _commands() -> dict[str, Command]:
    """Every command by its full name, groups left out."""
    return {" ".join(c.path): c for c in command_tree.read(cli.parser()).walk() if not c.commands}


def commands() -> str:
    """Every command with what it does and an example."""
    rows = []
    for name, command in _commands().items():
        example = re.search(r"example: (.*)", command.epilog)
        rows.append((f"`{name}`", _line(command.description), f"`{example[1]}`" if example else "-"))
    return table(("command", "what it does", "for example"), rows)


def exit_codes() -> str:
    """What a script may rely on."""
    body = next(
        node.body
        for node in ast.parse((ROOT / "shivya" / "errors.py").read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "ExitCode"
    )
    said = dict(_texts_under(body))
    return table(("code", "name", "when"), ((f"{c.value}", c.name, _line(said[c.name])) for c in ExitCode))


def drops() -> str:
    """Every word under which a datagram is dropped, those with one meaning together."""
    together: dict[Any, list[str]] = {}
    for name, word in WORDS.items():
        together.setdefault(word, []).append(name)
    rows = (
        (" ".join(f"`{name}`" for name in names), word.meaning, word.remedy or "-", word.level)
        for word, names in together.items()
    )
    return table(("word", "what happened", "what to do", "finding"), rows)


def refusals() -> str:
    """Every reason for which the ledger of credits refuses."""
    return table(("reason", "what it says"), ((f"`{r.code}`", r.value) for r in Refusal))


def status_bits() -> str:
    """The bits of the law's status with their remedies, from the source: importing it would import JAX."""
    tree = ast.parse((ROOT / "kernels" / "shivya_kernels" / "status.py").read_text())
    remedies = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_REMEDIES"
    )
    assert isinstance(remedies, ast.Dict)
    rows = []
    for bit, text in zip(remedies.keys, remedies.values, strict=True):
        assert isinstance(bit, ast.Attribute)
        said, _, remedy = str(ast.literal_eval(text)).rpartition("; ")
        rows.append((f"`{bit.attr}`", said, remedy))
    return table(("bit", "what happened", "what to do"), rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "law": law,
    "capabilities": capabilities,
    "quota": quota,
    "credits": credits,
    "spirits": spirits,
    "commands": commands,
    "exit-codes": exit_codes,
    "drops": drops,
    "refusals": refusals,
    "status-bits": status_bits,
    "names-that-hold": names_that_hold,
    "other-modules": other_modules,
}


def written(text: str) -> str:
    """A page with its parts as they are to be."""
    return _PART.sub(lambda part: part[1] + PARTS[part[2]]() + part[3], text)


def main(arguments: list[str]) -> int:
    """Write all pages, or with --check compare them; returns the exit code."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    stale = []
    for page in sorted(DOCS.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = written(before)
        if after != before:
            stale.append(page.name)
            if not check:
                page.write_text(after, encoding="utf-8")
    for name in stale:
        sys.stdout.write(f"{'differs' if check else 'wrote'}: docs/{name}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
