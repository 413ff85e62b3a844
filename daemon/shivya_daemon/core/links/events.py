"""What the links tell their node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Linked:
    """Both ends agreed: the proposer heard the acceptor, and the acceptor the confirmation."""

    id: bytes


@dataclass(frozen=True, slots=True)
class Unlinked:
    """A link ended. `reason`: "pruned", "swapped", "draining", "unknown", "silent", "lapsed", "restarted",
    "lost" (the node said so) or "blocked"."""

    id: bytes
    reason: str


LinkEvent = Linked | Unlinked
