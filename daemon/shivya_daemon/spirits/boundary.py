"""BOUNDARY: what the two ends of a link tell each other of their boundary cells and of what crossed.

The payload of a directed signal, 62 bytes. Amounts are totals since the two epochs met, so that a message
that is lost, late, or there twice changes nothing that the next one does not put right.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from shivya_daemon.core.errors import DecodeError

TYPE = "shivya.spirit"
"""Type of the signals that carry it."""
MAX_LEVEL = 1e6
"""Nutrient of one cell."""

_VERSION = 1
_CELL = 1
_RECORD = struct.Struct(">B8sQIQIIQQBff")
_LOW = 32  # bits of an epoch that number the accounts of one life of a node


def epoch(incarnation: int, number: int) -> int:
    """Return the epoch of the account `number` (32 bits) that a node opens in a life of it."""
    return incarnation << _LOW | number


@dataclass(frozen=True, slots=True)
class Boundary:
    """One message."""

    organism: bytes
    mine: int
    """Epoch of the sender's account of this link, 96 bits; a later life has a higher one."""
    yours: int
    """Epoch of the receiver's, as last heard; 0: none was."""
    sequence: int
    """Number of the message within `mine`."""
    sent: int
    """Billionths sent to the receiver since both epochs hold."""
    received: int
    """Billionths taken from the receiver since both epochs hold."""
    nutrient: float | None
    """Of the sender's boundary cell; None while it has none for this link."""
    phase: float
    """Of that cell, radians."""


def encode(message: Boundary) -> bytes:
    """Return the payload."""
    level = message.nutrient
    return _RECORD.pack(
        _VERSION,
        message.organism,
        *divmod(message.mine, 1 << _LOW),
        *divmod(message.yours, 1 << _LOW),
        message.sequence & 0xFFFFFFFF,
        message.sent,
        message.received,
        0 if level is None else _CELL,
        0.0 if level is None else min(max(level, 0.0), MAX_LEVEL),
        message.phase,
    )


def decode(payload: bytes) -> Boundary:
    """Return the message in `payload`; raises `DecodeError`."""
    if len(payload) != _RECORD.size:
        raise DecodeError("truncated" if len(payload) < _RECORD.size else "trailing_bytes")
    version, organism, *epochs, sequence, sent, received, flags, level, phase = _RECORD.unpack(payload)
    mine, yours = (epochs[at] << _LOW | epochs[at + 1] for at in (0, 2))
    if version != _VERSION:
        raise DecodeError("bad_version")
    if flags & ~_CELL:
        raise DecodeError("bad_flags")
    if not (math.isfinite(level) and math.isfinite(phase)):
        raise DecodeError("not_finite")
    if not (0.0 <= level <= MAX_LEVEL and abs(phase) <= 2 * math.pi and mine > 0):
        raise DecodeError("out_of_range")
    return Boundary(organism, mine, yours, sequence, sent, received, level if flags & _CELL else None, phase)
