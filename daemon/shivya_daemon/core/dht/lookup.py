"""The iterative Kademlia lookup as a state machine: who to ask next, what the answers mean, when it is over.

A candidate is asked one question, and what failed or answered is never taken again, but that a silent one is
tried once more where another peer says it is now. Candidates that wait, those of one subnet and those that
are asked in all are bounded, so a lookup ends for an absent target too, and against peers that invent new
ones with every answer. The shortlist is the `width` nearest candidates that have not failed; the lookup is
done when all of them answered, or the target did, or a value is found.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence

from msgspec import Struct

from shivya_daemon.core.dht.exchanges import Exchanges
from shivya_daemon.core.dht.requests import Kind, Message, Request
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.subnets import SubnetCount, loopback, plausible
from shivya_daemon.core.dht.values import Record, check
from shivya_daemon.core.frames import FindNode, FindValue, FoundNodes, FoundValue, Peer

_CANDIDATES_PER_WIDTH = 4


class _Candidate(Struct, eq=False):
    peer: Peer
    request: Request | None = None
    answered: bool = False
    failed: bool = False
    elsewhere: Peer | None = None
    """The same node at another address, as somebody named it."""
    retried: bool = False


class Lookup:
    """One running lookup for a node (`kind` FIND_NODE) or for a value (FIND_VALUE).

    `seeds` are the peers to begin with, nearest to the target first.
    """

    def __init__(
        self,
        own: bytes,
        target: bytes,
        kind: Kind,
        width: int,
        seeds: Sequence[Peer],
        settings: DhtSettings,
        exchanges: Exchanges,
        on_done: Callable[[Lookup, float], None],
        now: float,
    ) -> None:
        self.target = target
        self.record: Record | None = None
        """The best value found; None for a node, or if there is none."""
        self.done = False
        self._own = own
        self._kind = kind
        self._width = width
        self._limit = _CANDIDATES_PER_WIDTH * width
        self._settings = settings
        self._exchanges = exchanges
        self._on_done = on_done
        self._deadline = now + settings.operation_timeout
        self._question = FindNode(target) if kind is Kind.FIND_NODE else FindValue(target)
        self._centre = int.from_bytes(target, "big")
        self._order: list[_Candidate] = []
        self._gaps: list[int] = []
        """Distances of the candidates in `_order`."""
        self._candidates: dict[bytes, _Candidate] = {}
        self._subnets = SubnetCount(settings.subnet_limit, settings.limit_private)
        self._counted = False
        self._asked = 0
        first = len(seeds) if kind is Kind.FIND_NODE else settings.alpha
        self._spare = seeds[first:]
        """Seeds that most lookups of a value never come to."""
        for peer in seeds[:first]:
            self._add(peer)

    @property
    def found(self) -> Peer | None:
        """The target itself, once it answered."""
        candidate = self._candidates.get(self.target)
        return candidate.peer if candidate is not None and candidate.answered else None

    @property
    def closest(self) -> tuple[Peer, ...]:
        """Nodes that answered, nearest first."""
        return tuple(candidate.peer for candidate in self._order if candidate.answered)

    def answered(self, request: Request, message: Message, now: float) -> str | None:
        """Take an answer: nearer peers, or a value that must be what its key says."""
        candidate = self._candidates[request.peer.id]
        if isinstance(message, FoundValue) and message.value is not None:
            record = check(self.target, message.value)
            if record is None:
                candidate.retried = True  # it is where it is, and lies
                self._give_up(candidate)
                return "bad_value"
            if self.record is None or record.rank() > self.record.rank():
                self.record = record
        candidate.answered = True
        if isinstance(message, FoundNodes | FoundValue):
            for peer in message.peers:
                # A peer elsewhere cannot know what runs on this host, only wish that something there is hit.
                if plausible(peer) and (not loopback(peer.host) or loopback(request.peer.host)):
                    self._consider(peer)
        return None

    def failed(self, request: Request, now: float) -> None:
        """Note that a candidate is silent or out of reach."""
        self._give_up(self._candidates[request.peer.id])

    def step(self, now: float) -> None:
        """Ask whom it takes, or settle."""
        if self.done:
            return
        shortlist = self._shortlist()
        waiting = [c.request for c in shortlist if c.request is not None and not c.request.settled]
        pressing = sum(not request.slow for request in waiting)
        if self.record is not None:
            # Content is what it is; of a signed record the other near ones may hold a later one.
            rest = shortlist[: self._settings.alpha] if self.record.sequence is not None else []
            fresh = [candidate for candidate in rest if candidate.request is None]
            for candidate in fresh:
                self._ask(candidate, now)
            if not fresh and not (rest and pressing):
                self._finish(now)
            return
        if self.found is not None or now >= self._deadline:
            self._finish(now)
            return
        parallel = self._in_parallel(waiting)
        if parallel and self._spare:
            for peer in self._spare:
                if peer.id not in self._candidates:
                    self._add(peer)
            self._spare = ()
            shortlist = self._shortlist()
        room = (self._settings.alpha if parallel else 1) - pressing
        if self._kind is Kind.FIND_NODE and shortlist and shortlist[0].peer.id == self.target:
            request = shortlist[0].request
            if request is None or not request.slow:
                room = int(request is None)  # its own answer is all that is needed
        fresh = [candidate for candidate in shortlist if candidate.request is None]
        chosen = fresh[: max(0, min(room, self._limit - self._asked))]
        for candidate in chosen:
            self._ask(candidate, now)
        if not waiting and not chosen:
            self._finish(now)

    def _in_parallel(self, waiting: list[Request]) -> bool:
        """Return whether to ask several at a time.

        The nearest node nearly always has a value that is looked for, and asking others beside it would
        treble the traffic: they are asked when it has not, or does not answer at once.
        """
        if self._kind is Kind.FIND_NODE or self._asked > 1:
            return True
        return self._asked == 1 and (not waiting or waiting[0].attempts > 1)

    def _shortlist(self) -> list[_Candidate]:
        result: list[_Candidate] = []
        for candidate in self._order:
            if not candidate.failed:
                result.append(candidate)
                if len(result) >= self._width:
                    break
        return result

    def _ask(self, candidate: _Candidate, now: float) -> None:
        self._asked += 1
        candidate.request = self._exchanges.ask(
            self, candidate.peer, self._kind, self.target, (self._question,), now
        )

    def _consider(self, peer: Peer) -> None:
        """Take a peer that another one named, unless its subnet has its share already."""
        known = self._candidates.get(peer.id)
        if known is not None:
            if peer != known.peer and not (known.answered or known.retried):
                known.elsewhere = peer
                if known.failed:
                    self._retry(known)
            return
        if peer.id == self._own:
            return
        if not self._counted:  # put off until somebody is named, which most lookups of values never see
            self._counted = True
            for candidate in self._order:
                if not candidate.failed:
                    self._subnets.add(candidate.peer.host)
        if peer.id == self.target or not self._subnets.full(peer.host):
            self._add(peer)

    def _add(self, peer: Peer) -> None:
        gap = int.from_bytes(peer.id, "big") ^ self._centre
        if len(self._order) >= self._limit:
            farthest = next((c for c in reversed(self._order) if c.request is None), None)
            if farthest is None or gap > int.from_bytes(farthest.peer.id, "big") ^ self._centre:
                return
            self._drop(farthest)
        candidate = _Candidate(peer)
        place = bisect(self._gaps, gap)
        self._gaps.insert(place, gap)
        self._order.insert(place, candidate)
        self._candidates[peer.id] = candidate
        if self._counted:
            self._subnets.add(peer.host)

    def _drop(self, candidate: _Candidate) -> None:
        place = self._order.index(candidate)
        del self._order[place], self._gaps[place], self._candidates[candidate.peer.id]
        self._subnets.remove(candidate.peer.host)

    def _give_up(self, candidate: _Candidate) -> None:
        """Ask it no more; its subnet may have another candidate instead."""
        candidate.failed = True
        if self._counted:
            self._subnets.remove(candidate.peer.host)
        self._retry(candidate)

    def _retry(self, candidate: _Candidate) -> None:
        """Have it asked at its other address, if it has one and was not before: it may have moved."""
        if candidate.elsewhere is None or candidate.retried:
            return
        candidate.peer, candidate.request = candidate.elsewhere, None
        candidate.failed, candidate.retried = False, True
        if self._counted:
            self._subnets.add(candidate.peer.host)

    def _finish(self, now: float) -> None:
        self.done = True
        for candidate in self._order:
            if candidate.request is not None:
                candidate.request.settled = True
        self._on_done(self, now)
