"""How much nutrient leaves over a link: down the difference of two boundary cells, through a tube of its own.

The tube between two nodes lives as those within a node do (Tero et al. 2007): its conductance grows with what
crosses it and decays without, within bounds. Only the richer end sends. The other's level is a message old,
so no more leaves than would make the two alike, what is on its way already counted: it cannot swing.
"""

from __future__ import annotations

from shivya_daemon.spirits.register import UNIT

LEAST, MOST = 0.05, 0.5
"""Bounds of the conductance, 1/s."""
GROWTH = 0.5
"""Per second, at a flow that is large against `FLUX`."""
FLUX = 0.1
"""Flow, in nutrient per second, at which growth is half its most."""
DECAY = 0.5
"""Per second."""
START = 0.1


def leaving(conductance: float, here: float, there: float, transit: int, room: int, dt: float) -> int:
    """Return the billionths that leave in `dt` seconds, given the levels of both boundary cells."""
    gap = here - there - transit / UNIT
    if not gap > 0.0:
        return 0
    return max(0, min(int(min(conductance * dt, 0.5) * gap * UNIT), room))


def adapted(conductance: float, crossed: float, dt: float) -> float:
    """Return the conductance after `dt` seconds in which `crossed` nutrient crossed the link, either way."""
    flow = abs(crossed) / dt if dt > 0.0 else 0.0
    target = GROWTH * flow / (FLUX + flow)
    share = min(DECAY * dt, 1.0)
    return min(max(conductance + dt * target - share * conductance, LEAST), MOST)
