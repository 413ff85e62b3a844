"""Reputation: slow to gain, quick to lose, in whole billionths so that every replica has the same.

    R <- R + (1 - R)/100 on success        R <- 4/5 R on failure

Three aspects make the aggregate: uptime 3/10, delivery 5/10, honesty 2/10. Uptime and delivery are reported
by witnesses; honesty is how often a witness voted as the roster decided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from shivya_daemon.ledgers.credits.units import Count

ONE: Count = 10**9
"""The best score: scores are whole billionths."""
_START = ONE // 2


class Aspect(Enum):
    """What is judged."""

    UPTIME = "uptime"
    DELIVERY = "delivery"
    HONESTY = "honesty"


_WEIGHTS = {Aspect.UPTIME: 3, Aspect.DELIVERY: 5, Aspect.HONESTY: 2}  # tenths


@dataclass(frozen=True, slots=True)
class Reputation:
    """The scores of one account; whoever is new is neither trusted nor distrusted."""

    uptime: Count = _START
    delivery: Count = _START
    honesty: Count = _START

    @property
    def aggregate(self) -> int:
        """The weighted mean, between 0 and `ONE`."""
        return sum(weight * self._of(aspect) for aspect, weight in _WEIGHTS.items()) // 10

    def after(self, aspect: Aspect, success: bool) -> Reputation:
        """Return the reputation after one more success or failure."""
        score = self._of(aspect)
        score = score + (ONE - score) // 100 if success else score * 4 // 5
        return replace(self, **{aspect.value: score})

    def _of(self, aspect: Aspect) -> int:
        return int(getattr(self, aspect.value))
