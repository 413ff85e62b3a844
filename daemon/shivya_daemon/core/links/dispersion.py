"""Bandwidth from packet trains: the bottleneck spaces probes sent back to back (Keshav 1991).

Cross traffic between the probes widens the spacing and queues behind the bottleneck narrow it, so the median
of a few trains is used (Dovrolis, Ramanathan and Moore 2001).
"""

from __future__ import annotations

from collections import deque
from statistics import median

from shivya_daemon.core.links.frames import MAX_BANDWIDTH, Probe

_RESOLUTION = 50e-6  # seconds; finer spacing than an event loop can time counts as this
_KEPT = 5


class Dispersion:
    """The receiving end of trains: one at a time, the latest."""

    __slots__ = ("_bytes", "_first_at", "_next", "_token")

    def __init__(self) -> None:
        self._token: int | None = None
        self._first_at = 0.0
        self._next = 0
        self._bytes = 0

    def arrived(self, probe: Probe, size: int, now: float) -> float:
        """Take a probe whose datagram had `size` bytes; returns bytes per second so far, 0 if unknown.

        A lost probe may have passed the bottleneck or not; it is not counted, so the result errs downwards.
        """
        if probe.count < 2:
            return 0.0
        if probe.token != self._token:
            self._token, self._first_at, self._next, self._bytes = probe.token, now, probe.index + 1, 0
            return 0.0
        if probe.index < self._next:  # out of order: its spacing means nothing
            return 0.0
        self._next = probe.index + 1
        self._bytes += size
        return min(self._bytes / max(now - self._first_at, _RESOLUTION), MAX_BANDWIDTH)


class Bandwidth:
    """The sending end: median of what the last trains showed, in bytes per second."""

    __slots__ = ("_samples", "value")

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_KEPT)
        self.value: float | None = None

    def reported(self, sample: float) -> None:
        """Take what an echo reported; 0 says nothing."""
        if sample > 0:
            self._samples.append(sample)
            self.value = median(self._samples)
