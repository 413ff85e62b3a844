"""What a node tells its host; small frozen values, drained with `Node.events()`."""

from __future__ import annotations

from msgspec import Struct

from shivya_daemon.core.frames import GradientDiff, ThermodynamicPush
from shivya_daemon.core.leases.events import (
    LeaseDenied,
    LeaseEnded,
    LeaseEvent,
    LeaseGranted,
    LeaseObtained,
    LeaseOver,
    LeaseRenewed,
    PaymentClaimed,
    PaymentDue,
    PaymentEvent,
    SettlementDue,
)
from shivya_daemon.core.links.events import Linked, LinkEvent, Unlinked
from shivya_daemon.core.signals.events import QuorumReached, SignalEvent, SignalReceived, Undeliverable

__all__ = [
    "Event",
    "HeartbeatReceived",
    "HistoryShown",
    "HistoryWanted",
    "IncarnationAdopted",
    "LeaseDenied",
    "LeaseEnded",
    "LeaseGranted",
    "LeaseObtained",
    "LeaseOver",
    "LeaseRenewed",
    "LedgerHeadTold",
    "Linked",
    "ObservationReceived",
    "PaymentClaimed",
    "PaymentDue",
    "PeerJoined",
    "PeerLeft",
    "PeerRestarted",
    "QuorumReached",
    "SettlementDue",
    "SignalReceived",
    "SpiritTold",
    "Undeliverable",
    "Unlinked",
]


class PeerJoined(Struct, frozen=True):
    """A node is a member: it proved itself, or gossip says that it lives; `incarnation` if it is known."""

    id: bytes
    incarnation: int | None


class PeerLeft(Struct, frozen=True):
    """A node is no member any more: `reason` is "silent", "left" or why the wire gave it up."""

    id: bytes
    reason: str


class PeerRestarted(Struct, frozen=True):
    """A peer known from an earlier life sent the first heartbeat of a new one: its counters start again."""

    id: bytes
    incarnation: int


class HeartbeatReceived(Struct, frozen=True):
    """A heartbeat brought news of the services with these tags."""

    id: bytes
    tags: tuple[bytes, ...]


class ObservationReceived(Struct, frozen=True):
    """A peer pushed a thermodynamic or gradient frame: an observation, never a belief."""

    id: bytes
    payload: ThermodynamicPush | GradientDiff


class LedgerHeadTold(Struct, frozen=True):
    """A node published how far its audit ledger goes; `checkpoint` is as it came, its signature unchecked."""

    id: bytes
    public_key: bytes
    checkpoint: bytes


class HistoryWanted(Struct, frozen=True):
    """A node asks this one to show that its audit ledger continues its first `old` entries."""

    id: bytes
    old: int


class HistoryShown(Struct, frozen=True):
    """A node shows that its ledger continues its first `old` entries; checkpoint and path are unchecked."""

    id: bytes
    public_key: bytes
    old: int
    checkpoint: bytes
    path: tuple[bytes, ...]


class SpiritTold(Struct, frozen=True):
    """A node published what it knows of the spirit on the mesh; `value` is as it came, empty when it went."""

    id: bytes
    value: bytes


class IncarnationAdopted(Struct, frozen=True):
    """A peer remembers a later life of this node than its own clock gave; this one goes beyond it."""

    incarnation: int


Event = (
    PeerJoined
    | PeerLeft
    | PeerRestarted
    | HeartbeatReceived
    | ObservationReceived
    | IncarnationAdopted
    | LedgerHeadTold
    | HistoryWanted
    | HistoryShown
    | SpiritTold
    | LinkEvent
    | SignalEvent
    | LeaseEvent
    | PaymentEvent
)
