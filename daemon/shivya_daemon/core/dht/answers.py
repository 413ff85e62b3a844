"""What a node says when others ask it for peers and values, and whose values it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from shivya_daemon.core.dht.requests import Message
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.store import Store as ValueStore
from shivya_daemon.core.dht.table import RoutingTable
from shivya_daemon.core.dht.token_frames import (
    Outcome,
    TokenGrant,
    TokenPut,
    TokenRequest,
    TokenStored,
)
from shivya_daemon.core.dht.tokens import Tokens
from shivya_daemon.core.dht.values import Record, claim
from shivya_daemon.core.frames import (
    HEADER_BYTES,
    MAX_PEERS,
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Peer,
    Store,
)
from shivya_daemon.core.settings import Address

_STRANGERS_PEERS = 4
_AMPLIFICATION = 3  # bytes answered per byte asked, to an address that has not proved itself
_FOUND_NODES_BYTES = HEADER_BYTES + 1
_FOUND_VALUE_BYTES = HEADER_BYTES + 24


class Answers:
    """Answers one question with at most one datagram, and never asks anybody anything itself."""

    def __init__(
        self,
        settings: DhtSettings,
        entropy: Callable[[int], bytes],
        table: RoutingTable,
        store: ValueStore,
        held: Callable[[bytes, float], Record | None],
    ) -> None:
        self._settings = settings
        self._table = table
        self._store = store
        self._held = held
        self._tokens = Tokens(entropy, settings.token_period)
        self.refused: Counter[str] = Counter()
        """Values not kept, by outcome: bad_token, full, invalid, stale."""

    def answer(
        self, node: bytes, address: Address, message: Message, size: int, proved: bool, now: float
    ) -> Message | str | None:
        """Return the reply to `message`, None for none, or a word why it is dropped.

        `size` is that of the datagram asked with; `proved` says that `node` was shown to be at `address`.
        """
        match message:
            case FindNode(target):
                room = None if proved else _AMPLIFICATION * size - _FOUND_NODES_BYTES
                return FoundNodes(self._peers(target, node, room))
            case FindValue(key):
                record = self._held(key, now) if proved else None
                if record is not None:
                    return FoundValue(key, record.value, ())
                room = None if proved else _AMPLIFICATION * size - _FOUND_VALUE_BYTES
                return FoundValue(key, None, self._peers(key, node, room))
            case TokenRequest() | TokenPut() | Store() if not proved:
                return "unverified_sender"
            case TokenRequest():
                return TokenGrant(self._tokens.grant(node, address, now))
            case TokenPut(token, age, key, value):
                outcome = Outcome.BAD_TOKEN
                if self._tokens.valid(token, node, address, now):
                    outcome = self._keep(key, value, node, age, now)
                if outcome is not Outcome.STORED:
                    self.refused[outcome.name.lower()] += 1
                return TokenStored(key, outcome)
            case Store(key, value) if not self._settings.request_ids:
                outcome = self._keep(key, value, node, 0.0, now)
                if outcome is Outcome.STORED:
                    return None
                self.refused[outcome.name.lower()] += 1
                return f"store_{outcome.name.lower()}"
            case Store():
                return "store_unsupported"
        return "unsolicited"

    def _keep(self, key: bytes, value: bytes, writer: bytes, age: float, now: float) -> Outcome:
        record = claim(key, value)
        return Outcome.INVALID if record is None else self._store.offer(record, writer, age, now)

    def _peers(self, target: bytes, asker: bytes, room: int | None) -> tuple[Peer, ...]:
        """Return the nearest peers, as many as fit `room` bytes; None is room for all that a frame takes."""
        if room is None:
            return self._table.closest(target, MAX_PEERS, exclude=asker)
        peers = []
        for peer in self._table.closest(target, _STRANGERS_PEERS, exclude=asker):
            room -= 39 if ":" in peer.host else 27
            if room < 0:
                break
            peers.append(peer)
        return tuple(peers)
