"""Records as canonical JSON: one form per value, and nothing is read that is not in that form.

A record is a frozen dataclass whose annotations name kinds of values. The kinds say what a value may be and
how it is written: whole numbers in full, bytes in hexadecimal digits, keys sorted, no white space. That is
RFC 8785 but for whole numbers above 2^53, which it would round.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from fractions import Fraction
from typing import Any, TypeAlias, TypeVar

from shivya_daemon.ledgers.credits.persistent import Map
from shivya_daemon.ledgers.credits.units import LIMIT

R = TypeVar("R")

Id: TypeAlias = bytes
"""16 bytes that a client draws at random; all zeros and all ones name nothing."""
Key: TypeAlias = bytes
"""32 bytes: an Ed25519 public key, which is what an account is known by."""
Digest: TypeAlias = bytes
"""32 bytes: SHA3-256."""
Signature: TypeAlias = bytes
"""64 bytes: Ed25519; empty where it is still to come."""
Text: TypeAlias = str
"""At most 256 bytes of UTF-8."""

ID_BYTES = 16
_TEXT_BYTES = 256
_RESERVED = (b"\x00" * ID_BYTES, b"\xff" * ID_BYTES)


class DecodeError(ValueError):
    """The bytes are no record in canonical form."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be, and how JSON has it; `unpack` may raise anything that `decode` names."""

    holds: Callable[[Any], bool]
    pack: Callable[[Any], Any] = lambda value: value
    unpack: Callable[[Any], Any] = lambda packed: packed


Kinds: TypeAlias = dict[str, Kind]


def _raw(*lengths: int) -> Kind:
    return Kind(lambda v: type(v) is bytes and len(v) in lengths, bytes.hex, bytes.fromhex)


def _is_text(value: Any) -> bool:
    try:
        return type(value) is str and len(value.encode()) <= _TEXT_BYTES
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def choice(options: type[Enum]) -> Kind:
    """Return the kind of the members of an enumeration."""
    return Kind(lambda v: type(v) is options, lambda v: v.value, options)


def table(record: type, kinds: Kinds) -> Kind:
    """Return the kind of a `Map` of records."""
    return Kind(
        lambda v: isinstance(v, Map),  # its values were checked when they were made
        lambda v: {key.hex(): pack(entry, kinds) for key, entry in v.items()},
        lambda packed: _table({bytes.fromhex(k): unpack(record, e, kinds) for k, e in packed.items()}),
    )


def _table(entries: Mapping[bytes, R]) -> Map[R]:
    if len(set(map(len, entries))) > 1:
        raise DecodeError("keys of different lengths")
    return Map(entries)


_WHOLE = Kind(lambda v: type(v) is int and 0 <= v <= LIMIT)
_ID = _raw(ID_BYTES)
_KEY = _raw(32)

KINDS: Kinds = {
    "Amount": _WHOLE,
    "Time": _WHOLE,
    "Count": _WHOLE,
    "Id": Kind(lambda v: _ID.holds(v) and v not in _RESERVED, _ID.pack, _ID.unpack),
    "Key": _KEY,
    "Digest": _KEY,
    "Signature": _raw(0, 64),
    "Text": Kind(_is_text),
    "bool": Kind(lambda v: type(v) is bool),
    "Fraction": Kind(lambda v: type(v) is Fraction, str, Fraction),
    "tuple[Key, ...]": Kind(
        lambda v: type(v) is tuple and all(map(_KEY.holds, v)),
        lambda v: [key.hex() for key in v],
        lambda packed: tuple(map(bytes.fromhex, packed)),
    ),
}


def well_formed(record: object, kinds: Kinds = KINDS) -> bool:
    """Return whether every field of a record holds what its annotation says."""
    return all(kinds[str(f.type)].holds(getattr(record, f.name)) for f in fields(record))  # type: ignore[arg-type]


def pack(record: object, kinds: Kinds = KINDS) -> dict[str, Any]:
    """Return a record as a JSON object with every one of its fields."""
    return {f.name: kinds[str(f.type)].pack(getattr(record, f.name)) for f in fields(record)}  # type: ignore[arg-type]


def unpack(record: type[R], packed: Mapping[str, Any], kinds: Kinds = KINDS) -> R:
    """Return the record that a JSON object describes; raises what `decode` turns into `DecodeError`."""
    made = record(**{f.name: kinds[str(f.type)].unpack(packed[f.name]) for f in fields(record)})  # type: ignore[arg-type]
    if len(packed) != len(fields(record)) or not well_formed(made, kinds):  # type: ignore[arg-type]
        raise DecodeError(f"no {record.__name__}")
    return made


def canonical(document: Any) -> bytes:
    """Return the one way to write a JSON document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def encode(record: object, kinds: Kinds = KINDS) -> bytes:
    """Return a well-formed record in canonical form."""
    return canonical(pack(record, kinds))


def decode(record: type[R], data: bytes, kinds: Kinds = KINDS) -> R:
    """Return the record that `data` is the canonical form of; raises `DecodeError` for all else."""
    try:
        made = unpack(record, json.loads(data), kinds)
        if encode(made, kinds) != data:
            raise DecodeError("not in canonical form")
    except DecodeError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DecodeError(f"no {record.__name__} ({type(error).__name__})") from error
    return made
