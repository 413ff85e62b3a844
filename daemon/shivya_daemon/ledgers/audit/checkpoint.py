"""Checkpoints: a node's signature under the size and the root of its ledger.

What is signed (Ed25519, RFC 8032) is the body of a checkpoint as transparency logs write it (C2SP
tlog-checkpoint):

    shivya/ledger/<node id>
    <size>
    <root, base64>

The first line keeps it apart from everything else that the key signs, and one node's ledger from another's.
Two signed checkpoints of one size and two roots prove that their signer keeps two ledgers.
"""

from __future__ import annotations

import struct
from base64 import b64encode

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.identity import SIGNATURE_BYTES, Identity, node_id, verify
from shivya_daemon.ledgers.audit.merkle import HASH_BYTES, MAX_SIZE

_LAYOUT = struct.Struct(f"!Q{HASH_BYTES}s{SIGNATURE_BYTES}s")
CHECKPOINT_BYTES = _LAYOUT.size


class Checkpoint(Struct, frozen=True):
    """The size and the root of a ledger, and the signature of the node whose it is."""

    size: int
    root: bytes
    signature: bytes

    def signed_by(self, public_key: bytes) -> bool:
        """Return whether the owner of `public_key` signed this for its own ledger."""
        return verify(public_key, self.signature, body(node_id(public_key), self.size, self.root))

    def encode(self) -> bytes:
        """Return the form for gossip: size (8 bytes), root (32), signature (64)."""
        return _LAYOUT.pack(self.size, self.root, self.signature)


def decode(raw: bytes) -> Checkpoint:
    """Return the checkpoint that a peer sent, its signature unverified; raises `DecodeError`."""
    if len(raw) != CHECKPOINT_BYTES:
        raise DecodeError("truncated" if len(raw) < CHECKPOINT_BYTES else "trailing_bytes")
    checkpoint = Checkpoint(*_LAYOUT.unpack(raw))
    if not 0 < checkpoint.size <= MAX_SIZE:
        raise DecodeError("size")
    return checkpoint


def body(node: bytes, size: int, root: bytes) -> bytes:
    """Return what is signed."""
    return f"shivya/ledger/{node.hex()}\n{size}\n{b64encode(root).decode()}\n".encode()


def sign(identity: Identity, size: int, root: bytes) -> Checkpoint:
    """Return the checkpoint of a node's own ledger."""
    return Checkpoint(size, root, identity.sign(body(identity.node_id, size, root)))
