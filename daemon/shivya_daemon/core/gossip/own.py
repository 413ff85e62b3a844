"""The own state: what this node publishes, under which incarnation, and as which version."""

from __future__ import annotations

from shivya_daemon.core.errors import EncodeError
from shivya_daemon.core.gossip.announcement import Profile, announce, encode_payload
from shivya_daemon.core.gossip.frames import MAX_KEYS, MAX_VALUE_BYTES, NodeDelta
from shivya_daemon.core.gossip.settings import GossipSettings
from shivya_daemon.core.gossip.state import MAX_STATE_BYTES, Key, NodeState, leaving
from shivya_daemon.core.identity import SIGNATURE_BYTES, Identity

MAX_INCARNATION = 1 << 63
"""A claim from here on would leave no room to go beyond it."""
_ADOPTION_PAUSE = 5.0  # seconds between two lives begun because others knew better
_VERSION_BYTES = 64  # what it costs to tell one node of one new version of another, roughly


class Own:
    """Values waiting to be published, and the state in which others find them."""

    def __init__(
        self, identity: Identity, settings: GossipSettings, incarnation: int, profile: Profile
    ) -> None:
        self._identity = identity
        self._settings = settings
        self._profile = profile
        self._pending: dict[int, bytes] = {}
        self._published_at = float("-inf")
        self._adopted_at = float("-inf")
        self.state = self._begin(incarnation)

    def publish(self, key: int, value: bytes) -> None:
        """Have `value` published with the next versions; raises `EncodeError` if there is no room for it."""
        if key in (Key.ANNOUNCEMENT, Key.LEAVING):
            raise EncodeError("announcement and goodbye are signed: use announce() and leave()")
        self._require_room(key, value)
        self._pending[key] = value

    def announce(self, profile: Profile) -> None:
        """Publish another profile; raises `EncodeError`, keeping the old one, if it cannot be encoded."""
        state = self.state
        announcement = announce(self._identity, state.incarnation, state.through + 1, profile)
        raw = encode_payload(announcement)
        self._require_room(Key.ANNOUNCEMENT, raw)
        state.publish(Key.ANNOUNCEMENT, raw)
        state.announcement = announcement
        self._profile = profile

    def flush(self, now: float, fleet: int) -> None:
        """Publish what waits, unless the last time was too lately for a fleet of this size."""
        pause = max(self._settings.publish_interval, fleet * _VERSION_BYTES / (0.5 * self._settings.budget))
        if not self._pending or now - self._published_at < pause:
            return
        self._published_at = now
        for key, value in self._pending.items():
            if self.state.value(key) != value:
                self.state.publish(key, value)
        self._pending.clear()

    def adopt(self, incarnation: int, now: float) -> bool:
        """Begin the life `incarnation` with all values; False if that is not possible or was done lately."""
        if now - self._adopted_at < _ADOPTION_PAUSE or not self.state.incarnation < incarnation:
            return False
        if incarnation > MAX_INCARNATION:
            return False
        self._adopted_at = now
        former = self.state
        self.state = self._begin(incarnation)
        for key, (_, value) in former.values.items():
            if key != Key.ANNOUNCEMENT:
                self.state.publish(key, value)
        return True

    def leave(self) -> NodeDelta:
        """Publish LEAVING; returns it alone, for anybody, whatever else they know."""
        value = leaving(self._identity, self.state.incarnation)
        self.state.publish(Key.LEAVING, value)
        item = (int(Key.LEAVING), self.state.through, value)
        return NodeDelta(self.state.id, self.state.incarnation, self.state.heartbeat, 0, 0, (item,))

    def _require_room(self, key: int, value: bytes) -> None:
        """Raise `EncodeError` unless `value` fits beside all others, those that wait and LEAVING included."""
        sizes = {known: len(raw) for known, (_, raw) in self.state.values.items()}
        sizes |= {known: len(raw) for known, raw in self._pending.items()}
        sizes |= {Key.LEAVING: SIGNATURE_BYTES, key: len(value)}
        fits = len(value) <= MAX_VALUE_BYTES and sum(sizes.values()) <= MAX_STATE_BYTES
        if not 0 <= key <= 0xFF or len(sizes) > MAX_KEYS or not fits:
            raise EncodeError(
                f"a value has at most {MAX_VALUE_BYTES} bytes, a node at most {MAX_STATE_BYTES} "
                f"in {MAX_KEYS - 1} keys from 0 to 255"
            )

    def _begin(self, incarnation: int) -> NodeState:
        announcement = announce(self._identity, incarnation, 1, self._profile)
        state = NodeState(self._identity.node_id, incarnation, announcement)
        state.publish(Key.ANNOUNCEMENT, encode_payload(announcement))
        return state
