"""LINK (0x13): how two nodes agree on a link, test it, measure it and end it.

Every frame names its agreement by 64 random bits of the proposer, so that a late or replayed frame of
another agreement changes nothing, and tells the sender's degree, so that neither end prunes the other bare.
A probe is padded with zeros to the size that a measurement of bandwidth needs.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, TypeAlias

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.fields import check, unpack, up_to

TYPE = 0x13
BUDGET = 1100
"""Bytes of the longest payload: sealed in a session, the datagram stays within 1200."""
MAX_BANDWIDTH = 1e12
MAX_TRAIN = 16

_NEEDY, _DRAWN = 0x01, 0x02
_HEAD = struct.Struct(">BBQQB")
_TOKEN = struct.Struct(">I")
_PROBE = struct.Struct(">IBB")
_ECHO = struct.Struct(">If")
_PROPOSE, _ACCEPT, _REFUSE, _CLOSE, _PROBE_TAG, _ECHO_TAG = range(1, 7)


class Refusal(IntEnum):
    """Why a proposal, or a request to part, is refused."""

    FULL = 1
    BUSY = 2
    """Too many proposals wait, or the proposer left earlier ones unconfirmed."""
    STRANGER = 3
    """The proposer's announcement has not arrived yet."""
    INCOMPATIBLE = 4
    DRAINING = 5
    NEEDED = 6
    """To a request to part: this end cannot spare the link."""


class Closing(IntEnum):
    """Why a link ends; PRUNE, SPARE and DRAINING ask for an answer."""

    PRUNE = 1
    """A request, which the other end may refuse as NEEDED."""
    DRAINING = 2
    AGREED = 3
    """The answer to PRUNE, SPARE and DRAINING."""
    UNKNOWN = 4
    """The sender holds no such agreement."""
    SILENT = 5
    LAPSED = 6
    """The proposer got no answer to its confirmation."""
    SPARE = 7
    """PRUNE from an end that could keep the link: refused unless the other, too, has more than it seeks."""


class Head(Struct, frozen=True):
    """What every LINK frame says."""

    agreement: int
    incarnation: int
    """Of the sender."""
    degree: int
    """Links that the sender has established."""
    needy: bool = False
    """Whether the sender has fewer than its minimum."""
    drawn: bool = False
    """Whether the sender drew the receiver at random: then it does not part when asked."""


class Propose(Struct, frozen=True):
    """Offers a link; `token` names this transmission."""

    head: Head
    token: int


class Accept(Struct, frozen=True):
    """Agrees, with the token of the proposal that it answers."""

    head: Head
    token: int


class Refuse(Struct, frozen=True):
    """Declines a proposal, or a request to part."""

    head: Head
    reason: Refusal


class Close(Struct, frozen=True):
    """Ends an agreement, or asks to."""

    head: Head
    reason: Closing


class Probe(Struct, frozen=True):
    """One of `count` probes sent back to back; the last asks for an echo. The first ever confirms a link."""

    head: Head
    token: int
    index: int = 0
    count: int = 1
    padding: int = 0
    """Zero bytes at the end."""


class Echo(Struct, frozen=True):
    """Answers a train of probes with the bandwidth that its spacing shows."""

    head: Head
    token: int
    bandwidth: float = 0.0
    """Bytes per second towards the echo's sender; 0 where the train did not show it."""


LinkFrame: TypeAlias = Propose | Accept | Refuse | Close | Probe | Echo
HEAD_BYTES: Final = _HEAD.size


def encode_payload(frame: LinkFrame) -> bytes:
    """Return the bytes of `frame`; raises `EncodeError` if a field has no encoding."""
    try:
        match frame:
            case Propose():
                return _head(_PROPOSE, frame.head) + _TOKEN.pack(frame.token)
            case Accept():
                return _head(_ACCEPT, frame.head) + _TOKEN.pack(frame.token)
            case Refuse():
                return _head(_REFUSE, frame.head) + bytes((frame.reason,))
            case Close():
                return _head(_CLOSE, frame.head) + bytes((frame.reason,))
            case Probe():
                return _encode_probe(frame)
            case Echo():
                bandwidth = up_to(frame.bandwidth, MAX_BANDWIDTH)
                return _head(_ECHO_TAG, frame.head) + _ECHO.pack(frame.token, bandwidth)
    except struct.error as error:
        raise EncodeError(f"link frame: {error}") from None


def decode_payload(body: bytes) -> LinkFrame:
    """Return the frame in `body`; raises `DecodeError` with the reason for anything else."""
    if len(body) > BUDGET:
        raise DecodeError("oversized")
    tag, flags, agreement, incarnation, degree = unpack(_HEAD, body, 0)
    if flags & ~(_NEEDY | _DRAWN):
        raise DecodeError("bad_flag")
    head = Head(agreement, incarnation, degree, bool(flags & _NEEDY), bool(flags & _DRAWN))
    if tag == _PROPOSE:
        return Propose(head, *_exactly(_TOKEN, body))
    if tag == _ACCEPT:
        return Accept(head, *_exactly(_TOKEN, body))
    if tag == _REFUSE:
        return Refuse(head, Refusal(_word(body, Refusal)))
    if tag == _CLOSE:
        return Close(head, Closing(_word(body, Closing)))
    if tag == _PROBE_TAG:
        return _decode_probe(head, body)
    if tag == _ECHO_TAG:
        token, bandwidth = _exactly(_ECHO, body)
        check(bandwidth, MAX_BANDWIDTH)
        return Echo(head, token, bandwidth)
    raise DecodeError("unknown_subtype")


def _head(tag: int, head: Head) -> bytes:
    flags = (_NEEDY if head.needy else 0) | (_DRAWN if head.drawn else 0)
    return _HEAD.pack(tag, flags, head.agreement, head.incarnation, head.degree)


def _exactly(record: struct.Struct, body: bytes) -> tuple[int, ...]:
    fields = unpack(record, body, HEAD_BYTES)
    if len(body) != HEAD_BYTES + record.size:
        raise DecodeError("trailing_bytes")
    return fields


def _word(body: bytes, words: type[IntEnum]) -> int:
    (code,) = _exactly(struct.Struct(">B"), body)
    if not 1 <= code <= len(words):
        raise DecodeError("bad_reason")
    return code


def _encode_probe(frame: Probe) -> bytes:
    if not 0 <= frame.index < frame.count <= MAX_TRAIN:
        raise EncodeError(f"a train has 1 to {MAX_TRAIN} probes, numbered from 0")
    if not 0 <= frame.padding <= BUDGET - HEAD_BYTES - _PROBE.size:
        raise EncodeError(f"a probe has at most {BUDGET} bytes")
    record = _PROBE.pack(frame.token, frame.index, frame.count)
    return _head(_PROBE_TAG, frame.head) + record + bytes(frame.padding)


def _decode_probe(head: Head, body: bytes) -> Probe:
    token, index, count = unpack(_PROBE, body, HEAD_BYTES)
    if not index < count <= MAX_TRAIN:
        raise DecodeError("bad_count")
    start = HEAD_BYTES + _PROBE.size
    padding = len(body) - start
    if body.count(0, start) != padding:
        raise DecodeError("bad_padding")
    return Probe(head, token, index, count, padding)
