"""The secure wire: frames sealed in Noise sessions, so that senders are who they say, where they say."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.frames import Frame, Ping, Pong, decode, encode
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.limits import KeyedLimit
from shivya_daemon.core.outbox import Outbox
from shivya_daemon.core.secure.events import Closed, Established, Failed
from shivya_daemon.core.secure.sessions import Sessions
from shivya_daemon.core.settings import Address, NodeSettings
from shivya_daemon.core.wire import Alive, Down, Inbound, Rejected, Unreached, Up, WireEvent


class _Probe(Struct):
    nonce: int
    sent_at: float


class SecureWire:
    """Adapts `Sessions` to what a node expects of a wire."""

    authentic = True

    def __init__(
        self,
        identity: Identity,
        settings: NodeSettings,
        entropy: Callable[[int], bytes],
        outbox: Outbox,
        incarnation: int,
        mesh_key: bytes | None,
        allow: frozenset[bytes] | None,
    ) -> None:
        self._own = identity.node_id
        self._entropy = entropy
        self._outbox = outbox
        self._sessions = Sessions(identity, settings.secure, entropy, incarnation, mesh_key, allow)
        self._sessions.counters = outbox.counters
        rate, limit = settings.peer_rate, settings.secure.max_sessions
        self._rates = KeyedLimit(rate, 2 * rate, limit)
        self._probes: dict[bytes, _Probe] = {}
        self._events: list[WireEvent] = []

    def adopt(self, incarnation: int) -> None:
        """Announce a later life in handshakes from now on."""
        self._sessions.incarnation = incarnation

    def connect(
        self, address: Address, now: float, *, node: bytes | None = None, static: bytes | None = None
    ) -> None:
        """Begin a handshake with whoever is at `address`."""
        if not self._sessions.connect(address, now, node=node, static=static):
            self._outbox.counters.drop("handshakes_full")
            self._events.append(Unreached(address, node, "busy"))
        self._flush()

    def probe(self, node: bytes, now: float) -> None:
        """Send a sealed PING."""
        probe = self._probes[node] = _Probe(int.from_bytes(self._entropy(8), "big"), now)
        if not self.send(node, encode(Frame(self._own, Ping(probe.nonce))), now):
            del self._probes[node]

    def send(self, node: bytes, frame: bytes, now: float, request: int = 0, *, urgent: bool = False) -> bool:
        """Seal a frame and send it to where the node was heard last."""
        sealed = self._sessions.seal(node, request, frame, now)
        if sealed is None:
            return False
        self._outbox.queue(*sealed, urgent=urgent)
        self._flush()
        return True

    def answer(self, inbound: Inbound, frame: bytes, now: float) -> None:
        """Send a frame under the id of the request that it answers."""
        self.send(inbound.sender, frame, now, inbound.request or 0)

    def receive(self, data: bytes, address: Address, now: float) -> Inbound | Rejected | str | None:
        """Open a datagram."""
        opened = self._sessions.receive(data, address, now)
        self._flush()
        if opened is None or isinstance(opened, str):
            return opened
        if not self._rates.allow(opened.node, now):
            return "rate_limited"
        try:
            frame = decode(opened.frame)
        except DecodeError as error:
            return Rejected(opened.node, error.reason)
        if frame.sender != opened.node:
            return Rejected(opened.node, "forged_sender")
        if opened.moved:
            self._events.append(Alive(opened.node, opened.address, None))
        inbound = Inbound(opened.node, opened.address, frame.payload, len(data), opened.request or None, True)
        if isinstance(frame.payload, Ping):
            self.answer(inbound, encode(Frame(self._own, Pong(frame.payload.timestamp))), now)
            self._events.append(Alive(opened.node, opened.address, None))
            return None
        if isinstance(frame.payload, Pong) and opened.node in self._probes:
            probe = self._probes[opened.node]
            if probe.nonce == frame.payload.timestamp:
                del self._probes[opened.node]
                self._events.append(Alive(opened.node, opened.address, max(0.0, now - probe.sent_at)))
                return None
        return inbound

    def forget(self, node: bytes) -> None:
        """Forget the session of a node."""
        self._probes.pop(node, None)
        self._sessions.close(node)
        self._collect()

    def handle_timer(self, now: float) -> None:
        """Retransmit handshakes, renew and expire sessions."""
        self._sessions.handle_timer(now)
        self._flush()

    def next_deadline(self) -> float | None:
        """Return when a handshake or session wants attention."""
        return self._sessions.next_deadline()

    def events(self) -> list[WireEvent]:
        """Return what happened since the last call, and forget it."""
        self._collect()
        events, self._events = self._events, []
        return events

    def _flush(self) -> None:
        for data, address in self._sessions.datagrams():
            self._outbox.queue(data, address)

    def _collect(self) -> None:
        for event in self._sessions.events():
            match event:
                case Established(node, address, incarnation=incarnation, rtt=rtt):
                    self._events.append(Up(node, address, rtt, incarnation))
                case Failed(address, node, reason):
                    self._events.append(Unreached(address, node, reason))
                case Closed(node, reason):
                    self._probes.pop(node, None)
                    self._events.append(Down(node, reason))
