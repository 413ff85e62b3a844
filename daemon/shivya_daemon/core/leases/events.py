"""What a node tells its host of leases; small frozen values."""

from __future__ import annotations

from msgspec import Struct

from shivya_daemon.core.leases.kinds import Kind


class LeaseGranted(Struct, frozen=True):
    """This node lends: `holder` said that it has what it asked for; its own id for what it keeps itself."""

    id: bytes
    holder: bytes
    kind: Kind
    amount: int
    seconds: int


class LeaseEnded(Struct, frozen=True):
    """What this node lent is free again: `reason` is released, expired, silent or draining."""

    id: bytes
    holder: bytes
    kind: Kind
    amount: int
    reason: str


class LeaseObtained(Struct, frozen=True):
    """This node holds a lease of another."""

    id: bytes
    provider: bytes
    kind: Kind
    amount: int
    seconds: int


class LeaseOver(Struct, frozen=True):
    """A lease of another has ended: `reason` is released, expired, silent, unknown or draining."""

    id: bytes
    provider: bytes
    kind: Kind
    amount: int
    reason: str


class LeaseRenewed(Struct, frozen=True):
    """The node that lends has agreed to another term of `seconds`."""

    id: bytes
    provider: bytes
    kind: Kind
    amount: int
    seconds: int


class LeaseDenied(Struct, frozen=True):
    """Nobody lends what this node asked for."""

    id: bytes
    kind: Kind
    amount: int
    reason: str


class PaymentDue(Struct, frozen=True):
    """This node is to reserve `amount` for a term of `seconds`; the host answers with `Leases.paid`."""

    id: bytes
    provider: bytes
    serial: int
    """0 for the first term, then that of the renewal."""
    amount: int
    """10^-6 credit."""
    seconds: int


class PaymentClaimed(Struct, frozen=True):
    """A holder says that `amount` is reserved for this node; the host answers with `Leases.verified`."""

    id: bytes
    holder: bytes
    serial: int
    payment: bytes
    amount: int
    """10^-6 credit, at least."""
    seconds: int
    """From now for which it must be reserved."""


class SettlementDue(Struct, frozen=True):
    """This node is to post `amount` of what a holder reserved, and to release the rest; 0: all of it."""

    id: bytes
    holder: bytes
    payment: bytes
    amount: int


PaymentEvent = PaymentDue | PaymentClaimed | SettlementDue
LeaseEvent = LeaseGranted | LeaseEnded | LeaseObtained | LeaseOver | LeaseRenewed | LeaseDenied
