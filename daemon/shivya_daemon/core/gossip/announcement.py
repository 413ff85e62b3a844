"""ANNOUNCE (0x12): what a node says of itself, signed: its keys, where it can be reached, what it offers.

The signature covers a label and every byte before it, so an announcement can be relayed by anybody and is
worth the same. Its age counts from its receipt; it carries no time. `Announcements` checks each one once.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import OrderedDict

from msgspec import Struct, field

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.fields import NAME_CHARACTERS, decode_count, decode_text, encode_text, unpack
from shivya_daemon.core.gossip.capabilities import (
    Capabilities,
    decode_capabilities,
    encode_capabilities,
    meets,
    share,
)
from shivya_daemon.core.identity import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Identity, node_id, verify
from shivya_daemon.core.load import MAX_NAME_BYTES
from shivya_daemon.core.settings import Address

TYPE = 0x12
MAJOR = 1
MINOR = 0
MAX_ADDRESSES = 3
MAX_EXTENSION_BYTES = 128
MAX_BYTES = 900
"""Bytes of an announcement, signature included: it is a value of gossip and fits one with room to spare."""

_LABEL = b"shivya/1 announcement"
_HEAD = struct.Struct(">BB32s32sQI")
_IPV4 = struct.Struct(">B4sH")
_IPV6 = struct.Struct(">B16sH")


class Profile(Struct, frozen=True):
    """What a node wants to be known by."""

    name: str = ""
    addresses: tuple[Address, ...] = ()
    """Where it can be reached, best first; at most 3."""
    capabilities: Capabilities = field(default_factory=Capabilities)
    seeks: Capabilities = field(default_factory=Capabilities)


class Announcement(Struct, frozen=True):
    """One announcement as it is on the wire, checked or not."""

    public_key: bytes
    """Ed25519, 32 bytes; the node id follows from it."""
    static_key: bytes
    """X25519, 32 bytes: the key of its handshakes."""
    incarnation: int
    version: int
    """Grows with every announcement of this incarnation."""
    profile: Profile
    signature: bytes = bytes(SIGNATURE_BYTES)
    extension: bytes = b""
    """Fields of a later minor version, kept as they came."""
    minor: int = MINOR

    @property
    def node_id(self) -> bytes:
        """Id of the node that this announcement speaks of."""
        return node_id(self.public_key)


def announce(identity: Identity, incarnation: int, version: int, profile: Profile) -> Announcement:
    """Return the signed announcement of `identity`; raises `EncodeError` if the profile has no encoding."""
    bare = Announcement(identity.public_key, identity.static_public, incarnation, version, profile)
    signature = identity.sign(_LABEL + _encode_body(bare))
    return Announcement(identity.public_key, identity.static_public, incarnation, version, profile, signature)


def encode_payload(announcement: Announcement) -> bytes:
    """Return its bytes, signature last; raises `EncodeError` if a field has no encoding."""
    if len(announcement.signature) != SIGNATURE_BYTES:
        raise EncodeError(f"a signature has {SIGNATURE_BYTES} bytes")
    return _encode_body(announcement) + announcement.signature


def decode_payload(body: bytes) -> Announcement:
    """Return the announcement in `body`, its signature not checked; raises `DecodeError`."""
    if len(body) > MAX_BYTES:
        raise DecodeError("oversized")
    major, minor, public_key, static_key, incarnation, version = unpack(_HEAD, body, 0)
    if major != MAJOR:
        raise DecodeError("unsupported_version")
    name, offset = decode_text(body, _HEAD.size, MAX_NAME_BYTES, NAME_CHARACTERS)
    count, offset = decode_count(body, offset, MAX_ADDRESSES)
    addresses = []
    for _ in range(count):
        address, offset = _decode_address(body, offset)
        addresses.append(address)
    if len(set(addresses)) != count:
        raise DecodeError("repeated_entry")
    capabilities, offset = decode_capabilities(body, offset)
    seeks, offset = decode_capabilities(body, offset)
    length, offset = decode_count(body, offset, MAX_EXTENSION_BYTES)
    extension = body[offset : offset + length]
    signature = body[offset + length :]
    if len(signature) != SIGNATURE_BYTES:
        raise DecodeError("truncated" if len(signature) < SIGNATURE_BYTES else "trailing_bytes")
    profile = Profile(name, tuple(addresses), capabilities, seeks)
    return Announcement(public_key, static_key, incarnation, version, profile, signature, extension, minor)


def authentic(raw: bytes) -> bool:
    """Return whether the signature at the end of `raw`, a decoded announcement, is by the key inside."""
    public_key = raw[2 : 2 + PUBLIC_KEY_BYTES]
    return verify(public_key, raw[-SIGNATURE_BYTES:], _LABEL + raw[:-SIGNATURE_BYTES])


def compatible(one: Announcement, two: Announcement) -> bool:
    """Return whether a link makes sense: a shared capability, or one seeks what the other has.

    Two nodes that list nothing at all are compatible: they have the mesh in common.
    """
    mine, theirs = one.profile, two.profile
    if not mine.capabilities and not theirs.capabilities:
        return True
    return (
        share(mine.capabilities, theirs.capabilities)
        or meets(theirs.capabilities, mine.seeks)
        or meets(mine.capabilities, theirs.seeks)
    )


class Announcements:
    """Announcements found authentic, by their bytes; the one unused for longest is forgotten.

    Checking is a pure function of the bytes, so that nodes of one process may share one of these.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._known: OrderedDict[bytes, Announcement] = OrderedDict()

    def known(self, raw: bytes) -> Announcement | None:
        """Return an announcement that was checked before."""
        announcement = self._known.get(raw)
        if announcement is not None:
            self._known.move_to_end(raw)
        return announcement

    def check(self, raw: bytes) -> Announcement:
        """Decode and verify; raises `DecodeError`, with the reason `bad_signature` for a forged one."""
        announcement = self.known(raw)
        if announcement is None:
            announcement = decode_payload(raw)
            if not authentic(raw):
                raise DecodeError("bad_signature")
            if len(self._known) >= self._capacity:
                self._known.popitem(last=False)
            self._known[raw] = announcement
        return announcement

    def __len__(self) -> int:
        return len(self._known)


def _encode_body(announcement: Announcement) -> bytes:
    profile = announcement.profile
    keys = (announcement.public_key, announcement.static_key)
    if any(len(key) != PUBLIC_KEY_BYTES for key in keys):
        raise EncodeError(f"a key has {PUBLIC_KEY_BYTES} bytes")
    if len(profile.addresses) > MAX_ADDRESSES or len(set(profile.addresses)) != len(profile.addresses):
        raise EncodeError(f"a node announces at most {MAX_ADDRESSES} addresses, each once")
    if len(announcement.extension) > MAX_EXTENSION_BYTES:
        raise EncodeError(f"an extension has at most {MAX_EXTENSION_BYTES} bytes")
    try:
        head = _HEAD.pack(MAJOR, announcement.minor, *keys, announcement.incarnation, announcement.version)
    except struct.error as error:
        raise EncodeError(f"incarnation or version is out of range: {error}") from None
    parts = [head, encode_text(profile.name, MAX_NAME_BYTES, NAME_CHARACTERS)]
    parts.append(bytes((len(profile.addresses),)))
    parts += map(_encode_address, profile.addresses)
    parts += (encode_capabilities(profile.capabilities), encode_capabilities(profile.seeks))
    parts += (bytes((len(announcement.extension),)), announcement.extension)
    body = b"".join(parts)
    if len(body) + SIGNATURE_BYTES > MAX_BYTES:
        raise EncodeError(f"an announcement has at most {MAX_BYTES} bytes; list fewer protocols or tags")
    return body


def _encode_address(address: Address) -> bytes:
    host, port = address
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        raise EncodeError(f"{host[:80]!r} is not an IP address") from None
    if not 0 < port <= 0xFFFF or ip.is_unspecified or "%" in host:
        raise EncodeError(f"{host[:80]} port {port} is not an address that others can reach")
    return (_IPV4 if ip.version == 4 else _IPV6).pack(ip.version, ip.packed, port)


def _decode_address(body: bytes, offset: int) -> tuple[Address, int]:
    if len(body) <= offset:
        raise DecodeError("truncated")
    if body[offset] not in (4, 6):
        raise DecodeError("bad_family")
    record = _IPV4 if body[offset] == 4 else _IPV6
    _, packed, port = unpack(record, body, offset)
    ip = ipaddress.ip_address(packed)
    if not port or ip.is_unspecified:
        raise DecodeError("unreachable_address")
    return (str(ip), port), offset + record.size
