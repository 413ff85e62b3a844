"""HISTORY (0x18): how a node has another show that its audit ledger continues what it signed before.

What is shown is a consistency proof (RFC 6962, 2.1.2) and the checkpoint that it leads to. Their meaning is
the host's; here is how they travel.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError

TYPE = 0x18
CHECKPOINT_BYTES = 104
HASH_BYTES = 32
MAX_PATH = 32
"""Hashes of a proof: enough for 2^31 entries, and for one datagram."""

_HEAD = struct.Struct(">BQ")
_WANT, _SHOWN = 1, 2


class Want(Struct, frozen=True):
    """Asks for the proof that the ledger continues its first `old` entries."""

    old: int


class Shown(Struct, frozen=True):
    """Answers it."""

    old: int
    checkpoint: bytes
    path: tuple[bytes, ...]


HistoryFrame: TypeAlias = Want | Shown


def encode_payload(frame: HistoryFrame) -> bytes:
    """Return the bytes of `frame`; raises `EncodeError` if a field has no encoding."""
    try:
        if isinstance(frame, Want):
            return _HEAD.pack(_WANT, frame.old)
        head = _HEAD.pack(_SHOWN, frame.old)
    except struct.error as error:
        raise EncodeError(f"history: {error}") from None
    if len(frame.checkpoint) != CHECKPOINT_BYTES or len(frame.path) > MAX_PATH:
        raise EncodeError(f"a proof is a checkpoint and at most {MAX_PATH} hashes")
    return head + frame.checkpoint + b"".join(frame.path)


def decode_payload(body: bytes) -> HistoryFrame:
    """Return the frame in `body`; raises `DecodeError` with the reason for anything else."""
    if len(body) < _HEAD.size:
        raise DecodeError("truncated")
    subtype, old = _HEAD.unpack_from(body)
    rest = body[_HEAD.size :]
    if not 0 < old < 1 << 63:
        raise DecodeError("out_of_range")
    if subtype == _WANT:
        if rest:
            raise DecodeError("trailing_bytes")
        return Want(old)
    if subtype != _SHOWN:
        raise DecodeError("unknown_subtype")
    checkpoint, hashes = rest[:CHECKPOINT_BYTES], rest[CHECKPOINT_BYTES:]
    if len(checkpoint) < CHECKPOINT_BYTES or len(hashes) % HASH_BYTES:
        raise DecodeError("truncated")
    if len(hashes) > MAX_PATH * HASH_BYTES:
        raise DecodeError("trailing_bytes")
    path = tuple(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))
    return Shown(old, checkpoint, path)
