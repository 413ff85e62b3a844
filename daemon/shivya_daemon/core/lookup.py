"""The iterative Kademlia lookup as a state machine: who to ask next, what the answers mean, when it is over.

Each candidate is asked at most `ATTEMPTS` times, the set of candidates is bounded and a visited one is never
taken again, so a lookup ends for an absent target too. The shortlist is the `width` nearest candidates that
have not failed; the lookup is done when all of them answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from shivya_daemon.core.frames import Peer
from shivya_daemon.core.routing import distance

ALPHA = 3  # requests in flight
ATTEMPTS = 6  # transmissions to one candidate: at 15 % loss each way, 1 in 2000 live ones is given up
_PATIENT = 2  # transmissions after which a candidate no longer holds up the others
_CANDIDATES_PER_WIDTH = 4
_MAX_SECONDS = 30.0


class _State(Enum):
    NEW = "new"
    ASKED = "asked"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(slots=True)
class _Candidate:
    peer: Peer
    distance: int
    state: _State = _State.NEW
    attempts: int = 0
    retry_at: float = 0.0


class Operation:
    """A question put to the mesh: `done` turns True once, then `result` and `closest` stay as they are."""

    __slots__ = ("closest", "done", "result", "target")

    def __init__(self, target: bytes) -> None:
        self.target = target
        self.done = False
        self.result: Peer | None = None
        """Where the target can be reached, or None if no such node answered."""
        self.closest: tuple[Peer, ...] = ()
        """Nodes that answered, nearest to the target first."""

    def finish(self, result: Peer | None, closest: tuple[Peer, ...]) -> None:
        """Settle the operation."""
        self.result, self.closest, self.done = result, closest, True


class Lookup:
    """One running lookup; its owner sends what `requests` says and reports what `answered`."""

    def __init__(self, operation: Operation, own: bytes, interval: float, width: int, now: float) -> None:
        self.operation = operation
        self._own = own
        self._interval = interval
        self._width = width
        self._deadline = now + _MAX_SECONDS
        self._candidates: dict[bytes, _Candidate] = {}

    def add(self, peers: Iterable[Peer]) -> None:
        """Take new candidates; known ones, failed ones among them, keep their state."""
        for peer in peers:
            if peer.id != self._own and peer.id not in self._candidates:
                gap = distance(peer.id, self.operation.target)
                self._candidates[peer.id] = _Candidate(peer, gap)
        limit = _CANDIDATES_PER_WIDTH * self._width
        if len(self._candidates) > limit:
            for candidate in sorted(self._candidates.values(), key=lambda c: c.distance)[limit:]:
                if candidate.state is _State.NEW:
                    del self._candidates[candidate.peer.id]

    def waiting_for(self, node: bytes) -> bool:
        """Return whether `node` was asked and has not answered."""
        candidate = self._candidates.get(node)
        return candidate is not None and candidate.state is _State.ASKED

    def answered(self, node: bytes, peers: Iterable[Peer]) -> None:
        """Take the answer of `node`."""
        candidate = self._candidates.get(node)
        if candidate is not None:
            candidate.state = _State.ANSWERED
        self.add(peers)

    def requests(self, now: float) -> list[Peer]:
        """Return whom to ask now, first or again; settles the operation when nobody is left to ask."""
        result: list[Peer] = []
        for candidate in self._candidates.values():
            if candidate.state is _State.ASKED and now >= candidate.retry_at:
                if candidate.attempts >= ATTEMPTS:
                    candidate.state = _State.FAILED
                else:
                    result.append(self._ask(candidate, now))
        target = self._candidates.get(self.operation.target)
        found = target is not None and target.state is _State.ANSWERED
        shortlist = self._shortlist()
        in_flight = sum(c.state is _State.ASKED and c.attempts <= _PATIENT for c in self._candidates.values())
        for candidate in shortlist:
            if candidate.state is _State.NEW and in_flight < ALPHA and not found:
                result.append(self._ask(candidate, now))
                in_flight += 1
        if found or now >= self._deadline or all(c.state is _State.ANSWERED for c in shortlist):
            closest = tuple(c.peer for c in shortlist if c.state is _State.ANSWERED)
            self.operation.finish(target.peer if found and target else None, closest)
            return []
        return result

    def _shortlist(self) -> list[_Candidate]:
        usable = [c for c in self._candidates.values() if c.state is not _State.FAILED]
        return sorted(usable, key=lambda candidate: candidate.distance)[: self._width]

    def _ask(self, candidate: _Candidate, now: float) -> Peer:
        candidate.state = _State.ASKED
        candidate.attempts += 1
        candidate.retry_at = now + self._interval
        return candidate.peer
