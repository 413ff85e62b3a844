"""The signals that this node received last, and how many there were of each type."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shivya_daemon.core.signals.events import QuorumReached, SignalEvent, SignalReceived, Undeliverable
from shivya_daemon.core.signals.frame import ActionPotential, Directed, Flood, Gradient, Kind, Quorum

KEPT = 64
MAX_TYPES = 64
"""Types counted by name; their senders choose them, so all further ones are counted together."""
OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class _Entry:
    at: float
    event: SignalReceived | QuorumReached


class SignalLog:
    """Bounded: `KEPT` signals, `MAX_TYPES` counters."""

    def __init__(self) -> None:
        self._last: deque[_Entry] = deque(maxlen=KEPT)
        self._counts: Counter[str] = Counter()
        self._undeliverable = 0

    def take(self, event: SignalEvent, now: float) -> None:
        """Note one event."""
        if isinstance(event, Undeliverable):
            self._undeliverable += 1
            return
        known = event.type in self._counts or len(self._counts) < MAX_TYPES
        self._counts[event.type if known else OTHERS] += 1
        self._last.append(_Entry(now, event))

    def to_json(self, name: Callable[[bytes], str], now: float) -> dict[str, Any]:
        """Return the object of `shivya signals --json`, the latest signal first; `name` is that of a node."""
        return {
            "signals": [_row(entry, name, now) for entry in reversed(self._last)],
            "counts": dict(self._counts),
            "undeliverable": self._undeliverable,
        }


def _row(entry: _Entry, name: Callable[[bytes], str], now: float) -> dict[str, Any]:
    event = entry.event
    row: dict[str, Any] = {
        "id": event.id.hex(),
        "type": event.type,
        "age_seconds": max(0.0, now - entry.at),
        "payload": event.payload.hex(),
    }
    if isinstance(event, QuorumReached):
        return row | {"kind": "quorum reached", "contributors": sorted(map(bytes.hex, event.contributors))}
    return row | {
        "kind": kind_word(event.kind),
        "source": event.source.hex(),
        "name": name(event.source),
        "hops": event.hops,
        "strength": event.strength,
    }


def kind_word(kind: Kind) -> str:
    """Return the word for a kind of signal."""
    match kind:
        case Flood():
            return "flood"
        case Gradient():
            return "gradient"
        case Directed():
            return "directed"
        case Quorum():
            return "quorum"
        case ActionPotential():
            return "action"
