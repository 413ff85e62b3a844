"""The documentation keeps its word.

docs/mathematics.md names what exists and leaves out what has no formula; links lead somewhere; what is
generated is up to date. The commands that pages show are run by tests/docs_run.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest
from shivya import config, simulate_scenario

sys.path.insert(0, str(Path(__file__).parent))
from shown import BLOCKS, DOCS, PAGES, ROOT, Block

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
    "placement.leased",
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


# The pages


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(
        r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        found = page.parent / path if path else page
        assert found.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, target


def test_every_page_is_reached_from_the_index() -> None:
    linked = set(re.findall(r"\]\((\w+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "toml"], ids=lambda block: f"{block.page}:{block.line}"
)
def test_toml_is_of_known_keys(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "shown.toml"
    path.write_text(block.text, encoding="utf-8")
    if "scenario" in tomllib.loads(block.text):
        assert simulate_scenario.read(path)
    else:
        config.load({}, environ={}, folder=tmp_path, config_file=path)


def test_python_is_python() -> None:
    shown = [block for block in BLOCKS if block.language == "python" and block.page != "api.md"]
    assert len(shown) > 3
    for block in shown:
        compile(block.text, f"{block.page}:{block.line}", "exec")


def test_what_is_generated_is_up_to_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    assert importlib.import_module("generate").main(["--check"]) == 0, (
        f"run docs/generate.py: {capsys.readouterr().out}"
    )


def test_the_pictures_are_those_that_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "images"))
    for name, draw in importlib.import_module("draw").PICTURES.items():
        assert (DOCS / "images" / name).read_text(encoding="utf-8") == draw(), "run docs/images/draw.py"
