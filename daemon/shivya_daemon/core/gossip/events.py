"""What gossip tells its host; small frozen values, drained with `Gossip.events()`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Joined:
    """A node was heard of for the first time, or for the first time since it was forgotten."""

    node: bytes


@dataclass(frozen=True, slots=True)
class Died:
    """The counter of a node stood still for too long."""

    node: bytes


@dataclass(frozen=True, slots=True)
class Returned:
    """A dead node turned out to live, in the same life."""

    node: bytes


@dataclass(frozen=True, slots=True)
class Restarted:
    """A node, live or dead before, began another life: everything it published before is void."""

    node: bytes
    incarnation: int


@dataclass(frozen=True, slots=True)
class Left:
    """A node said that it leaves."""

    node: bytes


@dataclass(frozen=True, slots=True)
class Changed:
    """A node published new values under these keys; also follows `Joined` and `Restarted`."""

    node: bytes
    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class IncarnationAdopted:
    """Somebody knew more of this node than it ever said, so it began another life, the one named here."""

    incarnation: int


GossipEvent = Joined | Died | Returned | Restarted | Left | Changed | IncarnationAdopted
