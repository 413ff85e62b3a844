"""The peers with a session: which keys each one has, where it is, and when it last answered."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from shivya_daemon.core.secure.credentials import Introduction
from shivya_daemon.core.secure.indices import Indices
from shivya_daemon.core.secure.session import Session
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.core.settings import Address


class Proven(Struct, frozen=True):
    """What a finished handshake says: a session, who is at its other end, and where."""

    session: Session
    introduction: Introduction
    static: bytes
    address: Address
    rtt: float | None


class Peer(Struct):
    """One peer: frames go out under `current`, and come in under `previous` too while that lasts."""

    node: bytes
    static: bytes
    incarnation: int
    address: Address
    current: Session
    heard_at: float
    previous: Session | None = None
    unanswered_since: float | None = None
    """When the first frame was sent after the last one that came."""
    moved: bool = False
    renewed_at: Address | None = None
    """Where the handshake for its next session is under way."""

    def settle(self, session: Session, own: bytes, crossing: float) -> None:
        """Send under the previous session from now on if both nodes would agree on that.

        Where both began a handshake at once, each holds two sessions. A frame under the one begun by the
        lower id shows that the other side holds that one too.
        """
        ours_counts = own < self.node
        if (
            session is self.previous
            and session.initiated == ours_counts
            and self.current.initiated != ours_counts
            and abs(self.current.born - session.born) < crossing
        ):
            self.previous, self.current = self.current, session


class Peers:
    """Peers by id, at most `max_sessions`; the one unused for longest makes room."""

    def __init__(self, indices: Indices[object], settings: SecureSettings) -> None:
        self._indices = indices
        self._settings = settings
        self._peers: OrderedDict[bytes, Peer] = OrderedDict()
        self._sessions: dict[int, Session] = {}  # in the order of their ages, give or take a handshake

    def get(self, node: bytes) -> Peer | None:
        """Return a peer by id."""
        return self._peers.get(node)

    def use(self, node: bytes) -> None:
        """Note that a peer was spoken with."""
        self._peers.move_to_end(node)

    def adopt(self, proven: Proven, now: float) -> tuple[bool, Peer | None]:
        """Take a session that both sides hold; returns whether its peer, or this life of it, is new.

        The second value is the peer that made room.
        """
        session, incarnation = proven.session, proven.introduction.incarnation
        node = session.node
        peer = self._peers.get(node)
        if peer is not None and peer.incarnation != incarnation:
            self.remove(node)
            peer = None
        evicted = None
        new = peer is None
        if peer is None:
            if len(self._peers) >= self._settings.max_sessions:
                evicted = self.remove(next(iter(self._peers)))
            peer = Peer(node, proven.static, incarnation, proven.address, session, now)
            self._peers[node] = peer
        else:
            if peer.previous is not None:
                self._forget(peer.previous)
            peer.previous, peer.current = peer.current, session
            peer.moved = peer.moved or peer.address != proven.address
            peer.static, peer.address, peer.heard_at = proven.static, proven.address, now
            peer.unanswered_since = None
            self.use(node)
        self._sessions[session.index] = session
        self._indices.put(session.index, session)
        return new, evicted

    def remove(self, node: bytes) -> Peer:
        """Forget a peer and its keys."""
        peer = self._peers.pop(node)
        self._forget(peer.current)
        if peer.previous is not None:
            self._forget(peer.previous)
        return peer

    def drop(self, session: Session) -> Peer | None:
        """Forget one session; returns its peer if that has no other now."""
        peer = self._peers[session.node]
        if peer.previous is None:
            return self.remove(peer.node)
        if session is peer.current:
            peer.current = peer.previous
        peer.previous = None
        self._forget(session)
        return None

    def expire(self, now: float) -> list[Peer]:
        """Forget keys that are too old, and return the peers that have no others."""
        gone: list[Peer] = []
        # By the sum that `next_deadline` gives: rounding may keep the difference below for ever.
        while (oldest := self._oldest()) is not None and now >= oldest.born + self._settings.refuse_after:
            peer = self.drop(oldest)
            if peer is not None:
                gone.append(peer)
        return gone

    def next_deadline(self) -> float | None:
        """Return when the next keys become too old."""
        oldest = self._oldest()
        return None if oldest is None else oldest.born + self._settings.refuse_after

    @property
    def ids(self) -> frozenset[bytes]:
        """Ids of the peers."""
        return frozenset(self._peers)

    def __len__(self) -> int:
        return len(self._peers)

    def _oldest(self) -> Session | None:
        return next(iter(self._sessions.values()), None)

    def _forget(self, session: Session) -> None:
        del self._sessions[session.index]
        self._indices.free(session.index)
