"""One link as a part of an organism sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outlook:
    """For the rounds that come next."""

    position: tuple[float, float, float]
    value: float
    """Of its food, 0 to 1."""
    amount: int = 0
    """Billionths that came over it; negative: that are to leave."""
    phase: float | None = None
    """Of the neighbour's boundary cell; None while none was heard."""
