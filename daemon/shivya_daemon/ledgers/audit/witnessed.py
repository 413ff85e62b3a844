"""What this node has seen of the ledgers of others, so that nobody can rewrite his own unnoticed.

Nodes gossip their checkpoints. The first one heard of a node is taken on trust; from then on only what is
shown to continue it takes its place. A ledger that was rewritten cannot show that, and once it signs a size
that it signed before, the two signatures convict it, whoever brings them (Laurie, RFC 6962, 7.3; Chuat et
al., CNS 2015).

An honest ledger never shrinks, as its node signs durable entries only. Still a smaller size accuses nobody:
what was signed long ago can be sent again by anybody. It is counted, and the larger one stays.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from shivya_daemon.core.identity import node_id
from shivya_daemon.ledgers.audit.checkpoint import Checkpoint
from shivya_daemon.ledgers.audit.merkle import verify_consistency


class Finding(Enum):
    """What a checkpoint, or a proof, turned out to be."""

    FIRST = "first"
    """Of a node not heard of before: taken on trust."""
    KNOWN = "known"
    """Nothing new."""
    AHEAD = "ahead"
    """Longer than what is trusted; a proof is wanted."""
    PROVEN = "proven"
    """Continues what was trusted, and takes its place."""
    OLDER = "older"
    """Shorter than what is trusted: late, or sent again, or cut off."""
    FORKED = "forked"
    """Another root for a size that the node had signed before: it keeps two ledgers."""
    FORGED = "forged"
    """Not signed by the node whose it should be."""
    UNPROVEN = "unproven"
    """The proof does not show that the one continues the other."""
    UNASKED = "unasked"
    """The proof is about other sizes than those in question."""


class Wanted(Struct, frozen=True):
    """A proof that a node owes: that its ledger continues the first `old` entries."""

    node: bytes
    old: int
    since: float


class Record(Struct, frozen=True):
    """What is known of one node's ledger."""

    trusted: Checkpoint
    ahead: Checkpoint | None = None
    """The longest one that is not proven yet."""
    since: float = 0.0
    """When the node first was ahead of what it has proven."""
    fork: tuple[Checkpoint, Checkpoint] | None = None
    """Two signatures that cannot both be of one ledger; kept for good."""


class Witnessed:
    """The ledgers of at most `capacity` nodes; beyond that the one not heard of for longest is forgotten.

    Those that were convicted are forgotten last.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._records: OrderedDict[bytes, Record] = OrderedDict()
        self.counts: Counter[Finding] = Counter()
        """How often each finding was made."""

    def hear(self, public_key: bytes, checkpoint: Checkpoint, now: float) -> Finding:
        """Take note of a checkpoint that the owner of `public_key` is said to have signed."""
        return self._count(self._hear(public_key, checkpoint, now))

    def prove(
        self, public_key: bytes, old: int, checkpoint: Checkpoint, path: Sequence[bytes], now: float
    ) -> Finding:
        """Take note of a proof (RFC 6962, 2.1.2) that `checkpoint` continues the first `old` entries."""
        return self._count(self._prove(public_key, old, checkpoint, path, now))

    def wanted(self) -> list[Wanted]:
        """Return the proofs that are owed: who gives none for long hides something, or is cut off."""
        return [
            Wanted(node, record.trusted.size, record.since)
            for node, record in self._records.items()
            if record.ahead is not None and record.fork is None
        ]

    def record(self, node: bytes) -> Record | None:
        """Return what is known of a node's ledger."""
        return self._records.get(node)

    def forget(self, node: bytes) -> None:
        """Trust the next checkpoint of a node as if it were the first: an operator's decision."""
        self._records.pop(node, None)

    def __len__(self) -> int:
        return len(self._records)

    def _hear(self, public_key: bytes, checkpoint: Checkpoint, now: float) -> Finding:
        node = node_id(public_key)
        record = self._records.get(node)
        if record is not None and checkpoint in (record.trusted, record.ahead):
            self._records.move_to_end(node)
            return Finding.KNOWN
        if not checkpoint.signed_by(public_key):
            return Finding.FORGED
        if record is None:
            self._make_room()
            self._records[node] = Record(checkpoint)
            return Finding.FIRST
        finding, self._records[node] = _judge(record, checkpoint, now)
        self._records.move_to_end(node)
        return finding

    def _prove(
        self, public_key: bytes, old: int, checkpoint: Checkpoint, path: Sequence[bytes], now: float
    ) -> Finding:
        heard = self._hear(public_key, checkpoint, now)
        if heard in (Finding.FORGED, Finding.FORKED, Finding.FIRST):
            return heard
        node = node_id(public_key)
        record = self._records[node]
        trusted = record.trusted
        if old != trusted.size or checkpoint.size <= old or record.fork is not None:
            return Finding.UNASKED
        if not verify_consistency(old, trusted.root, checkpoint.size, checkpoint.root, path):
            return Finding.UNPROVEN
        ahead = record.ahead if record.ahead is not None and record.ahead.size > checkpoint.size else None
        self._records[node] = Record(checkpoint, ahead, now)
        return Finding.PROVEN

    def _make_room(self) -> None:
        if len(self._records) >= self._capacity:
            honest = (node for node, record in self._records.items() if record.fork is None)
            del self._records[next(honest, next(iter(self._records)))]

    def _count(self, finding: Finding) -> Finding:
        self.counts[finding] += 1
        return finding


def _judge(record: Record, heard: Checkpoint, now: float) -> tuple[Finding, Record]:
    """What a signed checkpoint says about a node, and what is known of the node from now on."""
    for said in filter(None, (record.trusted, record.ahead)):
        if said.size == heard.size:
            if said.root == heard.root:
                return Finding.KNOWN, record
            return Finding.FORKED, replace(record, fork=record.fork or (said, heard))
    if heard.size < record.trusted.size:
        return Finding.OLDER, record
    if record.ahead is None:
        return Finding.AHEAD, replace(record, ahead=heard, since=now)
    if heard.size < record.ahead.size:
        return Finding.OLDER, record
    return Finding.AHEAD, replace(record, ahead=heard)
