"""Rate limits: token buckets with the time handed in, and a bounded table of them by address."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class TokenBucket:
    """Allows `rate` events per second in the long run and `burst` at once."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def allow(self, now: float) -> bool:
        """Take one token if there is one."""
        tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True

    def empty(self, now: float) -> bool:
        """Return whether no token is there; takes none."""
        return min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate) < 1.0


class KeyedLimit:
    """One token bucket per key, at most `capacity` of them; the key unused for longest is forgotten."""

    __slots__ = ("_buckets", "_burst", "_capacity", "_rate")

    def __init__(self, rate: float, burst: float, capacity: int) -> None:
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def allow(self, key: Hashable, now: float) -> bool:
        """Take one token of `key` if there is one."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._capacity:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst, now)
        else:
            self._buckets.move_to_end(key)
        return bucket.allow(now)

    def spent(self, key: Hashable, now: float) -> bool:
        """Return whether `key` has no token left; takes none."""
        bucket = self._buckets.get(key)
        return bucket is not None and bucket.empty(now)

    def __len__(self) -> int:
        return len(self._buckets)
