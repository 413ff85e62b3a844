"""What the threat model learns from: how many anomalies a peer had, and whether it then went on.

The question that a sample answers is the one that a quarantine is about: after so many anomalies, will more
follow? The answer is known half a minute later and needs nobody's opinion. Drills are left out on both sides.
"""

from __future__ import annotations

from collections import deque

from shivya_daemon.core.anomalies import Anomalies

INTERVAL = 10.0
"""Seconds between two samples of a peer."""
HORIZON = 30.0
"""Seconds within which a peer that goes on is heard of."""
WINDOW = 128
"""Answered samples remembered."""
_LEAST = 1.0  # anomalies below which there is nothing to ask
_OPEN = 256  # samples that wait for their answer


class Samples:
    """Samples by time; `take` wants to be called with every beat."""

    def __init__(self) -> None:
        self._open: deque[tuple[float, bytes, float, int]] = deque()
        self._counts: deque[float] = deque(maxlen=WINDOW)
        self._labels: deque[float] = deque(maxlen=WINDOW)
        self._due = 0.0

    def take(self, anomalies: Anomalies, now: float) -> bool:
        """Answer the samples whose time has come, and take new ones; True if the window has changed."""
        if now < self._due:
            return False
        self._due = now + INTERVAL
        answered = False
        while self._open and self._open[0][0] <= now:
            _, peer, count, hard = self._open.popleft()
            self._counts.append(count)
            self._labels.append(float(anomalies.hard(peer) > hard))
            answered = True
        for peer in anomalies.peers(now):
            evidence = anomalies.of(peer, now)
            count = evidence.count - evidence.drills
            if count >= _LEAST and len(self._open) < _OPEN:
                self._open.append((now + HORIZON, peer, count, anomalies.hard(peer)))
        return answered

    @property
    def answered(self) -> tuple[list[float], list[float]]:
        """Counts and labels, oldest first; 1 where the peer went on."""
        return list(self._counts), list(self._labels)

    def __len__(self) -> int:
        return len(self._counts)
