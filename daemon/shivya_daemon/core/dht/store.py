"""Values held for others: few, checked, near, and not for ever."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

from msgspec import Struct

from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.table import distance
from shivya_daemon.core.dht.token_frames import Outcome
from shivya_daemon.core.dht.values import KEY_BYTES, Record, proved


class Held(Struct):
    """One record in the store."""

    record: Record
    writer: bytes
    """The node whose quota it takes."""
    gap: int
    """Distance of its key from the own id."""
    published_at: float
    """When its publisher last stored it, as far as known."""
    stored_at: float = 0.0
    """When somebody last stored it here, and at the other nodes near to its key."""
    replicate_at: float = 0.0
    """When to pass it on, unless somebody else does before."""

    @property
    def size(self) -> int:
        """Bytes that it counts for."""
        return KEY_BYTES + len(self.record.value)


class Store:
    """Records by key, bounded in number and bytes, in all and for each writing node.

    The record farthest from the own id makes room, and only for a nearer one: a flood of values can push out
    what others hold better anyway, and nothing else.
    """

    def __init__(self, own: bytes, settings: DhtSettings, jitter: Callable[[float], float]) -> None:
        self._own = own
        self._settings = settings
        self._jitter = jitter
        self._held: dict[bytes, Held] = {}
        self._by_gap: list[tuple[int, bytes]] = []
        self._writers: dict[bytes, tuple[int, int]] = {}
        self._bytes = 0

    def offer(self, record: Record, writer: bytes, age: float, now: float) -> Outcome:
        """Keep a claimed record if it is true, young, newest and there is room for it.

        The signature is verified last, so that refusing costs little.
        """
        if age >= self._settings.value_lifetime:
            return Outcome.STALE
        published_at = now - max(0.0, age)
        known = self._current(record.key, now)
        if known is not None and known.record.value == record.value:
            known.published_at = max(known.published_at, published_at)
            self._stored(known, now)
            return Outcome.STORED
        if known is not None and record.rank() < known.record.rank():
            return Outcome.STALE
        held = Held(record, writer, distance(record.key, self._own), published_at)
        if not self._fits(held, known):
            return Outcome.FULL
        if not proved(record):
            return Outcome.INVALID
        if known is not None:
            self._remove(known)
        while self._crowded(held):
            self._remove(self._held[self._by_gap[-1][1]])
        self._insert(held)
        self._stored(held, now)
        return Outcome.STORED

    def get(self, key: bytes, now: float) -> Record | None:
        """Return what is held under `key`."""
        held = self._current(key, now)
        return None if held is None else held.record

    def keys(self) -> list[bytes]:
        """Return the keys held, nearest to the own id first."""
        return [key for _, key in self._by_gap]

    def entry(self, key: bytes) -> Held | None:
        """Return what is held under `key`, with what is known about it."""
        return self._held.get(key)

    def sweep(self, now: float) -> list[Held]:
        """Forget what expired; return what is to be passed on now."""
        for held in [held for held in self._held.values() if self._expired(held, now)]:
            self._remove(held)
        due = [held for held in self._held.values() if now >= held.replicate_at]
        for held in due:
            self._postpone(held, now)
        return due

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def _current(self, key: bytes, now: float) -> Held | None:
        held = self._held.get(key)
        if held is not None and self._expired(held, now):
            self._remove(held)
            return None
        return held

    def _expired(self, held: Held, now: float) -> bool:
        return now - held.published_at >= self._settings.value_lifetime

    def _stored(self, held: Held, now: float) -> None:
        held.stored_at = now
        self._postpone(held, now)

    def _postpone(self, held: Held, now: float) -> None:
        held.replicate_at = now + self._jitter(self._settings.replicate_interval)

    def _fits(self, held: Held, known: Held | None) -> bool:
        """Return whether the writer's quota and the nearness of the key let this record in."""
        records, size = self._writers.get(held.writer, (0, 0))
        spare = 0 if known is None else known.size
        if known is not None and known.writer == held.writer:
            records, size = records - 1, size - known.size
        if held.writer != self._own and (
            records >= self._settings.writer_records or size + held.size > self._settings.writer_bytes
        ):
            return False
        if known is not None and held.size <= spare:
            return True
        count = len(self._held) - (known is not None)
        excess = self._bytes - spare + held.size - self._settings.max_bytes
        if count < self._settings.max_records and excess <= 0:
            return True
        # Only farther ones may make room; values are short, so one or two do.
        freed, index = 0, len(self._by_gap)
        while index and (excess > freed or count >= self._settings.max_records):
            index -= 1
            gap, key = self._by_gap[index]
            if gap <= held.gap:
                return False
            count -= 1
            freed += self._held[key].size
        return excess <= freed and count < self._settings.max_records

    def _crowded(self, held: Held) -> bool:
        return (
            len(self._held) >= self._settings.max_records
            or self._bytes + held.size > self._settings.max_bytes
        )

    def _insert(self, held: Held) -> None:
        key = held.record.key
        self._held[key] = held
        insort(self._by_gap, (held.gap, key))
        self._bytes += held.size
        self._charge(held, 1)

    def _remove(self, held: Held) -> None:
        key = held.record.key
        del self._held[key]
        del self._by_gap[bisect_left(self._by_gap, (held.gap, key))]
        self._bytes -= held.size
        self._charge(held, -1)

    def _charge(self, held: Held, sign: int) -> None:
        records, size = self._writers.get(held.writer, (0, 0))
        if records + sign:
            self._writers[held.writer] = (records + sign, size + sign * held.size)
        else:
            del self._writers[held.writer]
