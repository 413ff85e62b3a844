"""TOKEN (0x16): how a value is written on the secure wire: token asked, token given, value put, outcome told.

A token binds the writer to an address where it answers, as in BEP 5, and the acknowledgement tells it what
became of its value. `age` lets replicas pass a value on without prolonging its life.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError

TYPE = 0x16
MAX_VALUE_BYTES = 256

_ID = 20
_REQUEST, _GRANT, _STORED, _PUT = range(4)
_U64 = struct.Struct(">Q")
_PUT_HEAD = struct.Struct(">QI20sH")


class Outcome(IntEnum):
    """What became of a value that was put."""

    STORED = 0
    BAD_TOKEN = 1
    FULL = 2
    INVALID = 3
    """Neither content-addressed nor signed."""
    STALE = 4
    """A higher sequence is held, or the value is past its life."""


class TokenRequest(Struct, frozen=True):
    """Asks for a token to put the value of `key` with."""

    key: bytes


class TokenGrant(Struct, frozen=True):
    """Answers a TokenRequest."""

    token: int


class TokenStored(Struct, frozen=True):
    """Answers a TokenPut."""

    key: bytes
    outcome: Outcome


class TokenPut(Struct, frozen=True):
    """A value of at most 256 bytes to keep, and how many seconds ago its publisher last stored it."""

    token: int
    age: int
    key: bytes
    value: bytes


TokenFrame = TokenRequest | TokenGrant | TokenStored | TokenPut


def encode_payload(payload: TokenFrame) -> bytes:
    """Return the bytes of `payload`; raises `EncodeError` if a field cannot be carried."""
    try:
        match payload:
            case TokenRequest(key):
                return bytes((_REQUEST,)) + _key(key)
            case TokenGrant(token):
                return bytes((_GRANT,)) + _U64.pack(token)
            case TokenStored(key, outcome):
                return bytes((_STORED,)) + _key(key) + bytes((outcome,))
            case TokenPut(token, age, key, value):
                if len(value) > MAX_VALUE_BYTES:
                    raise EncodeError(f"a value has at most {MAX_VALUE_BYTES} bytes, not {len(value)}")
                return bytes((_PUT,)) + _PUT_HEAD.pack(token, age, _key(key), len(value)) + value
    except struct.error as error:
        raise EncodeError(f"{type(payload).__name__}: {error}") from None


def decode_payload(body: bytes) -> TokenFrame:
    """Return what `body` says; raises `DecodeError` with the reason for anything else."""
    if not body:
        raise DecodeError("truncated")
    subtype = body[0]
    if subtype == _REQUEST:
        _sized(body, 1 + _ID)
        return TokenRequest(body[1:])
    if subtype == _GRANT:
        _sized(body, 1 + _U64.size)
        return TokenGrant(int.from_bytes(body[1:], "big"))
    if subtype == _STORED:
        _sized(body, 2 + _ID)
        if body[-1] > max(Outcome):
            raise DecodeError("bad_flag")
        return TokenStored(body[1:-1], Outcome(body[-1]))
    if subtype != _PUT:
        raise DecodeError("unknown_subtype")
    start = 1 + _PUT_HEAD.size
    if len(body) < start:
        raise DecodeError("truncated")
    token, age, key, length = _PUT_HEAD.unpack_from(body, 1)
    if length > MAX_VALUE_BYTES:
        raise DecodeError("bad_value_length")
    _sized(body, start + length)
    return TokenPut(token, age, key, body[start:])


def _key(key: bytes) -> bytes:
    if len(key) != _ID:
        raise EncodeError(f"key must be {_ID} bytes, not {len(key)}")
    return key


def _sized(body: bytes, size: int) -> None:
    if len(body) != size:
        raise DecodeError("truncated" if len(body) < size else "trailing_bytes")
