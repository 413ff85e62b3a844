"""What went wrong here, by kind, and by whom: counts that fade with a half-life of a minute.

Only what a peer said under its own session keys counts against that peer. Everything else could have been
made by anybody who reaches the port, in anybody's name: it counts for the node. So does every fault of a peer
on the open wire, which proves nobody's identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct, field

HALF_LIFE = 60.0
"""Seconds after which an anomaly counts half."""
MOST = 1000.0
"""Count at which nothing is added: after a flood of any size, calm is back in some minutes."""


class Kind(StrEnum):
    """What an anomaly is evidence of."""

    UNDECODABLE = "undecodable"
    """Bytes that are no frame, or a field that cannot be."""
    FORGED = "forged"
    """A name, a signature or a seal that is not its sender's."""
    NOT_FINITE = "not_finite"
    """A number that is none, or beyond all reason."""
    REPLAYED = "replayed"
    """A datagram that came before, or under keys of an earlier time; networks make copies too."""
    HANDSHAKE = "handshake"
    """An attempt to join without the mesh key, or in another's name."""
    SUSPICION = "suspicion"
    """A live node that fell silent (phi accrual)."""
    SURPRISE = "surprise"
    """An observation that the own beliefs had not expected."""
    CONSERVATION = "conservation"
    """More jobs acknowledged than were ever sent."""
    DRILL = "drill"
    """Injected by the operator."""


HARD = frozenset({Kind.UNDECODABLE, Kind.FORGED, Kind.NOT_FINITE, Kind.CONSERVATION})
"""Kinds that a correct peer never gives cause for under its own keys, whatever the network does."""

_WORDS: Mapping[Kind, str] = {
    Kind.UNDECODABLE: "bad_magic short_header truncated trailing_bytes oversized bad_count bad_value_length "
    "bad_value bad_flag bad_family bad_text bad_kind bad_ttl bad_version bad_reason bad_padding bad_index "
    "bad_counter repeated_entry unknown_type",
    Kind.FORGED: "forged_sender forged_path bad_signature bad_seal wrong_announcement",
    Kind.NOT_FINITE: "not_finite out_of_range",
    Kind.REPLAYED: "replayed unknown_session replayed_initiation",
    Kind.HANDSHAKE: "bad_mac bad_handshake bad_cookie bad_identity wrong_identity not_allowed",
}
KIND_OF: Mapping[str, Kind] = MappingProxyType(
    {word: kind for kind, words in _WORDS.items() for word in words.split()}
)
"""Reasons of drops that are evidence. Others have innocent causes: loss, load, a restart, an upgrade."""

_WEIGHTS: Mapping[Kind, float] = {
    Kind.REPLAYED: 0.02,  # a network that doubles every tenth datagram is no attack
    Kind.HANDSHAKE: 0.2,  # nor is one host with another mesh's key
}
_OF_OTHER_VERSIONS = frozenset({"unknown_type", "bad_version", "bad_flag"})
"""Noise from a stranger, but from a peer what a later version may say."""


class Evidence(Struct, frozen=True):
    """The anomalies of one peer, or of the node, as of now."""

    count: float = 0.0
    kinds: Mapping[Kind, float] = field(default_factory=dict)

    @property
    def drills(self) -> float:
        """How much of it was injected."""
        return self.kinds.get(Kind.DRILL, 0.0)


class _Record:
    """Faded counts, brought up to date when they are touched."""

    __slots__ = ("at", "hard", "kinds")

    def __init__(self, now: float) -> None:
        self.at = now
        self.kinds: dict[Kind, float] = {}
        self.hard = 0
        """Hard evidence since the start; does not fade."""

    def fade(self, now: float) -> float:
        """Bring the counts to `now`; returns their sum."""
        if now > self.at:
            rest = 0.5 ** ((now - self.at) / HALF_LIFE)
            for kind in self.kinds:
                self.kinds[kind] *= rest
            self.at = now
        return sum(self.kinds.values(), 0.0)

    def evidence(self, now: float) -> Evidence:
        return Evidence(self.fade(now), dict(self.kinds))


class Anomalies:
    """Evidence of the node, and of at most `capacity` peers; who has least of it makes room."""

    def __init__(self, capacity: int = 512) -> None:
        self._capacity = capacity
        self._own = _Record(0.0)
        self._peers: dict[bytes, _Record] = {}

    def count(self, kind: Kind, now: float, peer: bytes | None = None, weight: float = 1.0) -> None:
        """Count an anomaly against a peer, or for the node; `weight` >= 0."""
        record = self._own if peer is None else self._record(peer, now)
        room = MOST - record.fade(now)
        record.kinds[kind] = record.kinds.get(kind, 0.0) + max(0.0, min(weight, room))
        record.hard += kind in HARD

    def dropped(self, reason: str, now: float, peer: bytes | None = None) -> None:
        """Count what was dropped for `reason`, if that is evidence; `peer` is whose keys it came under."""
        kind = KIND_OF.get(reason)
        if kind is None or (peer is not None and reason in _OF_OTHER_VERSIONS):
            return
        self.count(kind, now, peer, 1.0 if peer is not None else _WEIGHTS.get(kind, 1.0))

    def of(self, peer: bytes | None, now: float) -> Evidence:
        """Return the evidence against a peer; with None, that of the node."""
        record = self._own if peer is None else self._peers.get(peer)
        return Evidence() if record is None else record.evidence(now)

    def peers(self, now: float) -> dict[bytes, float]:
        """Return the count of every peer that has one."""
        return {peer: count for peer, record in self._peers.items() if (count := record.fade(now)) > 0.0}

    def hard(self, peer: bytes) -> int:
        """Return how much hard evidence against a peer there ever was."""
        record = self._peers.get(peer)
        return 0 if record is None else record.hard

    def pardon(self, peer: bytes) -> None:
        """Begin to count anew against a peer: what it did has been dealt with."""
        record = self._peers.get(peer)
        if record is not None:
            record.kinds.clear()

    def _record(self, peer: bytes, now: float) -> _Record:
        record = self._peers.get(peer)
        if record is None:
            if len(self._peers) >= self._capacity:
                del self._peers[min(self._peers, key=lambda other: self._peers[other].fade(now))]
            record = self._peers[peer] = _Record(now)
        return record
