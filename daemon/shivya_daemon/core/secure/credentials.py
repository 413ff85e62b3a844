"""Who speaks in a handshake: the introduction each side gives, and what makes one credible."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.identity import Identity, node_id, verify
from shivya_daemon.core.secure.handshake import KEY_BYTES, Handshake, HandshakeError, Pattern

LABEL = b"shivya/1 static"
_INTRODUCTION = struct.Struct(">32s64sQQ")
INTRODUCTION_BYTES = _INTRODUCTION.size
_MAX_PROVED = 1024  # signatures that need no second look


class Introduction(Struct, frozen=True):
    """The payload of a handshake message: an identity that vouches for the static key it arrived under."""

    public_key: bytes
    """Ed25519, 32 bytes."""
    signature: bytes
    """Of `LABEL` and the X25519 static key, 64 bytes."""
    incarnation: int
    """Life of the node."""
    counter: int
    """Grows with every introduction of that life."""


def encode_payload(introduction: Introduction) -> bytes:
    """Return the 112 bytes of an introduction."""
    return _INTRODUCTION.pack(
        introduction.public_key, introduction.signature, introduction.incarnation, introduction.counter
    )


def decode_payload(body: bytes) -> Introduction:
    """Return the introduction in `body`; raises `DecodeError` unless it has the exact length."""
    if len(body) != INTRODUCTION_BYTES:
        raise DecodeError("truncated" if len(body) < INTRODUCTION_BYTES else "trailing_bytes")
    return Introduction(*_INTRODUCTION.unpack(body))


class Credentials:
    """This node in handshakes: begins them, introduces itself, and judges the introductions of others.

    `mesh_key` is 32 bytes that all nodes of the mesh share, or None for a mesh open to all; `allow` the ids
    that may have a session, or None for all. Raises `ValueError` for a mesh key of another length.
    """

    def __init__(
        self,
        identity: Identity,
        entropy: Callable[[int], bytes],
        incarnation: int,
        mesh_key: bytes | None,
        allow: frozenset[bytes] | None,
    ) -> None:
        if mesh_key is not None and len(mesh_key) != KEY_BYTES:
            raise ValueError(f"a mesh key is {KEY_BYTES} bytes, not {len(mesh_key)}")
        self.node = identity.node_id
        self.incarnation = incarnation
        self.mesh_key = mesh_key or bytes(KEY_BYTES)
        self.allow = allow
        self._identity = identity
        self._entropy = entropy
        self._signature = identity.sign(LABEL + identity.static_public)
        self._counter = 0
        self._proved: OrderedDict[tuple[bytes, bytes, bytes], None] = OrderedDict()

    def begin(self, pattern: Pattern, *, initiator: bool, remote: bytes | None = None) -> Handshake:
        """Begin a handshake with a fresh ephemeral key; raises `HandshakeError` if `remote` is no key."""
        return Handshake(
            pattern.value,
            initiator=initiator,
            static=self._identity.static_key,
            ephemeral=self._entropy(KEY_BYTES),
            psk=self.mesh_key,
            remote=remote,
        )

    def introduce(self) -> bytes:
        """Return this node's next introduction."""
        self._counter += 1
        return encode_payload(
            Introduction(self._identity.public_key, self._signature, self.incarnation, self._counter)
        )

    def meet(self, payload: bytes) -> tuple[bytes, Introduction]:
        """Return who an introduction claims to be from; raises `HandshakeError` where none is welcome."""
        try:
            introduction = decode_payload(payload)
        except DecodeError:
            raise HandshakeError("bad_identity") from None
        node = node_id(introduction.public_key)
        if node == self.node:
            raise HandshakeError("own_identity")
        if self.allow is not None and node not in self.allow:
            raise HandshakeError("not_allowed")
        return node, introduction

    def prove(self, introduction: Introduction, static: bytes) -> None:
        """Check that the identity signed `static`; raises `HandshakeError` otherwise."""
        proof = (introduction.public_key, introduction.signature, static)
        if proof not in self._proved:
            if not verify(introduction.public_key, introduction.signature, LABEL + static):
                raise HandshakeError("bad_identity")
            if len(self._proved) >= _MAX_PROVED:
                self._proved.popitem(last=False)
            self._proved[proof] = None
