"""Where the link neighbours lie in a node's own space: sixteen places on a circle around it.

A pair of nodes derives one direction, and the higher id takes its opposite, so that seen side by side the two
parts face each other. Who would come too near to another is sent on, to where there is room.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

PLACES = 16
_ROOMY = PLACES // 4
_TILT = 0.15  # height of a place above or below the plane, at most


class Places:
    """Who has which place; it is kept for as long as the link lasts."""

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._place: dict[bytes, int] = {}

    def link(self, peers: Iterable[bytes]) -> None:
        """Name the link neighbours there are; beyond `PLACES` the highest ids get none."""
        present = set(peers)
        self._place = {peer: place for peer, place in self._place.items() if peer in present}
        for peer in sorted(present - self._place.keys()):
            taken = set(self._place.values())
            free = [place for place in range(PLACES) if place not in taken]
            if not free:
                break
            wanted = self._wanted(peer)
            # A quarter of the circle from the others if there is room, and as near to the wanted as may be.
            self._place[peer] = min(
                free,
                key=lambda place: (
                    -min((min(_apart(place, other), _ROOMY) for other in taken), default=_ROOMY),
                    _apart(place, wanted),
                ),
            )

    def taken(self) -> dict[bytes, int]:
        """Return the place of each neighbour."""
        return dict(self._place)

    def position(self, peer: bytes) -> tuple[float, float, float]:
        """Return where a neighbour's place lies: at distance 1."""
        angle = 2.0 * math.pi * self._place[peer] / PLACES
        height = _TILT * (2.0 * self._digest(peer)[1] / 255.0 - 1.0) * (1 if self._own < peer else -1)
        flat = math.sqrt(1.0 - height * height)
        return (flat * math.cos(angle), flat * math.sin(angle), height)

    def _wanted(self, peer: bytes) -> int:
        place = self._digest(peer)[0] % PLACES
        return place if self._own < peer else (place + PLACES // 2) % PLACES

    def _digest(self, peer: bytes) -> bytes:
        return hashlib.sha256(min(self._own, peer) + max(self._own, peer)).digest()


def _apart(one: int, two: int) -> int:
    """Return how many places lie between two, the short way round."""
    return min((one - two) % PLACES, (two - one) % PLACES)
