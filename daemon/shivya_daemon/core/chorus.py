"""The Chorus: the phase that each peer last told, and the oscillator of this node that they pull.

    theta' = omega + K / N sum_j sin(theta_j - theta),

N being this node and its live peers (Kuramoto 1984). A peer's phase is timed by its arrival here and runs on
at the peer's own frequency until the next one: no clocks are compared, and counters order, they do not
measure time. A peer not heard for longer than the TTL leaves the sum.
"""

from __future__ import annotations

import cmath
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from shivya_daemon.core.beacon import Phase


class ChorusSettings(Struct, frozen=True):
    """Coupling and memory of one node's part in the chorus."""

    coupling: float = 2.5
    """K in 1/s: phases lock above 2 / (pi g(0)), g the density of natural frequencies, and spread below 0."""
    omega: float = math.tau
    """Natural frequency in rad/s."""
    peer_ttl: float = 1.0
    """Seconds for which a peer's last phase counts: three to ten heartbeats."""
    max_step: float = 0.1
    """Longest step of the integration in seconds; a longer time is cut into such steps."""
    max_peers: int = 256
    """Peers whose last phase and number are remembered; the one silent for longest is forgotten."""


class LivePhase(Struct, frozen=True):
    """Where a peer's oscillator is by now."""

    node: bytes
    theta: float
    omega: float


class _Told(Struct):
    incarnation: int
    phase: Phase
    heard: float
    transit: float


class Phases:
    """What each peer last told, by (incarnation, counter): newer only, and an earlier life never."""

    def __init__(self, settings: ChorusSettings) -> None:
        self._settings = settings
        self._told: OrderedDict[bytes, _Told] = OrderedDict()

    def hear(
        self, node: bytes, incarnation: int, phase: Phase, now: float, transit: float = 0.0
    ) -> str | None:
        """Take the phase in a heartbeat that was `transit` seconds (half a round trip) under way.

        Returns None, or why it was dropped. A later incarnation is taken whatever its counter.
        """
        known = self._told.get(node)
        if known is not None and incarnation == known.incarnation:
            # Serial numbers (RFC 1982): however far ahead, a peer that paused is taken at once.
            if not 0 < (phase.counter - known.phase.counter) & 0xFFFFFFFF < 0x80000000:
                return "stale_sequence"
        elif known is not None and incarnation < known.incarnation:
            return "stale_incarnation"
        if known is None and len(self._told) >= self._settings.max_peers:
            self._told.popitem(last=False)
        self._told[node] = _Told(incarnation, phase, now, transit)
        self._told.move_to_end(node)
        return None

    def live(self, now: float) -> list[LivePhase]:
        """Return where every peer within its TTL is at `now`, in the order in which they were heard."""
        oldest = now - self._settings.peer_ttl
        result = []
        for node, told in reversed(self._told.items()):
            if told.heard < oldest:
                break
            theta = told.phase.theta + told.phase.omega * (now - told.heard + told.transit)
            result.append(LivePhase(node, theta % math.tau, told.phase.omega))
        result.reverse()
        return result

    def __len__(self) -> int:
        return len(self._told)


class Oscillator:
    """This node's own phase; it advances by the times handed in, and numbers what it tells."""

    def __init__(self, settings: ChorusSettings, theta: float, now: float) -> None:
        self._settings = settings
        self._now = now
        self._counter = 0
        self.theta = theta % math.tau

    def advance(self, peers: Sequence[LivePhase], now: float) -> float:
        """Go on to `now`, pulled by where `peers` are at `now`; returns the phase in rad, 0 to 2 pi.

        Of a pause longer than the TTL, no peer's word covers the part before: there it runs free.
        """
        settings = self._settings
        elapsed = max(0.0, now - self._now)
        pulled = min(elapsed, settings.peer_ttl)
        theta = self.theta + settings.omega * (elapsed - pulled)
        steps = math.ceil(pulled / settings.max_step)
        for step in range(steps):
            before = pulled * (steps - step) / steps
            at = [(peer.theta - peer.omega * before, peer.omega) for peer in peers]
            theta = kuramoto_step(theta, settings.omega, at, pulled / steps, settings.coupling)
        self._now += elapsed
        self.theta = theta % math.tau
        return self.theta

    def at(self, now: float) -> float:
        """Return the phase at `now` as if nothing pulled since the last step, in rad, 0 to 2 pi."""
        return (self.theta + self._settings.omega * max(0.0, now - self._now)) % math.tau

    def tell(self) -> Phase:
        """Return the phase for the next beacon."""
        self._counter = (self._counter + 1) & 0xFFFFFFFF
        return Phase(self.theta, self._settings.omega, self._counter)


def kuramoto_step(
    theta: float, omega: float, peers: Sequence[tuple[float, float]], dt: float, coupling: float = 2.5
) -> float:
    """One classical Runge-Kutta step of `dt` seconds of one oscillator; returns its phase, not wrapped.

    `peers` are (phase, frequency) in rad and rad/s; during the step they run on freely.
    """
    pull = coupling / (len(peers) + 1)

    def rate(at: float, after: float) -> float:
        return omega + pull * math.fsum(math.sin(phase + speed * after - at) for phase, speed in peers)

    half = 0.5 * dt
    k1 = rate(theta, 0.0)
    k2 = rate(theta + half * k1, half)
    k3 = rate(theta + half * k2, half)
    k4 = rate(theta + dt * k3, dt)
    return theta + dt / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)


def order_parameter(thetas: Iterable[float]) -> float:
    """Return |mean of exp(i theta)|: 1 when all phases agree, 0 for none."""
    points = [cmath.exp(1j * theta) for theta in thetas]
    return abs(sum(points)) / len(points) if points else 0.0
