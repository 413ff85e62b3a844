"""The links of one node: `Links` makes and takes LINK frames, and answers what other parts ask of links."""

from __future__ import annotations

from collections.abc import Callable

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.links.acceptor import Acceptor
from shivya_daemon.core.links.agreement import REQUESTS, Agreement
from shivya_daemon.core.links.book import Book, Candidates
from shivya_daemon.core.links.events import LinkEvent
from shivya_daemon.core.links.frames import (
    Close,
    Closing,
    LinkFrame,
    Probe,
    Propose,
    Refusal,
    decode_payload,
    encode_payload,
)
from shivya_daemon.core.links.graph import Graph
from shivya_daemon.core.links.invariants import Violation, check
from shivya_daemon.core.links.seeker import Seeker
from shivya_daemon.core.links.settings import LinksSettings


class Links:
    """Keeps between `min_links` and `max_links` links, each an agreement of both ends.

    The caller hands in the time, sends what `due` and `receive` return, and tells what it hears of peers.
    """

    def __init__(
        self, own: bytes, settings: LinksSettings, entropy: Callable[[int], bytes], incarnation: int
    ) -> None:
        self._settings = settings
        self._book = Book(own, settings, entropy, incarnation)
        self._acceptor = Acceptor(self._book)
        self._seeker = Seeker(self._book)
        self._deadline = float("-inf")
        """Never later than the first thing to do; earlier at most by what was put off since."""

    def due(self, now: float, candidates: Candidates, graph: Graph) -> list[tuple[bytes, bytes]]:
        """Return (node, payload) of every frame to send now.

        Both tables are kept for the decisions until the next call, and walked only when links are sought or
        let go: `candidates` are the live nodes that announced themselves, `graph` who lists whom as a link.
        """
        book = self._book
        book.candidates, book.graph = candidates, graph
        frames: list[tuple[bytes, bytes]] = []
        for agreement in list(book.agreements.values()):
            self._send(agreement, now, frames)
        for link in book.established.values():
            link.thickness.settle(now, link.bandwidth.value)
        if not self._acceptor.draining:
            for agreement in self._seeker.tend(now):
                self._send(agreement, now, frames)
        deadlines = (agreement.deadline for agreement in book.agreements.values())
        self._deadline = min(deadlines, default=float("inf"))
        return frames

    def receive(self, node: bytes, payload: bytes, size: int, now: float) -> list[bytes] | str:
        """Take a LINK payload of the authenticated `node`, its datagram `size` bytes long.

        Returns the payloads to answer with, or the reason for which it was dropped.
        """
        if node in self._book.blocked:
            return "blocked"
        try:
            frame = decode_payload(payload)
        except DecodeError as error:
            return error.reason
        if self._book.outdated(node, frame.head.incarnation):
            return "stale_incarnation"
        agreement = self._book.agreements.get(node)
        if agreement is None or agreement.id != frame.head.agreement:
            replies = self._unmatched(node, frame, now)
        elif isinstance(frame, Close) and not self._acceptor.may_part(agreement, frame.reason):
            agreement.degree = frame.head.degree
            replies = agreement.refuse(Refusal.NEEDED)
        else:
            replies = agreement.receive(frame, size, now)
            self._book.settle(agreement, now)
        agreement = self._book.agreements.get(node)
        if agreement is not None:
            self._deadline = min(self._deadline, agreement.deadline)
        return replies if isinstance(replies, str) else [encode_payload(reply) for reply in replies]

    def next_deadline(self) -> float | None:
        """Return when `due` is to be called next; None when drained."""
        if self._acceptor.draining:
            return None if self.drained else self._deadline
        return min(self._deadline, self._seeker.deadline)

    def heard(self, node: bytes, now: float) -> None:
        """Note a heartbeat of a peer."""
        agreement = self._book.established.get(node)
        if agreement is not None:
            agreement.heard_at = now

    def sent(self, node: bytes, size: int) -> None:
        """Note traffic to a peer, in bytes."""
        agreement = self._book.established.get(node)
        if agreement is not None:
            agreement.thickness.record(size)

    got = sent
    """Note traffic from a peer, in bytes."""

    def failed(self, node: bytes, now: float) -> None:
        """Note that work sent over the link failed, as this node saw it."""
        agreement = self._book.established.get(node)
        if agreement is not None:
            agreement.breaker.failed(now)

    def succeeded(self, node: bytes) -> None:
        """Note that work sent over the link arrived, as this node saw it."""
        agreement = self._book.established.get(node)
        if agreement is not None:
            agreement.breaker.succeeded()

    def lost(self, node: bytes, now: float) -> None:
        """Give up a peer that was found dead."""
        self._end(node, "lost", now)

    def forgive(self, now: float) -> None:
        """Judge nobody by a time in which this node itself was asleep."""
        for link in self._book.established.values():
            link.heard_at = max(link.heard_at, now - self._settings.quiet_after)

    def blocks(self, node: bytes) -> bool:
        """Return whether a node is blocked."""
        return node in self._book.blocked

    def block(self, node: bytes, now: float) -> bytes | None:
        """Neither hear nor speak to a node; raises `ValueError` when too many are blocked.

        Returns the last payload for it, which ends what there is between the two; None if there is nothing.
        """
        blocked, limit = self._book.blocked, self._settings.max_blocked
        if len(blocked) >= limit and node not in blocked:
            raise ValueError(f"at most {limit} nodes can be blocked; unblock some first")
        blocked.add(node)
        agreement = self._book.agreements.get(node)
        self._end(node, "blocked", now)
        if agreement is None:
            return None
        return encode_payload(Close(self._book.stance.head(agreement.id), Closing.SILENT))

    def unblock(self, node: bytes) -> None:
        """Open the gate again."""
        self._book.blocked.discard(node)

    def drain(self, now: float) -> None:
        """Accept no link any more, and end all; the peers are told with the next calls of `due`."""
        self._acceptor.draining = True
        for agreement in list(self._book.agreements.values()):
            agreement.part(now)
            self._book.settle(agreement, now)
        self._deadline = now

    @property
    def drained(self) -> bool:
        """Whether, after `drain`, every peer knows or was told often enough."""
        return self._acceptor.draining and not self._book.agreements

    def renew(self, incarnation: int) -> None:
        """Go on in a later life, as a peer remembers a later one than this; the links stay."""
        self._book.stance.incarnation = incarnation

    def carries(self, node: bytes, now: float) -> bool:
        """Return whether new work may go to a peer: linked, breaker closed, heard of lately."""
        link = self._book.established.get(node)
        return link is not None and link.breaker.closed and now - link.heard_at < self._settings.quiet_after

    @property
    def established(self) -> tuple[bytes, ...]:
        """Ids of the link neighbours, the longest linked first."""
        return tuple(self._book.established)

    @property
    def agreements(self) -> tuple[Agreement, ...]:
        """All agreements, those on their way and those that end included."""
        return tuple(self._book.agreements.values())

    def link(self, node: bytes) -> Agreement | None:
        """Return the link to a peer, for its state and measures; None where there is none."""
        return self._book.established.get(node)

    def rtt(self, node: bytes) -> float | None:
        """Return the smoothed round-trip time of a link in seconds."""
        link = self._book.established.get(node)
        return None if link is None else link.rtt.smoothed

    def bandwidth(self, node: bytes) -> float | None:
        """Return the bandwidth towards a peer in bytes per second, once measured."""
        link = self._book.established.get(node)
        return None if link is None else link.bandwidth.value

    def score(self, node: bytes) -> float | None:
        """Return the bandwidth score of a link, 0 to 1."""
        link = self._book.established.get(node)
        return None if link is None else link.thickness.score

    def thickness(self, node: bytes) -> float | None:
        """Return the thickness of a link."""
        link = self._book.established.get(node)
        return None if link is None else link.thickness.value

    def conductance(self, node: bytes) -> float | None:
        """Return the conductance that this end advertises for a link."""
        link = self._book.established.get(node)
        return None if link is None else link.conductance

    @property
    def wanting(self) -> int:
        """How many missing links no candidate could fill: a reason to look more nodes up."""
        return self._seeker.wanting

    @property
    def healing(self) -> bool:
        """Whether links are on their way."""
        return len(self._book.agreements) > len(self._book.established)

    def invariants(self, now: float) -> tuple[Violation, ...]:
        """Return what does not hold, as far as this node knows; see `invariants.check`."""
        return check(self._book, self.healing, now)

    @property
    def events_lost(self) -> int:
        """Events dropped because nobody fetched them."""
        return self._book.events_lost

    def events(self) -> list[LinkEvent]:
        """Return what happened to the links, and forget it."""
        return self._book.events()

    def _send(self, agreement: Agreement, now: float, frames: list[tuple[bytes, bytes]]) -> None:
        if agreement.ended is None and now >= agreement.deadline:
            frames += [(agreement.node, encode_payload(frame)) for frame in agreement.due(now)]
            self._book.settle(agreement, now)

    def _end(self, node: bytes, reason: str, now: float) -> None:
        agreement = self._book.agreements.get(node)
        if agreement is not None:
            agreement.ended = reason
            self._book.settle(agreement, now)

    def _unmatched(self, node: bytes, frame: LinkFrame, now: float) -> list[LinkFrame] | str:
        """Answer a frame of an agreement that this node does not hold."""
        unknown = Close(self._book.stance.head(frame.head.agreement), Closing.UNKNOWN)
        match frame:
            case Propose():
                return self._acceptor.proposal(node, frame, now)
            case Probe():
                return [unknown] if frame.index == frame.count - 1 else []
            case Close() if frame.reason in REQUESTS:
                return [unknown]
            case Close():
                return "unknown_agreement"
            case _:
                return "unsolicited"
