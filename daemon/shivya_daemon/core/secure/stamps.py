"""The two stamps of a handshake datagram: mac1 shows the mesh key, mac2 an address (WireGuard, 5.4.4).

Both are keyed BLAKE2s of 128 bits. Whoever lacks the mesh key costs one hash. Without a mesh key mac1 shows
only that the sender speaks this protocol, and mac2 does all the work.
"""

from __future__ import annotations

import hmac
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from shivya_daemon.core.secure.messages import SALT_BYTES, STAMP_BYTES, STAMPS_BYTES

_NONCE = bytes(12)  # every cookie is sealed under a key of its own


class Stamps:
    """Makes and checks stamps, and seals cookies for those who hold the mesh key."""

    def __init__(self, mesh_key: bytes) -> None:
        self._mac_key = blake2s(b"shivya/1 mac1" + mesh_key).digest()
        self._cookie_key = blake2s(b"shivya/1 cookie" + mesh_key).digest()

    def stamp(self, message: bytes, cookie: bytes | None) -> bytes:
        """Return `message` with both stamps behind it; mac2 is zero without a cookie."""
        stamped = message + _mac(message, self._mac_key)
        return stamped + (bytes(STAMP_BYTES) if cookie is None else _mac(stamped, cookie))

    def authentic(self, data: bytes) -> bool:
        """Return whether mac1 shows the mesh key."""
        mac1 = _mac(data[:-STAMPS_BYTES], self._mac_key)
        return hmac.compare_digest(mac1, data[-STAMPS_BYTES:-STAMP_BYTES])

    def seal(self, cookie: bytes, mac1: bytes, salt: bytes) -> bytes:
        """Return the body of a cookie reply to the message with this mac1; `salt` is 16 fresh bytes."""
        return salt + self._cipher(salt).encrypt(_NONCE, cookie, mac1)

    def open(self, body: bytes, mac1: bytes) -> bytes | None:
        """Return the cookie in a reply to the message with this mac1; None if it is not authentic."""
        try:
            return self._cipher(body[:SALT_BYTES]).decrypt(_NONCE, body[SALT_BYTES:], mac1)
        except InvalidTag:
            return None

    def _cipher(self, salt: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(blake2s(salt, key=self._cookie_key).digest())


def shows(data: bytes, cookie: bytes) -> bool:
    """Return whether mac2 shows that the sender was told this cookie."""
    return hmac.compare_digest(_mac(data[:-STAMP_BYTES], cookie), data[-STAMP_BYTES:])


def mac1_of(data: bytes) -> bytes:
    """Return the first stamp of a datagram."""
    return data[-STAMPS_BYTES:-STAMP_BYTES]


def _mac(data: bytes, key: bytes) -> bytes:
    return blake2s(data, key=key, digest_size=STAMP_BYTES).digest()
