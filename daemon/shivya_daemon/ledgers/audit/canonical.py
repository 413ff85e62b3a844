"""Canonical JSON, and the hash that seals it.

An object has exactly one text: keys in the order of their code points, no spaces, ASCII with ``\\uXXXX`` for
all else, integers in full, floats as the shortest digits that read back bit for bit, no NaN, no infinity.
That is ``json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)``, so every Python can
check it.

A sealed line is this text with its own SHA3-256 (FIPS 202) as last member:

    {"data":{},"index":7,"previous_hash":"...","timestamp":1.5}                 is hashed,
    {"data":{},"index":7,"previous_hash":"...","timestamp":1.5,"hash":"..."}    is stored

so that a reader hashes the bytes that lie before it and trusts no parser.
"""

from __future__ import annotations

import json
from hashlib import sha3_256
from typing import Any

MAX_DEPTH = 32
"""Of nested objects and arrays: far from where any parser gives up."""

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder().raw_decode


class NotCanonical(ValueError):
    """A value has no canonical text, or a text is not the canonical one; the text continues "entry 7 ..."."""


def canonical(value: object) -> bytes:
    """Return the canonical text of `value`; raises `NotCanonical` if it has none.

    Keys must be text already: JSON would quietly turn 1 and "1" into the same one.
    """
    _refuse_strange(value, MAX_DEPTH)
    try:
        return _encode(value).encode("ascii")
    except (TypeError, ValueError) as error:
        raise NotCanonical(f"is not JSON: {error}") from None


def _refuse_strange(value: object, depth: int) -> None:
    if not isinstance(value, dict | list | tuple):
        return
    if depth == 0:
        raise NotCanonical(f"is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise NotCanonical(f"has a key that is no text: {key!r}")
        value = list(value.values())
    for member in value:
        _refuse_strange(member, depth - 1)


def parse(text: bytes) -> dict[str, Any]:
    """Return the object whose canonical text this is; raises `NotCanonical` for any other text."""
    try:
        written = text.decode("ascii")
        fields, _ = _decode(written)
        if isinstance(fields, dict) and _encode(fields) == written:
            return fields
    except (ValueError, RecursionError):
        pass
    raise NotCanonical("is not canonical JSON")


def digest(text: bytes) -> str:
    """Return SHA3-256 as 64 hexadecimal digits."""
    return sha3_256(text).hexdigest()


def seal(text: bytes) -> bytes:
    """Return the line that stores the canonical text of an object."""
    return text[:-1] + seal_of(digest(text))


def seal_of(digits: str) -> bytes:
    """Return the `SEAL_BYTES` by which a line ends whose hash this is."""
    return b',"hash":"%b"}\n' % digits.encode("ascii")


SEAL_BYTES = len(seal_of("0" * 64))


def unseal(line: bytes) -> tuple[dict[str, Any], str]:
    """Return what a line stores, and its hash; raises `NotCanonical` unless `seal` wrote it."""
    text = line[:-SEAL_BYTES] + b"}"
    digits = digest(text)
    if line[-SEAL_BYTES:] != seal_of(digits):
        raise NotCanonical("does not have the hash of its content")
    return parse(text), digits
