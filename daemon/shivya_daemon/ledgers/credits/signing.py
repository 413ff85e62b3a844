"""Who signed what: Ed25519 (RFC 8032) over a label, the ledger, and every field but the signature."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from shivya_daemon.core.identity import Identity, verify
from shivya_daemon.ledgers.credits.operations import Operation, encode
from shivya_daemon.ledgers.credits.records import Digest

_LABEL = b"shivya/1 credits\0"


def message(operation: Operation, ledger: Digest) -> bytes:
    """Return what is signed; `ledger` (`State.ledger`) keeps it from counting in any other ledger."""
    return _LABEL + ledger + encode(replace(operation, signature=b""))


def sign(operation: Operation, identity: Identity, ledger: Digest) -> Operation:
    """Return the operation with the signature of `identity`, whose public key should be its sender."""
    return replace(operation, signature=identity.sign(message(operation, ledger)))


def authentic(operation: Operation, signed: bytes) -> bool:
    """Return whether the sender signed `signed`, which is the operation's `message`."""
    return verify(operation.sender, operation.signature, signed)


def digest(data: bytes) -> Digest:
    """Return SHA3-256 (FIPS 202)."""
    return hashlib.sha3_256(data).digest()
