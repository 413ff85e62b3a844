"""Which links to seek, to exchange for better ones, and to let go.

Missing links are sought at once: the first ones at random, the others where a link is worth most, among the
neighbours of a lost peer, the neighbours of neighbours, and a random sample. After that the mesh improves
slowly, one link at a time, and with hysteresis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shivya_daemon.core.links.agreement import Agreement, Phase
from shivya_daemon.core.links.book import Book, Candidate
from shivya_daemon.core.links.frames import Closing
from shivya_daemon.core.links.graph import detour

_REFERENCE_RTT = 0.01  # seconds; halves the worth of a candidate, as it halves the conductance of a link
_UNKNOWN_RTT = 0.05
_STALE = 1.0  # seconds; a proposal that waits for longer no longer counts as a link to come


class Seeker:
    """Begins agreements, and asks to end them, at its own slow pace."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._improve_at: float | None = None
        self._prune_at = self._room_at = float("-inf")
        self._swap: tuple[bytes, bytes] | None = None
        """The candidate that was proposed to, and the link that goes if it comes."""
        self.wanting = 0
        """Links missing that no known candidate could fill at the last search: look for more nodes."""

    @property
    def deadline(self) -> float:
        """When `tend` has something to do."""
        book = self._book
        deadline = float("-inf") if self._improve_at is None else self._improve_at
        if len(book.established) < book.settings.target_links:
            deadline = min(deadline, book.seek_at)
        if len(book.established) > book.settings.target_links or self._swap:
            deadline = min(deadline, self._prune_at)
        return deadline

    def tend(self, now: float) -> Iterator[Agreement]:
        """Yield the agreements that have something to send now."""
        book, settings = self._book, self._book.settings
        if self._improve_at is None:
            self._improve_at = now + self._jittered(settings.improve_interval)
        if now >= book.seek_at:
            book.seek_at = now + settings.seek_interval
            yield from self._seek(now)
        if now >= self._prune_at:
            self._prune_at = now + settings.prune_interval
            yield from self._prune(now)
        if now >= self._improve_at:
            self._improve_at = now + self._jittered(settings.improve_interval)
            yield from self._improve(now)

    def _seek(self, now: float) -> Iterator[Agreement]:
        book, settings = self._book, self._book.settings
        healthy = sum(link.breaker.closed for link in book.established.values())
        coming = sum(
            other.phase is not Phase.ESTABLISHED and now - other.since < _STALE
            for other in book.agreements.values()
        )
        room = settings.crowded_above - len(book.agreements)
        missing = min(settings.target_links - healthy - coming, room)
        # As many will be offered as are sought, so half of them is enough; what is vital is sought at once.
        wave = min(missing, max((missing + 1) // 2, book.least - healthy - coming))
        self.wanting = 0
        for _ in range(wave):
            random = self._drawn_links() < settings.random_links
            chosen = self._any(now) if random else self._best(now)
            if chosen is None:
                self.wanting = missing
                break
            yield self._propose(chosen.id, now, random)
            missing -= 1
        book.bereft = ()

    def _improve(self, now: float) -> Iterator[Agreement]:
        book, settings = self._book, self._book.settings
        degree = len(book.established)
        if self._swap or not settings.target_links <= degree < settings.crowded_above:
            return
        if len(book.agreements) >= settings.crowded_above:
            return
        far = self._bridge(now)
        if far is None and self._drawn_links() < settings.random_links:
            far = self._any(now)
        if far is not None:
            yield self._propose(far.id, now, random=True)
            return
        slow = self._slowest(now)
        best = min(((near.rtt, near.id) for near in self._sample(now) if near.rtt is not None), default=None)
        if slow is None or best is None:
            return
        if best[0] < settings.swap_ratio * slow[0] and slow[0] - best[0] > settings.swap_gain:
            self._swap = (best[1], slow[1])
            yield self._propose(best[1], now, random=False)

    def _prune(self, now: float) -> Iterator[Agreement]:
        book, settings = self._book, self._book.settings
        swapped = self._swapped()
        if swapped is not None and self._askable(swapped, now):
            swapped.ask("swapped", now)
            yield swapped
            return
        degree = len(book.established)
        book.crowded = degree > settings.target_links and (book.crowded or degree > settings.crowded_above)
        room = book.cramped and degree >= settings.max_links and now >= self._room_at
        book.cramped = False
        if len(book.kept) < degree or not (room or degree > settings.target_links):
            return
        pressed = room or book.crowded
        for link in sorted(book.established.values(), key=lambda link: link.conductance):
            # Unpressed, a link goes only where the other end would not seek another in its place.
            if self._askable(link, now) and (pressed or link.degree > settings.target_links):
                self._room_at = now + settings.improve_interval
                link.ask("pruned", now, Closing.PRUNE if pressed else Closing.SPARE)
                yield link
                return

    def _swapped(self) -> Agreement | None:
        """Return the link to let go for one that came; forget the exchange when it is settled."""
        if self._swap is None:
            return None
        new, old = self._swap
        if new in self._book.established:
            self._swap = None
            return self._book.established.get(old)
        if new not in self._book.agreements:
            self._swap = None
        return None

    def _askable(self, link: Agreement, now: float) -> bool:
        return (
            link.asking is None
            and not link.claimed
            and now >= link.spared_until
            and link.rtt.smoothed is not None
            and link.degree > self._book.settings.min_links
            and self._book.separable(link)
        )

    def _slowest(self, now: float) -> tuple[float, bytes] | None:
        settled = now - self._book.settings.improve_interval
        found = [
            (link.rtt.minimum, node)
            for node, link in self._book.established.items()
            if link.rtt.minimum is not None and not (link.random or link.claimed) and link.since <= settled
        ]
        return max(found, default=None)

    def _bridge(self, now: float) -> Candidate | None:
        """Return a candidate that no path of the known graph leads to: a partition that healed.

        One candidate is tried at a time: of two parts the smaller one is soon to draw from the other.
        """
        book = self._book
        far = self._any(now)
        if far is None or far.id not in book.graph:
            return None
        return None if detour(book.graph, book.own, book.established, far.id) else far

    def _any(self, now: float) -> Candidate | None:
        return next(self._eligible(self._drawn(list(self._book.candidates)), now), None)

    def _drawn_links(self) -> int:
        return sum(other.random for other in self._book.agreements.values())

    def _best(self, now: float) -> Candidate | None:
        return max(self._sample(now), key=self._worth, default=None)

    def _sample(self, now: float) -> list[Candidate]:
        book = self._book
        near = {other for node in book.established for other in book.graph.get(node, ())}
        pool = dict.fromkeys(book.bereft)
        pool.update(dict.fromkeys(self._drawn(sorted(near))))
        pool.update(dict.fromkeys(self._drawn(list(book.candidates))))
        return list(self._eligible(pool, now))

    def _drawn(self, nodes: list[bytes]) -> Iterator[bytes]:
        """Yield up to `sample` nodes in random order, perhaps some twice if there are many."""
        size = self._book.settings.sample
        if len(nodes) > size:
            yield from (nodes[index] for index in self._book.draw(size, len(nodes)))
            return
        for left, index in zip(range(len(nodes), 0, -1), self._book.draw(len(nodes), 1 << 32), strict=True):
            yield nodes.pop(index % left)

    def _eligible(self, nodes: Iterable[bytes], now: float) -> Iterator[Candidate]:
        book = self._book
        for node in nodes:
            if node == book.own or node in book.agreements or node in book.blocked:
                continue
            candidate = book.candidates.get(node)
            if candidate is None or not candidate.compatible or book.proposing.paused(node, now):
                continue
            full = candidate.degree is not None and candidate.degree >= book.settings.full_at
            if not full or book.stance.needy:
                yield candidate

    def _worth(self, candidate: Candidate) -> float:
        rtt = _UNKNOWN_RTT if candidate.rtt is None else candidate.rtt
        spare = max(0, (candidate.degree or 0) + 1 - self._book.settings.target_links)
        return candidate.capacity / (1.0 + rtt / _REFERENCE_RTT) / (1.0 + spare)

    def _propose(self, node: bytes, now: float, random: bool) -> Agreement:
        number = int.from_bytes(self._book.entropy(8), "big")
        return self._book.begin(node, number, Phase.PROPOSED, now, random)

    def _jittered(self, interval: float) -> float:
        (step,) = self._book.draw(1, 1001)
        return interval * (0.75 + step / 2000)
