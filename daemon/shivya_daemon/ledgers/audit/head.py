"""The head file: where a ledger stood when it was last made durable, signed. No files, no clocks.

It is a sealed line like every entry. But for `first` it is a function of the entries and the key alone: there
is exactly one head for a given beginning of a ledger, so that a reader who has the entries compares it whole.
"""

from __future__ import annotations

from msgspec import Struct

from shivya_daemon.core.identity import Identity, node_id
from shivya_daemon.ledgers.audit.canonical import NotCanonical, canonical, seal, unseal
from shivya_daemon.ledgers.audit.chain import Tip
from shivya_daemon.ledgers.audit.checkpoint import Checkpoint, sign
from shivya_daemon.ledgers.audit.merkle import HASH_BYTES, MAX_SIZE, Frontier

_MAX_BYTES = 2**63 - 1
MAX_HEAD_BYTES = 8192


class Head(Struct, frozen=True):
    """A tip and its checkpoint. Key and signature are empty where a ledger is kept without an identity."""

    tip: Tip
    first: int = 0
    """Index of the oldest entry that is kept: a file before it was dropped, one behind it has been lost."""
    public_key: bytes = b""
    signature: bytes = b""

    @classmethod
    def of(cls, tip: Tip, first: int, identity: Identity | None) -> Head:
        """Return the head of a ledger of `identity`."""
        if identity is None:
            return cls(tip, first)
        return cls(tip, first, identity.public_key, sign(identity, tip.size, tip.tree.root()).signature)

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that others are told."""
        return Checkpoint(self.tip.size, self.tip.tree.root(), self.signature)

    @property
    def node(self) -> str:
        """Id of the node that signed, as hexadecimal digits; empty where nobody did."""
        return node_id(self.public_key).hex() if self.public_key else ""

    def encode(self) -> bytes:
        """Return the content of the head file."""
        fields = {
            "bytes": self.tip.length,
            "first": self.first,
            "frontier": [peak.hex() for peak in self.tip.tree.peaks],
            "genesis_hash": self.tip.genesis_hash,
            "latest_hash": self.tip.latest_hash,
            "public_key": self.public_key.hex(),
            "root": self.tip.tree.root().hex(),
            "signature": self.signature.hex(),
            "size": self.tip.size,
        }
        return seal(canonical(fields))


def decode(line: bytes) -> Head:
    """Return the head that a file holds; raises `NotCanonical` unless all of it fits together."""
    fields, _ = unseal(line)
    try:
        tree = Frontier(fields["size"], tuple(map(bytes.fromhex, fields["frontier"])))
        genesis, latest = bytes.fromhex(fields["genesis_hash"]), bytes.fromhex(fields["latest_hash"])
        tip = Tip(fields["bytes"], genesis.hex(), latest.hex(), tree)
        key, signature = bytes.fromhex(fields["public_key"]), bytes.fromhex(fields["signature"])
        head = Head(tip, fields["first"], key, signature)
        numbers = {*map(type, (tree.size, head.first, tip.length))} == {int} and (
            0 <= head.first < tree.size <= MAX_SIZE and 0 < tip.length <= _MAX_BYTES
        )
        hashes = {*map(len, (genesis, latest, *tree.peaks))} == {HASH_BYTES}
        whole = len(tree.peaks) == tree.size.bit_count() and bool(head.public_key) == bool(head.signature)
        same = numbers and hashes and whole and head.encode() == line
    except (KeyError, TypeError, ValueError, AttributeError):
        same = False
    if not same:
        raise NotCanonical("is no head of a ledger")
    if head.public_key and not head.checkpoint.signed_by(head.public_key):
        raise NotCanonical("is not signed by the key that it names")
    return head
