"""The names in docs/api.md: signatures and docstrings, read from the sources. Nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"shivya": ROOT, "shivya_kernels": ROOT / "kernels", "shivya_daemon": ROOT / "daemon"}
WIDTH = 110

HELD = {
    "From an application": (
        "shivya.client.Client",
        "shivya.client.Peer",
        "shivya.client.Load",
        "shivya.leasing.Lease",
        "shivya.leasing.LeaseRefused",
        "shivya.waiting.Waiting",
        "shivya.transfer.Carrier",
        "shivya.transfer.Receipt",
        "shivya.transfer.TransferFailed",
        "shivya.transfer.TransferInDoubt",
        "shivya.job_frames.Job",
    ),
    "A mesh in one process": ("shivya.proxy.WorkloadMeshProxy", "shivya.proxy.EdgeRecommendation"),
    "Experiments": (
        "shivya.experiments.load_scenario",
        "shivya.experiments.run",
        "shivya.experiments.compare",
        "shivya.experiments.mean",
        "shivya.experiments.ratio",
        "shivya.experiments.Result",
        "shivya.experiments.Estimate",
        "shivya.tune_file.read",
    ),
    "The law: the graph and its flows": (
        "shivya_kernels.complex.Capacity",
        "shivya_kernels.complex.SimplicialComplex",
        "shivya_kernels.hodge.gradient",
        "shivya_kernels.hodge.curl",
        "shivya_kernels.hodge.divergence",
        "shivya_kernels.hodge.decompose",
        "shivya_kernels.hodge.HodgeParts",
        "shivya_kernels.hodge.project_out_curl",
        "shivya_kernels.flow.balancing_flow",
        "shivya_kernels.flow.waiting_potential",
        "shivya_kernels.flow.placement",
    ),
    "The law: beliefs and programs": (
        "shivya_kernels.beliefs.Agent",
        "shivya_kernels.beliefs.posterior",
        "shivya_kernels.beliefs.variational_free_energy",
        "shivya_kernels.beliefs.descend",
        "shivya_kernels.beliefs.expected_free_energy",
        "shivya_kernels.morphic.compile_expression",
        "shivya_kernels.morphic.evaluate",
    ),
    "The law: neighbours and form": (
        "shivya_kernels.coalition.harsanyi_dividends",
        "shivya_kernels.coalition.shapley_values",
        "shivya_kernels.onsager.flows",
        "shivya_kernels.onsager.entropy_production",
        "shivya_kernels.morphogen.cfl_dt",
        "shivya_kernels.morphogen.step_rk4",
        "shivya_kernels.conductance.tero_step",
        "shivya_kernels.phase.kuramoto_step",
        "shivya_kernels.phase.chorus_step",
        "shivya_kernels.phase.order_parameter",
    ),
    "The law: guard, step, fleets": (
        "shivya_kernels.guard.t_lambda",
        "shivya_kernels.guard.threat",
        "shivya_kernels.guard.pid_step",
        "shivya_kernels.observation.Observation.empty",
        "shivya_kernels.step.init",
        "shivya_kernels.step.step",
        "shivya_kernels.fleet.batch.simulate",
        "shivya_kernels.fleet.batch.rollout",
        "shivya_kernels.status.describe",
    ),
    "The node": (
        "shivya_daemon.core.frames.Frame",
        "shivya_daemon.core.frames.encode",
        "shivya_daemon.core.frames.decode",
        "shivya_daemon.core.node.Node",
        "shivya_daemon.net.memory.MemoryNetwork",
    ),
    "Ledgers and guard": (
        "shivya_daemon.ledgers.audit.ledger.Ledger",
        "shivya_daemon.ledgers.credits.machine.apply",
        "shivya_daemon.ledgers.credits.witness.Witness",
        "shivya_daemon.guard.arbiter.Arbiter",
    ),
}
"""Names that others build on, by heading."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of ours by its name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def names_that_hold() -> str:
    """Signature and docstring of every name in HELD."""
    pages = []
    for heading, names in HELD.items():
        pages.append(f"## {heading}\n\n" + "\n".join(_entry(name) for name in names))
    return "\n" + "\n".join(pages) + "\n"


def other_modules() -> str:
    """Every module with the first sentence of its docstring."""
    lines = []
    for name, tree in modules().items():
        said = (ast.get_docstring(tree) or "").split("\n\n")[0]
        if said and not name.endswith("__main__"):
            lines.append(f"| `{name}` | {' '.join(said.split()).replace('|', chr(92) + '|')} |\n")
    return "| module | what |\n|---|---|\n" + "".join(lines)


def _entry(name: str) -> str:
    node = _find(name)
    lines = [
        f"### {name}",
        "",
        "```python",
        *_heading(node, name.rpartition(".")[2]),
        "```",
        "",
        _doc(node),
        "",
    ]
    if isinstance(node, ast.ClassDef):
        lines += _members(node)
    return "\n".join(lines)


def _find(name: str) -> ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef:
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if (module := ".".join(parts[:end])) in modules():
            body: list[ast.stmt] = modules()[module].body
            for part in parts[end:]:
                found = [n for n in body if getattr(n, "name", None) == part]
                if not found:
                    break
                node = found[0]
                body = getattr(node, "body", [])
            else:
                assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                return node
    raise LookupError(f"docs/reference.py names {name}, which is gone")


def _heading(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> list[str]:
    if not isinstance(node, ast.ClassDef):
        return _signature(node, name)
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        return _signature(init, f"class {name}")
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and not _private(ast.unparse(n.target))]
    return [f"class {name}:", *(f"    {ast.unparse(field)}" for field in fields)]


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> list[str]:
    arguments = ast.unparse(node.args)
    for own in ("self", "cls"):
        arguments = arguments.removeprefix(own).removeprefix(", ") if _first(node) == own else arguments
    back = f" -> {ast.unparse(node.returns)}" if node.returns is not None and node.name != "__init__" else ""
    word = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    line = f"{word}{name}({arguments}){back}"
    if len(line) <= WIDTH:
        return [line]
    each = [argument for argument in _arguments(node.args) if argument not in ("self", "cls")]
    return [f"{word}{name}(", *(f"    {argument}," for argument in each), f"){back}"]


def _first(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    every = [*node.args.posonlyargs, *node.args.args]
    return every[0].arg if every else ""


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    """Each argument as it is written, with the marks / and * between them."""
    named = [*arguments.posonlyargs, *arguments.args]
    bare: list[ast.expr | None] = [None] * (len(named) - len(arguments.defaults))
    for index, (argument, default) in enumerate(zip(named, [*bare, *arguments.defaults], strict=True)):
        yield _argument(argument, default)
        if arguments.posonlyargs and index == len(arguments.posonlyargs) - 1:
            yield "/"
    if arguments.vararg:
        yield "*" + _argument(arguments.vararg, None)
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument(argument, default)
    if arguments.kwarg:
        yield "**" + _argument(arguments.kwarg, None)


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    equals = " = " if kind else "="
    return f"{argument.arg}{kind}" + (f"{equals}{ast.unparse(default)}" if default is not None else "")


def _members(node: ast.ClassDef) -> list[str]:
    """Public methods and properties of a class, one a paragraph."""
    lines = []
    for member in node.body:
        if not isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) or _private(member.name):
            continue
        marks = {ast.unparse(mark) for mark in member.decorator_list}
        if any(mark.endswith(".setter") for mark in marks) or "overload" in marks:
            continue
        if "property" in marks:
            back = f": {ast.unparse(member.returns)}" if member.returns else ""
            heading = [f"{member.name}{back}"]
        else:
            heading = _signature(member, member.name)
        lines += ["```python", *heading, "```", "", _doc(member), ""]
    return lines


def _doc(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return (ast.get_docstring(node) or "").replace("``", "`")


def _private(name: str) -> bool:
    return name.startswith("_")
