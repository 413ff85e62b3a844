"""Who is kept out, and for how long: quarantine, probation, and back. A state machine; time is handed in.

A first quarantine lasts half a minute, each further one twice as long, an hour at most. Probation follows:
the peer is back, and every anomaly counts twice. Who stays clean for an hour after that was never here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

PROBATION_WEIGHT = 2.0
"""How much an anomaly counts of a peer that has been out, while it is out and on probation."""


class QuarantineSettings(Struct, frozen=True):
    """Durations in seconds."""

    first: float = 30.0
    longest: float = 3600.0
    probation: float = 60.0
    """Least; it lasts as long as the quarantine before."""
    memory: float = 3600.0
    """How long a served quarantine makes the next one longer."""
    capacity: int = 256
    """Peers remembered."""


class State(StrEnum):
    """Where a peer stands."""

    FREE = "free"
    QUARANTINED = "quarantined"
    PROBATION = "probation"


class Standing(Struct, frozen=True):
    """One peer."""

    state: State = State.FREE
    until: float = 0.0
    term: float = 0.0
    """Length of the last quarantine."""
    strikes: int = 0
    """Quarantines so far."""


class Change(Struct, frozen=True):
    """A peer that stands otherwise than before."""

    peer: bytes
    before: State
    now: Standing


_FREE = Standing()


class Quarantine:
    """Standings of at most `capacity` peers; the free, then the longest remembered, make room."""

    def __init__(self, settings: QuarantineSettings | None = None) -> None:
        self._settings = settings or QuarantineSettings()
        self._standings: dict[bytes, Standing] = {}

    def standing(self, peer: bytes) -> Standing:
        """Return where a peer stands."""
        return self._standings.get(peer, _FREE)

    @property
    def standings(self) -> Mapping[bytes, Standing]:
        """Peers that were ever out, and are remembered."""
        return self._standings

    @property
    def out(self) -> frozenset[bytes]:
        """Peers that are kept out now."""
        return frozenset(p for p, s in self._standings.items() if s.state is State.QUARANTINED)

    def weight(self, peer: bytes) -> float:
        """Return how much an anomaly of a peer counts."""
        return 1.0 if self.standing(peer).state is State.FREE else PROBATION_WEIGHT

    def room(self, members: int) -> bool:
        """Return whether one more of so many members may be kept out: never more than half of them.

        A fault that all peers seem to have is more likely here.
        """
        return len(self.out) < max(1, members // 2)

    def commit(self, peer: bytes, now: float) -> Change:
        """Keep a peer out from now on; one that is out already, for another, longer term."""
        known, settings = self.standing(peer), self._settings
        term = settings.first if not known.strikes else min(2.0 * known.term, settings.longest)
        standing = Standing(State.QUARANTINED, now + term, term, known.strikes + 1)
        self._standings.pop(peer, None)
        if len(self._standings) >= settings.capacity:
            del self._standings[min(self._standings, key=self._worth)]
        self._standings[peer] = standing
        return Change(peer, known.state, standing)

    def advance(self, still: frozenset[bytes], now: float) -> list[Change]:
        """End what is over. The peers in `still` went on with it while they were out: they stay out."""
        changes = []
        for peer, known in list(self._standings.items()):
            if now < known.until:
                continue
            match known.state:
                case State.QUARANTINED if peer in still:
                    changes.append(self.commit(peer, now))
                case State.QUARANTINED:
                    until = now + max(known.term, self._settings.probation)
                    self._stand(peer, Standing(State.PROBATION, until, known.term, known.strikes), changes)
                case State.PROBATION:
                    until = now + self._settings.memory
                    self._stand(peer, Standing(State.FREE, until, known.term, known.strikes), changes)
                case State.FREE:
                    del self._standings[peer]
        return changes

    def _stand(self, peer: bytes, standing: Standing, changes: list[Change]) -> None:
        changes.append(Change(peer, self.standing(peer).state, standing))
        self._standings[peer] = standing

    def _worth(self, peer: bytes) -> tuple[bool, float]:
        known = self._standings[peer]
        return known.state is not State.FREE, known.until
