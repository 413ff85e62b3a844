"""Placing one value with the nodes that are to hold it: a token, the value, an acknowledgement from each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from shivya_daemon.core.dht.exchanges import Exchanges
from shivya_daemon.core.dht.operation import Operation
from shivya_daemon.core.dht.requests import Kind, Message, Request
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.token_frames import Outcome, TokenGrant, TokenPut, TokenRequest, TokenStored
from shivya_daemon.core.dht.tokens import HeldTokens
from shivya_daemon.core.dht.values import Record, check
from shivya_daemon.core.frames import FindValue, FoundValue, Peer, Store

_TRIES = 5  # of one peer: a refused token, or on the open wire a STORE that was lost, is tried again


class Replication:
    """Puts `record` to the first `replicas` of `peers` that take it, and settles `operation`.

    The operation is done as soon as a majority holds the value or nobody is left to ask; the remaining
    replicas are still written after that. On the open wire, which has neither tokens nor acknowledgements, a
    STORE is followed by a FIND_VALUE that must come back with the value.
    """

    def __init__(
        self,
        record: Record,
        age: float,
        peers: Iterable[Peer],
        held: int,
        operation: Operation[int],
        settings: DhtSettings,
        exchanges: Exchanges,
        tokens: HeldTokens,
        on_done: Callable[[float], None],
    ) -> None:
        self._record = record
        self._age = min(int(max(0.0, age)), 0xFFFFFFFF)
        self._waiting = deque(peers)
        self._holders = held
        self._wanted = min(settings.replicas, held + len(self._waiting))
        self._active = 0
        self._tries: dict[bytes, int] = {}
        self._operation = operation
        self._identified = settings.request_ids
        self._exchanges = exchanges
        self._tokens = tokens
        self._on_done = on_done

    def answered(self, request: Request, message: Message, now: float) -> str | None:
        """Take a token, an acknowledgement, or the value read back."""
        self._active -= 1
        peer = request.peer
        match message:
            case TokenGrant(token):
                self._tokens.hold(peer.id, token, now)
                self._waiting.appendleft(peer)
            case TokenStored(outcome=Outcome.STORED):
                self._holders += 1
            case TokenStored(outcome=Outcome.BAD_TOKEN):
                self._tokens.drop(peer.id)
                self._again(peer)
            case FoundValue(value=value) if value == self._record.value:
                self._holders += 1
            case FoundValue(value=None):
                self._again(peer)
            case FoundValue(value=bytes(value)) if check(self._record.key, value) is None:
                return "bad_value"
        return None

    def failed(self, request: Request, now: float) -> None:
        """Note that a peer is silent or out of reach."""
        self._active -= 1

    def step(self, now: float) -> None:
        """Ask as many peers as are wanted, the next nearest in place of those that failed; or settle."""
        while self._waiting and self._active + self._holders < self._wanted:
            self._ask(self._waiting.popleft(), now)
        if not self._operation.done and (2 * self._holders > self._wanted or not self._active):
            self._operation.finish(self._holders)
            self._on_done(now)

    def _ask(self, peer: Peer, now: float) -> None:
        self._active += 1
        key = self._record.key
        if not self._identified:
            payloads = (Store(key, self._record.value), FindValue(key))
            self._exchanges.ask(self, peer, Kind.FIND_VALUE, key, payloads, now)
            return
        token = self._tokens.get(peer.id, now)
        if token is None:
            self._exchanges.ask(self, peer, Kind.TOKEN, key, (TokenRequest(key),), now)
        else:
            put = TokenPut(token, self._age, key, self._record.value)
            self._exchanges.ask(self, peer, Kind.PUT, key, (put,), now)

    def _again(self, peer: Peer) -> None:
        tries = self._tries[peer.id] = self._tries.get(peer.id, 1) + 1
        if tries <= _TRIES:
            self._waiting.appendleft(peer)
