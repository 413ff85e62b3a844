"""What the screen remembers of a node: its free energy, one value a second."""

from __future__ import annotations

import math
from collections import deque

from shivya_daemon.snapshot import Snapshot

SECONDS = 240


class History:
    """Free energy by the second of the node's own clock; a node that restarted begins anew."""

    def __init__(self) -> None:
        self._energies: deque[float] = deque(maxlen=SECONDS)
        self._second: int | None = None
        self._node = ""

    @property
    def energies(self) -> tuple[float, ...]:
        """The values known, the newest last."""
        return tuple(self._energies)

    def add(self, snapshot: Snapshot) -> None:
        """Take the free energy of a snapshot; seconds in which nobody looked repeat the one before."""
        if not math.isfinite(snapshot.uptime_seconds):
            return
        second = int(snapshot.uptime_seconds)
        if snapshot.node_id != self._node or (self._second is not None and second < self._second):
            self._energies.clear()
            self._node, self._second = snapshot.node_id, None
        energy = snapshot.collective_free_energy
        if energy is None or not math.isfinite(energy):
            return
        if self._second is not None and self._energies:
            missed = min(second - self._second, SECONDS)
            if missed == 0:
                self._energies.pop()
            self._energies.extend([self._energies[-1]] * (missed - 1) if self._energies else [])
        self._energies.append(energy)
        self._second = second
