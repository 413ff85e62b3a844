"""The lending end: answers what other nodes ask, and tells them when a lease is over.

What was lent before a restart is unknown to the book, and may still be in use until its holder has been
silent for a TTL. So a node that has just started lends nothing new for a TTL, and in that time takes up what
its holders say they hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from shivya_daemon.core.leases.book import Ending, Lease, LeaseBook, Refusal
from shivya_daemon.core.leases.events import LeaseEnded, LeaseEvent, LeaseGranted
from shivya_daemon.core.leases.frames import Ask, Ended, Grant, Keep, Kept, LeaseFrame, Refuse, Release
from shivya_daemon.core.leases.settings import LeaseSettings
from shivya_daemon.core.limits import KeyedLimit

_NEVER = float("inf")


class Lender:
    """Keeps the book of one node; `emit` takes what happens."""

    def __init__(self, own: bytes, settings: LeaseSettings, emit: Callable[[LeaseEvent], None]) -> None:
        self._own = own
        self._settings = settings
        self.book = LeaseBook(settings.quota, settings.max_granted, settings.max_per_holder)
        self.draining = False
        self._born: float | None = None
        rate = settings.ask_rate
        self._rates = KeyedLimit(rate, 3 * rate, settings.max_granted)
        self._ended: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()
        """When each lease that is over may be forgotten: until then no late frame brings it back."""
        self._emit = emit

    def settling(self, now: float) -> float:
        """Return for how long yet nothing is lent after the start; 0 where nothing ever is."""
        if self._born is None:
            self._born = now
        return max(0.0, self._born + self._settings.ttl - now) if self.book.kinds else 0.0

    def receive(self, node: bytes, frame: Ask | Keep | Release, now: float) -> LeaseFrame | str:
        """Take what a holder says; returns the answer, or why there is none."""
        match frame:
            case Ask():
                if not self._rates.allow(node, now):
                    return "rate_limited"
                return self._asked(node, frame, now)
            case Keep():
                return self._kept(node, frame, now)
            case Release():
                lease = self.book.get(node, frame.id)
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
        lease = self.book.reserve(node, ask.id, ask.kind, ask.amount, ask.seconds, now, settings.confirm)
        if isinstance(lease, Refusal):
            return Refuse(ask.id, lease)
        return Grant(ask.id, settings.ttl, settings.confirm, lease.price)

    def _kept(self, node: bytes, keep: Keep, now: float) -> LeaseFrame:
        lease = self.book.get(node, keep.id) or self._take_up(node, keep, now)
        if lease is None or (lease.kind, lease.amount) != (keep.kind, keep.amount):
            return Ended(keep.id, Ending.UNKNOWN)
        self.book.renew(lease, keep.serial, now + keep.left)
        self._commit(lease, now + self._settings.ttl)
        return Kept(keep.id, keep.nonce, lease.serial, self._settings.ttl, lease.price)

    def _take_up(self, node: bytes, keep: Keep, now: float) -> Lease | None:
        """Book what this node lent before it started again, as far as its holder's word goes."""
        if (node, keep.id) in self._ended or self.draining or not self.settling(now):
            return None
        lease = self.book.reserve(node, keep.id, keep.kind, keep.amount, keep.left, now, self._settings.ttl)
        return lease if isinstance(lease, Lease) else None

    def _commit(self, lease: Lease, alive_until: float) -> None:
        fresh = not lease.committed
        self.book.commit(lease, alive_until)
        if fresh:
            seconds = round(lease.until - lease.since)
            self._emit(LeaseGranted(lease.id, lease.holder, lease.kind, lease.amount, seconds))

    def _over(self, lease: Lease, ending: Ending, now: float) -> None:
        self._forget(lease.holder, lease.id, now)
        if lease.committed:  # of others the host has not heard
            self._emit(LeaseEnded(lease.id, lease.holder, lease.kind, lease.amount, ending.word))

    def _forget(self, node: bytes, lease_id: bytes, now: float) -> None:
        self._ended[node, lease_id] = now + self._settings.remembered
        self._ended.move_to_end((node, lease_id))
        if len(self._ended) > self._settings.max_ended:
            self._ended.popitem(last=False)
