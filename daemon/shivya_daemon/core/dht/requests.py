"""Which questions are open, and which answer belongs to one of them.

On the secure wire a question carries 64 bits of the node's entropy, and the answer repeats them. The open
wire has no room for that: there a node may owe one answer of a kind (and key, where the answer names it) at a
time. Either way an answer counts only from the node that was asked, for what it was asked, and while fresh.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from shivya_daemon.core.dht.token_frames import TokenFrame
from shivya_daemon.core.frames import Payload, Peer

Message = Payload | TokenFrame


class Kind(StrEnum):
    """What a question asks for."""

    CONNECT = "connect"
    FIND_NODE = "find_node"
    FIND_VALUE = "find_value"
    TOKEN = "token"
    PUT = "put"
    PING = "ping"


_KEYED = frozenset((Kind.FIND_VALUE, Kind.PUT))  # the answer names the key


class Owner(Protocol):
    """Who put a question. Its callbacks note what happened; `step` acts on it, outside the receive path."""

    def answered(self, request: Request, message: Message, now: float) -> str | None:
        """Take the answer; a word is why it was worth nothing."""

    def failed(self, request: Request, now: float) -> None:
        """Note that no answer will come."""

    def step(self, now: float) -> None:
        """Do what can be done next."""


class Request(Struct, eq=False):
    """One question to one peer, with all its transmissions."""

    peer: Peer
    kind: Kind
    target: bytes
    owner: Owner
    payloads: tuple[Message, ...]
    """One datagram each; the last is the one that is answered. Empty for a PING, which carries the id."""
    attempts_left: int
    interval: float | None
    """Between transmissions; None to go by the round-trip times."""
    opened_at: float
    id: int = 0
    """Drawn with the first transmission."""
    sent_at: float = 0.0
    attempts: int = 0
    settled: bool = False
    """Answered, failed or no longer wanted: not sent again."""
    slow: bool = False
    """Waited for longer than others should be held up."""


_Slot = tuple[bytes, Kind, bytes]


class Requests:
    """The questions that may be answered, oldest transmission first; at most `capacity` of them."""

    def __init__(
        self, entropy: Callable[[int], bytes], lifetime: float, capacity: int, identified: bool = True
    ) -> None:
        self._entropy = entropy
        self._lifetime = lifetime
        self._capacity = capacity
        self._identified = identified
        self._requests: OrderedDict[int, Request] = OrderedDict()
        self._slots: dict[_Slot, int] = {}

    def register(self, request: Request, now: float) -> bool:
        """Note one transmission; False while there is no room, or while the peer owes another such answer."""
        self._forget(now)
        if request.id in self._requests:
            self._requests.move_to_end(request.id)
        else:
            if not self._identified:
                slot = _slot(request.peer.id, request.kind, request.target)
                before = self._requests.get(self._slots.get(slot, 0))
                if before is not None and not before.settled:
                    return False
            if len(self._requests) >= self._capacity and not self._make_room():
                return False
            while not request.id or request.id in self._requests:
                request.id = int.from_bytes(self._entropy(8), "big")
            self._requests[request.id] = request
            if not self._identified:
                self._slots[slot] = request.id
        request.sent_at = now
        request.attempts += 1
        request.attempts_left -= 1
        return True

    def answer(
        self, node: bytes, number: int | None, kind: Kind, now: float, target: bytes | None = None
    ) -> Request | None:
        """Return the question that `node` answers, perhaps once more; None if it was not asked.

        `target` is the key that the answer names, where it names one.
        """
        if number is None:
            if self._identified and kind is not Kind.PING:
                return None
            number = self._slots.get(_slot(node, kind, target or b""), 0)
        request = self._requests.get(number)
        if (
            request is None
            or request.peer.id != node
            or request.kind is not kind
            or (target is not None and request.target != target)
            or now - request.sent_at > self._lifetime
        ):
            return None
        return request

    def _forget(self, now: float) -> None:
        while self._requests:
            front = next(iter(self._requests.values()))
            if now - front.sent_at <= self._lifetime:
                return
            self._close(front)

    def _make_room(self) -> bool:
        front = next(iter(self._requests.values()))
        if front.settled:
            self._close(front)
        return front.settled

    def _close(self, request: Request) -> None:
        del self._requests[request.id]
        slot = _slot(request.peer.id, request.kind, request.target)
        if self._slots.get(slot) == request.id:
            del self._slots[slot]

    def __len__(self) -> int:
        return len(self._requests)


def _slot(node: bytes, kind: Kind, target: bytes) -> _Slot:
    return (node, kind, target if kind in _KEYED else b"")
