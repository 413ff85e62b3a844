"""LEASE (0x17): how a node asks another for a lease, keeps it alive, renews it and gives it back.

Every frame names its lease by 128 random bits of the holder. KEEP says all that there is to know of a lease,
so that a node which has started again can take up what it lent before.
"""

from __future__ import annotations

import math
import struct
from enum import IntEnum
from typing import Final, TypeAlias

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.leases.book import Ending, Refusal
from shivya_daemon.core.leases.kinds import MAX_SECONDS, Kind

TYPE = 0x17
ID_BYTES = 16
NO_PAYMENT = bytes(16)
MIN_TTL, MAX_TTL = 0.1, 3600.0

_HEAD = struct.Struct(f">B{ID_BYTES}s")
_ASK = struct.Struct(">BQI")
_GRANT = struct.Struct(">IIQB")
_REASON = struct.Struct(">B")
_KEEP = struct.Struct(">BQIIIQ16s")
_RELEASE = struct.Struct(">16s")
_KEPT = struct.Struct(">IIIQ")
_MILLISECONDS = 1000


class _Tag(IntEnum):
    ASK = 1
    GRANT = 2
    REFUSE = 3
    KEEP = 4
    KEPT = 5
    RELEASE = 6
    ENDED = 7


class Ask(Struct, frozen=True):
    """Asks for a lease."""

    id: bytes
    kind: Kind
    amount: int
    seconds: int


class Grant(Struct, frozen=True):
    """Agrees: it is set aside for `hold` seconds, then kept as long as a KEEP comes every `ttl`."""

    id: bytes
    ttl: float
    hold: float
    billable: int
    """Of the amount, what is not free."""
    charged: bool = False
    """Whether that must be paid for."""


class Refuse(Struct, frozen=True):
    """Declines a lease."""

    id: bytes
    reason: Refusal


class Keep(Struct, frozen=True):
    """Says that the holder lives and holds the lease; a higher serial gives it `left` seconds from now."""

    id: bytes
    kind: Kind
    amount: int
    serial: int
    left: int
    """Seconds left of its term."""
    nonce: int
    billable: int = 0
    """What its provider said is not free."""
    payment: bytes = NO_PAYMENT
    """The reservation of credits that pays for its term."""


class Kept(Struct, frozen=True):
    """Answers KEEP."""

    id: bytes
    nonce: int
    serial: int
    ttl: float
    price: int


class Release(Struct, frozen=True):
    """Gives a lease back, or whatever became of a request for it."""

    id: bytes
    payment: bytes = NO_PAYMENT
    """What was reserved last for it, to be voided if it is not what pays for it."""


class Ended(Struct, frozen=True):
    """Says that there is no such lease, or none any more; never answered."""

    id: bytes
    reason: Ending


LeaseFrame: TypeAlias = Ask | Grant | Refuse | Keep | Kept | Release | Ended


def encode_payload(frame: LeaseFrame) -> bytes:
    """Return the bytes of `frame`; raises `EncodeError` if a field has no encoding."""
    if len(frame.id) != ID_BYTES:
        raise EncodeError(f"a lease has an id of {ID_BYTES} bytes, not {len(frame.id)}")
    try:
        match frame:
            case Ask(kind=kind, amount=amount, seconds=seconds):
                return _head(_Tag.ASK, frame) + _ASK.pack(kind, amount, seconds)
            case Grant(ttl=ttl, hold=hold, billable=billable, charged=charged):
                return _head(_Tag.GRANT, frame) + _GRANT.pack(_millis(ttl), _millis(hold), billable, charged)
            case Refuse(reason=refusal):
                return _head(_Tag.REFUSE, frame) + _REASON.pack(refusal)
            case Keep():
                return _head(_Tag.KEEP, frame) + _KEEP.pack(
                    frame.kind,
                    frame.amount,
                    frame.serial,
                    frame.left,
                    frame.nonce,
                    frame.billable,
                    _payment(frame.payment),
                )
            case Kept(nonce=nonce, serial=serial, ttl=ttl, price=price):
                return _head(_Tag.KEPT, frame) + _KEPT.pack(nonce, serial, _millis(ttl), price)
            case Release(payment=payment):
                return _head(_Tag.RELEASE, frame) + _RELEASE.pack(_payment(payment))
            case Ended(reason=ending):
                return _head(_Tag.ENDED, frame) + _REASON.pack(ending)
    except struct.error as error:
        raise EncodeError(f"lease: {error}") from None


def decode_payload(body: bytes) -> LeaseFrame:
    """Return the frame in `body`; raises `DecodeError` with the reason for anything else."""
    if len(body) < _HEAD.size:
        raise DecodeError("truncated")
    tag, lease_id = _HEAD.unpack_from(body)
    record = _RECORDS.get(tag)
    if record is None:
        raise DecodeError("unknown_subtype")
    size = _HEAD.size + record.size
    if len(body) != size:
        raise DecodeError("truncated" if len(body) < size else "trailing_bytes")
    values = record.unpack_from(body, _HEAD.size)
    match tag:
        case _Tag.ASK:
            kind, amount, seconds = values
            return Ask(lease_id, _kind(kind), _amount(kind, amount), _within(seconds, 1, MAX_SECONDS))
        case _Tag.GRANT:
            ttl, hold, billable, charged = values
            return Grant(lease_id, _seconds(ttl), _seconds(hold), billable, bool(_within(charged, 0, 1)))
        case _Tag.REFUSE:
            return Refuse(lease_id, Refusal(_within(values[0], 1, len(Refusal))))
        case _Tag.KEEP:
            kind, amount, serial, left, nonce, billable, payment = values
            left, billable = _within(left, 1, MAX_SECONDS), _within(billable, 0, amount)
            return Keep(lease_id, _kind(kind), _amount(kind, amount), serial, left, nonce, billable, payment)
        case _Tag.KEPT:
            nonce, serial, ttl, price = values
            return Kept(lease_id, nonce, serial, _seconds(ttl), price)
        case _Tag.RELEASE:
            return Release(lease_id, *values)
        case _:
            return Ended(lease_id, Ending(_within(values[0], 1, len(Ending))))


_RECORDS: Final = {
    _Tag.ASK: _ASK,
    _Tag.GRANT: _GRANT,
    _Tag.REFUSE: _REASON,
    _Tag.KEEP: _KEEP,
    _Tag.KEPT: _KEPT,
    _Tag.RELEASE: _RELEASE,
    _Tag.ENDED: _REASON,
}


def _head(tag: _Tag, frame: LeaseFrame) -> bytes:
    return _HEAD.pack(tag, frame.id)


def _payment(payment: bytes) -> bytes:
    if len(payment) != ID_BYTES:
        raise EncodeError(f"a payment has an id of {ID_BYTES} bytes, not {len(payment)}")
    return payment


def _millis(seconds: float) -> int:
    return math.floor(min(max(seconds, MIN_TTL), MAX_TTL) * _MILLISECONDS)


def _seconds(millis: int) -> float:
    return _within(millis, MIN_TTL * _MILLISECONDS, MAX_TTL * _MILLISECONDS) / _MILLISECONDS


def _within(value: int, least: float, most: float) -> int:
    if not least <= value <= most:
        raise DecodeError("out_of_range")
    return value


def _kind(code: int) -> Kind:
    try:
        return Kind(code)
    except ValueError:
        raise DecodeError("bad_kind") from None


def _amount(code: int, amount: int) -> int:
    return _within(amount, 1, _kind(code).most)
