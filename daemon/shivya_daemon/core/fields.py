"""Bounded fields of a payload: each reader refuses what is short, not finite or out of range."""

from __future__ import annotations

import math
import struct
from typing import Any

from shivya_daemon.core.errors import DecodeError, EncodeError

NAME_CHARACTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
ADDRESS_CHARACTERS = frozenset(range(0x21, 0x7F))


def up_to(value: float, maximum: float) -> float:
    """Return `value`, or `maximum` if that is less; raises `EncodeError` for NaN and negative values."""
    if not value >= 0:
        raise EncodeError(f"{value} is not a number >= 0")
    return min(value, maximum)


def encode_text(text: str, limit: int, allowed: frozenset[int]) -> bytes:
    """Return length and ASCII bytes; raises `EncodeError` for more than `limit` or other characters."""
    raw = text.encode("utf-8", "replace")
    if len(raw) > limit or not allowed.issuperset(raw):
        raise EncodeError(f"{text[:80]!r} is not at most {limit} plain characters")
    return bytes((len(raw),)) + raw


def unpack(record: struct.Struct, body: bytes, offset: int) -> tuple[Any, ...]:
    """Read one fixed record at `offset`."""
    if len(body) < offset + record.size:
        raise DecodeError("truncated")
    return record.unpack_from(body, offset)


def check(value: float, maximum: float) -> None:
    """Refuse what is not a finite number from 0 to `maximum`."""
    if not math.isfinite(value):
        raise DecodeError("not_finite")
    if not 0 <= value <= maximum:
        raise DecodeError("out_of_range")


def decode_count(body: bytes, offset: int, limit: int) -> tuple[int, int]:
    """Read one byte that must not exceed `limit`; returns it and the next offset."""
    if len(body) <= offset:
        raise DecodeError("truncated")
    if body[offset] > limit:
        raise DecodeError("bad_count")
    return body[offset], offset + 1


def decode_text(body: bytes, offset: int, limit: int, allowed: frozenset[int]) -> tuple[str, int]:
    """Read what `encode_text` wrote; returns it and the next offset."""
    length, offset = decode_count(body, offset, limit)
    raw = body[offset : offset + length]
    if len(raw) != length:
        raise DecodeError("truncated")
    if not allowed.issuperset(raw):
        raise DecodeError("bad_text")
    return raw.decode("ascii"), offset + length
