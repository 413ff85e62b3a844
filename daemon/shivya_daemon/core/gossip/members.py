"""The life of members: they join, fall silent, return, restart, leave, and are forgotten.

Who is live is kept up to date as things happen; nothing here walks over all members.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Set

from shivya_daemon.core.gossip.announcement import Announcement
from shivya_daemon.core.gossip.contacts import DeadContacts
from shivya_daemon.core.gossip.detector import Detector
from shivya_daemon.core.gossip.events import (
    Changed,
    Died,
    GossipEvent,
    Joined,
    Left,
    Restarted,
    Returned,
)
from shivya_daemon.core.gossip.settings import GossipSettings
from shivya_daemon.core.gossip.state import NodeState, Status
from shivya_daemon.core.gossip.table import Table
from shivya_daemon.core.gossip.tombstones import FINAL, Tombstones


class Members:
    """All other nodes that are known, with the events of their lives."""

    def __init__(self, settings: GossipSettings, drop: Callable[[str], None]) -> None:
        self._settings = settings
        self._drop = drop
        self.table = Table(settings.max_nodes)
        self.detector = Detector(settings)
        self.tombstones = Tombstones(settings.tombstone_lifetime, 2 * settings.max_nodes)
        self.contacts = DeadContacts(settings)
        self._live: dict[bytes, NodeState] = {}
        self._gone: OrderedDict[bytes, float] = OrderedDict()
        """When each dead or departed node went, the first at the front."""
        self._events: deque[GossipEvent] = deque()

    @property
    def live(self) -> Set[bytes]:
        """Ids of the live nodes: a view that stays current."""
        return self._live.keys()

    def install(self, node: bytes, announcement: Announcement, heartbeat: int, now: float) -> NodeState | str:
        """Begin the life that `announcement` proves; returns its empty state, or why it is refused."""
        if self.tombstones.outlived(node, announcement.incarnation, heartbeat):
            return "stale_state"
        former = self.table.get(node)
        if former is None and len(self.table) >= self._settings.max_nodes and not self._evict(now):
            return "members_full"
        if former is not None:
            self._remove(former)
            self.tombstones.ignore(node, former.incarnation)
        state = NodeState(node, announcement.incarnation, announcement, heartbeat)
        self.table.add(state)
        self._revive(state, now)
        self.emit(Joined(node) if former is None else Restarted(node, state.incarnation))
        return state

    def advanced(self, state: NodeState, heartbeat: int, now: float) -> None:
        """Take a higher heartbeat counter: a sign of life, worth the same whatever the size of the step."""
        if state.status is Status.LEFT:
            return
        state.heartbeat = heartbeat
        if state.status is Status.DEAD:
            self._return(state, now)
        else:
            self.table.promote(state)
            self.detector.arrived(state.id, now)

    def heard(self, node: bytes, now: float) -> None:
        """Note traffic that came from the node itself."""
        state = self._live.get(node)
        if state is not None:
            self.detector.heard(node, now)
        elif (state := self.table.get(node)) is not None and state.status is Status.DEAD:
            self._return(state, now)

    def leave(self, state: NodeState, now: float) -> None:
        """End a life for good; it is still told of for a while, so that all learn it."""
        if state.status is Status.LEFT:
            return
        self._end(state, Status.LEFT, now)
        self.table.changed(state)
        self.contacts.drop(state.id)
        self.emit(Left(state.id))

    def changed(self, state: NodeState, keys: tuple[int, ...]) -> None:
        """Note new values of a node."""
        if state.status is not Status.DEAD:
            self.table.changed(state)
        self.emit(Changed(state.id, keys))

    def judge(self, now: float) -> None:
        """Declare dead who was silent for too long, and forget who went long ago."""
        for node in self.detector.due(now):
            state = self.table.get(node)
            if state is None or state.status is not Status.LIVE:
                self.detector.unwatch(node)
                continue
            self._end(state, Status.DEAD, now)
            self.table.mute(state)
            self.contacts.add(node, state.announcement.profile.addresses, now)
            self.emit(Died(node))
        while self._gone:
            node, since = next(iter(self._gone.items()))
            if now - since < self._settings.grace:
                break
            self._forget(node, now)

    def last_sign(self, state: NodeState) -> float | None:
        """Return when a live node last gave a sign of life, or a dead one was given up."""
        heard = self.detector.last_heard(state.id)
        return self._gone.get(state.id) if heard is None else heard

    def emit(self, event: GossipEvent) -> None:
        """Queue one event; the oldest makes room."""
        if len(self._events) >= 2 * self._settings.max_nodes:
            self._events.popleft()
            self._drop("events_full")
        self._events.append(event)

    def events(self) -> list[GossipEvent]:
        """Return the queued events, and forget them."""
        result = list(self._events)
        self._events.clear()
        return result

    def _return(self, state: NodeState, now: float) -> None:
        self._revive(state, now)
        self.table.changed(state)
        self.emit(Returned(state.id))

    def _revive(self, state: NodeState, now: float) -> None:
        state.status = Status.LIVE
        self._live[state.id] = state
        self._gone.pop(state.id, None)
        self.detector.watch(state.id, now)
        self.contacts.drop(state.id)

    def _end(self, state: NodeState, status: Status, now: float) -> None:
        state.status = status
        self._live.pop(state.id, None)
        self.detector.unwatch(state.id)
        self._gone[state.id] = now
        self._gone.move_to_end(state.id)

    def _forget(self, node: bytes, now: float) -> None:
        state = self.table.get(node)
        if state is not None:
            self._remove(state)
            heartbeat = FINAL if state.status is Status.LEFT else state.heartbeat
            self.tombstones.bury(node, state.incarnation, heartbeat, now)

    def _remove(self, state: NodeState) -> None:
        self.table.remove(state)
        self._live.pop(state.id, None)
        self._gone.pop(state.id, None)
        self.detector.unwatch(state.id)

    def _evict(self, now: float) -> bool:
        """Forget the node that is gone for longest; False if all are live."""
        if not self._gone:
            return False
        self._forget(next(iter(self._gone)), now)
        return True
