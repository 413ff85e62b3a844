"""Proofs that somebody without the ledger can check: this entry is in the log whose root that node signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from shivya_daemon.core.identity import node_id
from shivya_daemon.ledgers.audit.canonical import NotCanonical, canonical, digest, parse
from shivya_daemon.ledgers.audit.chain import Entry, entry_of
from shivya_daemon.ledgers.audit.checkpoint import Checkpoint
from shivya_daemon.ledgers.audit.errors import LedgerError, ProofInvalid
from shivya_daemon.ledgers.audit.files import Files
from shivya_daemon.ledgers.audit.merkle import Tree, leaf_hash, verify_inclusion
from shivya_daemon.ledgers.audit.reading import Snapshot, Walk, snapshot

FORMAT = "shivya ledger proof 1"
MAX_PROOF_BYTES = 1 << 18


class Proof(Struct, frozen=True):
    """An entry, its path to the root (RFC 6962), and the checkpoint with that root."""

    text: bytes
    """Canonical text of the entry: what its hash is taken over."""
    path: tuple[bytes, ...]
    checkpoint: Checkpoint
    public_key: bytes

    @property
    def node(self) -> str:
        """Id of the node that signed, as hexadecimal digits."""
        return node_id(self.public_key).hex()

    def check(self) -> Entry:
        """Return the entry that is proven; raises `ProofInvalid` if it is not."""
        try:
            entry = entry_of(parse(self.text), digest(self.text))
        except NotCanonical as error:
            raise ProofInvalid(f"the entry {error}") from None
        leaf = leaf_hash(bytes.fromhex(entry.hash))
        size, root = self.checkpoint.size, self.checkpoint.root
        if not verify_inclusion(leaf, entry.index, size, self.path, root):
            raise ProofInvalid("the path does not lead from the entry to the root")
        if not self.public_key:
            raise ProofInvalid("the root is not signed, so nobody vouches for it")
        if not self.checkpoint.signed_by(self.public_key):
            raise ProofInvalid("the root is not signed by the key that is named")
        return entry

    def to_json(self) -> dict[str, Any]:
        """Return the document that `from_json` reads."""
        return {
            "format": FORMAT,
            "entry": self.text.decode("ascii"),
            "path": [step.hex() for step in self.path],
            "size": self.checkpoint.size,
            "root": self.checkpoint.root.hex(),
            "public_key": self.public_key.hex(),
            "signature": self.checkpoint.signature.hex(),
        }

    @classmethod
    def from_json(cls, document: object) -> Proof:
        """Return a proof that is yet to be checked; raises `ProofInvalid` if it is none."""
        if not isinstance(document, Mapping) or document.get("format") != FORMAT:
            raise ProofInvalid(f'this is no proof; one has "format": "{FORMAT}"')
        try:
            if type(document["size"]) is not int:
                raise TypeError
            return cls(
                document["entry"].encode("ascii"),
                tuple(map(bytes.fromhex, document["path"])),
                Checkpoint(
                    document["size"], bytes.fromhex(document["root"]), bytes.fromhex(document["signature"])
                ),
                bytes.fromhex(document["public_key"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ProofInvalid("the proof is damaged") from None


def read_proof(path: Path) -> Proof:
    """Return the proof in a file, yet to be checked; raises `ProofInvalid` and `OSError`."""
    with path.open("rb") as file:
        text = file.read(MAX_PROOF_BYTES + 1)
    if len(text) > MAX_PROOF_BYTES:
        raise ProofInvalid("the file is too long for a proof")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ProofInvalid("the file is not JSON") from None
    return Proof.from_json(document)


def prove(path: Path, index: int) -> Proof:
    """Prove that an entry is in the ledger at `path`; raises `LedgerError`, and `LedgerCorrupt` for damage.

    The proof is for the checkpoint in the head file.
    """
    with snapshot(Files.at(path)) as found:
        size, kept = found.head.tip.size, found.base.size
        if not 0 <= index < size:
            raise LedgerError(f"the signed entries of this ledger are {kept} to {size - 1}, not {index}")
        if index < kept:
            raise LedgerError(f"entry {index} is no longer kept; the oldest one is {kept}")
        tree, entry = _tree(found, index)
        assert entry is not None
    steps = tuple(tree.inclusion(index))
    return Proof(canonical(entry.fields()), steps, found.head.checkpoint, found.head.public_key)


def prove_consistency(path: Path, old: int) -> tuple[Checkpoint, list[bytes]]:
    """Return the checkpoint of the ledger at `path`, and the proof that it continues the first `old` entries.

    Raises `LedgerError` if so few, or so many, are not known here, and `LedgerCorrupt` for damage.
    """
    with snapshot(Files.at(path)) as found:
        size, least = found.head.tip.size, max(found.base.size, 1)
        if not least <= old <= size:
            raise LedgerError(f"this ledger can be compared with its sizes {least} to {size}, not with {old}")
        tree, _ = _tree(found)
    return found.head.checkpoint, tree.consistency(old)


def _tree(found: Snapshot, index: int | None = None) -> tuple[Tree, Entry | None]:
    """The tree of the signed part, and one of its entries."""
    leaves, wanted, walk = [], None, Walk.through(found)
    for entry in walk.all(found):
        if entry.index < found.head.tip.size:
            leaves.append(leaf_hash(bytes.fromhex(entry.hash)))
        if entry.index == index:
            wanted = entry
    return Tree(found.base.tree, leaves), wanted
