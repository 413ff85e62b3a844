"""Who a node is: an Ed25519 key, the 160-bit id derived from its public half, and its key for sessions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NODE_ID_BYTES = 20
PRIVATE_KEY_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64


class Identity:
    """An Ed25519 key pair (RFC 8032); `node_id` is the first 20 bytes of SHA-256 over the public key.

    `static_key` (X25519, RFC 7748) is the node's key in Noise handshakes. It is derived from the private key
    by HKDF (RFC 5869), so that there is one secret to keep, and neither key is used for the other's purpose.
    """

    __slots__ = ("_key", "node_id", "public_key", "static_key", "static_public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key: bytes = key.public_key().public_bytes_raw()
        self.node_id: bytes = node_id(self.public_key)
        derive = HKDF(SHA256(), PRIVATE_KEY_BYTES, salt=None, info=b"shivya/1 x25519")
        self.static_key = X25519PrivateKey.from_private_bytes(derive.derive(key.private_bytes_raw()))
        self.static_public: bytes = self.static_key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, entropy: Callable[[int], bytes]) -> Identity:
        """Make a new identity from 32 bytes of `entropy` (`os.urandom`, or a seeded source in simulation)."""
        return cls.from_private_bytes(entropy(PRIVATE_KEY_BYTES))

    @classmethod
    def from_private_bytes(cls, private: bytes) -> Identity:
        """Restore an identity; raises `ValueError` unless `private` is exactly 32 bytes."""
        if len(private) != PRIVATE_KEY_BYTES:
            raise ValueError(f"a private key is {PRIVATE_KEY_BYTES} bytes, not {len(private)}")
        return cls(Ed25519PrivateKey.from_private_bytes(private))

    def private_bytes(self) -> bytes:
        """Return the 32 raw bytes of the private key, for a file that only its owner can read."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature (64 bytes) of `message`; put a label in front that says what it is for."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Identity({self.node_id.hex()[:8]})"


def node_id(public_key: bytes) -> bytes:
    """Return the id of the node with this public key."""
    return hashlib.sha256(public_key).digest()[:NODE_ID_BYTES]


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether `signature` of `message` is by the owner of `public_key`; False for malformed ones."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
