"""Which signals of each source were seen: a window of numbers per source, as in RFC 6479, and a rate.

A number counts once for as long as its source is remembered, so neither a loop in the mesh nor a replay of
an old signal passes, and no source can make the node forget the numbers of another.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from shivya_daemon.core.limits import TokenBucket
from shivya_daemon.core.signals.settings import SignalSettings

WINDOW = 1024  # how far a signal may be overtaken by later ones of its source
_MASK = (1 << WINDOW) - 1


class _Source(Struct):
    incarnation: int
    top: int
    """Highest counter seen."""
    seen: int
    """Bit i is set if counter `top` - i was seen."""
    bucket: TokenBucket


class Sources:
    """The last numbers of at most `max_sources` sources; the one silent for longest is forgotten."""

    def __init__(self, settings: SignalSettings) -> None:
        self._settings = settings
        self._sources: OrderedDict[bytes, _Source] = OrderedDict()

    def refusal(self, source: bytes, incarnation: int, counter: int) -> str | None:
        """Return why a number of `source` can not be new, or None; changes nothing."""
        known = self._sources.get(source)
        if known is None or incarnation > known.incarnation:
            return None
        if incarnation < known.incarnation:
            return "stale_incarnation"
        behind = known.top - counter
        if behind >= WINDOW:
            return "stale_sequence"
        return "duplicate_signal" if behind >= 0 and known.seen >> behind & 1 else None

    def accept(self, source: bytes, incarnation: int, counter: int, now: float) -> bool:
        """Note a number that was not refused and is authentic; False if `source` says too much."""
        known = self._sources.get(source)
        if known is None:
            if len(self._sources) >= self._settings.max_sources:
                self._sources.popitem(last=False)
            rate = self._settings.source_rate
            known = _Source(incarnation, counter, 1, TokenBucket(rate, 2 * rate, now))
            self._sources[source] = known
        else:
            self._sources.move_to_end(source)
            if incarnation > known.incarnation:
                known.incarnation, known.top, known.seen = incarnation, counter, 1
            elif counter > known.top:
                ahead = counter - known.top
                known.seen = (known.seen << ahead & _MASK | 1) if ahead < WINDOW else 1
                known.top = counter
            else:
                known.seen |= 1 << known.top - counter
        return known.bucket.allow(now)

    def __len__(self) -> int:
        return len(self._sources)
