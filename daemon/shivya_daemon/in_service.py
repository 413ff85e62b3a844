"""When the jobs in service began, as far as queue lengths and completions tell; and how late they are.

The daemon keeps one for each service, and a client one for itself. Standard library only.
"""

from __future__ import annotations

from collections import deque

from shivya_daemon.placement import residual_time

MAX_SERVERS = 64
"""Among more servers, how long one job takes hardly matters to those that wait: no account is kept."""


class InService:
    """When the servers in use took their jobs; of several, the one longest at work is done first."""

    __slots__ = ("_began", "_told")

    def __init__(self) -> None:
        self._began: deque[float] = deque()
        self._told = False
        """Whether completions are reported at all: without them nothing is known of when a job began."""

    def occupy(self, held: int, servers: int, now: float) -> None:
        """Take the number of jobs held: idle servers begin one now, servers too many have ended theirs."""
        busy = min(held, servers) if servers <= MAX_SERVERS else 0
        while len(self._began) > busy:
            self._began.popleft()
        while len(self._began) < busy:
            self._began.append(now)

    def complete(self, count: int, held: int, servers: int, now: float) -> None:
        """Take completions: that many servers begin another job now, if `held` jobs are left."""
        self._told = self._told or count > 0
        for _ in range(min(count, len(self._began))):
            self._began.popleft()
        self.occupy(held, servers, now)

    def overrun(self, servers: int, rate: float, kappa: float, now: float) -> float:
        """Seconds that a server takes to be free beyond 1 / `rate`, as `residual_time` says; 0 when one is.

        `rate` is that of all `servers` together.
        """
        if not self._told or rate <= 0.0 or len(self._began) < servers:
            return 0.0
        usual = servers / rate
        late = sum(residual_time(max(0.0, now - began), 1 / usual, kappa) - usual for began in self._began)
        return max(0.0, late) / (servers * servers)
