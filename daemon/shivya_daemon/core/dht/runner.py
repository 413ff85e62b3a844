"""The operations of a node: find, get, put and hand over, each when its turn has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shivya_daemon.core.dht.exchanges import Exchanges
from shivya_daemon.core.dht.lookup import Lookup
from shivya_daemon.core.dht.operation import Operation
from shivya_daemon.core.dht.replication import Replication
from shivya_daemon.core.dht.requests import Kind
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.store import Store
from shivya_daemon.core.dht.table import ID_BITS, RoutingTable, bucket_index, distance
from shivya_daemon.core.dht.token_frames import Outcome
from shivya_daemon.core.dht.tokens import HeldTokens
from shivya_daemon.core.dht.values import Record
from shivya_daemon.core.frames import Peer

_Start = Callable[[float], None]
_Finish = Callable[[Lookup, float], None]


class Runner:
    """Starts operations, `max_running` at a time, and leads each through its lookup to its result."""

    def __init__(
        self,
        own: bytes,
        settings: DhtSettings,
        exchanges: Exchanges,
        table: RoutingTable,
        store: Store,
        held: Callable[[bytes, float], Record | None],
    ) -> None:
        self._own = own
        self._settings = settings
        self._exchanges = exchanges
        self._table = table
        self._store = store
        self._held = held
        self._tokens = HeldTokens(settings.token_period)
        self._queued: deque[_Start] = deque()
        self._running = 0
        self.looked_at = [float("-inf")] * ID_BITS
        """When something in each bucket was last looked up, which refreshes it."""

    def find(self, target: bytes, on_done: _Start | None = None) -> Operation[Peer] | None:
        """Look up the node `target`; None when too many operations wait."""
        operation: Operation[Peer] = Operation(target)

        def finish(lookup: Lookup, now: float) -> None:
            # Perhaps every answer of the target was lost, but it is known, and was heard lately.
            operation.finish(lookup.found or self._table.get(target), lookup.closest)
            self._running -= 1
            if on_done is not None:
                on_done(now)

        def start(now: float) -> None:
            self._look(target, Kind.FIND_NODE, self._settings.bucket_size, finish, now)

        return operation if self._queue(start) else None

    def get(self, key: bytes) -> Operation[bytes] | None:
        """Look up the value of `key`; None when too many operations wait.

        Content that is held here is the answer; of a signed record others may hold a later one.
        """
        operation: Operation[bytes] = Operation(key)

        def finish(lookup: Lookup, now: float) -> None:
            found = [record for record in (lookup.record, self._held(key, now)) if record is not None]
            best = max(found, key=Record.rank, default=None)
            operation.finish(None if best is None else best.payload, lookup.closest)
            self._running -= 1

        def start(now: float) -> None:
            record = self._held(key, now)
            if record is not None and record.sequence is None:
                operation.finish(record.payload)
                self._running -= 1
            else:
                self._look(key, Kind.FIND_VALUE, self._settings.bucket_size, finish, now)

        return operation if self._queue(start) else None

    def put(self, record: Record, age: float = 0.0) -> Operation[int] | None:
        """Place `record` with the nodes nearest to its key; None when too many operations wait.

        This node is one of them where it is near enough. `age` is how long ago the publisher stored it.
        """
        operation: Operation[int] = Operation(record.key)

        def place(lookup: Lookup, now: float) -> None:
            operation.closest = lookup.closest
            gap, held = distance(self._own, record.key), 0
            if sum(distance(peer.id, record.key) < gap for peer in lookup.closest) < self._settings.replicas:
                held = int(self._store.offer(record, self._own, age, now) is Outcome.STORED)
            self._replicate(record, age, lookup.closest, held, operation)

        def start(now: float) -> None:
            self._look(record.key, Kind.FIND_NODE, self._settings.replicas, place, now)

        return operation if self._queue(start) else None

    def hand_over(self, record: Record, age: float, peer: Peer) -> Operation[int] | None:
        """Give one peer a value that it should hold; None when too many operations wait."""
        operation: Operation[int] = Operation(record.key)

        def start(now: float) -> None:
            self._replicate(record, age, (peer,), 0, operation)

        return operation if self._queue(start) else None

    def run(self, now: float) -> None:
        """Start what may be started."""
        while self.ready:
            self._running += 1
            self._queued.popleft()(now)

    @property
    def ready(self) -> bool:
        """Whether `run` would start something."""
        return bool(self._queued) and self._running < self._settings.max_running

    @property
    def congested(self) -> bool:
        """Whether operations wait for others to end."""
        return bool(self._queued)

    def _queue(self, start: _Start) -> bool:
        if len(self._queued) >= self._settings.max_queued:
            return False
        self._queued.append(start)
        return True

    def _look(self, target: bytes, kind: Kind, width: int, finish: _Finish, now: float) -> None:
        index = bucket_index(self._own, target)
        if index >= 0:
            self.looked_at[index] = now
        seeds = self._table.closest(target, width)
        lookup = Lookup(self._own, target, kind, width, seeds, self._settings, self._exchanges, finish, now)
        self._exchanges.wake(lookup)

    def _replicate(
        self, record: Record, age: float, peers: tuple[Peer, ...], held: int, operation: Operation[int]
    ) -> None:
        replication = Replication(
            record, age, peers, held, operation, self._settings, self._exchanges, self._tokens, self._ended
        )
        self._exchanges.wake(replication)

    def _ended(self, now: float) -> None:
        self._running -= 1
