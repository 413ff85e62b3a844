"""SIGNAL (0x14): a message that its source signs and that links pass on.

The source signs everything but the path, which every relay extends by its own id: nobody can alter a signal,
and the last entry of the path must be the neighbour it came from. Numbers (incarnation, counter) order the
signals of a source without a clock.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.fields import (
    NAME_CHARACTERS,
    check,
    decode_count,
    decode_text,
    encode_text,
    unpack,
)
from shivya_daemon.core.identity import (
    NODE_ID_BYTES,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Identity,
    verify,
)

TYPE = 0x14
ID_BYTES = 16
MAX_TYPE_CHARACTERS = 32
MAX_PAYLOAD_BYTES = 256
MAX_TTL = 16
MAX_PATH = MAX_TTL - 1
MAX_REFRACTORY = 60.0  # seconds; a longer one would let one source silence a type for everybody

_LABEL = b"shivya/1 signal"
_HEAD = struct.Struct(f">B{ID_BYTES}s{PUBLIC_KEY_BYTES}sQQB")
_F32 = struct.Struct(">f")
_QUORUM = struct.Struct(f">H{ID_BYTES}s")
_LENGTH = struct.Struct(">H")


class Flood(Struct, frozen=True):
    """To every node within the TTL."""


class Gradient(Struct, frozen=True):
    """To every node where more of it than a threshold is left: `decay` (0 to 1) per link."""

    decay: float


class Directed(Struct, frozen=True):
    """To one node, by its id."""

    target: bytes


class Quorum(Struct, frozen=True):
    """The source's contribution to `subject` (16 bytes), which `threshold` members of a roster decide."""

    threshold: int
    subject: bytes


class ActionPotential(Struct, frozen=True):
    """To every node, ahead of everything else; its type then rests for `refractory` seconds or longer."""

    refractory: float = 0.0


Kind = Flood | Gradient | Directed | Quorum | ActionPotential


class Signal(Struct, frozen=True):
    """What a source signs."""

    kind: Kind
    id: bytes
    """16 unpredictable bytes."""
    key: bytes
    """Ed25519 public key of the source."""
    incarnation: int
    counter: int
    """Number of the signal in this incarnation of its source."""
    ttl: int
    """Links it may travel, 1 to 16."""
    type: str
    """What it means to the application: 1 to 32 of a-z A-Z 0-9 . _ -"""
    payload: bytes


class SignalFrame(Struct, frozen=True):
    """One SIGNAL as it travels: the signature is over the signal, `path` are the ids of its relays."""

    signal: Signal
    signature: bytes
    path: tuple[bytes, ...] = ()

    @property
    def hops(self) -> int:
        """Links travelled when this frame arrives."""
        return len(self.path) + 1


def sign(identity: Identity, signal: Signal) -> SignalFrame:
    """Return the frame in which `signal` leaves its source; raises `EncodeError` if it has no encoding."""
    return SignalFrame(signal, identity.sign(_LABEL + _encode_signal(signal)))


def authentic(frame: SignalFrame) -> bool:
    """Return whether the owner of the key in `frame` signed its signal."""
    return verify(frame.signal.key, frame.signature, _LABEL + _encode_signal(frame.signal))


def encode_payload(frame: SignalFrame) -> bytes:
    """Return the bytes of `frame`, at most 742; raises `EncodeError` if a field has no encoding."""
    path = frame.path
    if len(path) > MAX_PATH or len(set(path)) != len(path):
        raise EncodeError(f"a signal has at most {MAX_PATH} relays, each once")
    relays = b"".join(_exactly(node, NODE_ID_BYTES, "relay") for node in path)
    signature = _exactly(frame.signature, SIGNATURE_BYTES, "signature")
    return _encode_signal(frame.signal) + signature + bytes((len(path),)) + relays


def decode_payload(body: bytes) -> SignalFrame:
    """Return the frame in `body`; raises `DecodeError` with the reason for anything else."""
    code, signal_id, key, incarnation, counter, ttl = unpack(_HEAD, body, 0)
    decoder = _DECODERS.get(code)
    if decoder is None:
        raise DecodeError("bad_kind")
    if not 1 <= ttl <= MAX_TTL:
        raise DecodeError("bad_ttl")
    name, offset = decode_text(body, _HEAD.size, MAX_TYPE_CHARACTERS, NAME_CHARACTERS)
    if not name:
        raise DecodeError("bad_text")
    kind, offset = decoder(body, offset)
    (length,) = unpack(_LENGTH, body, offset)
    if length > MAX_PAYLOAD_BYTES:
        raise DecodeError("bad_value_length")
    offset += _LENGTH.size
    payload, offset = _take(body, offset, length)
    signature, offset = _take(body, offset, SIGNATURE_BYTES)
    count, offset = decode_count(body, offset, MAX_PATH)
    end = offset + count * NODE_ID_BYTES
    if len(body) != end:
        raise DecodeError("truncated" if len(body) < end else "trailing_bytes")
    path = tuple(body[at : at + NODE_ID_BYTES] for at in range(offset, end, NODE_ID_BYTES))
    if len(set(path)) != count:
        raise DecodeError("repeated_entry")
    return SignalFrame(
        Signal(kind, signal_id, key, incarnation, counter, ttl, name, payload), signature, path
    )


def _encode_signal(signal: Signal) -> bytes:
    """Return what is signed."""
    code, encoder = _ENCODERS[type(signal.kind)]
    if not 1 <= signal.ttl <= MAX_TTL:
        raise EncodeError(f"ttl must be 1 to {MAX_TTL}, not {signal.ttl}")
    if not signal.type:
        raise EncodeError("a signal has a type")
    if len(signal.payload) > MAX_PAYLOAD_BYTES:
        raise EncodeError(f"a signal carries at most {MAX_PAYLOAD_BYTES} bytes, not {len(signal.payload)}")
    key = _exactly(signal.key, PUBLIC_KEY_BYTES, "key")
    signal_id = _exactly(signal.id, ID_BYTES, "id")
    try:
        head = _HEAD.pack(code, signal_id, key, signal.incarnation, signal.counter, signal.ttl)
        parameters = encoder(signal.kind)
    except struct.error as error:
        raise EncodeError(f"signal: {error}") from None
    name = encode_text(signal.type, MAX_TYPE_CHARACTERS, NAME_CHARACTERS)
    return head + name + parameters + _LENGTH.pack(len(signal.payload)) + signal.payload


def _exactly(value: bytes, size: int, name: str) -> bytes:
    if len(value) != size:
        raise EncodeError(f"{name} must be {size} bytes, not {len(value)}")
    return value


def _take(body: bytes, offset: int, size: int) -> tuple[bytes, int]:
    end = offset + size
    if len(body) < end:
        raise DecodeError("truncated")
    return body[offset:end], end


def _encode_decay(kind: Gradient) -> bytes:
    # The smallest decay that does not round to zero in 32 bits is far below any use.
    if not 1e-30 <= kind.decay <= 1.0:
        raise EncodeError(f"decay must be above 0 and at most 1, not {kind.decay}")
    return _F32.pack(kind.decay)


def _decode_decay(body: bytes, offset: int) -> tuple[Kind, int]:
    (decay,) = unpack(_F32, body, offset)
    check(decay, 1.0)
    if decay < 1e-30:
        raise DecodeError("out_of_range")
    return Gradient(decay), offset + _F32.size


def _encode_refractory(kind: ActionPotential) -> bytes:
    if not 0.0 <= kind.refractory <= MAX_REFRACTORY:
        raise EncodeError(f"refractory must be 0 to {MAX_REFRACTORY} s, not {kind.refractory}")
    return _F32.pack(kind.refractory)


def _decode_refractory(body: bytes, offset: int) -> tuple[Kind, int]:
    (refractory,) = unpack(_F32, body, offset)
    check(refractory, MAX_REFRACTORY)
    return ActionPotential(refractory), offset + _F32.size


def _encode_quorum(kind: Quorum) -> bytes:
    if kind.threshold < 1:
        raise EncodeError(f"threshold must be at least 1, not {kind.threshold}")
    return _QUORUM.pack(kind.threshold, _exactly(kind.subject, ID_BYTES, "subject"))


def _decode_quorum(body: bytes, offset: int) -> tuple[Kind, int]:
    threshold, subject = unpack(_QUORUM, body, offset)
    if threshold < 1:
        raise DecodeError("out_of_range")
    return Quorum(threshold, subject), offset + _QUORUM.size


def _decode_target(body: bytes, offset: int) -> tuple[Kind, int]:
    target, offset = _take(body, offset, NODE_ID_BYTES)
    return Directed(target), offset


_DECODERS: Mapping[int, Callable[[bytes, int], tuple[Kind, int]]] = MappingProxyType(
    {
        1: lambda body, offset: (Flood(), offset),
        2: _decode_decay,
        3: _decode_target,
        4: _decode_quorum,
        5: _decode_refractory,
    }
)

_ENCODERS: Mapping[type, tuple[int, Callable[[Any], bytes]]] = MappingProxyType(
    {
        Flood: (1, lambda kind: b""),
        Gradient: (2, _encode_decay),
        Directed: (3, lambda kind: _exactly(kind.target, NODE_ID_BYTES, "target")),
        Quorum: (4, _encode_quorum),
        ActionPotential: (5, _encode_refractory),
    }
)
