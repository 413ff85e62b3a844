"""The head of a record: all that decides about the bits of a verdict beside the inputs of the ticks.

Keys of randomness are not in it, nor in the ticks: they follow from the node's id and from the order in which
the services came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from shivya_daemon.mind.sizes import SIZES
from shivya_daemon.mind.sources import program
from shivya_daemon.mind.start import blas_threads, cpu_key, platforms, xla_flags
from shivya_daemon.settings import NODE_ID_DIGITS, LawSettings, parse_node_id

_LARGEST = 1e300
"""Of a setting; beyond, and for what is no number, a head is damaged."""

_NAMES = {
    "cpu": "processor",
    "blas_threads": "threads of BLAS",
    "platforms": "JAX_PLATFORMS",
    "xla_flags": "XLA_FLAGS",
    "sources": "sources of digest",
}
"""What a person is told; the others are called as their keys."""


@dataclass(frozen=True)
class Head:
    """What a record was made with."""

    conditions: Mapping[str, Any]
    """As `conditions` returns them; a replay needs the same."""
    node_id: bytes
    law: LawSettings
    """A replay takes these."""


def conditions() -> dict[str, Any]:
    """Return what there is here that the bits depend on; asks no JAX, which need not be imported yet."""
    return {
        **{package: version(package) for package in ("jax", "jaxlib", "numpy")},
        "cpu": cpu_key(),
        "blas_threads": blas_threads(),
        "platforms": platforms(),
        "xla_flags": _in_order(xla_flags()),
        "sources": program(),
        "capacity": dict(SIZES),
    }


def head(settings: LawSettings, own: bytes) -> dict[str, Any]:
    """Return the head of a record that is made here and now."""
    return {**conditions(), "node_id": own.hex(), "law": asdict(settings)}


def parse(document: Mapping[str, object]) -> Head:
    """Return the head that a JSON document holds; raises ValueError, and says what is wrong with it."""
    _check("its head", document, head(LawSettings(), bytes(NODE_ID_DIGITS // 2)))
    held: dict[str, Any] = dict(document)
    node_id, law = parse_node_id(held.pop("node_id")), LawSettings(**held.pop("law"))
    return Head(held, node_id, law)


def differences(recorded: Head) -> list[str]:
    """Return what is otherwise here than it was where the record was made, one phrase each."""
    then, now = _flat(recorded.conditions), _flat(conditions())
    return [
        f"{_NAMES.get(key, key)} {then[key] or 'none'}, here is {now[key] or 'none'}"
        for key in now
        if then[key] != now[key]
    ]


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {f"capacity.{name}": size for name, size in table["capacity"].items()}
    return {**{key: value for key, value in table.items() if key != "capacity"}, **sizes}


def _in_order(flags: str) -> str:
    """Flags in the order of their names; of one that is given twice the last, which holds."""
    return " ".join(flag for _, flag in sorted({flag.split("=")[0]: flag for flag in flags.split()}.items()))


def _check(where: str, value: object, example: object) -> None:
    """Raise ValueError unless the value has the shape of the example: the same keys, and such values."""
    if isinstance(example, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} is no table")
        if missing := [key for key in example if key not in value]:
            raise ValueError(f"{where} lacks {', '.join(missing)}")
        if unknown := [key for key in value if key not in example]:
            raise ValueError(f"{where} has the key {unknown[0]!r:.40}, which is not known here")
        for key in example:
            _check(f"{key} in {where}", value[key], example[key])
    elif isinstance(example, float):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LARGEST:
            raise ValueError(f"{where} must be a number, not {value!r:.40}")
    elif type(value) is not type(example):
        kind = "a text" if isinstance(example, str) else "a whole number"
        raise ValueError(f"{where} must be {kind}, not {value!r:.40}")
