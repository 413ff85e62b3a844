"""The extension of a HEARTBEAT: a list of fields (u8 number, u8 length, bytes), in ascending order.

A field that this version does not know is kept as it came, so that old and new nodes pass each other's
beacons on unharmed.
"""

from __future__ import annotations

import math
import struct

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.fields import check, up_to

MAX_BYTES = 256
MAX_FREQUENCY = 1e3  # rad/s, either sign
MAX_RATE = 1e9  # jobs per second
MAX_RATES = 8
RATE_BYTES = 8
"""What the net arrivals of one service take."""
LEDGER_HEAD_BYTES = 8

_PHASE, _FLAGS, _LEDGER_HEAD, _NET_ARRIVALS = 1, 2, 3, 4
_KNOWN = frozenset((_PHASE, _FLAGS, _LEDGER_HEAD, _NET_ARRIVALS))
_DRAINING = 0x01

_FIELD = struct.Struct(">BB")
_PHASE_RECORD = struct.Struct(">ffI")
_RATE = struct.Struct(">4sf")
_TWO_PI_F32: float = struct.unpack(">f", struct.pack(">f", math.tau))[0]  # 2 pi, as rounding may send it


class Phase(Struct, frozen=True):
    """The oscillator of the sender: phase (rad, 0 to 2 pi), natural frequency (rad/s), and their number."""

    theta: float
    omega: float
    counter: int
    """One more with each beacon of the same incarnation, modulo 2^32."""


class Beacon(Struct, frozen=True):
    """What the extension of one heartbeat says; every field may be missing."""

    phase: Phase | None = None
    draining: bool = False
    """The sender takes no new work and is about to leave."""
    ledger_head: bytes | None = None
    """First 8 bytes of the hash at the head of the sender's ledger."""
    unknown: tuple[tuple[int, bytes], ...] = ()
    """Number and bytes of the fields of a later version, in ascending order."""
    flags: int = 0
    """The other bits of the flags field, which a later version may have set."""
    net_arrivals: tuple[tuple[bytes, float], ...] = ()
    """Per service in the same frame, by its tag: jobs per second that arrive and are not passed on."""


def encode_beacon(beacon: Beacon) -> bytes:
    """Return the extension that says `beacon`; raises `EncodeError` if it has no encoding."""
    fields = dict(beacon.unknown)
    if len(fields) != len(beacon.unknown) or not _KNOWN.isdisjoint(fields):
        raise EncodeError("a beacon carries each field once")
    if beacon.phase is not None:
        fields[_PHASE] = _encode_phase(beacon.phase)
    flags = beacon.flags | (_DRAINING if beacon.draining else 0)
    if beacon.flags & _DRAINING or not 0 <= flags <= 0xFF:
        raise EncodeError(f"flags are the bits above the first of one byte, not {beacon.flags}")
    if flags:
        fields[_FLAGS] = bytes((flags,))
    if beacon.ledger_head is not None:
        if len(beacon.ledger_head) != LEDGER_HEAD_BYTES:
            raise EncodeError(f"ledger_head must be {LEDGER_HEAD_BYTES} bytes")
        fields[_LEDGER_HEAD] = beacon.ledger_head
    if beacon.net_arrivals:
        fields[_NET_ARRIVALS] = _encode_rates(beacon.net_arrivals)
    try:
        data = b"".join(_FIELD.pack(number, len(value)) + value for number, value in sorted(fields.items()))
    except struct.error as error:
        raise EncodeError(f"beacon: {error}") from None
    if len(data) > MAX_BYTES:
        raise EncodeError(f"a beacon has at most {MAX_BYTES} bytes, not {len(data)}")
    return data


def decode_beacon(data: bytes) -> Beacon:
    """Return what an extension says; raises `DecodeError` with the reason for anything else."""
    if len(data) > MAX_BYTES:
        raise DecodeError("oversized")
    phase: Phase | None = None
    flags = 0
    ledger_head: bytes | None = None
    net_arrivals: tuple[tuple[bytes, float], ...] = ()
    unknown: list[tuple[int, bytes]] = []
    offset, last = 0, -1
    while offset < len(data):
        if len(data) < offset + _FIELD.size:
            raise DecodeError("truncated")
        number, length = _FIELD.unpack_from(data, offset)
        if number <= last:
            raise DecodeError("repeated_entry")
        start = offset + _FIELD.size
        offset, last = start + length, number
        if len(data) < offset:
            raise DecodeError("truncated")
        value = data[start:offset]
        if number == _PHASE:
            phase = _decode_phase(value)
        elif number == _FLAGS:
            # Without a bit set, the field is left out: one value, one encoding.
            if len(value) != 1 or not value[0]:
                raise DecodeError("bad_flag")
            flags = value[0]
        elif number == _LEDGER_HEAD:
            if length != LEDGER_HEAD_BYTES:
                raise DecodeError("bad_value_length")
            ledger_head = value
        elif number == _NET_ARRIVALS:
            net_arrivals = _decode_rates(value)
        else:
            unknown.append((number, value))
    others = flags & ~_DRAINING
    return Beacon(phase, bool(flags & _DRAINING), ledger_head, tuple(unknown), others, net_arrivals)


def _encode_rates(rates: tuple[tuple[bytes, float], ...]) -> bytes:
    tags = {tag for tag, _ in rates}
    if len(tags) != len(rates) or len(rates) > MAX_RATES or any(len(tag) != 4 for tag in tags):
        raise EncodeError(f"net arrivals are those of at most {MAX_RATES} services, each once")
    return b"".join(_RATE.pack(tag, up_to(rate, MAX_RATE)) for tag, rate in rates)


def _decode_rates(value: bytes) -> tuple[tuple[bytes, float], ...]:
    if not value or len(value) % RATE_BYTES or len(value) > MAX_RATES * RATE_BYTES:
        raise DecodeError("bad_value_length")
    rates: tuple[tuple[bytes, float], ...] = tuple(_RATE.iter_unpack(value))
    for _, rate in rates:
        check(rate, MAX_RATE)
    if len({tag for tag, _ in rates}) != len(rates):
        raise DecodeError("repeated_entry")
    return rates


def _encode_phase(phase: Phase) -> bytes:
    if not (math.isfinite(phase.theta) and abs(phase.omega) <= MAX_FREQUENCY):
        raise EncodeError(f"phase must be finite and its frequency within {MAX_FREQUENCY:g} rad/s")
    # The upper end only arises from rounding, and is kept: then what was decoded encodes to the same bytes.
    theta = phase.theta if phase.theta == _TWO_PI_F32 else phase.theta % math.tau
    try:
        return _PHASE_RECORD.pack(theta, phase.omega, phase.counter)
    except struct.error as error:
        raise EncodeError(f"phase: {error}") from None


def _decode_phase(value: bytes) -> Phase:
    if len(value) != _PHASE_RECORD.size:
        raise DecodeError("bad_value_length")
    theta, omega, counter = _PHASE_RECORD.unpack(value)
    check(theta, _TWO_PI_F32)
    if math.copysign(1.0, theta) < 0:
        raise DecodeError("out_of_range")  # zero has one encoding
    check(abs(omega), MAX_FREQUENCY)
    return Phase(theta, omega, counter)
