"""How much a link is worth: what it can carry, what it does carry, and the conductance that follows.

The *bandwidth score*, 0 to 1, is a moving average (gain 0.1 per window) of bandwidth shown: what passed in
the window, or what the last trains of probes measured if that is more. *Thickness* is Hebbian, as that of a
hypha or a tube of Physarum (Tero et al. 2007): it relaxes towards a value that grows with traffic, so that
use thickens a link and disuse thins it, within bounds.
"""

from __future__ import annotations

import math

from shivya_daemon.core.links.settings import LinksSettings

_SCORE_GAIN = 0.1
_REFERENCE_RTT = 0.01  # seconds; halves the conductance
_INITIAL = 1.0


class Thickness:
    """Thickness and bandwidth score of one link; traffic is recorded as it comes and weighed by windows."""

    __slots__ = ("_at", "_bytes", "_settings", "score", "value")

    def __init__(self, settings: LinksSettings, now: float) -> None:
        self._settings = settings
        self._bytes = 0
        self._at = now
        self.score = 0.5
        self.value = min(max(_INITIAL, settings.thickness_min), settings.thickness_max)

    def record(self, size: int) -> None:
        """Count `size` bytes of traffic, either way."""
        self._bytes += size

    def settle(self, now: float, bandwidth: float | None) -> None:
        """Weigh the traffic since the last window closed, if a window's time has passed.

        `bandwidth` in bytes per second is what probes measured, None before they did.
        """
        settings = self._settings
        elapsed = now - self._at
        if elapsed < settings.window:
            return
        rate = self._bytes / elapsed
        self._bytes, self._at = 0, now
        reference = settings.reference_bandwidth
        shown = max(rate, reference if bandwidth is None else bandwidth)
        gain = 1.0 - (1.0 - _SCORE_GAIN) ** (elapsed / settings.window)
        self.score += gain * (shown / (shown + reference) - self.score)
        goal = settings.thickness_max * rate / (rate + settings.busy_rate)
        kept = math.exp(-settings.thickness_decay * elapsed)
        value = goal + (self.value - goal) * kept
        self.value = min(max(value, settings.thickness_min), settings.thickness_max)


def conductance(thickness: float, bandwidth_score: float, rtt: float) -> float:
    """Return what this end advertises: thickness * bandwidth score / (1 + rtt / 10 ms); `rtt` in seconds."""
    return thickness * bandwidth_score / (1.0 + rtt / _REFERENCE_RTT)
