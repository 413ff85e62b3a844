"""What is known of one life of one node: its heartbeat counter and its versioned values.

Order is by (incarnation, version) alone, both numbers of the node's own: no clock decides what is newer.
"""

from __future__ import annotations

from enum import Enum, IntEnum

from msgspec import Struct, field

from shivya_daemon.core.errors import EncodeError
from shivya_daemon.core.gossip.announcement import Announcement
from shivya_daemon.core.gossip.frames import (
    ITEM_BYTES,
    MAX_KEYS,
    MAX_VALUE_BYTES,
    NODE_BYTES,
    Entry,
    Item,
    NodeDelta,
    fingerprint,
)
from shivya_daemon.core.identity import Identity, verify

MAX_STATE_BYTES = 2048
"""All values of one node together."""

_LEAVING = b"shivya/1 leaving"


class Key(IntEnum):
    """Keys with a meaning here; values of other keys are relayed as they are."""

    ANNOUNCEMENT = 0
    SERVICES = 1
    LINKS = 2
    RESOURCES = 3
    LEDGER_HEAD = 4
    FORM = 5
    LEAVING = 6
    SPIRIT = 7


class Status(Enum):
    """Whether a node takes part."""

    LIVE = "live"
    DEAD = "dead"
    LEFT = "left"


class NodeState(Struct):
    """One life of one node; read it, and leave writing to gossip."""

    id: bytes
    incarnation: int
    announcement: Announcement
    heartbeat: int = 0
    through: int = 0
    """Every value up to this version is known."""
    status: Status = Status.LIVE
    values: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Key to version and value."""
    size: int = 0
    """Bytes of all values."""
    fingerprint: bytes = b""

    def __post_init__(self) -> None:
        self.fingerprint = fingerprint(self.id, self.incarnation)

    @property
    def entry(self) -> Entry:
        """What a digest says of it."""
        return (self.fingerprint, self.heartbeat, self.through)

    def value(self, key: int) -> bytes | None:
        """Return the value of `key`, or None if the node published none."""
        known = self.values.get(key)
        return None if known is None else known[1]

    def fits(self, key: int, value: bytes) -> bool:
        """Return whether `value` may be put under `key`: within every bound on one node's state."""
        known = self.values.get(key)
        if len(value) > MAX_VALUE_BYTES or (known is None and len(self.values) >= MAX_KEYS):
            return False
        return self.size + len(value) - (0 if known is None else len(known[1])) <= MAX_STATE_BYTES

    def put(self, key: int, version: int, value: bytes) -> None:
        """Write a value that `fits`; `through` is the caller's to move."""
        known = self.values.get(key)
        self.size += len(value) - (0 if known is None else len(known[1]))
        self.values[key] = (version, value)

    def publish(self, key: int, value: bytes) -> None:
        """Write a value of the own node as its next version; raises `EncodeError` if it does not fit."""
        if not 0 <= key <= 0xFF or not self.fits(key, value):
            raise EncodeError(
                f"a value has at most {MAX_VALUE_BYTES} bytes, a node at most {MAX_STATE_BYTES} "
                f"in {MAX_KEYS} keys from 0 to 255"
            )
        self.through += 1
        self.put(key, self.through, value)

    def since(self, base: int, room: int) -> NodeDelta | None:
        """Return the values after version `base`, oldest first, that fit `room` bytes; None if none do."""
        items = sorted(
            ((key, version, value) for key, (version, value) in self.values.items() if version > base),
            key=lambda item: item[1],
        )
        taken = _fitting(items, room - NODE_BYTES)
        if not taken:
            return None
        return NodeDelta(self.id, self.incarnation, self.heartbeat, base, taken[-1][1], taken)

    def introduction(self, room: int) -> NodeDelta | None:
        """Return the announcement and, as far as `room` bytes go, the other values; None if it is too small.

        The announcement comes first, whatever its version: without it the receiver believes nothing.
        """
        rest = sorted(
            ((key, version, value) for key, (version, value) in self.values.items() if key),
            key=lambda item: item[1],
        )
        version, raw = self.values[Key.ANNOUNCEMENT]
        first: Item = (int(Key.ANNOUNCEMENT), version, raw)
        room -= NODE_BYTES + ITEM_BYTES + len(raw)
        if room < 0:
            return None
        taken = _fitting(rest, room)
        missing = rest[len(taken) :]
        items = (first, *taken)
        known = [version for _, version, _ in items if not missing or version < missing[0][1]]
        return NodeDelta(self.id, self.incarnation, self.heartbeat, 0, max(known, default=0), items)


def _fitting(items: list[Item], room: int) -> tuple[Item, ...]:
    """Return the longest prefix of `items` that fits."""
    taken = []
    for item in items:
        room -= ITEM_BYTES + len(item[2])
        if room < 0:
            break
        taken.append(item)
    return tuple(taken)


def leaving(identity: Identity, incarnation: int) -> bytes:
    """Return the value of LEAVING: a signature that ends one life of a node for good."""
    return identity.sign(_leaving_message(identity.node_id, incarnation))


def is_leaving(announcement: Announcement, node: bytes, value: bytes) -> bool:
    """Return whether `value` is what the announced node says when it leaves."""
    return verify(announcement.public_key, value, _leaving_message(node, announcement.incarnation))


def _leaving_message(node: bytes, incarnation: int) -> bytes:
    return _LEAVING + node + incarnation.to_bytes(8, "big")
