"""A node on a stage: one node, a clock, and peers driven by hand over the open wire."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType, MethodType, ModuleType

import pytest
from msgspec.structs import replace

from shivya_daemon.core import frames
from shivya_daemon.core.frames import ANNOUNCE, LINK, Frame, Layered, Payload, Ping, Pong
from shivya_daemon.core.gossip import announcement
from shivya_daemon.core.gossip.announcement import Profile
from shivya_daemon.core.heartbeat import Heartbeat, NeighbourLoad, ServiceLoad, service_tag
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.links.book import Candidate
from shivya_daemon.core.links.keeper import Links
from shivya_daemon.core.node import Address, Node, NodeSettings, PeerView

INCARNATION = 5  # of the peers


@lru_cache
def identity(number: int) -> Identity:
    """Return the identity of a peer."""
    return Identity.generate(random.Random(1000 + number).randbytes)


class Stage:
    """A node, a clock, and hand-driven peers by number; a peer's links are kept by a real `Links`."""

    def __init__(self, settings: NodeSettings | None = None) -> None:
        self.random = random.Random(7)
        own = Identity.generate(self.random.randbytes)
        settings = replace(settings or NodeSettings(), wire="open")
        self.node = Node(own, settings, self.random.randbytes, incarnation=100)
        self.now = 50.0
        self.keepers: dict[int, Links] = {}

    @staticmethod
    def id(number: int) -> bytes:
        return identity(number).node_id

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

    def pinged(self, number: int, address: Address | None = None) -> Ping:
        """Return the PING that the node sends next to one peer, at `address` if that is another."""
        to = address or self.address(number)
        for _ in range(10):
            for data, where in self.node.datagrams():
                payload = frames.decode(data).payload
                if where == to and isinstance(payload, Ping):
                    return payload
            self.wait(0.1)
        return pytest.fail(f"no PING comes to {to}")

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
            self.say(number, Pong(self.pinged(number).timestamp))
            assert self.id(number) in self.node.members
        self.node.datagrams()
        self.node.events()

    def announce(self, number: int, incarnation: int = INCARNATION) -> None:
        """Let a peer say who it is, so that gossip knows it."""
        profile = Profile(name=f"p{number}", addresses=(self.address(number),))
        signed = announcement.announce(identity(number), incarnation, 1, profile)
        self.say(number, Layered(ANNOUNCE, announcement.encode_payload(signed)))

    def link(self, *numbers: int) -> None:
        """Meet peers, and let them agree with the node on a link each."""
        for number in numbers:
            if self.id(number) not in self.node.members:
                self.meet(number)
            self.announce(number)
            keeper = Links(
                self.id(number), self.node.settings.links, random.Random(number).randbytes, INCARNATION
            )
            self.keepers[number] = keeper
            for _ in range(100):
                self.tend(number, propose=True)
                if self.id(number) in self.node.links and self.node.id in keeper.established:
                    break
                self.wait(0.05)
            else:
                pytest.fail(f"no link with {number}")
        self.node.datagrams()
        self.node.events()

    def tend(self, number: int, *, propose: bool = False) -> list[Payload]:
        """Let a linked peer answer what the node says of their link; returns all that it was sent."""
        keeper = self.keepers[number]
        heard = self.heard(number)
        for payload in heard:
            if isinstance(payload, Layered) and payload.code == LINK:
                replies = keeper.receive(self.node.id, payload.body, len(payload.body), self.now)
                for reply in replies if isinstance(replies, list) else ():
                    self.say(number, Layered(LINK, reply))
        candidates = {self.node.id: Candidate(self.node.id)} if propose else {}
        for _, body in keeper.due(self.now, candidates, {}):
            self.say(number, Layered(LINK, body))
        return heard

    def beat(self, number: int, sequence: int = 1, incarnation: int = INCARNATION, **fields: object) -> None:
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


def count_held(root: object) -> int:
    """Return how many objects hang on `root`, code left out: a measure of what a node remembers."""
    seen: set[int] = set()
    front = [root]
    while front:
        thing = front.pop()
        if id(thing) not in seen and not isinstance(thing, type | FunctionType | MethodType | ModuleType):
            seen.add(id(thing))
            front += gc.get_referents(thing)
    return len(seen)


@pytest.fixture
def held() -> Callable[[object], int]:
    return count_held
