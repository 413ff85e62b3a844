"""docs/seeds.md keeps its word: what it names exists, and every statement of the seeds has one row."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "seeds.md"
FOLDERS = {"shivya": ROOT, "shivya_kernels": ROOT / "kernels", "shivya_daemon": ROOT / "daemon"}
STATES = ("built", "replaced", "left out", "not yet")


class Row(NamedTuple):
    id: str
    asked: str
    state: str
    how: str
    shown: str


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text().splitlines():
        if line.startswith("| R"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == len(Row._fields), f"a bar inside a cell? {line}"
            found.append(Row(*cells))
    return found


ROWS = rows()
each_row = pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])


@cache
def names(path: Path, inside: str = "") -> frozenset[str]:
    """What a file defines at its top, or a class of it in its body; read, not imported."""
    body = ast.parse(path.read_text()).body
    if inside:
        body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == inside)
    found = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return frozenset(found)


def exists(name: str) -> bool:
    """Whether a dotted name is a module of ours, something in one, or in a class of one."""
    parts = name.split(".")
    if parts[0] not in FOLDERS:
        return (ROOT / name).is_file()
    for end in range(len(parts), 0, -1):
        path = FOLDERS[parts[0]].joinpath(*parts[:end])
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module.is_file():
            rest = parts[end:]
            if not rest:
                return True
            found = rest[0] in names(module)
            return found if len(rest) == 1 else found and rest[1] in names(module, rest[0])
    return False


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@each_row
def test_what_a_row_names_exists(row: Row) -> None:
    assert row.state in STATES
    assert row.asked and row.how
    if row.state == "built":
        assert quoted(row.how) and quoted(row.shown), f"{row.id} is built: by what, shown by what?"
    if row.state in ("left out", "not yet"):
        assert row.shown == "-", f"{row.id} is not there, so nothing can show it"
    for name in quoted(row.how):
        assert exists(name), f"{row.id} names {name}"
    for name in quoted(row.shown):
        path, _, function = name.partition("::")
        assert path.startswith("tests/") and function.startswith("test_"), name
        assert function in names(ROOT / path), f"{row.id} names {name}"


def test_every_statement_has_one_row_in_order() -> None:
    ids = [re.fullmatch(r"R(\d{3})-(\d{3})", row.id) for row in ROWS]
    seeds = Counter(match[1] for match in ids if match)
    assert sorted(seeds) == [f"{seed:03d}" for seed in range(5)]
    expected = [f"R{seed}-{number:03d}" for seed in sorted(seeds) for number in range(1, seeds[seed] + 1)]
    assert [row.id for row in ROWS] == expected


def test_the_counts_are_those_of_the_table() -> None:
    count = Counter(row.state for row in ROWS)
    said = f"Of {len(ROWS)}: " + ", ".join(f"{count[state]} {state}" for state in STATES)
    assert f"{said}." in " ".join(PAGE.read_text().split())


def test_a_wrong_name_is_noticed() -> None:
    assert exists("shivya_kernels.hodge.decompose") and exists("shivya_daemon.core.node.Node.block")
    assert not exists("shivya_kernels.hodge.recompose")
    assert not exists("shivya_daemon.core.node.Node.blocked")
    assert not exists("shivya_daemon.core.nodes") and not exists("docs/nothing.md")
