"""Reads the YAML that the manifests in `deploy/` are written in: blocks of mappings and lists, and scalars.

Flow lists are JSON; there are no anchors, tags or texts of several lines, and what is not understood is an
error.
"""

from __future__ import annotations

import json
import re
from typing import Any

Line = tuple[int, str]


def documents(text: str) -> list[Any]:
    """Return the documents of a file."""
    found = []
    for part in re.split(r"^---$", text, flags=re.MULTILINE):
        lines = [
            (len(line) - len(line.lstrip()), line.strip())
            for line in part.splitlines()
            if line.strip() and not line.lstrip().startswith("#")
        ]
        value, rest = _block(lines, lines[0][0])
        assert not rest, rest[0]
        found.append(value)
    return found


def _block(lines: list[Line], indent: int) -> tuple[Any, list[Line]]:
    return (_list if lines[0][1].startswith("- ") else _mapping)(lines, indent)


def _list(lines: list[Line], indent: int) -> tuple[list[Any], list[Line]]:
    items = []
    while lines and lines[0][0] == indent and lines[0][1].startswith("- "):
        first = lines[0][1][2:]
        if re.match(r"[\w.-]+:( |$)", first):
            item, lines = _mapping([(indent + 2, first), *lines[1:]], indent + 2)
        else:
            item, lines = _scalar(first), lines[1:]
        items.append(item)
    return items, lines


def _mapping(lines: list[Line], indent: int) -> tuple[dict[str, Any], list[Line]]:
    found: dict[str, Any] = {}
    while lines and lines[0][0] == indent and not lines[0][1].startswith("- "):
        parts = re.fullmatch(r"([\w./-]+):(?: (.+))?", lines[0][1])
        assert parts, lines[0][1]
        key, value = parts.groups()
        assert key not in found, f"{key} twice"
        lines = lines[1:]
        if value is not None:
            found[key] = _scalar(value)
        else:
            below = lines[0][0]
            assert below > indent or (below == indent and lines[0][1].startswith("- ")), key
            found[key], lines = _block(lines, below)
    return found, lines


def _scalar(text: str) -> Any:
    if text[0] in '["{' or text in ("true", "false") or re.fullmatch(r"-?\d+", text):
        return json.loads(text)
    assert not set(text[0]) & set("&*!|>%@`'") and ": " not in text and " #" not in text, text
    return text
