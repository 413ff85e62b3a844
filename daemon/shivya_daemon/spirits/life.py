"""One organism's life on one node: what its part sees of the links, and what crosses them.

The compiled part itself lives in a thread: `outlook` says what to give it, `took` takes what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from shivya_daemon.spirits import crossing
from shivya_daemon.spirits.exchange import Exchange
from shivya_daemon.spirits.outlook import Outlook
from shivya_daemon.spirits.places import PLACES, Places
from shivya_daemon.spirits.register import UNIT, Part

if TYPE_CHECKING:
    from shivya_daemon.spirits.lived import Round

PULSE = 1.0
"""Natural frequency of every pulse, in rad per second of the organism's time."""


class Life:
    """All but the body of one part; every method is for the one thread that owns the node."""

    def __init__(self, own: bytes, organism: bytes, epochs: Callable[[], int], now: float) -> None:
        self.exchange = Exchange(organism, epochs, now)
        self.age = 0.0
        """Seconds of the organism's time."""
        self.round: Round | None = None
        """The last one."""
        self.values: Mapping[bytes, float] = {}
        """Bandwidth score of each link."""
        self._places = Places(own)
        self._conductance: dict[bytes, float] = {}
        self._pending: dict[bytes, int] = {}
        """What came and is not yet in the body."""
        self._asked: dict[int, bytes] = {}
        """Whose amounts the rounds under way move, by place."""

    def see(self, links: Mapping[bytes, float], now: float) -> None:
        """Name the link neighbours and how good each link is."""
        self.values = dict(links)
        self._places.link(links)
        self.exchange.link(links, now)
        self._conductance = {peer: self._conductance.get(peer, crossing.START) for peer in links}

    def outlook(self, speed: float, dt: float, now: float) -> dict[int, Outlook]:
        """Return every link as the part is to see it for the next `dt` seconds of its time, by place."""
        for peer, amount in self.exchange.arrivals().items():
            self._pending[peer] = self._pending.get(peer, 0) + amount
        places = self._places.taken()
        links = {}
        for peer, place in places.items():
            far = self.exchange.far(peer, now)
            # The other's pulse has run on since it told its phase.
            phase = None if far is None or far.nutrient is None else far.phase + PULSE * speed * far.age
            amount = self._pending.get(peer, 0) or -self._leaving(peer, place, dt, now)
            links[place] = Outlook(self._places.position(peer), self.values[peer], amount, phase)
        self._asked = {place: peer for peer, place in places.items()}
        # What came over a link that is gone goes in where no link is.
        free = iter(sorted(set(range(PLACES)) - set(links)))
        for peer in sorted(self._pending.keys() - places.keys()):
            place_of = next(free, None)
            if place_of is not None:
                links[place_of] = Outlook((0.0, 0.0, 0.0), 0.0, self._pending[peer])
                self._asked[place_of] = peer
        return links

    def took(self, lived: Round, dt: float) -> None:
        """Take what came of the rounds that `outlook` was for, which were `dt` seconds of its time."""
        self.round = lived
        self.age += dt
        crossed = dict.fromkeys(self._conductance, 0)
        for place, amount in lived.moved.items():
            peer = self._asked[place]
            if amount > 0:
                left = self._pending.pop(peer) - amount
                if left:
                    self._pending[peer] = left
            else:
                self.exchange.send(peer, -amount)
            crossed[peer] = amount
        for peer, conductance in self._conductance.items():
            self._conductance[peer] = crossing.adapted(conductance, crossed[peer] / UNIT, dt)

    def messages(self, now: float) -> list[tuple[bytes, bytes]]:
        """Return what to tell which neighbour now."""
        cells = {} if self.round is None else self.round.cells
        places = self._places.taken()
        return self.exchange.due({p: cells[at] for p, at in places.items() if at in cells}, now)

    # What there is to show

    def part(self) -> Part:
        """Return how much there is here."""
        if self.round is None:
            return Part()
        drawing = self.round.drawing
        return Part(len(drawing.nutrient), len(drawing.flow), max(0, int(self.nutrient * UNIT)))

    @property
    def nutrient(self) -> float:
        """What is here: in the body, and come but not yet in it."""
        body = 0.0 if self.round is None else self.round.nutrient
        return body + (sum(self._pending.values()) + self.exchange.waiting) / UNIT

    def where(self, peer: bytes) -> tuple[int, tuple[float, float, float]] | None:
        """Return place and position of a link; None beyond what there is room for."""
        place = self._places.taken().get(peer)
        return None if place is None else (place, self._places.position(peer))

    def conductance(self, peer: bytes) -> float:
        """Return that of the tube to a neighbour."""
        return self._conductance.get(peer, 0.0)

    def _leaving(self, peer: bytes, place: int, dt: float, now: float) -> int:
        far = self.exchange.far(peer, now)
        here = None if self.round is None else self.round.cells.get(place)
        if far is None or far.nutrient is None or here is None or dt <= 0.0:
            return 0
        return crossing.leaving(
            self._conductance[peer],
            here[0],
            far.nutrient,
            self.exchange.transit(peer),
            self.exchange.room(peer, now),
            dt,
        )
