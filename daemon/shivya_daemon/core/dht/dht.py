"""The distributed hash table of one node: bytes of others in, questions and replies out, time handed in.

The node calls `receive` for every message of the kinds below, and `due` when `next_deadline` has come (minus
infinity: at once). What it is to send comes out of these two. It says `joined` and `left` as peers come and
go, and `reached` or `failed` about every peer that a `Question` without a payload asked a session with.

Sources: Maymounkov and Mazieres, "Kademlia" (2002); BEP 5 for the write tokens; Baumgart and Mies,
"S/Kademlia" (2007) for ids that are hashes of keys.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from shivya_daemon.core.dht.answers import Answers
from shivya_daemon.core.dht.checks import Checks
from shivya_daemon.core.dht.exchanges import Exchanges, Question
from shivya_daemon.core.dht.operation import Operation
from shivya_daemon.core.dht.requests import Kind, Message
from shivya_daemon.core.dht.runner import Runner
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.store import Store
from shivya_daemon.core.dht.table import RoutingTable
from shivya_daemon.core.dht.token_frames import TokenGrant, TokenStored
from shivya_daemon.core.dht.upkeep import Upkeep
from shivya_daemon.core.dht.values import Record, content_record, signed_record
from shivya_daemon.core.frames import FoundNodes, FoundValue, Peer, Pong
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.settings import Address

__all__ = ["Dht", "DhtSettings", "Message", "Operation", "Question", "Reply"]


class Reply(Struct, frozen=True):
    """What to send back to whom a message came from, under the request id it came with."""

    payload: Message
    request: int | None


class Dht:
    """Routing table, lookups, values held and values published by the node `own` (20 bytes)."""

    def __init__(self, own: bytes, settings: DhtSettings, entropy: Callable[[int], bytes]) -> None:
        def jitter(interval: float) -> float:
            return interval * (0.9 + 0.2 * int.from_bytes(entropy(2), "big") / 0xFFFF)

        self.table = RoutingTable(own, settings.bucket_size, settings.subnet_limit, settings.limit_private)
        self.store = Store(own, settings, jitter)
        self._exchanges = Exchanges(settings, entropy, self._lost)
        self._runner = Runner(own, settings, self._exchanges, self.table, self.store, self._held)
        self._upkeep = Upkeep(own, settings, entropy, jitter, self.table, self.store, self._runner)
        self._checks = Checks(settings, self.table, self._exchanges)
        self._answers = Answers(settings, entropy, self.table, self.store, self._held)

    def find(self, target: bytes) -> Operation[Peer] | None:
        """Find out where the node `target` answers; None when too many operations wait."""
        return self._runner.find(target)

    def get(self, key: bytes) -> Operation[bytes] | None:
        """Fetch the value of `key`, for a signed record its payload; None when too many operations wait."""
        return self._runner.get(key)

    def put(self, value: bytes) -> Operation[int] | None:
        """Publish a content-addressed value of at most 256 bytes, else `ValueError`; `key` names it.

        The value is stored with the nodes nearest to its key and again every hour, until `withdraw`. None
        when too many operations wait, or too many values are published.
        """
        return self._publish(content_record(value))

    def put_signed(self, payload: bytes, sequence: int, identity: Identity) -> Operation[int] | None:
        """Publish at most 152 bytes under the key of `identity`, in place of lower sequences; as `put`."""
        return self._publish(signed_record(payload, sequence, identity))

    def withdraw(self, key: bytes) -> None:
        """Publish a value no longer; within a day it is gone from the mesh."""
        self._upkeep.withdraw(key)

    def receive(
        self,
        node: bytes,
        address: Address,
        request: int | None,
        message: Message,
        size: int,
        proved: bool,
        now: float,
    ) -> list[Reply] | str:
        """Take one message of `node`; returns what to reply, or a word why it is dropped.

        `request` is the id it came with, None on the open wire; `size` that of its datagram. `proved` says
        that `node` was shown to be at `address`: without that it is asked for nothing and told little.
        """
        if proved:
            self.table.touch(node, now)
        reason: str | None
        match message:
            case FoundNodes():
                reason = self._exchanges.answer(node, request, Kind.FIND_NODE, message, now)
            case FoundValue(key=key):
                reason = self._exchanges.answer(node, request, Kind.FIND_VALUE, message, now, key)
            case TokenGrant():
                reason = self._exchanges.answer(node, request, Kind.TOKEN, message, now)
            case TokenStored(key=key):
                reason = self._exchanges.answer(node, request, Kind.PUT, message, now, key)
            case Pong(timestamp=nonce):
                reason = self._exchanges.answer(node, nonce, Kind.PING, message, now)
            case _:
                reply = self._answers.answer(node, address, message, size, proved, now)
                if isinstance(reply, str):
                    return reply
                return [] if reply is None else [Reply(reply, request)]
        return [] if reason is None else reason

    def due(self, now: float) -> list[Question]:
        """Return the questions to put now; starts, repeats and ends what is due."""
        self._upkeep.run(now)
        self._runner.run(now)
        self._exchanges.run(now)
        return self._exchanges.take()

    def next_deadline(self) -> float:
        """Return when `due` is to be called next; minus infinity for at once."""
        if self._runner.ready:
            return float("-inf")
        asking, upkeep = self._exchanges.next_deadline(), self._upkeep.next_deadline()
        return upkeep if asking is None else min(asking, upkeep)

    def joined(self, peer: Peer, now: float) -> None:
        """Take a peer that proved its address and has a session."""
        known = peer.id in self.table
        oldest = self.table.add(peer, now)
        if oldest is not None:
            self._checks.start(oldest, now)
        if not known:
            self._upkeep.joined(peer, now)
        self._exchanges.reached(peer.id, now)

    def left(self, node: bytes) -> None:
        """Forget a peer that is gone."""
        self.table.remove(node)
        self._exchanges.left(node)

    def reached(self, node: bytes, now: float) -> None:
        """Note that there is a session with `node`, as a question without payload asked for."""
        self._exchanges.reached(node, now)

    def failed(self, node: bytes, now: float) -> None:
        """Note that no session with `node` could be made."""
        self.table.remove(node)
        self._exchanges.failed(node, now)

    @property
    def refused(self) -> dict[str, int]:
        """How many values of others were not kept, by outcome: bad_token, full, invalid, stale."""
        return dict(self._answers.refused)

    def _publish(self, record: Record) -> Operation[int] | None:
        if not self._upkeep.publish(record):
            return None
        operation = self._runner.put(record)
        if operation is None:
            self._upkeep.withdraw(record.key)
        return operation

    def _held(self, key: bytes, now: float) -> Record | None:
        """Return what is held for others under `key`, or published by this node."""
        held, published = self.store.get(key, now), self._upkeep.published(key)
        if held is None or published is None:
            return held or published
        return max(held, published, key=Record.rank)

    def _lost(self, node: bytes, since: float) -> None:
        """Forget a peer that answered nothing for a whole question and was not heard otherwise."""
        heard_at = self.table.heard_at(node)
        if heard_at is not None and heard_at <= since:
            self.table.remove(node)
