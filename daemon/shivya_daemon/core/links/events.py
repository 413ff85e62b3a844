"""What the links tell their node."""

from __future__ import annotations

from msgspec import Struct


class Linked(Struct, frozen=True):
    """Both ends agreed: the proposer heard the acceptor, and the acceptor the confirmation."""

    id: bytes


class Unlinked(Struct, frozen=True):
    """A link ended. `reason`: "pruned", "swapped", "draining", "unknown", "silent", "lapsed", "restarted",
    "lost" (the node said so) or "blocked"."""

    id: bytes
    reason: str


LinkEvent = Linked | Unlinked
