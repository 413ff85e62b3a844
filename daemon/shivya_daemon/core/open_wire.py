"""The open wire: frames as they are, and a PING that comes back as the proof of an address.

It proves that a node receives at its address, not who it is, so it belongs on a loopback interface or a
trusted network. It is the wire of the reference implementation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.frames import MAGIC, FindNode, FindValue, Frame, Leave, Ping, Pong, decode
from shivya_daemon.core.limits import KeyedLimit, TokenBucket
from shivya_daemon.core.outbox import Outbox
from shivya_daemon.core.probes import Probes
from shivya_daemon.core.settings import Address, NodeSettings
from shivya_daemon.core.wire import Alive, Down, Inbound, Unreached, Up, WireEvent

_PONG = b"\x02"  # limited by what was asked: a flood of others must not keep this node from proving its seeds
_STRANGERS = 512  # addresses whose rate is remembered
_STRANGER_PINGS = 2  # PINGs sent to one, so that with the PONG it never gets more than three times its bytes


class _Proved(Struct):
    address: Address
    last_seen: float
    bucket: TokenBucket


class OpenWire:
    """Frames in clear, one proved address per node and one node per proved address."""

    authentic = False

    def __init__(
        self, own: bytes, settings: NodeSettings, entropy: Callable[[int], bytes], outbox: Outbox
    ) -> None:
        self._own = own
        self._settings = settings
        self._outbox = outbox
        self._probes = Probes(entropy, settings.ping_timeout, settings.max_probes)
        self._proved: dict[bytes, _Proved] = {}
        self._by_address: dict[Address, bytes] = {}
        self._strangers = KeyedLimit(settings.stranger_rate, 2 * settings.stranger_rate, _STRANGERS)
        self._all_strangers = TokenBucket(settings.strangers_rate, 2 * settings.strangers_rate, 0.0)
        self._events: list[WireEvent] = []
        self._ping_at = float("inf")

    def connect(
        self, address: Address, now: float, *, node: bytes | None = None, static: bytes | None = None
    ) -> None:
        """PING `address`; who answers is up there, whoever was meant."""
        self._ping(address, now, self._settings.ping_attempts)

    def probe(self, node: bytes, now: float) -> None:
        """PING the address of a node."""
        known = self._proved.get(node)
        if known is not None:
            self._ping(known.address, now, 1)

    def send(self, node: bytes, frame: bytes, now: float, request: int = 0, *, urgent: bool = False) -> bool:
        """Send a frame as it is; the open wire has no request ids."""
        known = self._proved.get(node)
        if known is None:
            return False
        self._outbox.queue(frame, known.address, urgent=urgent)
        return True

    def answer(self, inbound: Inbound, frame: bytes, now: float) -> None:
        """Send a frame to the address that asked."""
        self._outbox.queue(frame, inbound.address)

    def receive(self, data: bytes, address: Address, now: float) -> Inbound | str | None:
        """Take a datagram; strangers are limited before they are understood."""
        if data[:4] != MAGIC:
            return "bad_magic"
        node = self._by_address.get(address)
        known = None if node is None else self._proved[node]
        if known is not None:
            if not known.bucket.allow(now):
                return "rate_limited"
        elif data[4:5] != _PONG and not self._allow(address, now):
            return "rate_limited"
        try:
            frame = decode(data)
        except DecodeError as error:
            return error.reason
        if frame.sender == self._own:
            return "own_sender"
        proved = known is not None and node == frame.sender
        if isinstance(frame.payload, Pong):
            reason = self._prove(frame.sender, frame.payload.timestamp, address, now)
            if reason != "unsolicited" or not proved:
                return reason
        if isinstance(frame.payload, Ping):
            self._outbox.send(Pong(frame.payload.timestamp), address)
            if not proved:
                self._ping(address, now, _STRANGER_PINGS)
        if not proved or known is None:
            return self._from_stranger(frame, address, len(data), now)
        known.last_seen = now
        if isinstance(frame.payload, Ping):
            return None
        return Inbound(frame.sender, address, frame.payload, len(data), None, True)

    def forget(self, node: bytes) -> None:
        """Take a node down; its address proves nothing any more."""
        known = self._proved.pop(node, None)
        if known is not None:
            del self._by_address[known.address]

    def handle_timer(self, now: float) -> None:
        """Send the PINGs that are due."""
        for address, nonce in self._probes.due(now):
            self._outbox.send(Ping(nonce), address)
        for address in self._probes.given_up():
            self._events.append(Unreached(address, None, "silent"))
        self._ping_at = now + self._settings.housekeeping_interval if len(self._probes) else float("inf")

    def next_deadline(self) -> float | None:
        """Return when PINGs may be due; None while none is outstanding."""
        return self._ping_at if len(self._probes) else None

    def events(self) -> list[WireEvent]:
        """Return what happened since the last call, and forget it."""
        events, self._events = self._events, []
        return events

    def _allow(self, address: Address, now: float) -> bool:
        return self._strangers.allow(address, now) and self._all_strangers.allow(now)

    def _ping(self, address: Address, now: float, attempts: int) -> None:
        if not reachable(address):
            self._outbox.counters.drop("unreachable_address")
        elif self._probes.start(address, attempts, now):
            self._ping_at = min(self._ping_at, now)
        else:
            self._outbox.counters.drop("probes_full")

    def _from_stranger(self, frame: Frame, address: Address, size: int, now: float) -> Inbound | str | None:
        """Take a frame whose sender has not proved itself at its address."""
        match frame.payload:
            case Ping():
                return None
            case FindNode() | FindValue():
                return Inbound(frame.sender, address, frame.payload, size, None, False)
            case Leave():
                return "unverified_sender"
        self._ping(address, now, _STRANGER_PINGS)
        return "unverified_sender"

    def _prove(self, sender: bytes, nonce: int, address: Address, now: float) -> str | None:
        """Take a PONG, the one way in which an address becomes a node's."""
        rtt = self._probes.answered(address, nonce, now)
        if rtt is None:
            return "unsolicited"
        known = self._proved.get(sender)
        moved = known is not None and known.address != address
        # Anybody can claim an id here, so a node that still speaks at its address keeps it.
        if known is not None and moved and now - known.last_seen < self._settings.roam_after:
            return "address_conflict"
        before = self._by_address.get(address)
        if before is not None and before != sender:
            self.forget(before)
            self._events.append(Down(before, "replaced"))
        if known is None and len(self._proved) >= self._settings.max_peers:
            return "peers_full"
        if known is None:
            rate = self._settings.peer_rate
            self._proved[sender] = _Proved(address, now, TokenBucket(rate, 2 * rate, now))
            self._by_address[address] = sender
            self._events.append(Up(sender, address, rtt, None))
            return None
        if moved:
            del self._by_address[known.address]
            known.address = address
            self._by_address[address] = sender
        known.last_seen = now
        self._events.append(Alive(sender, address, rtt))
        return None


def reachable(address: Address) -> bool:
    """Return whether a node could have this address."""
    try:
        host = ipaddress.ip_address(address[0])
    except ValueError:
        return False
    zoned = "%" in address[0]  # a zone means nothing on another host, so others could not be told of it
    return 0 < address[1] < 65536 and not (zoned or host.is_multicast or host.is_unspecified)
