"""Answers to what peers ask: to link, and to part."""

from __future__ import annotations

from shivya_daemon.core.links.agreement import Agreement, Phase
from shivya_daemon.core.links.book import Book
from shivya_daemon.core.links.frames import Accept, Closing, LinkFrame, Propose, Refusal, Refuse


class Acceptor:
    """Decides on proposals; every refusal costs no memory."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.draining = False

    def proposal(self, node: bytes, frame: Propose, now: float) -> list[LinkFrame]:
        """Answer a proposal that belongs to no agreement in force."""
        book = self._book
        known = book.agreements.get(node)
        random = False
        if known is not None:
            if self._stands(known, frame):
                frames = [] if known.phase is Phase.PROPOSED else known.challenge(now)
                book.settle(known, now)
                if known.ended is None:
                    return frames
            else:
                random = known.random and known.phase is Phase.PROPOSED
                self._supersede(known, now)
        reason = self._objection(node, frame, now)
        head = book.stance.head(frame.head.agreement)
        if reason is not None:
            return [Refuse(head, reason)]
        agreement = book.begin(node, frame.head.agreement, Phase.PENDING, now, random)
        agreement.incarnation = frame.head.incarnation
        agreement.degree = frame.head.degree
        agreement.claimed = frame.head.drawn
        return [Accept(head, frame.token)]

    def may_part(self, link: Agreement, reason: Closing) -> bool:
        """Return whether to agree when the other end asks to part, or tells that it parts."""
        if link.phase is not Phase.ESTABLISHED or reason not in (Closing.PRUNE, Closing.SPARE):
            return True
        if reason is Closing.SPARE and len(self._book.kept) <= self._book.settings.target_links:
            return False
        return self._book.separable(link)

    def _stands(self, known: Agreement, frame: Propose) -> bool:
        """Return whether the agreement in force goes before a proposal of the same peer.

        Of two that cross, that of the lower id stands. A link in force stands in the same life of the peer:
        the proposal may be a late copy, so the peer is asked whether it still holds the link (compare the
        challenge of RFC 5961).
        """
        if known.phase is Phase.PROPOSED:
            return self._book.own < known.node
        if known.phase is Phase.PENDING:
            return False
        return known.incarnation is None or frame.head.incarnation <= known.incarnation

    def _supersede(self, known: Agreement, now: float) -> None:
        if known.phase is Phase.PROPOSED:
            known.ended = "crossed"
        else:
            known.ended = "lapsed" if known.phase is Phase.PENDING else "restarted"
        self._book.settle(known, now)

    def _objection(self, node: bytes, frame: Propose, now: float) -> Refusal | None:
        book, settings = self._book, self._book.settings
        candidate = book.candidates.get(node)
        if self.draining:
            return Refusal.DRAINING
        if candidate is None:
            return Refusal.STRANGER
        if not candidate.compatible:
            return Refusal.INCOMPATIBLE
        if book.accepting.paused(node, now):
            return Refusal.BUSY
        waiting = sum(other.phase is Phase.PENDING for other in book.agreements.values())
        if waiting >= settings.max_pending:
            return Refusal.BUSY
        held = len(book.agreements)
        if held >= settings.max_links and frame.head.needy:
            book.cramped = True  # makes room, where a link can be spared; the peer asks again
        if held >= (settings.max_links if frame.head.needy else settings.full_at):
            return Refusal.FULL
        return None
