"""A node on a stage: one node, a clock, and peers driven by hand."""

from __future__ import annotations

import random

import pytest

from shivya_daemon.core import frames
from shivya_daemon.core.frames import (
    Frame,
    Payload,
    Ping,
    Pong,
)
from shivya_daemon.core.heartbeat import Heartbeat, NeighbourLoad, ServiceLoad, service_tag
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Address, Node, NodeSettings, PeerView


class Stage:
    """A node, a clock, and hand-driven peers by number."""

    def __init__(self, settings: NodeSettings | None = None) -> None:
        self.random = random.Random(7)
        identity = Identity.generate(self.random.randbytes)
        self.node = Node(identity, settings or NodeSettings(), self.random.randbytes, incarnation=100)
        self.now = 50.0

    @staticmethod
    def id(number: int) -> bytes:
        return bytes((number,)) * 20

    @staticmethod
    def address(number: int) -> Address:
        return (f"10.0.{number // 250}.{number % 250 + 2}", 8085)

    def say(self, number: int, payload: Payload, address: Address | None = None) -> None:
        data = frames.encode(Frame(self.id(number), payload))
        self.node.receive(data, address or self.address(number), self.now)

    def heard(self, number: int) -> list[Payload]:
        """Drain what the node sends; return what goes to one peer."""
        sent = self.node.datagrams()
        return [frames.decode(data).payload for data, to in sent if to == self.address(number)]

    def wait(self, seconds: float) -> None:
        """Let time pass, as a driver would."""
        end = self.now + seconds
        for _ in range(10_000):
            deadline = self.node.next_deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.node.handle_timer(self.now)
        else:
            pytest.fail("the timer never comes to rest")
        self.now = end

    def meet(self, *numbers: int) -> None:
        """Make peers members by the round trip that each of them owes."""
        for number in numbers:
            self.say(number, Ping(1))
            self.wait(0.1)
            pings = [payload for payload in self.heard(number) if isinstance(payload, Ping)]
            self.say(number, Pong(pings[0].timestamp))
            assert self.id(number) in self.node.members
        self.node.datagrams()
        self.node.events()

    def beat(self, number: int, sequence: int = 1, incarnation: int = 5, **fields: object) -> None:
        self.say(number, Heartbeat(incarnation, sequence, **fields))  # type: ignore[arg-type]

    def view(self, number: int) -> PeerView:
        return next(view for view in self.node.peers(self.now) if view.id == self.id(number))

    def drops(self, reason: str) -> int:
        return self.node.counters.drops.get(reason, 0)

    @staticmethod
    def load(name: str, queue: int = 0, neighbours: tuple[NeighbourLoad, ...] = ()) -> ServiceLoad:
        numbers = (10.0, 5.0, 0.5, 0.25, 0.125, 0.5, 0.125)
        return ServiceLoad(service_tag(name), queue, 1, *numbers, neighbours=neighbours)

    @staticmethod
    def again(settings: NodeSettings) -> Stage:
        """Set another stage, with other settings."""
        return Stage(settings)


@pytest.fixture
def stage() -> Stage:
    return Stage()
