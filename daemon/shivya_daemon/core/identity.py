"""Who a node is: an Ed25519 key, and the 160-bit id derived from its public half."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NODE_ID_BYTES = 20
PRIVATE_KEY_BYTES = 32


class Identity:
    """An Ed25519 key pair (RFC 8032); `node_id` is the first 20 bytes of SHA-256 over the public key."""

    __slots__ = ("_key", "node_id", "public_key")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key: bytes = key.public_key().public_bytes_raw()
        self.node_id: bytes = hashlib.sha256(self.public_key).digest()[:NODE_ID_BYTES]

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

    def __repr__(self) -> str:
        return f"Identity({self.node_id.hex()[:8]})"
