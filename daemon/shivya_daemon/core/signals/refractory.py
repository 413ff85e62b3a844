"""The rest that follows an action potential: its type does not fire again before it is over."""

from __future__ import annotations


class Refractory:
    """Ends of the rests by type, at most `capacity`; when full, the one that ends first is cut short."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._until: dict[str, float] = {}

    def left(self, name: str, now: float) -> float:
        """Return how many seconds type `name` still rests; 0 if it may fire."""
        return max(0.0, self._until.get(name, now) - now)

    def fire(self, name: str, rest: float, now: float) -> None:
        """Note that type `name` fired and rests for `rest` seconds."""
        if name not in self._until and len(self._until) >= self._capacity:
            del self._until[min(self._until, key=lambda other: self._until[other])]
        self._until[name] = now + rest
