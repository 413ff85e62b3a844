"""Nodes that have nothing but sessions, on a wire with a clock, latency, loss and whoever listens in."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.core.secure.events import Established, Event, Opened
from shivya_daemon.core.secure.sessions import Sessions
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.core.settings import Address

LATENCY = 0.01
MESH_KEY = bytes(range(32))


class Party:
    """One node of the wire."""

    def __init__(self, wire: Wire, number: int, settings: SecureSettings, options: dict[str, Any]) -> None:
        self.wire = wire
        self.address: Address = (f"10.0.{number // 250}.{number % 250 + 1}", 7000)
        self.identity = options.pop("identity", None) or Identity.generate(wire.random.randbytes)
        options = {"mesh_key": MESH_KEY, "incarnation": 1, **options}
        self.sessions = Sessions(self.identity, settings, wire.random.randbytes, **options)
        self.events: list[Event] = []
        self.opened: list[Opened] = []
        self.drops: Counter[str] = Counter()

    @property
    def id(self) -> bytes:
        return self.identity.node_id

    def connect(self, other: Party, *, known: bool = False) -> bool:
        """Dial another party: by its address alone, or knowing who it is and its static key."""
        node, static = (other.id, other.identity.static_public) if known else (None, None)
        done = self.sessions.connect(other.address, self.wire.now, node=node, static=static)
        self.wire.collect(self)
        return done

    def say(self, other: Party, frame: bytes = b"frame", request: int = 7) -> bytes | None:
        """Send a frame through the wire; None without a session."""
        sealed = self.sessions.seal(other.id, request, frame, self.wire.now)
        if sealed is None:
            return None
        self.wire.post(self.address, sealed[1], sealed[0])
        self.wire.collect(self)
        return sealed[0]

    def hear(self, data: bytes, source: Address) -> Opened | str | None:
        result = self.sessions.receive(data, source, self.wire.now)
        if isinstance(result, Opened):
            self.opened.append(result)
        elif isinstance(result, str):
            self.drops[result] += 1
        self.wire.collect(self)
        return result

    def established(self) -> list[Established]:
        return [event for event in self.events if isinstance(event, Established)]


class Wire:
    """Carries datagrams after `LATENCY`, unless `lose` says otherwise; `sent` keeps all that was posted."""

    def __init__(self) -> None:
        self.random = random.Random(11)
        self.now = 1000.0
        self.parties: dict[Address, Party] = {}
        self.sent: list[tuple[Address, Address, bytes]] = []
        self.lose: Callable[[Address, Address, bytes], bool] = lambda source, to, data: False
        self._flying: list[tuple[float, int, Address, Address, bytes]] = []

    def add(self, settings: SecureSettings | None = None, **options: Any) -> Party:
        party = Party(self, len(self.parties), settings or SecureSettings(), options)
        self.parties[party.address] = party
        return party

    def replace(self, old: Party, **options: Any) -> Party:
        """Put a new life of the same identity, or another identity, at an address."""
        party = Party(self, 0, SecureSettings(), {"identity": old.identity, **options})
        party.address = old.address
        self.parties[old.address] = party
        return party

    def move(self, party: Party, address: Address) -> None:
        del self.parties[party.address]
        party.address = address
        self.parties[address] = party

    def post(self, source: Address, to: Address, data: bytes) -> None:
        self.sent.append((source, to, data))
        if not self.lose(source, to, data):
            heapq.heappush(self._flying, (self.now + LATENCY, len(self.sent), source, to, data))

    def collect(self, party: Party) -> None:
        for data, to in party.sessions.datagrams():
            self.post(party.address, to, data)
        party.events += party.sessions.events()

    def run(self, seconds: float) -> None:
        """Let time pass: deliver what flies, call every timer when it is due."""
        end = self.now + seconds
        for _ in range(200_000):
            due = [d for p in self.parties.values() if (d := p.sessions.next_deadline()) is not None]
            due += [self._flying[0][0]] if self._flying else []
            if not due or min(due) > end:
                break
            self.now = max(self.now, min(due))
            while self._flying and self._flying[0][0] <= self.now:
                _, _, source, to, data = heapq.heappop(self._flying)
                if to in self.parties:
                    self.parties[to].hear(data, source)
            for party in self.parties.values():
                deadline = party.sessions.next_deadline()
                if deadline is not None and deadline <= self.now:
                    party.sessions.handle_timer(self.now)
                    self.collect(party)
        else:
            pytest.fail("the wire never comes to rest")
        self.now = end

    def pair(self, **options: Any) -> tuple[Party, Party]:
        """Two parties with a session, begun by the first."""
        anna, ben = self.add(**options), self.add(**options)
        anna.connect(ben)
        self.run(0.2)
        assert anna.established() and ben.established()
        return anna, ben


@pytest.fixture
def wire() -> Wire:
    return Wire()
