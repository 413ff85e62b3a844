"""All sessions of a node: datagrams in, frames out, and who can be spoken with.

A sans-IO machine: time and entropy are handed in, datagrams and events drained. Nothing that arrives raises;
what is dropped is named by one of a fixed set of words (docs/protocol.md). The session a peer has, the one
before and the next are kept as in WireGuard (Donenfeld, NDSS 2017, 6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shivya_daemon.core.counters import Counters
from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.limits import KeyedLimit
from shivya_daemon.core.secure.admission import Admission
from shivya_daemon.core.secure.answering import Answerer, Waiting
from shivya_daemon.core.secure.credentials import Credentials
from shivya_daemon.core.secure.dialing import Dial, Dialer
from shivya_daemon.core.secure.events import Closed, Established, Event, Failed, Opened
from shivya_daemon.core.secure.handshake import KEY_BYTES, HandshakeError
from shivya_daemon.core.secure.indices import Indices
from shivya_daemon.core.secure.messages import (
    COOKIE,
    IK_INITIATION,
    RESPONSE,
    TRANSPORT,
    XX_INITIATION,
    Message,
    decode,
)
from shivya_daemon.core.secure.peers import Peer, Peers, Proven
from shivya_daemon.core.secure.session import ASKED, HEARD, Opening, Session
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.core.secure.stamps import Stamps
from shivya_daemon.core.settings import Address


class Sessions:
    """Sessions by node id.

    `mesh_key` is 32 bytes that the whole mesh shares, or None for a mesh open to all; `allow` names the ids
    that may have a session, or is None for all. Raises `ValueError` for a mesh key of another length.
    """

    def __init__(
        self,
        identity: Identity,
        settings: SecureSettings,
        entropy: Callable[[int], bytes],
        incarnation: int,
        mesh_key: bytes | None = None,
        allow: frozenset[bytes] | None = None,
    ) -> None:
        self.counters = Counters()
        """Drops that `receive` cannot name: its own queues that were full."""
        self._own = identity.node_id
        self._settings = settings
        self._credentials = Credentials(identity, entropy, incarnation, mesh_key, allow)
        self._stamps = Stamps(self._credentials.mesh_key)
        self._admission = Admission(self._stamps, entropy, settings)
        self._indices: Indices[object] = Indices(entropy)
        self._dialer = Dialer(self._credentials, self._stamps, self._indices, entropy, settings, self._send)
        self._answerer = Answerer(self._credentials, self._indices, settings)
        self._peers = Peers(self._indices, settings)
        rate = settings.failure_rate
        self._failures = KeyedLimit(rate, 2 * rate, settings.max_failing)
        self._owed: dict[bytes, float] = {}  # peers that wait for an answer, and when to give an empty one
        self._datagrams: deque[tuple[bytes, Address]] = deque()
        self._events: deque[Event] = deque()

    @property
    def incarnation(self) -> int:
        """The life of this node that handshakes announce; a node that hears of a later one sets it."""
        return self._credentials.incarnation

    @incarnation.setter
    def incarnation(self, value: int) -> None:
        self._credentials.incarnation = value

    # What the host asks for

    def connect(
        self, address: Address, now: float, *, node: bytes | None = None, static: bytes | None = None
    ) -> bool:
        """Begin a handshake with whoever is at `address`; False if too many are under way.

        `node` is who must answer there; with `static`, its X25519 key, the handshake takes one round trip.
        """
        if node == self._own or (static is not None and len(static) != KEY_BYTES):
            self._emit(Failed(address, node, "own_identity" if node == self._own else "bad_identity"))
            return True
        return self._dialer.dial(address, node, static, now, renewal=False)

    def seal(self, node: bytes, request: int, frame: bytes, now: float) -> tuple[bytes, Address] | None:
        """Return the datagram that carries `frame` to a peer, and its address; None without a session.

        `request` has 64 bits. Sending renews the session where it is old, or where nothing was heard since
        long before: the peer may have lost its keys.
        """
        peer = self._peers.get(node)
        if peer is None or not peer.current.usable(now):
            return None
        data = peer.current.seal(request, frame)
        self._peers.use(node)
        self._owed.pop(node, None)
        if peer.unanswered_since is None:
            peer.unanswered_since = now
        # A session that is not heard yet is being confirmed: that decides about it, not another handshake.
        stale = peer.current.heard and now - peer.unanswered_since >= self._settings.stale_after
        if peer.renewed_at is None and (stale or peer.current.tired(now)):
            peer.renewed_at = peer.address
            self._dialer.dial(peer.address, node, peer.static, now, renewal=True)
        return data, peer.address

    def close(self, node: bytes) -> None:
        """Forget a peer and its keys; the peer is not told. A `connect` under way goes on."""
        peer = self._peers.get(node)
        if peer is not None:
            self._peers.remove(node)
            if peer.renewed_at is not None:
                self._dialer.cancel_renewal(peer.renewed_at, node)
            self._closed(node, "closed")

    def address(self, node: bytes) -> Address | None:
        """Return where a peer was heard last."""
        peer = self._peers.get(node)
        return None if peer is None else peer.address

    @property
    def ids(self) -> frozenset[bytes]:
        """Ids of the peers that have a session."""
        return self._peers.ids

    def __contains__(self, node: bytes) -> bool:
        return self._peers.get(node) is not None

    def __len__(self) -> int:
        return len(self._peers)

    # The five verbs

    def receive(self, data: bytes, address: Address, now: float) -> Opened | str | None:
        """Take one datagram: a frame, None if it was for the sessions themselves, or why it is dropped."""
        if data and data[0] == TRANSPORT:
            return self._open(data, address, now)
        try:
            message = decode(data)
            if message.kind == COOKIE:
                return self._cookie(message, now)
            reason = self._admission.refuse(message.kind, data, address, self._answerer.crowded, now)
            if reason == "cookie_required":
                self._send(self._admission.cookie(message, data, address, now), address)
            return self._handshake(message, address, now) if reason is None else reason
        except (DecodeError, HandshakeError) as error:
            return error.reason

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`; harmless when called early or late."""
        failed, unconfirmed = self._dialer.handle_timer(now)
        for dial in failed:
            self._fail(dial, "unanswered", now)
        for session in unconfirmed:
            self._give_up(session)
        self._answerer.handle_timer(now)
        for peer in self._peers.expire(now):
            self._closed(peer.node, "expired")
        while self._owed and (first := next(iter(self._owed.items())))[1] <= now:
            del self._owed[first[0]]
            peer_owed = self._peers.get(first[0])
            if peer_owed is not None:
                self._show(peer_owed, peer_owed.current, now)

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` wants to be called next; None while there is nothing to wait for."""
        deadlines = (
            self._dialer.next_deadline(),
            self._answerer.next_deadline(),
            self._peers.next_deadline(),
            next(iter(self._owed.values()), None),
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Return the handshake messages and empty frames to send, and forget them."""
        result = list(self._datagrams)
        self._datagrams.clear()
        return result

    def events(self) -> list[Event]:
        """Return what happened since the last call, and forget it."""
        result = list(self._events)
        self._events.clear()
        return result

    # Transport frames

    def _open(self, data: bytes, address: Address, now: float) -> Opened | str | None:
        owner = self._indices.get(int.from_bytes(data[1:5], "big"))
        known = self._peers.get(owner.node) if isinstance(owner, Session) else None
        # Anybody can write a peer's address on a datagram: at its own, a peer is always heard.
        if known is not None and known.address == address:
            return self._unseal(owner, data, address, now)
        if self._failures.spent(address, now):
            return "rate_limited"
        opened = self._unseal(owner, data, address, now)
        if isinstance(opened, str):
            self._failures.allow(address, now)
        return opened

    def _unseal(self, owner: object, data: bytes, address: Address, now: float) -> Opened | str | None:
        if isinstance(owner, Session):
            opening = owner.open(data, now)
            if isinstance(opening, str):
                return opening
            peer = self._peers.get(owner.node)
            if peer is None:
                return "unknown_session"
            return self._hear(peer, owner, opening, address, now)
        if isinstance(owner, Waiting):
            confirmed = self._answerer.confirm(owner, data, address, now)
            if isinstance(confirmed, str):
                return confirmed
            proven, opening = confirmed
            peer = self._adopt(proven, now)
            if opening.frame:  # it overtook the empty frame that asks
                self._show(peer, proven.session, now)
            return self._hear(peer, proven.session, opening, address, now)
        return "unknown_session"

    def _hear(
        self, peer: Peer, session: Session, opening: Opening, address: Address, now: float
    ) -> Opened | None:
        """Take an authentic frame of a peer: it is alive, and may have moved."""
        if session.initiated:
            self._dialer.heard(session)
        peer.heard_at = now
        peer.unanswered_since = None
        peer.settle(session, self._own, self._settings.crossing)
        if opening.newest and session is peer.current and address != peer.address:
            peer.address, peer.moved = address, True
        self._peers.use(peer.node)
        if not opening.frame:
            if opening.request == ASKED:
                self._show(peer, session, now)
            return None
        self._owed.setdefault(peer.node, now + self._settings.answer_after)
        moved, peer.moved = peer.moved, False
        return Opened(peer.node, peer.address, opening.request, opening.frame, moved)

    def _show(self, peer: Peer, session: Session, now: float) -> None:
        """Send an empty frame, which shows that this side hears."""
        if session.usable(now):
            self._send(session.seal(HEARD, b""), peer.address)

    # Handshakes

    def _handshake(self, message: Message, address: Address, now: float) -> str | None:
        if message.kind in (IK_INITIATION, XX_INITIATION):
            response = self._answerer.initiation(message, now)
            self._send(self._stamps.stamp(response, None), address)
            return None
        owner = self._indices.get(message.receiver)
        if message.kind == RESPONSE:
            return self._response(owner, message, now) if isinstance(owner, Dial) else "unsolicited"
        if isinstance(owner, Waiting):
            self._answerer.final(owner, message, now)
        elif not isinstance(owner, Session):
            return "unknown_session"
        return None

    def _response(self, dial: Dial, message: Message, now: float) -> str | None:
        try:
            proven = self._dialer.answer(dial, message, now)
        except HandshakeError as error:
            if error.reason != "bad_handshake":
                self._dialer.forget(dial)
                self._fail(dial, error.reason, now)
            raise
        self._adopt(proven, now)
        return None

    def _cookie(self, message: Message, now: float) -> str | None:
        dial = self._indices.get(message.receiver)
        if not isinstance(dial, Dial):
            return "unsolicited"
        return None if self._dialer.cookie(dial, message, now) else "bad_cookie"

    def _adopt(self, proven: Proven, now: float) -> Peer:
        node, introduction = proven.session.node, proven.introduction
        new, evicted = self._peers.adopt(proven, now)
        if evicted is not None:
            self._closed(evicted.node, "evicted")
        peer = self._peers.get(node)
        assert peer is not None  # adopted just now
        peer.renewed_at = None
        if new:
            self._emit(
                Established(
                    node,
                    proven.address,
                    introduction.public_key,
                    proven.static,
                    introduction.incarnation,
                    proven.session.initiated,
                    proven.rtt,
                )
            )
        return peer

    def _fail(self, dial: Dial, reason: str, now: float) -> None:
        """Report a handshake that failed; a peer is closed unless it was heard in the meantime."""
        if dial.asked:
            self._emit(Failed(dial.address, dial.node, reason))
        peer = self._peers.get(dial.node) if dial.renewal and dial.node is not None else None
        if peer is not None:
            peer.renewed_at = None
            if peer.heard_at < dial.begun_at:
                self._peers.remove(peer.node)
                self._closed(peer.node, reason)

    def _give_up(self, session: Session) -> None:
        """Forget a session whose responder never spoke under it, and its peer unless an earlier one lives."""
        peer = self._peers.get(session.node)
        if peer is None:
            return
        earlier = peer.previous if session is peer.current else None
        gone = self._peers.drop(session)
        if gone is None and earlier is not None and peer.heard_at <= session.born:
            gone = self._peers.remove(peer.node)
        if gone is not None:
            self._closed(gone.node, "unconfirmed")

    # What leaves

    def _closed(self, node: bytes, reason: str) -> None:
        self._owed.pop(node, None)
        self._emit(Closed(node, reason))

    def _send(self, data: bytes, address: Address) -> None:
        if len(self._datagrams) >= self._settings.max_datagrams:
            self.counters.drop("send_queue_full")
        else:
            self._datagrams.append((data, address))

    def _emit(self, event: Event) -> None:
        if len(self._events) >= self._settings.max_events:
            self._events.popleft()
            self.counters.drop("events_full")
        self._events.append(event)
