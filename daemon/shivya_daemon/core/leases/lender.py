"""The lending end: answers what other nodes ask, and tells them when a lease is over.

What was lent before a restart is unknown to the book, and may still be in use until its holder has been
silent for a TTL. So a node that has just started lends nothing new for a TTL, and in that time takes up what
its holders say they hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from shivya_daemon.core.leases.book import Ending, Lease, LeaseBook, Refusal
from shivya_daemon.core.leases.events import (
    LeaseEnded,
    LeaseEvent,
    LeaseGranted,
    PaymentClaimed,
    PaymentEvent,
    SettlementDue,
)
from shivya_daemon.core.leases.frames import (
    NO_PAYMENT,
    Ask,
    Ended,
    Grant,
    Keep,
    Kept,
    LeaseFrame,
    Refuse,
    Release,
)
from shivya_daemon.core.leases.kinds import covered, price
from shivya_daemon.core.leases.settings import LeaseSettings
from shivya_daemon.core.limits import KeyedLimit

_NEVER = float("inf")


class _Check(Struct):
    """A payment that the host looks for."""

    keep: Keep
    """What its holder said first, and when."""
    at: float
    nonce: int
    """Of what it said last: that is answered."""


class Lender:
    """Keeps the book of one node; `emit` takes what happens."""

    def __init__(
        self, own: bytes, settings: LeaseSettings, emit: Callable[[LeaseEvent | PaymentEvent], None]
    ) -> None:
        self._own = own
        self._settings = settings
        self.book = LeaseBook(settings.quota, settings.max_granted, settings.max_per_holder)
        self.draining = False
        self._born: float | None = None
        rate = settings.ask_rate
        self._rates = KeyedLimit(rate, 3 * rate, settings.max_granted)
        self._ended: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()
        """When each lease that is over may be forgotten: until then no late frame brings it back."""
        self._checks: dict[tuple[bytes, bytes], _Check] = {}
        """The leases whose payment the host looks for."""
        self._emit = emit

    def settling(self, now: float) -> float:
        """Return for how long yet nothing is lent after the start; 0 where nothing ever is."""
        if self._born is None:
            self._born = now
        return max(0.0, self._born + self._settings.ttl - now) if self.book.kinds else 0.0

    def receive(self, node: bytes, frame: Ask | Keep | Release, now: float) -> LeaseFrame | str | None:
        """Take what a holder says; returns the answer, None if it comes later, or why there is none."""
        match frame:
            case Ask():
                if not self._rates.allow(node, now):
                    return "rate_limited"
                return self._asked(node, frame, now)
            case Keep():
                return self._kept(node, frame, now)
            case Release():
                lease = self.book.get(node, frame.id)
                spare = frame.payment != NO_PAYMENT and (lease is None or lease.payment != frame.payment)
                if spare and self._rates.allow(node, now):  # what is left alone ends at its deadline
                    self._emit(SettlementDue(frame.id, node, frame.payment, 0))
                if lease is None:
                    self._forget(node, frame.id, now)  # so that a request that comes late is not granted
                else:
                    self.end(lease, Ending.RELEASED, now)
                return Ended(frame.id, Ending.RELEASED)

    def keep(self, ask: Ask, now: float) -> Lease | Refusal:
        """Lease to this node itself; it lives as long as the node does."""
        if self.draining:
            return Refusal.DRAINING
        if self.settling(now):
            return Refusal.STARTING
        lease = self.book.reserve(self._own, ask.id, ask.kind, ask.amount, ask.seconds, now, _NEVER)
        if isinstance(lease, Lease):
            self._commit(lease, _NEVER)
        return lease

    def verified(
        self, node: bytes, lease_id: bytes, payment: bytes, amount: int | None, now: float
    ) -> LeaseFrame | None:
        """Take what the ledger shows: the amount reserved, None for nothing good; returns what to tell."""
        check = self._checks.pop((node, lease_id), None)
        lease = self.book.get(node, lease_id)
        if check is None or lease is None or check.keep.payment != payment:
            if amount is not None:  # the lease has ended in the meantime
                self._emit(SettlementDue(lease_id, node, payment, 0))
            return None
        keep, at = check.keep, check.at
        if amount is None:
            if lease.payment:
                lease.refused = keep.serial
                return None
            self.end(lease, Ending.UNPAID, now)
            return Ended(lease_id, Ending.UNPAID)
        if lease.payment:
            self._settle(lease, at)
            lease.since = at
            self.book.renew(lease, keep.serial, at + keep.left)
        elif lease.serial < keep.serial:  # taken up: it began when what was paid covers the whole of its term
            lease.serial = keep.serial
        lease.payment, lease.paid = payment, amount
        if lease.taken_up:
            lease.since = lease.until - covered(lease.kind, lease.billable, amount)
            lease.taken_up = False
        self._commit(lease, now + self._settings.ttl)
        return Kept(keep.id, check.nonce, lease.serial, self._settings.ttl, lease.price)

    def end(self, lease: Lease, ending: Ending, now: float) -> None:
        """End a lease."""
        self.book.release(lease)
        self._over(lease, ending, now)

    def due(self, now: float) -> list[tuple[bytes, LeaseFrame]]:
        """End what is over, and return whom to tell."""
        self.settling(now)
        while self._ended and next(iter(self._ended.values())) <= now:
            self._ended.popitem(last=False)
        farewells: list[tuple[bytes, LeaseFrame]] = []
        for lease, ending in self.book.expire(now):
            self._over(lease, ending, now)
            if lease.holder != self._own:
                farewells.append((lease.holder, Ended(lease.id, ending)))
        return farewells

    def close(self, now: float) -> list[tuple[bytes, LeaseFrame]]:
        """End every lease of other nodes, as this one is about to stop; returns whom to tell."""
        self.draining = True
        others = [lease for lease in self.book.leases if lease.holder != self._own]
        for lease in others:
            self.end(lease, Ending.DRAINING, now)
        return [(lease.holder, Ended(lease.id, Ending.DRAINING)) for lease in others]

    def left(self, node: bytes, now: float) -> None:
        """End every lease of a node that has said goodbye."""
        for lease in self.book.leases:
            if lease.holder == node:
                self.end(lease, Ending.RELEASED, now)

    def _asked(self, node: bytes, ask: Ask, now: float) -> LeaseFrame:
        if (node, ask.id) in self._ended:
            return Refuse(ask.id, Refusal.OVER)
        if self.book.get(node, ask.id) is None:
            if self.draining:
                return Refuse(ask.id, Refusal.DRAINING)
            if self.settling(now):
                return Refuse(ask.id, Refusal.STARTING)
        settings = self._settings
        hold = settings.payment if settings.credits else settings.confirm
        lease = self.book.reserve(node, ask.id, ask.kind, ask.amount, ask.seconds, now, hold)
        if isinstance(lease, Refusal):
            return Refuse(ask.id, lease)
        return Grant(ask.id, settings.ttl, hold, lease.billable, settings.credits)

    def _kept(self, node: bytes, keep: Keep, now: float) -> LeaseFrame | None:
        lease = self.book.get(node, keep.id) or self._take_up(node, keep, now)
        if lease is None or (lease.kind, lease.amount) != (keep.kind, keep.amount):
            return Ended(keep.id, Ending.UNKNOWN)
        if not (self._settings.credits and price(lease.kind, lease.billable, 1)):
            self.book.renew(lease, keep.serial, now + keep.left)
        elif not lease.payment:
            return self._check(lease, keep, now)
        elif keep.serial > lease.serial and keep.serial != lease.refused:
            self._check(lease, keep, now)
        self._commit(lease, now + self._settings.ttl)
        return Kept(keep.id, keep.nonce, lease.serial, self._settings.ttl, lease.price)

    def _check(self, lease: Lease, keep: Keep, now: float) -> LeaseFrame | None:
        """Have the host look for the payment of a term, once; its answer comes by `verified`."""
        if keep.payment == NO_PAYMENT:
            if lease.payment:
                lease.refused = keep.serial
                return None
            self.end(lease, Ending.UNPAID, now)
            return Ended(keep.id, Ending.UNPAID)
        key = lease.holder, lease.id
        if key in self._checks:
            if self._checks[key].keep.serial == keep.serial:
                self._checks[key].nonce = keep.nonce
            return None
        self._checks[key] = _Check(keep, now, keep.nonce)
        lease.alive_until = max(lease.alive_until, now + self._settings.payment)
        first = not lease.payment and not lease.taken_up
        seconds = round(lease.until - lease.since) if first else keep.left
        due = price(lease.kind, lease.billable, seconds)
        self._emit(PaymentClaimed(lease.id, lease.holder, keep.serial, keep.payment, due, keep.left))
        return None

    def _settle(self, lease: Lease, now: float) -> None:
        amount = min(lease.due(now), lease.paid) if lease.committed else 0
        self._emit(SettlementDue(lease.id, lease.holder, lease.payment, amount))
        lease.payment = b""

    def _take_up(self, node: bytes, keep: Keep, now: float) -> Lease | None:
        """Book what this node lent before it started again, as far as its holder's word goes."""
        if (node, keep.id) in self._ended or self.draining or not self.settling(now):
            return None
        ttl = self._settings.ttl
        lease = self.book.take_up(node, keep.id, keep.kind, keep.amount, keep.billable, keep.left, now, ttl)
        if not isinstance(lease, Lease):
            return None
        lease.taken_up = True
        return lease

    def _commit(self, lease: Lease, alive_until: float) -> None:
        fresh = not lease.committed
        self.book.commit(lease, alive_until)
        if fresh:
            seconds = round(lease.until - lease.since)
            self._emit(LeaseGranted(lease.id, lease.holder, lease.kind, lease.amount, seconds))

    def _over(self, lease: Lease, ending: Ending, now: float) -> None:
        if lease.payment:
            self._settle(lease, now)
        self._forget(lease.holder, lease.id, now)
        if lease.committed:  # of others the host has not heard
            self._emit(LeaseEnded(lease.id, lease.holder, lease.kind, lease.amount, ending.word))

    def _forget(self, node: bytes, lease_id: bytes, now: float) -> None:
        self._ended[node, lease_id] = now + self._settings.remembered
        self._ended.move_to_end((node, lease_id))
        if len(self._ended) > self._settings.max_ended:
            self._ended.popitem(last=False)
