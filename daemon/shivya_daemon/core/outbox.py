"""Everything that leaves a node: datagrams through one gate, events, and the counts of both."""

from __future__ import annotations

from collections import deque

from shivya_daemon.core.counters import Counters
from shivya_daemon.core.events import Event
from shivya_daemon.core.frames import Frame, Payload, encode
from shivya_daemon.core.settings import Address, NodeSettings

_MAX_BLOCKED = 1024


class Gate:
    """The addresses that a node neither hears nor speaks to."""

    def __init__(self) -> None:
        self._blocked: set[Address] = set()

    def block(self, address: Address) -> None:
        """Close the gate for `address`; raises `ValueError` when too many are blocked."""
        if len(self._blocked) >= _MAX_BLOCKED and address not in self._blocked:
            raise ValueError(f"at most {_MAX_BLOCKED} addresses can be blocked; unblock some first")
        self._blocked.add(address)

    def unblock(self, address: Address) -> None:
        """Open the gate again."""
        self._blocked.discard(address)

    def closed(self, address: Address) -> bool:
        """Return whether `address` is blocked."""
        return address in self._blocked


class Outbox:
    """Bounded queues of datagrams and events, waiting for the driver to drain them."""

    def __init__(self, own: bytes, settings: NodeSettings, gate: Gate) -> None:
        self._own = own
        self._settings = settings
        self._gate = gate
        self._datagrams: deque[tuple[bytes, Address]] = deque()
        self._events: deque[Event] = deque()
        self.counters = Counters()

    def encode(self, payload: Payload) -> bytes:
        """Return the datagram that says `payload` in the name of this node."""
        return encode(Frame(self._own, payload))

    def send(self, payload: Payload, address: Address) -> None:
        """Encode and queue one datagram."""
        self.queue(self.encode(payload), address)

    def queue(self, data: bytes, address: Address, *, urgent: bool = False) -> None:
        """Queue one encoded datagram, unless its address is blocked; an urgent one goes in front."""
        if self._gate.closed(address):
            self.counters.drop("blocked_send")
        elif len(self._datagrams) >= self._settings.max_datagrams:
            self.counters.drop("send_queue_full")
        else:
            self.counters.datagrams_sent += 1
            self.counters.bytes_sent += len(data)
            if urgent:
                self._datagrams.appendleft((data, address))
            else:
                self._datagrams.append((data, address))

    def emit(self, event: Event) -> None:
        """Queue one event; the oldest makes room."""
        if len(self._events) >= self._settings.max_events:
            self._events.popleft()
            self.counters.drop("events_full")
        self._events.append(event)

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Return the queued datagrams, and forget them."""
        result = list(self._datagrams)
        self._datagrams.clear()
        return result

    def events(self) -> list[Event]:
        """Return the queued events, and forget them."""
        result = list(self._events)
        self._events.clear()
        return result
