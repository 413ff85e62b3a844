"""``shivya reconcile``: a mesh as JSON in, the parts of its flow and better flows out.

The input is checked completely before JAX is imported, so that a mistake is told at once and in one line.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path

from shivya.errors import CommandError, ExitCode
from shivya.settlement import Mesh, Settlement, build_complex, settle

INPUT_LIMIT = 64 * 2**20
"""Largest input that is read, in bytes."""


class BadMesh(ValueError):
    """An input that is not a mesh; the text names the field."""


def run(file: str, *, as_json: bool) -> int:
    """Reconcile the mesh in `file` (``-``: standard input), print the result, return an exit code.

    Raises `CommandError`: USAGE for a missing file or bad input, FAILED for numbers too large for float64.
    """
    try:
        mesh = parse(_read(file))
        settlement = settle(mesh, build_complex(mesh))
    except BadMesh as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    except OverflowError as error:
        raise CommandError(ExitCode.FAILED, str(error)) from None
    result = document(mesh, settlement)
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if as_json else _text(result))
    return ExitCode.OK if settlement.status == "ok" else ExitCode.FAILED


def parse(text: str | bytes) -> Mesh:
    """Read and check a mesh written as JSON; raise `BadMesh` with one line that names the field."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMesh(f"the input is not JSON: {error}") from None
    top = _fields("the input", value, required=("nodes",), optional=("edges",))
    nodes, edges = _list(top["nodes"], "nodes"), _list(top.get("edges", []), "edges")
    if not nodes:
        raise BadMesh("nodes must name at least one node")
    index: dict[str, int] = {}
    queues, capacities, pairs, rates, conductances = [], [], [], [], []
    for i, value in enumerate(nodes):
        at = f"nodes[{i}]"
        node = _fields(at, value, required=("name",), optional=("queue", "capacity"))
        name = _name(node["name"], f"{at}.name")
        if index.setdefault(name, i) != i:
            raise BadMesh(f"{at}.name {name!r} is already nodes[{index[name]}]; each node stands once")
        queues.append(_number(node.get("queue", 0), f"{at}.queue", at_least_zero=True))
        capacities.append(_number(node.get("capacity", 1), f"{at}.capacity", positive=True))
    seen: dict[tuple[int, int], int] = {}
    for i, value in enumerate(edges):
        at = f"edges[{i}]"
        edge = _fields(at, value, required=("from", "to"), optional=("rate", "conductance"))
        tail, head = (_known(edge[end], f"{at}.{end}", index) for end in ("from", "to"))
        if tail == head:
            raise BadMesh(f"{at}.to is the same node as {at}.from; a link joins two nodes")
        if (first := seen.setdefault((min(tail, head), max(tail, head)), i)) != i:
            raise BadMesh(
                f"{at} joins the same nodes as edges[{first}]; name each link once, in either direction"
            )
        pairs.append((tail, head))
        rates.append(_number(edge.get("rate", 0), f"{at}.rate"))
        conductances.append(_number(edge.get("conductance", 1), f"{at}.conductance", positive=True))
    return Mesh(
        tuple(index), tuple(queues), tuple(capacities), tuple(pairs), tuple(rates), tuple(conductances)
    )


def document(mesh: Mesh, settlement: Settlement) -> dict[str, object]:
    """Return the result as the object that ``--json`` prints; its field names are stable."""
    edges = [
        {
            "from": mesh.nodes[tail],
            "to": mesh.nodes[head],
            "reported": mesh.rates[i],
            "gradient": float(settlement.gradient[i]),
            "curl": float(settlement.curl[i]),
            "harmonic": float(settlement.harmonic[i]),
            "balancing": float(settlement.balancing[i]),
            "recommended": float(settlement.recommended[i]),
        }
        for i, (tail, head) in enumerate(mesh.edges)
    ]
    nodes = [
        {"name": name, "queue": queue, "target": float(target)}
        for name, queue, target in zip(mesh.nodes, mesh.queues, settlement.targets, strict=True)
    ]
    return {
        "edges": edges,
        "nodes": nodes,
        "curl_norm": settlement.curl_norm,
        "harmonic_norm": settlement.harmonic_norm,
        "betti": list(settlement.betti),
        "status": settlement.status,
    }


def _text(result: dict[str, object]) -> str:
    from shivya.tables import reconcile_text

    return reconcile_text(result)


def _read(file: str) -> bytes:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(INPUT_LIMIT + 1)
        else:
            with Path(file).open("rb") as stream:
                data = stream.read(INPUT_LIMIT + 1)
    except OSError as error:
        raise BadMesh(
            f"cannot read {file}: {error.strerror}; name a JSON file, or - for standard input"
        ) from None
    if len(data) > INPUT_LIMIT:
        raise BadMesh(f"{file} is larger than {INPUT_LIMIT} bytes; reconcile a part of the mesh")
    return data


def _fields(
    at: str, value: object, *, required: tuple[str, ...], optional: tuple[str, ...]
) -> dict[str, object]:
    """Return `value` if it is an object with these fields; a misspelt field must not be passed over."""
    if not isinstance(value, dict):
        raise BadMesh(f"{at} must be an object, not {_shown(value)}")
    for field in required:
        if field not in value:
            raise BadMesh(f"{at} lacks the field {field!r}")
    known = (*required, *optional)
    for field in value:
        if field not in known:
            raise BadMesh(f"{at} has an unknown field {_shown(field)}; known are {', '.join(known)}")
    return value


def _list(value: object, at: str) -> list[object]:
    if not isinstance(value, list):
        raise BadMesh(f"{at} must be a list, not {_shown(value)}")
    return value


def _name(value: object, at: str) -> str:
    if not isinstance(value, str) or not value:
        raise BadMesh(f"{at} must be a text that is not empty, not {_shown(value)}")
    return value


def _known(value: object, at: str, index: Mapping[str, int]) -> int:
    name = _name(value, at)
    if name not in index:
        raise BadMesh(f"{at} names an unknown node {_shown(name)}; list it in nodes")
    return index[name]


def _number(value: object, at: str, *, at_least_zero: bool = False, positive: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadMesh(f"{at} must be a number, not {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadMesh(f"{at} must be a finite number, not {_shown(value)}")
    if positive and number <= 0:
        raise BadMesh(f"{at} must be > 0, not {_shown(value)}")
    if at_least_zero and number < 0:
        raise BadMesh(f"{at} must be >= 0, not {_shown(value)}")
    return number


def _shown(value: object) -> str:
    """Return `value` as JSON, cut to what fits in a line."""
    try:
        text = json.dumps(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "that number"
    return text if len(text) <= 60 else text[:57] + "..."
