"""What a node does unasked: refresh its buckets, and keep values where they belong as nodes come and go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shivya_daemon.core.dht.runner import Runner
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.store import Store
from shivya_daemon.core.dht.table import ID_BITS, RoutingTable, distance
from shivya_daemon.core.dht.values import Record
from shivya_daemon.core.frames import Peer

_MAX_NEWCOMERS = 256


class Upkeep:
    """Refreshes, republications, replications and hand-overs, started one by one at a bounded rate."""

    def __init__(
        self,
        own: bytes,
        settings: DhtSettings,
        entropy: Callable[[int], bytes],
        jitter: Callable[[float], float],
        table: RoutingTable,
        store: Store,
        runner: Runner,
    ) -> None:
        self._own = own
        self._settings = settings
        self._entropy = entropy
        self._jitter = jitter
        self._table = table
        self._store = store
        self._runner = runner
        self._published: dict[bytes, tuple[Record, float | None]] = {}
        """Value and time of the next placement, which the next sweep sets."""
        self._placements: dict[bytes, None] = {}
        """Keys of values to be placed anew, in this order; at most what is held and published."""
        self._newcomers: deque[Peer] = deque()
        self._scan: tuple[Peer, list[bytes]] | None = None
        """The newcomer looked at, and the keys of held values that it was not compared with yet."""
        self._gifts: deque[tuple[Peer, bytes]] = deque()
        """Values for newcomers; at most those of one slice."""
        self._buckets: deque[int] = deque()
        """Buckets to refresh."""
        self._refresh_at: float | None = None
        """Time of the next lookup of the own id; None while nobody is known."""
        self._pause = settings.first_refresh
        self._sweep_at = float("-inf")
        self._chore_at = float("-inf")
        self._bucket_at = float("-inf")

    def publish(self, record: Record) -> bool:
        """Keep `record`, which the caller places now, alive from here on; False if too many are published."""
        known = self.published(record.key)
        if known is None and len(self._published) >= self._settings.max_published:
            return False
        if known is None or record.rank() >= known.rank():
            self._published[record.key] = (record, None)
        return True

    def withdraw(self, key: bytes) -> None:
        """Publish the value of `key` no longer; it expires where it is held."""
        self._published.pop(key, None)

    def published(self, key: bytes) -> Record | None:
        """Return the value that this node publishes under `key`."""
        entry = self._published.get(key)
        return None if entry is None else entry[0]

    def joined(self, peer: Peer, now: float) -> None:
        """Note a new peer: it may know others, and should perhaps hold some of the values held here."""
        if self._refresh_at is None:
            self._refresh_at = now
        # STORE on the open wire says no age, so a copy handed on there would outlive its publisher for ever.
        if len(self._store) and self._settings.request_ids and len(self._newcomers) < _MAX_NEWCOMERS:
            self._newcomers.append(peer)

    def run(self, now: float) -> None:
        """Start at most one chore, and see what is to be done next."""
        if now >= self._sweep_at:
            self._sweep_at = now + self._settings.sweep_interval
            self._sweep(now)
        if self._refresh_at is not None and now >= self._refresh_at:
            self._refresh_at = now + self._jitter(self._pause)
            self._pause = min(4 * self._pause, self._settings.refresh_interval)
            self._runner.find(self._own, self._look_around)
        if self._buckets and now >= self._bucket_at:
            self._bucket_at = now + self._jitter(self._settings.bucket_pause)
            if not self._runner.congested:  # else with the next pause: a deadline in the past would spin
                self._refresh_bucket(self._buckets.popleft())
        if self._chores and now >= self._chore_at:
            self._chore_at = now + 1.0 / self._settings.chore_rate
            if not self._runner.congested:
                self._start_chore(now)

    def next_deadline(self) -> float:
        """Return when `run` has something to do."""
        deadline = self._sweep_at
        if self._refresh_at is not None:
            deadline = min(deadline, self._refresh_at)
        if self._buckets:
            deadline = min(deadline, self._bucket_at)
        return min(deadline, self._chore_at) if self._chores else deadline

    @property
    def _chores(self) -> bool:
        return bool(self._placements or self._gifts or self._newcomers or self._scan)

    def _look_around(self, now: float) -> None:
        """Queue the untouched buckets beyond the nearest neighbour, the far ones first."""
        nearest = self._table.nearest_bucket
        if nearest is not None and not self._buckets:
            limit, looked_at = now - self._settings.refresh_interval, self._runner.looked_at
            stale = (index for index in range(ID_BITS - 1, nearest, -1) if looked_at[index] <= limit)
            self._buckets.extend(stale)

    def _sweep(self, now: float) -> None:
        """Let values expire, and queue those that are to be placed anew."""
        stale = self._store.sweep(now)
        if self._settings.request_ids:
            self._placements.update((held.record.key, None) for held in stale)
        for key, (record, due) in self._published.items():
            if due is None or now >= due:
                self._published[key] = (record, now + self._jitter(self._settings.republish_interval))
                if due is not None:
                    self._placements[key] = None
        if self._pause > self._settings.first_refresh:  # not before the first lookup of the own id
            self._look_around(now)

    def _start_chore(self, now: float) -> None:
        if self._placements:
            key = next(iter(self._placements))
            del self._placements[key]
            self._place(key, now)
        elif self._gifts:
            peer, key = self._gifts.popleft()
            held = self._store.entry(key)
            if held is not None and peer.id in self._table:
                self._runner.hand_over(held.record, now - held.published_at, peer)
        else:
            self._compare()

    def _refresh_bucket(self, index: int) -> None:
        """Look up a random id that belongs into one bucket."""
        low = int.from_bytes(self._entropy(ID_BITS // 8), "big") & ((1 << index) - 1)
        number = int.from_bytes(self._own, "big") ^ (1 << index | low)
        self._runner.find(number.to_bytes(ID_BITS // 8, "big"))

    def _place(self, key: bytes, now: float) -> None:
        published, held = self.published(key), self._store.entry(key)
        if published is not None:
            self._runner.put(published)
        elif held is not None:
            self._runner.put(held.record, now - held.published_at)

    def _compare(self) -> None:
        """Find held values that a newcomer should hold, a slice of the store at a time."""
        if self._scan is None:
            self._scan = (self._newcomers.popleft(), self._store.keys())
        peer, keys = self._scan
        for _ in range(min(self._settings.scan_slice, len(keys))):
            key = keys.pop()
            if self._heir(peer, key):
                self._gifts.append((peer, key))
        if not keys:
            self._scan = None

    def _heir(self, peer: Peer, key: bytes) -> bool:
        """Return whether `peer` is now to hold `key`, and this node the one to give it.

        Of the nodes that hold it the nearest one gives, so that a newcomer gets each value about once. Who
        was known when the value was last stored is taken to hold it, who came later is not.
        """
        held = self._store.entry(key)
        nearest = self._table.closest(key, self._settings.replicas, exclude=peer.id)
        if held is None or (
            len(nearest) == self._settings.replicas and distance(nearest[-1].id, key) < distance(peer.id, key)
        ):
            return False
        for other in nearest:
            if distance(other.id, key) > held.gap:
                break
            since = self._table.since(other.id)
            if since is not None and since <= held.stored_at:
                return False
        return True
