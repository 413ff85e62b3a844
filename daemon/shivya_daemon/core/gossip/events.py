"""What gossip tells its host; small frozen values, drained with `Gossip.events()`."""

from __future__ import annotations

from msgspec import Struct


class Joined(Struct, frozen=True):
    """A node was heard of for the first time, or for the first time since it was forgotten."""

    node: bytes


class Died(Struct, frozen=True):
    """The counter of a node stood still for too long."""

    node: bytes


class Returned(Struct, frozen=True):
    """A dead node turned out to live, in the same life."""

    node: bytes


class Restarted(Struct, frozen=True):
    """A node, live or dead before, began another life: everything it published before is void."""

    node: bytes
    incarnation: int


class Left(Struct, frozen=True):
    """A node said that it leaves."""

    node: bytes


class Changed(Struct, frozen=True):
    """A node published new values under these keys; also follows `Joined` and `Restarted`."""

    node: bytes
    keys: tuple[int, ...]


class IncarnationAdopted(Struct, frozen=True):
    """Somebody knew more of this node than it ever said, so it began another life, the one named here."""

    incarnation: int


GossipEvent = Joined | Died | Returned | Restarted | Left | Changed | IncarnationAdopted
