"""The arrows of docs/architecture.md, enforced from the imports; and the shape every file keeps."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from arrows import FORBIDDEN, RULES

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "shivya": ROOT / "shivya",
    "shivya_kernels": ROOT / "kernels" / "shivya_kernels",
    "shivya_daemon": ROOT / "daemon" / "shivya_daemon",
}
OURS = tuple(PACKAGES)
MAX_LINES = 400


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(module: str, path: Path) -> Iterator[str]:
    """Every module named by an import statement anywhere in the file, lazy ones too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import; write the full name"
            assert node.module is not None
            folder = ROOT_OF.get(node.module)
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield inside if folder and inside in ROOT_OF else node.module


ROOT_OF = dict(modules())


def longest(module: str, table: dict[str, object] | set[str]) -> str | None:
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if (prefix := ".".join(parts[:end])) in table:
            return prefix
    return None


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=[m for m, _ in modules()])
def test_imports_point_down(module: str, path: Path) -> None:
    rule = longest(module, dict(RULES))
    assert rule is not None, f"{module} has no rule: place it in docs/architecture.md and arrows*.py"
    if rule in OURS and module != rule and rule != "shivya_kernels":
        pytest.fail(f"{module} has no rule of its own: place it in docs/architecture.md and arrows*.py")
    ours, third = RULES[rule]
    banned = FORBIDDEN.get(longest(module, dict(FORBIDDEN)) or "", set())
    for name in imports(module, path):
        top = name.split(".")[0]
        if top in OURS:
            assert longest(name, ours) or name == module, f"{module} may not import {name}"
        elif top in sys.stdlib_module_names:
            assert top not in banned, f"{module} may not import {name}"
        else:
            assert top in third, f"{module} may not import {name}"


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=[m for m, _ in modules()])
def test_files_hold_one_idea(module: str, path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_LINES, f"{module} has grown past {MAX_LINES} lines: it holds two ideas"
    assert "pickle" not in text, f"{module}: no pickle"
    assert path.name not in ("utils.py", "helpers.py", "common.py", "misc.py"), f"{path.name} says nothing"
    assert not text or ast.get_docstring(ast.parse(text)), f"{module} needs a module docstring"


@pytest.mark.parametrize("names", [("shivya",), ("shivya.client", "shivya.transfer"), ("shivya.cli",)])
def test_cheap_imports_stay_cheap(names: tuple[str, ...]) -> None:
    heavy = ("jax", "numpy", "anyio", "rich", "cryptography", "msgspec", "psutil")
    code = f"import sys, {', '.join(names)}; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_daemon_that_is_not_told_to_imports_no_law_and_no_ledger_of_credits() -> None:
    """Its socket is to be up before JAX, and before what only those who pay for leases have."""
    rare = ("jax", "numpy", "sqlite3", "shivya_daemon.purse.treasury", "shivya_daemon.mind.law")
    code = f"import sys, shivya_daemon.daemon; print([m for m in {rare!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_no_private_addresses_in_the_tree() -> None:
    """No path of a developer's machine and no address of a package index in any committed text."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file() or path == Path(__file__).resolve():
            continue
        text = path.read_text(errors="ignore")
        for needle in (f"{ROOT}/", "-".join(("index", "url"))):
            assert needle not in text, f"{name} contains {needle}"
