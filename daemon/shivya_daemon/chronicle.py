"""What happened to a node, in its log and in its ledger."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from shivya_daemon.core.events import (
    Event,
    LeaseDenied,
    LeaseEnded,
    LeaseGranted,
    LeaseObtained,
    LeaseOver,
    LeaseRenewed,
    LedgerHeadTold,
    Linked,
    PeerJoined,
    PeerLeft,
    PeerRestarted,
    Unlinked,
)
from shivya_daemon.core.leases.events import LeaseEvent
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
            case LeaseGranted(holder=peer):
                _log.info("lease %s of %d %s goes to %s", *_words(event), peer.hex()[:8])
                journal.note(
                    "LEASE_GRANTED", {**_lease(event), "holder": peer.hex(), "seconds": event.seconds}
                )
            case LeaseEnded(holder=peer):
                _log.info("lease %s of %d %s is free again (%s)", *_words(event), event.reason)
                journal.note("LEASE_ENDED", {**_lease(event), "holder": peer.hex(), "reason": event.reason})
            case LeaseObtained(provider=peer):
                _log.info("lease %s of %d %s is held at %s", *_words(event), peer.hex()[:8])
                journal.note(
                    "LEASE_HELD", {**_lease(event), "provider": peer.hex(), "seconds": event.seconds}
                )
            case LeaseOver(provider=peer):
                _log.warning("lease %s of %d %s is over (%s)", *_words(event), event.reason)
                journal.note("LEASE_OVER", {**_lease(event), "provider": peer.hex(), "reason": event.reason})
            case LeaseRenewed():
                _log.info("lease %s of %d %s goes on for %d s", *_words(event), event.seconds)
            case LeaseDenied():
                _log.info("lease %s of %d %s is refused: %s", *_words(event), event.reason)
            case LedgerHeadTold(public_key=key, checkpoint=checkpoint):
                journal.hear(key, checkpoint, now)
            case _:
                pass


def _words(event: LeaseEvent) -> tuple[str, int, str]:
    return event.id.hex()[:8], event.amount, event.kind.label


def _lease(event: LeaseEvent) -> dict[str, object]:
    return {"lease": event.id.hex(), "resource": event.kind.label, "amount": event.amount}


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
