"""Pauses by peer: each further failure doubles the next; a bounded table, least recently struck forgotten."""

from __future__ import annotations

from collections import OrderedDict


class Backoff:
    """Until when each peer is left alone."""

    def __init__(self, first: float, longest: float, capacity: int) -> None:
        self._first = first
        self._longest = longest
        self._capacity = capacity
        self._pauses: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def strike(self, node: bytes, now: float) -> None:
        """Pause for twice as long as the last time."""
        _, pause = self._pauses.get(node, (0.0, 0.0))
        self._set(node, now, min(max(self._first, 2 * pause), self._longest))

    def pause(self, node: bytes, now: float, seconds: float) -> None:
        """Pause for so long."""
        self._set(node, now, min(seconds, self._longest))

    def forget(self, node: bytes) -> None:
        """End the pause and start again from the first."""
        self._pauses.pop(node, None)

    def paused(self, node: bytes, now: float) -> bool:
        """Return whether this peer is to be left alone."""
        entry = self._pauses.get(node)
        return entry is not None and now < entry[0]

    def _set(self, node: bytes, now: float, seconds: float) -> None:
        self._pauses[node] = (now + seconds, seconds)
        self._pauses.move_to_end(node)
        if len(self._pauses) > self._capacity:
            self._pauses.popitem(last=False)

    def __len__(self) -> int:
        return len(self._pauses)
