"""Taking what others say of others: proof first, then order, then bounds."""

from __future__ import annotations

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.gossip.announcement import Announcement, Announcements
from shivya_daemon.core.gossip.frames import NodeDelta
from shivya_daemon.core.gossip.members import Members
from shivya_daemon.core.gossip.settings import GossipSettings
from shivya_daemon.core.gossip.state import Key, NodeState, Status, is_leaving
from shivya_daemon.core.limits import KeyedLimit

_RELAYS = 512  # whose rate of signatures is remembered


class Merger:
    """Merges deltas into the members; a life begins with an announcement that its own key signed."""

    def __init__(
        self,
        settings: GossipSettings,
        members: Members,
        announcements: Announcements,
    ) -> None:
        self._members = members
        self._announcements = announcements
        self._checks = KeyedLimit(settings.verify_rate, 4 * settings.verify_rate, _RELAYS)

    def take(self, delta: NodeDelta, relay: bytes, now: float) -> str | None:
        """Merge what `relay` says of one other node; returns why it is refused, or None."""
        state = self._members.table.get(delta.node)
        if state is None or delta.incarnation > state.incarnation:
            proof = self.proof(delta, relay, now)
            if isinstance(proof, str):
                return proof
            # A node that speaks for itself is alive, wherever its counter stood when it was forgotten.
            beyond = self._members.tombstones.beyond(delta.node) if relay == delta.node else 0
            heartbeat = max(delta.heartbeat, beyond)
            installed = self._members.install(delta.node, proof, heartbeat, now)
            if isinstance(installed, str):
                return installed
            state = installed
        elif delta.incarnation < state.incarnation:
            self._members.tombstones.ignore(delta.node, delta.incarnation)
            return "stale_incarnation"
        elif state.status is Status.LEFT:
            return "stale_state"
        elif delta.base > state.through:
            return "version_gap"
        elif delta.heartbeat > state.heartbeat:
            self._members.advanced(state, delta.heartbeat, now)
        return self._write(state, delta, relay, now)

    def proof(self, delta: NodeDelta, relay: bytes, now: float) -> Announcement | str:
        """Return the announcement in a delta, checked to be of that life of that node; else why it is not."""
        for key, version, raw in delta.items:
            if key == Key.ANNOUNCEMENT:
                return self._check(delta.node, delta.incarnation, version, raw, relay, now)
        return "unannounced"

    def _check(
        self, node: bytes, incarnation: int, version: int, raw: bytes, relay: bytes, now: float
    ) -> Announcement | str:
        announcement = self._announcements.known(raw)
        if announcement is None:
            if not self._checks.allow(relay, now):
                return "rate_limited"
            try:
                announcement = self._announcements.check(raw)
            except DecodeError as error:
                return error.reason
        stated = (announcement.node_id, announcement.incarnation, announcement.version)
        return announcement if stated == (node, incarnation, version) else "wrong_announcement"

    def _write(self, state: NodeState, delta: NodeDelta, relay: bytes, now: float) -> str | None:
        """Write the newer ones of the values; `through` moves only if all of them could be taken."""
        changed = []
        reason = None
        for key, version, value in delta.items:
            known = state.values.get(key)
            if known is not None and version <= known[0]:
                continue
            reason = self._refused(state, key, version, value, relay, now)
            if reason is not None:
                break
            state.put(key, version, value)
            changed.append(key)
        else:
            state.through = max(state.through, delta.through)
        if changed:
            self._members.changed(state, tuple(changed))
        if Key.LEAVING in changed:
            # Nothing later can come of this life, and it is by its version that others learn of the goodbye.
            state.through = max(state.through, state.values[Key.LEAVING][0])
            self._members.leave(state, now)
        return reason

    def _refused(
        self, state: NodeState, key: int, version: int, value: bytes, relay: bytes, now: float
    ) -> str | None:
        """Return why a value cannot be taken; a newer announcement takes effect here."""
        if not state.fits(key, value):
            return "state_too_large"
        if key == Key.ANNOUNCEMENT:
            announcement = self._check(state.id, state.incarnation, version, value, relay, now)
            if isinstance(announcement, str):
                return announcement
            state.announcement = announcement
        elif key == Key.LEAVING:
            if not self._checks.allow(relay, now):
                return "rate_limited"
            if not is_leaving(state.announcement, state.id, value):
                return "bad_signature"
        return None
