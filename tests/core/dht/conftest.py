"""A group of hash tables on a lossy queue in virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import pytest

from shivya_daemon.core import frames
from shivya_daemon.core.dht import token_frames
from shivya_daemon.core.dht.dht import Dht, DhtSettings, Message, Operation
from shivya_daemon.core.dht.token_frames import TokenFrame
from shivya_daemon.core.frames import Frame, Peer, Ping, Pong

Result = TypeVar("Result")

HANDSHAKES = 6
HANDSHAKE_PAUSE = 0.25
BYTES = 61  # what a datagram is taken to have


class Group:
    """Tables by number, sessions among them, and a queue that loses and delays what they say."""

    def __init__(self, seed: int, loss: float = 0.0, settings: DhtSettings | None = None) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.settings = settings or DhtSettings()
        self.now = 0.0
        self.tables: list[Dht] = []
        self.peers: list[Peer] = []
        self.numbers: dict[bytes, int] = {}
        self.sessions: set[frozenset[int]] = set()
        self.gone: set[int] = set()
        self.drops: Counter[str] = Counter()
        self.messages = 0
        self.liars: dict[int, Callable[[Message, Message], Message]] = {}
        """Nodes whose replies are replaced: (question, true reply) to what is said instead."""
        self.encode = False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._timer: dict[int, float] = {}

    def spawn(self, count: int, host: Callable[[int], str] | None = None) -> None:
        """Start tables, each of them introduced to one random earlier one."""
        for _ in range(count):
            number = len(self.tables)
            place = f"10.{number // 200}.{number % 200}.7" if host is None else host(number)
            peer = Peer(self.random.randbytes(20), place, 8085)
            self.tables.append(Dht(peer.id, self.settings, self.random.randbytes))
            self.peers.append(peer)
            self.numbers[peer.id] = number
            self.look(number)
            others = [n for n in range(number) if n not in self.gone]
            if others:
                self.connect(number, self.peers[self.random.choice(others)])

    def stop(self, number: int) -> None:
        """A node falls silent; its peers are told after four seconds, as a failure detector would."""
        self.gone.add(number)
        for session in [s for s in self.sessions if number in s]:
            self.sessions.discard(session)
            (other,) = session - {number}
            self._at(4.0, partial(self._leave, other, self.peers[number].id))

    def connect(self, number: int, peer: Peer, tries: int = HANDSHAKES) -> None:
        """Shake hands, again and again while datagrams are lost."""
        other = self.numbers.get(peer.id)
        reachable = other is not None and not {number, other} & self.gone and self.peers[other] == peer
        if other is not None and reachable and self._arrives() and self._arrives():
            self._at(self._delay() + self._delay(), partial(self._meet, number, other))
        elif tries > 1:
            self._at(HANDSHAKE_PAUSE, lambda: self.connect(number, peer, tries - 1))
        else:
            self.tables[number].failed(peer.id, self.now)
            self.look(number)

    def say(self, sender: int, peer: Peer, message: Message, request: int | None) -> None:
        """Send one datagram through the session with `peer`, if there is one."""
        self.messages += 1
        other = self.numbers[peer.id]
        if frozenset((sender, other)) in self.sessions and self._arrives():
            self._at(self._delay(), lambda: self._hear(other, sender, message, request))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, or less once `until` holds."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end and not until():
            self.now, _, action = heapq.heappop(self._events)
            action()
        if not until():
            self.now = end

    def settle(self, operations: Sequence[Operation[Any]]) -> None:
        """Let time pass until all are done; they must be."""
        waiting = list(operations)

        def done() -> bool:
            while waiting and waiting[-1].done:
                waiting.pop()
            return not waiting

        self.run(300.0, done)
        assert done()

    def alive(self) -> list[int]:
        return [number for number in range(len(self.tables)) if number not in self.gone]

    def put(self, number: int, value: bytes) -> Operation[int]:
        return self._started(number, self.tables[number].put(value))

    def get(self, number: int, key: bytes) -> Operation[bytes]:
        return self._started(number, self.tables[number].get(key))

    def find(self, number: int, target: bytes) -> Operation[Peer]:
        return self._started(number, self.tables[number].find(target))

    def holders(self, key: bytes) -> list[int]:
        return [number for number in self.alive() if self.tables[number].store.get(key, self.now)]

    def look(self, number: int) -> None:
        """Do what is due at one table, and set its timer."""
        if number in self.gone:
            return
        table = self.tables[number]
        for _ in range(100):
            if table.next_deadline() > self.now:
                break
            for question in table.due(self.now):
                if question.payload is None:
                    self.connect(number, question.peer)
                else:
                    self.say(number, question.peer, question.payload, question.request)
        else:
            raise AssertionError("a table never comes to rest")
        deadline = table.next_deadline()
        if deadline < self._timer.get(number, float("inf")):
            self._timer[number] = deadline
            ring = partial(self._ring, number, deadline)
            heapq.heappush(self._events, (max(self.now, deadline), next(self._order), ring))

    def _ring(self, number: int, deadline: float) -> None:
        if self._timer.get(number) == deadline:
            del self._timer[number]
            self.look(number)

    def _hear(self, number: int, sender: int, message: Message, request: int | None) -> None:
        if number in self.gone:
            return
        peer = self.peers[sender]
        if self.encode:
            message = recoded(peer.id, message)
        if isinstance(message, Ping):  # the node answers these itself
            return self.say(number, peer, Pong(message.timestamp), request)
        replies = self.tables[number].receive(
            peer.id, (peer.host, peer.port), request, message, BYTES, True, self.now
        )
        if isinstance(replies, str):
            self.drops[replies] += 1
        else:
            for reply in replies:
                lie = self.liars.get(number)
                payload = reply.payload if lie is None else lie(message, reply.payload)
                self.say(number, peer, payload, reply.request)
        self.look(number)

    def _meet(self, left: int, right: int) -> None:
        if {left, right} & self.gone:
            return
        self.sessions.add(frozenset((left, right)))
        for number, other in ((left, right), (right, left)):
            self.tables[number].joined(self.peers[other], self.now)
            self.look(number)

    def _leave(self, number: int, node: bytes) -> None:
        if number not in self.gone:
            self.tables[number].left(node)
            self.look(number)

    def _started(self, number: int, operation: Operation[Result] | None) -> Operation[Result]:
        assert operation is not None
        self.look(number)
        return operation

    def _arrives(self) -> bool:
        return self.random.random() >= self.loss

    def _delay(self) -> float:
        return self.random.uniform(0.002, 0.02)

    def _at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + max(0.0, delay), next(self._order), action))


def recoded(sender: bytes, message: Message) -> Message:
    """Return `message` as it comes out of the codec, which must have room for it."""
    if isinstance(message, TokenFrame):
        body = token_frames.encode_payload(message)
        assert len(body) <= 1100
        return token_frames.decode_payload(body)
    return frames.decode(frames.encode(Frame(sender, message))).payload


@pytest.fixture
def group() -> type[Group]:
    """The class, to make groups of."""
    return Group
