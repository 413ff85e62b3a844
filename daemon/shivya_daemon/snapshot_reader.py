"""Reads a `Snapshot` back from the JSON object of `shivya status --json`, which another program wrote.

Every value is checked against the type of its field, so that no view meets what it does not expect; fields
that are not known here are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from shivya_daemon.snapshot import CellRow, FlowRow, LinkRow, PeerRow, ResourceRow, SettleRow, Snapshot

Row = TypeVar("Row")
_RENAMED = {"source": "from", "target": "to", "source_id": "from_id", "target_id": "to_id"}
"""Fields of `SettleRow` that are called otherwise in JSON."""


class UnknownDocument(ValueError):
    """An object that is not the status of a node as this version writes it; the text names the field."""


def read_snapshot(document: Mapping[str, Any]) -> Snapshot:
    """Return the snapshot whose `to_json` gave `document`; raises `UnknownDocument`."""
    return _read(Snapshot, document, "status")


def _read(kind: type[Row], document: object, where: str) -> Row:
    if not isinstance(document, Mapping):
        raise UnknownDocument(f"{where} is no object")
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]  # a dataclass
        key = _RENAMED.get(field.name, field.name) if kind is SettleRow else field.name
        if key in document:
            try:
                values[field.name] = _READERS[str(field.type)](document[key])
            except UnknownDocument as error:
                raise UnknownDocument(f"{where}.{key}: {error}") from None
            except (TypeError, ValueError, OverflowError):
                raise UnknownDocument(f"{where}.{key} is not {field.type}") from None
        elif field.default is MISSING and field.default_factory is MISSING:
            raise UnknownDocument(f"{where} lacks {key}")
    return kind(**values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _number(value: object) -> float:
    """A float; null, which is what JSON has for a number that is not finite, is not a number."""
    if value is None:
        return math.nan
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError
    return float(value)


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _or_none(read: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else read(value)


def _all(read: Callable[[object], Any]) -> Callable[[object], Any]:
    def read_all(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError
        return tuple(map(read, value))

    return read_all


def _values(read: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: {key: read(inner) for key, inner in _object(value).items()}


def _rows(kind: type[Row]) -> Callable[[object], Any]:
    return _all(lambda value: _read(kind, value, kind.__name__))


_READERS: Mapping[str, Callable[[object], Any]] = {
    "str": _text,
    "str | None": _or_none(_text),
    "bool": _switch,
    "int": _whole,
    "float": _number,
    "float | None": _or_none(_number),
    "tuple[str, ...]": _all(_text),
    "tuple[float, ...]": _all(_number),
    "Mapping[str, object]": _object,
    "Mapping[str, object] | None": _or_none(_object),
    "Mapping[str, float]": _values(_number),
    "Mapping[str, float] | None": _or_none(_values(_number)),
    "Mapping[str, int]": _values(_whole),
    "tuple[PeerRow, ...]": _rows(PeerRow),
    "tuple[LinkRow, ...]": _rows(LinkRow),
    "tuple[CellRow, ...]": _rows(CellRow),
    "tuple[FlowRow, ...]": _rows(FlowRow),
    "tuple[SettleRow, ...]": _rows(SettleRow),
    "tuple[ResourceRow, ...]": _rows(ResourceRow),
}
"""By the annotation of the field."""
