"""What a node tells its host of leases; small frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from shivya_daemon.core.leases.kinds import Kind


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """This node lends: `holder` said that it has what it asked for; its own id for what it keeps itself."""

    id: bytes
    holder: bytes
    kind: Kind
    amount: int
    seconds: int


@dataclass(frozen=True, slots=True)
class LeaseEnded:
    """What this node lent is free again: `reason` is released, expired, silent or draining."""

    id: bytes
    holder: bytes
    kind: Kind
    amount: int
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseObtained:
    """This node holds a lease of another."""

    id: bytes
    provider: bytes
    kind: Kind
    amount: int
    seconds: int


@dataclass(frozen=True, slots=True)
class LeaseOver:
    """A lease of another has ended: `reason` is released, expired, silent, unknown or draining."""

    id: bytes
    provider: bytes
    kind: Kind
    amount: int
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseRenewed:
    """The node that lends has agreed to another term of `seconds`."""

    id: bytes
    provider: bytes
    kind: Kind
    amount: int
    seconds: int


@dataclass(frozen=True, slots=True)
class LeaseDenied:
    """Nobody lends what this node asked for."""

    id: bytes
    kind: Kind
    amount: int
    reason: str


LeaseEvent = LeaseGranted | LeaseEnded | LeaseObtained | LeaseOver | LeaseRenewed | LeaseDenied
