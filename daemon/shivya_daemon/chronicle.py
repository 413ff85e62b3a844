"""What happened to a node, in its log and in its ledger."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from shivya_daemon.core.events import (
    Event,
    LedgerHeadTold,
    Linked,
    PeerJoined,
    PeerLeft,
    PeerRestarted,
    Unlinked,
)
from shivya_daemon.journal import Journal
from shivya_daemon.snapshot import Snapshot

_log = logging.getLogger(__name__)


def chronicle(events: Iterable[Event], journal: Journal, now: float) -> None:
    """Log who came and went, and have it written down; compare what others say of their ledgers."""
    for event in events:
        match event:
            case PeerJoined(id=peer):
                _log.info("peer %s joined", peer.hex()[:8])
                journal.note("PEER_JOINED", {"peer": peer.hex()})
            case PeerLeft(id=peer, reason=reason):
                _log.info("peer %s is gone (%s)", peer.hex()[:8], reason)
                journal.note("PEER_GONE", {"peer": peer.hex(), "reason": reason})
            case PeerRestarted(id=peer):
                _log.info("peer %s restarted", peer.hex()[:8])
                journal.note("PEER_RESTARTED", {"peer": peer.hex()})
            case Linked(id=peer):
                _log.info("linked with %s", peer.hex()[:8])
                journal.note("LINKED", {"peer": peer.hex()})
            case Unlinked(id=peer, reason=reason):
                _log.info("the link with %s has ended (%s)", peer.hex()[:8], reason)
                journal.note("UNLINKED", {"peer": peer.hex(), "reason": reason})
            case LedgerHeadTold(public_key=key, checkpoint=checkpoint):
                journal.hear(key, checkpoint, now)
            case _:
                pass


def summary(snapshot: Snapshot) -> dict[str, object]:
    """Return what one summary in the ledger says."""
    return {
        "law": snapshot.law,
        "peers": len(snapshot.peers),
        "links": len(snapshot.links),
        "queue": sum(cell.queue for cell in snapshot.cells),
        "traffic": dict(snapshot.traffic),
        "drops": dict(snapshot.drops),
    }
