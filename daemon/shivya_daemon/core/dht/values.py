"""What may be stored under a key: bytes that hash to it, or bytes signed by the key it is derived from."""

from __future__ import annotations

import struct
from hashlib import sha256

from msgspec import Struct

from shivya_daemon.core.identity import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Identity, verify

KEY_BYTES = 20
MAX_VALUE_BYTES = 256
_SEQUENCE = struct.Struct(">Q")
_HEAD_BYTES = PUBLIC_KEY_BYTES + _SEQUENCE.size + SIGNATURE_BYTES
MAX_PAYLOAD_BYTES = MAX_VALUE_BYTES - _HEAD_BYTES
_VALUE_LABEL = b"shivya/1 value"
_KEY_LABEL = b"shivya/1 key"


class Record(Struct, frozen=True):
    """A value under its key, as it travels; `sequence` is None for a content-addressed one."""

    key: bytes
    value: bytes
    sequence: int | None = None

    @property
    def payload(self) -> bytes:
        """What the publisher put: the value without key, sequence and signature."""
        return self.value if self.sequence is None else self.value[_HEAD_BYTES:]

    def rank(self) -> tuple[int, bytes]:
        """Return what decides between two records of one key: the sequence, then the bytes."""
        return (self.sequence or 0, self.value)


def content_key(value: bytes) -> bytes:
    """Return the key of a content-addressed value: the first 20 bytes of its SHA-256."""
    return sha256(value).digest()[:KEY_BYTES]


def signed_key(public_key: bytes) -> bytes:
    """Return the key of the record signed by the owner of an Ed25519 `public_key` (32 bytes)."""
    return sha256(_KEY_LABEL + public_key).digest()[:KEY_BYTES]


def content_record(value: bytes) -> Record:
    """Return `value` under its content key; raises `ValueError` above 256 bytes."""
    if len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"a value has at most {MAX_VALUE_BYTES} bytes, not {len(value)}")
    return Record(content_key(value), value)


def signed_record(payload: bytes, sequence: int, identity: Identity) -> Record:
    """Return `payload` signed by `identity`; raises `ValueError` above 152 bytes or 64 bits of sequence."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a signed payload has at most {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
    if not 0 <= sequence < 1 << 64:
        raise ValueError(f"a sequence number has 64 bits; {sequence} does not fit")
    number = _SEQUENCE.pack(sequence)
    signature = identity.sign(_VALUE_LABEL + number + payload)
    value = identity.public_key + number + signature + payload
    return Record(signed_key(identity.public_key), value, sequence)


def claim(key: bytes, value: bytes) -> Record | None:
    """Return what `value` claims to be under `key`, the signature not verified; None if it cannot be."""
    if len(value) > MAX_VALUE_BYTES:
        return None
    if content_key(value) == key:
        return Record(key, value)
    if len(value) < _HEAD_BYTES or signed_key(value[:PUBLIC_KEY_BYTES]) != key:
        return None
    (sequence,) = _SEQUENCE.unpack_from(value, PUBLIC_KEY_BYTES)
    return Record(key, value, sequence)


def proved(record: Record) -> bool:
    """Return whether a claim holds; costs a signature verification unless it is content-addressed."""
    if record.sequence is None:
        return True
    value, split = record.value, PUBLIC_KEY_BYTES + _SEQUENCE.size
    message = _VALUE_LABEL + value[PUBLIC_KEY_BYTES:split] + value[_HEAD_BYTES:]
    return verify(value[:PUBLIC_KEY_BYTES], value[split:_HEAD_BYTES], message)


def check(key: bytes, value: bytes) -> Record | None:
    """Return the record if `value` may be kept under `key`, else None."""
    record = claim(key, value)
    return record if record is not None and proved(record) else None
