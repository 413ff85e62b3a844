"""The layouts of handshake datagrams; every one ends with two stamps of 16 bytes (see `stamps`).

A type is never 0x53, with which every datagram of the open wire begins. Layouts: docs/protocol.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.secure import session
from shivya_daemon.core.secure.credentials import INTRODUCTION_BYTES
from shivya_daemon.core.secure.handshake import KEY_BYTES, TAG_BYTES

IK_INITIATION = 0x01
XX_INITIATION = 0x02
RESPONSE = 0x03
XX_FINAL = 0x04
COOKIE = 0x05
TRANSPORT = session.TYPE

STAMP_BYTES = 16
STAMPS_BYTES = 2 * STAMP_BYTES
_SEALED = INTRODUCTION_BYTES + TAG_BYTES
_SEALED_KEY = KEY_BYTES + TAG_BYTES
_IK_FIRST = KEY_BYTES + _SEALED_KEY + _SEALED
_IK_SECOND = KEY_BYTES + _SEALED
_XX_SECOND = KEY_BYTES + _SEALED_KEY + _SEALED
_XX_THIRD = _SEALED_KEY + _SEALED
PADDING_BYTES = _XX_SECOND - KEY_BYTES - TAG_BYTES
"""Zeros that the first message of XX carries, so that its answer is hardly larger."""
_XX_FIRST = KEY_BYTES + PADDING_BYTES + TAG_BYTES
COOKIE_BYTES = 16
SALT_BYTES = 16

_SIZES: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {
        IK_INITIATION: (_IK_FIRST,),
        XX_INITIATION: (_XX_FIRST,),
        RESPONSE: (_IK_SECOND, _XX_SECOND),
        XX_FINAL: (_XX_THIRD,),
        COOKIE: (SALT_BYTES + COOKIE_BYTES + TAG_BYTES,),
    }
)
_BOTH, _ONE = struct.Struct(">BII"), struct.Struct(">BI")


class Message(Struct, frozen=True):
    """A handshake datagram without its stamps.

    Indices are from 1 to 2^32 - 1, and 0 where the type has none: `sender` is the index at which its sender
    wants the session's frames, `receiver` the one under which its receiver finds the handshake.
    """

    kind: int
    sender: int
    receiver: int
    body: bytes
    """A Noise message, or a sealed cookie."""


def encode(message: Message) -> bytes:
    """Return the bytes of `message`, to be stamped; raises `EncodeError` if they could not be decoded."""
    kind, body = message.kind, message.body
    if kind not in _SIZES or len(body) not in _SIZES[kind]:
        raise EncodeError(f"no handshake message of type {kind} has a body of {len(body)} bytes")
    try:
        if kind == RESPONSE:
            return _BOTH.pack(kind, message.sender, message.receiver) + body
        index = message.sender if kind in (IK_INITIATION, XX_INITIATION) else message.receiver
        return _ONE.pack(kind, index) + body
    except struct.error as error:
        raise EncodeError(f"index: {error}") from None


def decode(data: bytes) -> Message:
    """Return the message in a datagram, stamps left out; raises `DecodeError` for anything else.

    A cookie has no stamps: its seal is its stamp.
    """
    if not data:
        raise DecodeError("truncated")
    kind = data[0]
    sizes = _SIZES.get(kind)
    if sizes is None:
        raise DecodeError("unknown_type")
    header = _BOTH if kind == RESPONSE else _ONE
    end = len(data) - (0 if kind == COOKIE else STAMPS_BYTES)
    size = end - header.size
    if size not in sizes:
        raise DecodeError("trailing_bytes" if size > sizes[-1] else "truncated")
    body = data[header.size : end]
    if kind == RESPONSE:
        _, sender, receiver = _BOTH.unpack_from(data)
    else:
        _, index = _ONE.unpack_from(data)
        sender, receiver = (index, 0) if kind in (IK_INITIATION, XX_INITIATION) else (0, index)
    if not (sender or receiver) or (kind == RESPONSE and not (sender and receiver)):
        raise DecodeError("bad_index")
    return Message(kind, sender, receiver, body)
