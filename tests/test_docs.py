"""docs/mathematics.md keeps its word: what it names exists, what it leaves out has no formula."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "kernels" / "shivya_kernels"
PLACEMENT = ROOT / "daemon" / "shivya_daemon" / "placement.py"

WITHOUT_FORMULA = {
    "cg.default_tolerance",
    "lanes.anywhere",
    "lanes.diagonal",
    "lanes.identity",
    "lanes.product",
    "lanes.total",
    "lanes.transpose",
    "linalg.cholesky",
    "linalg.solve_lower",
    "ensemble.init",
    "ensemble.shard",
    "ensemble.sharded_step",
    "ensemble.stack",
    "ensemble.step",
    "padding.lengths",
    "params.float_dtype",
    "placement.is_node_id",
    "placement.parse_table",
    "shapes.as_float",
    "shapes.resize",
    "status.describe",
    "status.flag",
}
"""All other public functions of the law have a row."""


def rows() -> list[tuple[str, ...]]:
    """The rows (formula, function, source, test) of every table headed so."""
    found: list[tuple[str, ...]] = []
    inside = False
    for line in (ROOT / "docs" / "mathematics.md").read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|")) if line.startswith("|") else ()
        if cells == ("formula", "function", "source", "test"):
            inside = True
        elif not cells:
            inside = False
        elif inside and set(line) - set("|-"):
            found.append(cells)
    return found


ROWS = rows()
each_row = pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])


def quoted(cell: str) -> list[str]:
    """What a cell names: all of it in back quotes, separated by commas."""
    names = re.findall(r"`([^`]+)`", cell)
    assert names and ", ".join(f"`{name}`" for name in names) == cell, f"not a list of names: {cell}"
    return names


def public_functions(path: Path) -> set[str]:
    body = ast.parse(path.read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}


@each_row
def test_functions_exist(row: tuple[str, ...]) -> None:
    assert len(row) == 4, f"a bar inside a cell? {row}"
    for name in quoted(row[1]):
        module, *attributes = name.split(".")
        package = "shivya_daemon" if module == "placement" else "shivya_kernels"
        found: object = importlib.import_module(f"{package}.{module}")
        if module == "fleet":  # a package
            module = f"{module}.{attributes.pop(0)}"
            found = importlib.import_module(f"{package}.{module}")
        for attribute in attributes:
            found = getattr(found, attribute)


@each_row
def test_tests_exist(row: tuple[str, ...]) -> None:
    for name in quoted(row[3]):
        path, _, function = name.partition("::")
        assert function.startswith("test_")
        assert function in public_functions(ROOT / path), name


@each_row
def test_papers_are_cited_in_full(row: tuple[str, ...]) -> None:
    entries = re.split(r"^- ", (ROOT / "CITATIONS.md").read_text(), flags=re.MULTILINE)
    papers = re.findall(r"(\w+) (\d{4})", row[2])
    assert papers or row[2] in ("ours", "definition"), f"no source: {row[2]}"
    for author, year in papers:
        assert any(f" {author}" in entry and year in entry for entry in entries), f"{author} {year}"


def test_every_public_function_of_the_law_has_a_row() -> None:
    sources = {path.stem: path for path in [*KERNELS.glob("*.py"), PLACEMENT]}
    public = {f"{module}.{name}" for module, path in sources.items() for name in public_functions(path)}
    named = {name for row in ROWS for name in quoted(row[1])}
    assert public - named == WITHOUT_FORMULA


def test_the_citation_is_of_this_version() -> None:
    from shivya.version import __version__

    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {__version__}" in lines
    project = (ROOT / "pyproject.toml").read_text()
    assert 'license = "MIT OR Apache-2.0"' in project and {"  - MIT", "  - Apache-2.0"} <= set(lines)
