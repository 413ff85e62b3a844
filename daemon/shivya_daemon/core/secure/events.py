"""What `Sessions` reports: peers that can be spoken with, and those that cannot."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from shivya_daemon.core.settings import Address


class Established(Struct, frozen=True):
    """A peer without a session, or in another life, has one: it receives at `address` and holds its keys."""

    node: bytes
    address: Address
    public_key: bytes
    """Ed25519."""
    static: bytes
    """X25519; with it the next handshake takes one round trip."""
    incarnation: int
    initiated: bool
    """Whether this node began the handshake."""
    rtt: float | None
    """Round-trip time in seconds of the handshake; None where a lost datagram makes it ambiguous."""


class Failed(Struct, frozen=True):
    """A `connect` came to nothing."""

    address: Address
    node: bytes | None
    reason: str
    """`unanswered`, `wrong_identity`, `own_identity`, `not_allowed` or `bad_identity`."""


class Closed(Struct, frozen=True):
    """A peer has no session any more."""

    node: bytes
    reason: str
    """`closed`, `expired`, `evicted`, why its renewal failed, or `unconfirmed`: it answered a handshake, but
    then nothing, as a node does that does not allow this one."""


Event = Established | Failed | Closed


class Opened(NamedTuple):
    """A frame that `node` sealed."""

    node: bytes
    address: Address
    request: int
    frame: bytes
    moved: bool
    """Whether the peer's address has changed since the last frame."""
