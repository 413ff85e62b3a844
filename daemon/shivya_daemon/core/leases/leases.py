"""The leases of one node: both ends, and the choice between what is here and what others have."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable

from msgspec import Struct

from shivya_daemon.core.counters import Counters
from shivya_daemon.core.gossip.resources import Resource
from shivya_daemon.core.leases.book import Ending, Lease, Refusal
from shivya_daemon.core.leases.borrower import Addressed, Borrower, Claim, Stage
from shivya_daemon.core.leases.events import LeaseDenied, LeaseEvent, PaymentEvent
from shivya_daemon.core.leases.frames import (
    ID_BYTES,
    NO_PAYMENT,
    Ask,
    Keep,
    LeaseFrame,
    Release,
    decode_payload,
    encode_payload,
)
from shivya_daemon.core.leases.kinds import MAX_SECONDS, Kind
from shivya_daemon.core.leases.lender import Lender
from shivya_daemon.core.leases.settings import LeaseSettings

_AT_ONCE = float("-inf")
_NEVER = float("inf")
_NOBODY = "no node near enough tells that it has so much to spare"

Search = Callable[[Kind, int, float, float], list[bytes]]
"""`search(kind, amount, left, now)`: whom to ask, the best first, `left` being the share left here."""


class LeaseRefused(ValueError):
    """What cannot be asked for or done; the text says why, and what to do."""


class ClaimView(Struct, frozen=True):
    """One claim of this node at one moment."""

    id: bytes
    state: str
    """asking, held, refused or over."""
    kind: Kind
    amount: int
    provider: bytes | None
    """The node that lends it, this one perhaps; None while it is asked for, or refused."""
    seconds_left: float
    """0 unless it is held."""
    price: int
    """Of its whole term, in 10^-6 credit; 0 for what is this node's own."""
    reason: str = ""
    """Why it was refused, or is over, or was not renewed."""
    renewing: bool = False
    """Whether its provider has yet to agree to another term."""
    payment: bytes | None = None
    """The reservation of credits that pays for it; None for what costs nothing here."""


class Leases:
    """What one node lends and borrows; `entropy(n)` gives n unpredictable bytes."""

    def __init__(
        self,
        own: bytes,
        settings: LeaseSettings,
        entropy: Callable[[int], bytes],
        search: Search,
        counters: Counters,
    ) -> None:
        self._own = own
        self._settings = settings
        self._entropy = entropy
        self._search = search
        self._counters = counters
        self._lender = Lender(own, settings, self._emit)
        self._borrower = Borrower(settings, lambda: int.from_bytes(entropy(4), "big"), self._emit)
        self._over: OrderedDict[bytes, tuple[float, ClaimView]] = OrderedDict()
        """Claims that came to an end, and when."""
        self._outgoing: deque[tuple[bytes, bytes]] = deque()
        self._dirty = bool(self._lender.book.kinds)  # at first: the time in which nothing is lent begins
        """Whether there may be something to send or to tell."""
        self._due_at = _NEVER
        """When something is due, unless there has been something since."""
        self._events: deque[LeaseEvent | PaymentEvent] = deque()

    # What the host asks for

    def allocate(self, kind: Kind, amount: int, seconds: int, now: float) -> bytes:
        """Claim `amount` of a kind for `seconds`: here if it fits, else of others; returns the claim's id.

        Others are asked first where it would fill more than `request_above` of the own quota, and one of them
        would have a larger share left. What became of it is in `claims`. Raises `LeaseRefused`.
        """
        if not 1 <= amount <= kind.most:
            raise LeaseRefused(f"{kind.label} are asked for from 1 to {kind.most}, not {amount}")
        if not 1 <= seconds <= MAX_SECONDS:
            raise LeaseRefused(f"a lease is for 1 to {MAX_SECONDS} seconds, not {seconds}; renew it later")
        if len(self._borrower.claims) + len(self._own_leases()) >= self._settings.max_claims:
            raise LeaseRefused(f"this node holds {self._settings.max_claims} leases; release one first")
        self.due(now)
        self._dirty = True
        book, ask = self._lender.book, Ask(self._entropy(ID_BYTES), kind, amount, seconds)
        taken = book.taken(kind) + amount
        crowded = taken > self._settings.request_above * book.capacity(kind)
        if not crowded and isinstance(self._lender.keep(ask, now), Lease):
            return ask.id
        self._borrower.begin(ask, self._search(kind, amount, book.left(kind, amount), now), now)
        self._settle(now)
        return ask.id

    def renew(self, lease_id: bytes, seconds: int, now: float) -> None:
        """Let a claim that is held end in `seconds` from now; of another node's, once that agrees.

        Raises `LeaseRefused`.
        """
        if not 1 <= seconds <= MAX_SECONDS:
            raise LeaseRefused(f"a lease is for 1 to {MAX_SECONDS} seconds, not {seconds}; renew it later")
        self.due(now)
        self._dirty = True
        lease, claim = self._lender.book.get(self._own, lease_id), self._borrower.claims.get(lease_id)
        if lease is not None:
            self._lender.book.renew(lease, lease.serial + 1, now + seconds)
        elif claim is not None and claim.held(now):
            if claim.renewal is not None:
                raise LeaseRefused("credits for another renewal of it are being reserved; try again")
            self._borrower.renew(claim, seconds, now)
        else:
            raise LeaseRefused("this node holds no such lease; allocate anew")

    def release(self, lease_id: bytes, now: float) -> None:
        """Give a claim back, held or asked for; raises `LeaseRefused` for one that there is not."""
        self.due(now)
        self._dirty = True
        lease, claim = self._lender.book.get(self._own, lease_id), self._borrower.claims.get(lease_id)
        if lease is not None:
            self._note(self._own_view(lease, now), "over", Ending.RELEASED.word, now)
            self._lender.end(lease, Ending.RELEASED, now)
        elif claim is not None:
            self._borrower.release(claim, now)
            self._settle(now)
        else:
            raise LeaseRefused("this node holds no such lease; it may have ended")

    def paid(
        self,
        lease_id: bytes,
        provider: bytes,
        serial: int,
        payment: bytes,
        ok: bool,
        now: float,
        why: str = "",
    ) -> None:
        """Answer `PaymentDue`: the reservation that pays for that term if `ok`, else why there is none.

        One that may have been made all the same is told to the provider, which voids it; `NO_PAYMENT` if not.
        """
        self._dirty = True
        self._borrower.paid(lease_id, provider, serial, payment, ok, why, now)
        self._settle(now)

    def verified(
        self, holder: bytes, lease_id: bytes, payment: bytes, amount: int | None, now: float
    ) -> None:
        """Answer `PaymentClaimed`: what the ledger has reserved under that id, or None if it is no good."""
        self.due(now)
        self._dirty = True
        frame = self._lender.verified(holder, lease_id, payment, amount, now)
        if frame is not None:
            self._send(holder, frame)

    def drain(self) -> None:
        """Lend nothing new from now on."""
        self._lender.draining = True

    def close(self, now: float) -> None:
        """End everything, as the node is about to stop."""
        for node, frame in self._lender.close(now):
            self._send(node, frame)
        for claim in list(self._borrower.claims.values()):
            self._borrower.release(claim, now)
        self._settle(now)
        for node, frame in self._borrower.due(now):
            self._send(node, frame)

    def left(self, node: bytes, now: float) -> None:
        """Take note that a node has said goodbye: what it lent and what it held is over."""
        self._lender.left(node, now)
        self._borrower.left(node, now)
        self._dirty = True
        self._settle(now)

    # What the host may know

    def claims(self, now: float) -> tuple[ClaimView, ...]:
        """Return every claim of this node, those over for less than a minute included."""
        own = [self._own_view(lease, now) for lease in self._own_leases() if now < lease.until]
        others = [self._view(claim, now) for claim in self._borrower.claims.values()]
        return (*own, *others, *(view for _, view in self._over.values()))

    def claim(self, lease_id: bytes, now: float) -> ClaimView | None:
        """Return one claim of this node."""
        return next((view for view in self.claims(now) if view.id == lease_id), None)

    @property
    def granted(self) -> tuple[Lease, ...]:
        """What this node lends, to itself too; not what waits for its holder to confirm."""
        return tuple(lease for lease in self._lender.book.leases if lease.committed)

    def capacity(self, kind: Kind) -> int:
        """Return how much of a kind this node lends in all."""
        return self._lender.book.capacity(kind)

    def taken(self, kind: Kind) -> int:
        """Return how much of that is lent or set aside."""
        return self._lender.book.taken(kind)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What this node lends at all."""
        return self._lender.book.kinds

    def shares(self) -> dict[Resource, tuple[float, float | None]]:
        """Return, of each resource that is lent, the free share and the capacity, None where it has none."""
        book = self._lender.book
        found: dict[Resource, tuple[float, float | None]] = {}
        for resource in {kind.resource for kind in book.kinds}:
            kinds = [kind for kind in book.kinds if kind.resource is resource]
            told = [(kind, kind.unit) for kind in kinds if kind.unit is not None]
            capacity = math.fsum(book.capacity(kind) * unit for kind, unit in told)
            if told:
                found[resource] = (
                    math.fsum(book.free(kind) * unit for kind, unit in told) / capacity,
                    capacity,
                )
            else:
                found[resource] = (max(book.left(kind) for kind in kinds), None)
        return found

    # The protocol

    def receive(self, node: bytes, body: bytes, now: float) -> str | None:
        """Take a LEASE frame of a member; returns None, or why it was dropped. Raises `DecodeError`."""
        frame = decode_payload(body)
        self.due(now)
        self._dirty = True
        if isinstance(frame, Ask | Keep | Release):
            answer = self._lender.receive(node, frame, now)
            if isinstance(answer, str):
                return answer
            if answer is not None:
                self._send(node, answer)
            return None
        answers = self._borrower.receive(node, frame, now)
        if isinstance(answers, str):
            return answers
        for receiver, reply in answers:
            self._send(receiver, reply)
        self._settle(now)
        return None

    def due(self, now: float) -> None:
        """Do what is due at `now`; harmless when called early or late."""
        own = {lease.id: self._own_view(lease, now) for lease in self._own_leases()}
        for node, frame in self._lender.due(now):
            self._send(node, frame)
        for lease_id, view in own.items():
            if self._lender.book.get(self._own, lease_id) is None:
                self._note(view, "over", Ending.EXPIRED.word, now)
        while self._over and next(iter(self._over.values()))[0] <= now - self._settings.remembered:
            self._over.popitem(last=False)
        for node, frame in self._borrower.due(now):
            self._send(node, frame)
        self._settle(now)

    def next_deadline(self) -> float:
        """Return when `due` wants to be called; at once while something waits to be sent or told."""
        return _AT_ONCE if self._dirty else self._due_at

    def outgoing(self) -> list[tuple[bytes, bytes]]:
        """Return what to send to whom, and forget it."""
        self._dirty = False
        self._due_at = min(self._lender.book.deadline, self._borrower.deadline)
        result = list(self._outgoing)
        self._outgoing.clear()
        return result

    def events(self) -> list[LeaseEvent | PaymentEvent]:
        """Return what happened, and forget it."""
        if not self._events:
            return []
        result = list(self._events)
        self._events.clear()
        return result

    # Helpers

    def _emit(self, event: LeaseEvent | PaymentEvent) -> None:
        if len(self._events) >= self._settings.max_events:
            self._events.popleft()
            self._counters.drop("leases_full")
        self._events.append(event)

    def _own_leases(self) -> list[Lease]:
        return [lease for lease in self._lender.book.leases if lease.holder == self._own]

    def _send(self, node: bytes, frame: LeaseFrame) -> None:
        if len(self._outgoing) >= self._settings.max_ended:
            self._counters.drop("leases_full")
            return
        self._outgoing.append((node, encode_payload(frame)))
        self._dirty = True

    def _settle(self, now: float) -> None:
        """Put down what became of claims; what nobody else lends may still fit here."""
        for claim, reason in self._borrower.failed():
            if reason != "refused":
                self._note(self._view(claim, now), "over", reason, now)
                continue
            own = self._lender.keep(claim.ask, now)
            if isinstance(own, Refusal):
                why = self._why(claim, own, now)
                self._note(self._view(claim, now), "refused", why, now)
                self._emit(LeaseDenied(claim.ask.id, claim.ask.kind, claim.ask.amount, why))

    def _why(self, claim: Claim, own: Refusal, now: float) -> str:
        kind, book = claim.ask.kind, self._lender.book
        here = f"here {book.free(kind)} of {book.capacity(kind)} {kind.label} are free"
        if own is Refusal.STARTING:
            wait = math.ceil(self._lender.settling(now))
            here = f"this node has just started and lends nothing yet: try again in {wait} s"
        elif own is not Refusal.FULL and own is not Refusal.NO_QUOTA:
            here = f"here: {own.word}"
        words = ", ".join(f"{node.hex()[:8]} {word}" for node, word in claim.tried)
        return f"{here}; {'asked: ' + words if words else _NOBODY}"

    def _note(self, view: ClaimView, state: str, reason: str, now: float) -> None:
        provider = None if state == "refused" else view.provider
        over = ClaimView(view.id, state, view.kind, view.amount, provider, 0.0, view.price, reason)
        self._over[view.id] = (now, over)
        if len(self._over) > self._settings.max_claims:
            self._over.popitem(last=False)

    def _view(self, claim: Claim, now: float) -> ClaimView:
        ask, mine = claim.ask, claim.stage is Stage.HELD
        held = claim.held(now)
        lapsed = Ending.EXPIRED if now >= claim.until else Ending.SILENT  # the timer has yet to notice
        return ClaimView(
            id=ask.id,
            state="held" if held else "over" if mine else "asking",
            kind=ask.kind,
            amount=ask.amount,
            provider=claim.provider if mine else None,
            seconds_left=claim.until - now if held else 0.0,
            price=claim.price,
            reason=lapsed.word if mine and not held else claim.trouble,
            renewing=held and (claim.wanted or claim.renewal) is not None,
            payment=claim.payment if claim.payment != NO_PAYMENT else None,
        )

    def _own_view(self, lease: Lease, now: float) -> ClaimView:
        left = max(0.0, lease.until - now)
        return ClaimView(lease.id, "held", lease.kind, lease.amount, self._own, left, 0)


__all__ = ["Addressed", "ClaimView", "LeaseRefused", "Leases", "Search"]
