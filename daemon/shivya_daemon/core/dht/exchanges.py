"""Putting questions: first a session, then transmissions until an answer comes or hope is lost.

Nothing is sent from here and nobody is called back out of the receive path: questions collect in `take`, and
owners with news collect in `ready`, for the next timer of the node.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from msgspec import Struct

from shivya_daemon.core.dht.pace import Pace
from shivya_daemon.core.dht.requests import Kind, Message, Owner, Request, Requests
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.frames import Peer, Ping

_BUSY_PAUSE = 0.02  # seconds until a question that found no room is tried again


class Question(Struct, frozen=True):
    """What a node is to send: `payload` to `peer`, in the session under the id `request`.

    With the payload None there is nothing to send yet: a session with that very peer is wanted, and the
    caller says `reached` or `failed` when it knows, or at once.
    """

    peer: Peer
    payload: Message | None
    request: int | None
    kind: Kind


class Exchanges:
    """All questions of a node: who has a session, what waits for one, what is to be sent again when."""

    def __init__(
        self, settings: DhtSettings, entropy: Callable[[int], bytes], lost: Callable[[bytes, float], None]
    ) -> None:
        self._settings = settings
        self._lost = lost
        self._requests = Requests(
            entropy, settings.request_lifetime, settings.max_requests, settings.request_ids
        )
        self._pace = Pace(settings)
        self._connected: OrderedDict[bytes, None] = OrderedDict()
        self._waiting: dict[bytes, list[Request]] = {}
        self._timers: list[tuple[float, int, Request]] = []
        self._order = count()
        self._questions: list[Question] = []
        self._ready: dict[Owner, None] = {}

    def ask(
        self,
        owner: Owner,
        peer: Peer,
        kind: Kind,
        target: bytes,
        payloads: tuple[Message, ...],
        now: float,
        attempts: int | None = None,
        interval: float | None = None,
    ) -> Request:
        """Put a question to `peer`; its owner hears `answered` or `failed`, unless the request is settled."""
        attempts = self._settings.attempts if attempts is None else attempts
        request = Request(peer, kind, target, owner, payloads, attempts, interval, now)
        self._put(request, now)
        return request

    def wake(self, owner: Owner) -> None:
        """Have `owner` step with the next `run`."""
        self._ready[owner] = None

    def answer(
        self,
        node: bytes,
        number: int | None,
        kind: Kind,
        message: Message,
        now: float,
        target: bytes | None = None,
    ) -> str | None:
        """Take what `node` says in answer to a question; a word is why it was worth nothing."""
        request = self._requests.answer(node, number, kind, now, target)
        if request is None:
            return "unsolicited"
        if request.settled:
            return None  # a second copy, or an answer that came too late to matter
        request.settled = True
        if request.attempts == 1:
            self._pace.measured(max(0.0, now - request.sent_at))
        self._ready[request.owner] = None
        return request.owner.answered(request, message, now)

    def reached(self, node: bytes, now: float) -> None:
        """Note that there is a session with `node`; what waited for it is sent."""
        self._connected[node] = None
        self._connected.move_to_end(node)
        if len(self._connected) > self._settings.max_connected:
            self._connected.popitem(last=False)
        for request in self._waiting.pop(node, ()):
            if not request.settled:
                self._transmit(request, now)

    def failed(self, node: bytes, now: float) -> None:
        """Note that no session with `node` could be made."""
        self._connected.pop(node, None)
        for request in self._waiting.pop(node, ()):
            self._fail(request, now)

    def left(self, node: bytes) -> None:
        """Note that the session with `node` is gone; what is asked again waits for another."""
        self._connected.pop(node, None)

    def run(self, now: float) -> None:
        """Repeat what is due, give up what is hopeless, and let owners with news act."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            request = heappop(timers)[2]
            if request.settled:
                self._discard(request)
            else:
                self._expired(request, now)
        while self._ready:
            ready, self._ready = self._ready, {}
            for owner in ready:
                owner.step(now)

    def take(self) -> list[Question]:
        """Return the questions to put now, and forget them."""
        questions, self._questions = self._questions, []
        return questions

    def next_deadline(self) -> float | None:
        """Return when `run` has something to do; minus infinity for at once, None for nothing."""
        if self._ready or self._questions:
            return float("-inf")
        timers = self._timers
        while timers and timers[0][2].settled:
            self._discard(heappop(timers)[2])
        return timers[0][0] if timers else None

    def _put(self, request: Request, now: float) -> None:
        """Send a question, or ask for a session first."""
        node = request.peer.id
        if node in self._connected:
            self._transmit(request, now)
            return
        waiting = self._waiting.get(node)
        if waiting is None or all(other.settled for other in waiting):
            self._waiting[node] = [request]
            self._questions.append(Question(request.peer, None, None, Kind.CONNECT))
        else:
            waiting.append(request)
        self._set_timer(request, now + self._settings.patience * self._pace.interval(1))

    def _transmit(self, request: Request, now: float) -> None:
        if not self._requests.register(request, now):
            self._set_timer(request, now + _BUSY_PAUSE)
            return
        number = request.id if self._settings.request_ids else None
        if request.kind is Kind.PING:
            self._questions.append(Question(request.peer, Ping(request.id), number, Kind.PING))
        for payload in request.payloads:
            self._questions.append(Question(request.peer, payload, number, request.kind))
        wait = self._pace.interval(request.attempts) if request.interval is None else request.interval
        self._set_timer(request, now + wait)

    def _expired(self, request: Request, now: float) -> None:
        node = request.peer.id
        if request in self._waiting.get(node, ()):
            if request.slow:
                # The caller said nothing for long; whoever asks this peer next asks for a session again.
                for other in self._waiting.pop(node):
                    self._fail(other, now)
            else:
                self._slow(request)
                self._set_timer(request, request.opened_at + self._settings.connect_timeout)
        elif request.attempts_left <= 0:
            self._fail(request, now)
            self._lost(node, request.opened_at)
        else:
            if request.attempts >= self._settings.patience:
                self._slow(request)
            self._ready[request.owner] = None
            self._put(request, now)

    def _discard(self, request: Request) -> None:
        """Forget a settled request, and the wait for a session that nobody needs any more."""
        waiting = self._waiting.get(request.peer.id)
        if waiting is not None and all(other.settled for other in waiting):
            del self._waiting[request.peer.id]

    def _slow(self, request: Request) -> None:
        if not request.slow:
            request.slow = True
            self._ready[request.owner] = None

    def _fail(self, request: Request, now: float) -> None:
        if not request.settled:
            request.settled = True
            self._ready[request.owner] = None
            request.owner.failed(request, now)

    def _set_timer(self, request: Request, at: float) -> None:
        heappush(self._timers, (at, next(self._order), request))
