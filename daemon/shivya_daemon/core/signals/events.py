"""What signals tell their host; small frozen values, drained with `Signals.events()`."""

from __future__ import annotations

from msgspec import Struct

from shivya_daemon.core.signals.frame import Kind


class SignalReceived(Struct, frozen=True):
    """A signal arrived, once; of a quorum, the first contribution of another node to its subject."""

    kind: Kind
    type: str
    source: bytes
    """The node that signed it."""
    payload: bytes
    strength: float
    """decay ^ hops of a gradient; 1 for every other kind."""
    hops: int
    """Links travelled, as the relays tell; 0 for a signal to oneself."""
    id: bytes


class QuorumReached(Struct, frozen=True):
    """Enough members of the roster of `type` contributed the same `payload` to the subject `id`."""

    type: str
    id: bytes
    payload: bytes
    contributors: frozenset[bytes]


class Undeliverable(Struct, frozen=True):
    """A directed signal of this node has nowhere to go."""

    id: bytes
    target: bytes


SignalEvent = SignalReceived | QuorumReached | Undeliverable
