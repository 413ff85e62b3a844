"""The sliding window that lets every counter through once (RFC 6479, with one wide integer for its bits)."""

from __future__ import annotations

WINDOW = 2048
_MASK = (1 << WINDOW) - 1


class ReplayWindow:
    """Remembers the highest counter seen, and which of the `WINDOW` counters up to it were."""

    __slots__ = ("_bits", "next")

    def __init__(self) -> None:
        self.next = 0
        """One more than the highest counter seen."""
        self._bits = 0  # bit n: whether next - 1 - n was seen

    def fresh(self, counter: int) -> bool:
        """Return whether `counter` was not seen, and is not so old that nobody knows."""
        behind = self.next - 1 - counter
        return behind < 0 or (behind < WINDOW and not self._bits >> behind & 1)

    def mark(self, counter: int) -> bool:
        """Note that a frame with this counter was authentic; True if it is the newest of all."""
        ahead = counter + 1 - self.next
        if ahead <= 0:
            self._bits |= 1 << -ahead
            return False
        self._bits = ((self._bits << ahead) | 1) & _MASK if ahead < WINDOW else 1
        self.next = counter + 1
        return True
