"""What a node offers and seeks: compute, storage, gateways, a witness's stake, and tags of its own.

Encoded as records of kind, length and body in ascending order of kind; kinds of a later version are kept as
they came, so that what was signed can be signed for again.
"""

from __future__ import annotations

import struct

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.fields import NAME_CHARACTERS, decode_count, decode_text, encode_text

MAX_TEXTS = 8
"""Protocols of a gateway, or tags."""
MAX_TEXT_BYTES = 24
MAX_RECORDS = 8

_COMPUTE, _STORAGE, _GATEWAY, _WITNESS, _TAGS = range(1, 6)
_PAIR = struct.Struct(">IQ")
_U64 = struct.Struct(">Q")


class Compute(Struct, frozen=True):
    """Processor cores and memory (MiB)."""

    cores: int
    memory_mb: int


class Storage(Struct, frozen=True):
    """Capacity (MiB) and operations per second."""

    capacity_mb: int
    iops: int


class Capabilities(Struct, frozen=True):
    """A set of capabilities, offered or sought; everything absent by default."""

    compute: Compute | None = None
    storage: Storage | None = None
    gateway: tuple[str, ...] = ()
    """Protocols it is a gateway for."""
    witness: int | None = None
    """Stake in atomic units of credit."""
    tags: tuple[str, ...] = ()
    other: tuple[tuple[int, bytes], ...] = ()
    """Records of kinds unknown to this version, in ascending order."""

    def __bool__(self) -> bool:
        return self != _NONE


def encode_capabilities(capabilities: Capabilities) -> bytes:
    """Return count and records; raises `EncodeError` if a field has no encoding."""
    records: list[tuple[int, bytes]] = []
    try:
        if capabilities.compute is not None:
            records.append((_COMPUTE, _PAIR.pack(capabilities.compute.cores, capabilities.compute.memory_mb)))
        if capabilities.storage is not None:
            records.append(
                (_STORAGE, _PAIR.pack(capabilities.storage.iops, capabilities.storage.capacity_mb))
            )
        if capabilities.gateway:
            records.append((_GATEWAY, _encode_texts(capabilities.gateway)))
        if capabilities.witness is not None:
            records.append((_WITNESS, _U64.pack(capabilities.witness)))
    except struct.error as error:
        raise EncodeError(f"a capability is out of range: {error}") from None
    if capabilities.tags:
        records.append((_TAGS, _encode_texts(capabilities.tags)))
    records += capabilities.other
    kinds = [kind for kind, _ in records]
    unknown = all(_TAGS < kind <= 255 for kind, _ in capabilities.other)
    if not unknown or len(records) > MAX_RECORDS or kinds != sorted(set(kinds)):
        raise EncodeError(f"at most {MAX_RECORDS} kinds of capability, each once and in order")
    if any(len(body) > 255 for _, body in records):
        raise EncodeError("a capability has at most 255 bytes; use fewer or shorter names")
    return bytes((len(records),)) + b"".join(bytes((kind, len(body))) + body for kind, body in records)


def decode_capabilities(body: bytes, offset: int) -> tuple[Capabilities, int]:
    """Read what `encode_capabilities` wrote; returns it and the next offset."""
    count, offset = decode_count(body, offset, MAX_RECORDS)
    compute = storage = witness = None
    gateway: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    other: list[tuple[int, bytes]] = []
    last = 0
    for _ in range(count):
        if len(body) < offset + 2:
            raise DecodeError("truncated")
        kind, length = body[offset], body[offset + 1]
        record = body[offset + 2 : offset + 2 + length]
        offset += 2 + length
        if len(record) != length:
            raise DecodeError("truncated")
        if kind <= last:
            raise DecodeError("repeated_entry")
        last = kind
        if kind == _COMPUTE:
            compute = Compute(*_exact(_PAIR, record))
        elif kind == _STORAGE:
            iops, capacity_mb = _exact(_PAIR, record)
            storage = Storage(capacity_mb, iops)
        elif kind == _GATEWAY:
            gateway = _decode_texts(record)
        elif kind == _WITNESS:
            (witness,) = _exact(_U64, record)
        elif kind == _TAGS:
            tags = _decode_texts(record)
        else:
            other.append((kind, record))
    return Capabilities(compute, storage, gateway, witness, tags, tuple(other)), offset


def share(one: Capabilities, two: Capabilities) -> bool:
    """Return whether both offer the same kind of capability: for gateways a protocol, for tags a tag."""
    return bool(
        (one.compute and two.compute)
        or (one.storage and two.storage)
        or (one.witness is not None and two.witness is not None)
        or not set(one.gateway).isdisjoint(two.gateway)
        or not set(one.tags).isdisjoint(two.tags)
    )


def meets(offered: Capabilities, sought: Capabilities) -> bool:
    """Return whether something that is sought is offered, and as much of it."""
    compute, storage = offered.compute, offered.storage
    if sought.compute and compute:
        enough = compute.cores >= sought.compute.cores and compute.memory_mb >= sought.compute.memory_mb
        if enough:
            return True
    if sought.storage and storage:
        enough = storage.capacity_mb >= sought.storage.capacity_mb and storage.iops >= sought.storage.iops
        if enough:
            return True
    if sought.witness is not None and offered.witness is not None and offered.witness >= sought.witness:
        return True
    return not set(sought.gateway).isdisjoint(offered.gateway) or not set(sought.tags).isdisjoint(
        offered.tags
    )


def _exact(record: struct.Struct, body: bytes) -> tuple[int, ...]:
    if len(body) != record.size:
        raise DecodeError("truncated" if len(body) < record.size else "trailing_bytes")
    return record.unpack(body)


def _encode_texts(texts: tuple[str, ...]) -> bytes:
    if len(texts) > MAX_TEXTS or len(set(texts)) != len(texts) or "" in texts:
        raise EncodeError(f"at most {MAX_TEXTS} protocols or tags, each once and not empty")
    encoded = (encode_text(text, MAX_TEXT_BYTES, NAME_CHARACTERS) for text in texts)
    return bytes((len(texts),)) + b"".join(encoded)


def _decode_texts(body: bytes) -> tuple[str, ...]:
    count, offset = decode_count(body, 0, MAX_TEXTS)
    texts = []
    for _ in range(count):
        text, offset = decode_text(body, offset, MAX_TEXT_BYTES, NAME_CHARACTERS)
        texts.append(text)
    if offset != len(body):
        raise DecodeError("trailing_bytes")
    if not count or "" in texts:
        raise DecodeError("bad_count")
    if len(set(texts)) != count:
        raise DecodeError("repeated_entry")
    return tuple(texts)


_NONE = Capabilities()
