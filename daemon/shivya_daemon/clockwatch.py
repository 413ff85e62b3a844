"""Whether the wall clock of this machine runs evenly: it is compared with the monotonic one."""

from __future__ import annotations

JUMP = 0.5
"""Seconds between two looks by which the two must differ to count as a jump; slewing stays far below."""


class ClockWatch:
    """Counts the jumps of the wall clock since the daemon started; look once a second."""

    def __init__(self) -> None:
        self.jumps = 0
        self.largest = 0.0
        """Seconds, forwards positive."""
        self._offset: float | None = None

    def look(self, wall: float, monotonic: float) -> None:
        """Compare the two clocks, in seconds."""
        offset = wall - monotonic
        if self._offset is not None and abs(jump := offset - self._offset) >= JUMP:
            self.jumps += 1
            self.largest = max(self.largest, jump, key=abs)
        self._offset = offset
