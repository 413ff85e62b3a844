"""The book of what a node lends: reserve, commit, renew, release, expire. It never lends more than it has.

Pure: no clock, no randomness; the time is an argument, in seconds of any steady clock. A lease belongs to
(holder, id), so that no node can touch another's. It is reserved first, and free again unless it is committed
in time; committed, it ends with its term or when its holder has been silent for too long.
"""

from __future__ import annotations

import math
from enum import IntEnum

from msgspec import Struct

from shivya_daemon.core.leases.kinds import FREE_PART, Kind, Quota, billable, price


class Refusal(IntEnum):
    """Why a lease is refused."""

    NO_QUOTA = 1
    """This kind is not lent."""
    FULL = 2
    TOO_MANY = 3
    """Too many leases, of this holder or in all."""
    CONFLICT = 4
    """The id is that of another lease of this holder."""
    OVER = 5
    """It was a lease, and has ended."""
    STARTING = 6
    """What was lent before the start may still be in use."""
    DRAINING = 7

    @property
    def word(self) -> str:
        """The reason in plain words."""
        return self.name.lower().replace("_", " ")


class Ending(IntEnum):
    """Why a lease is over."""

    RELEASED = 1
    EXPIRED = 2
    """Its term is over."""
    SILENT = 3
    """Nothing was heard of the other end for too long."""
    UNCONFIRMED = 4
    """Its holder never said that it heard of it."""
    UNKNOWN = 5
    """The node that lent it does not know it: it has started again."""
    DRAINING = 6
    """The node that lent it is about to stop."""
    UNPAID = 7
    """The ledger does not show the credits that were to be reserved for it."""

    @property
    def word(self) -> str:
        """The reason in plain words."""
        return self.name.lower()


class Lease(Struct):
    """One lease, as the node that lends sees it."""

    id: bytes
    holder: bytes
    kind: Kind
    amount: int
    billable: int
    """Of the amount, what is not free."""
    since: float
    until: float
    """End of its term."""
    alive_until: float
    """When it ends unless its holder is heard; of one reserved, unless it is committed."""
    committed: bool = False
    serial: int = 0
    """Of its last renewal."""
    payment: bytes = b""
    """The reservation of credits that its present term is paid from; empty while none was seen."""
    paid: int = 0
    """What is reserved there, in 10^-6 credit."""
    taken_up: bool = False
    """Whether it was lent before a restart, and what pays for it was not seen since."""
    refused: int = -1
    """Serial of the last renewal that was not paid for."""

    @property
    def price(self) -> int:
        """What its whole term costs, in 10^-6 credit."""
        return price(self.kind, self.billable, _whole(self.until - self.since))

    def due(self, now: float) -> int:
        """Return what the part of its term that has passed costs."""
        used = min(max(0.0, now - self.since), self.until - self.since)
        return price(self.kind, self.billable, _whole(used))


class LeaseBook:
    """The leases of one quota; at most `max_leases`, and `max_per_holder` of one node."""

    def __init__(self, quota: Quota, max_leases: int = 1024, max_per_holder: int = 64) -> None:
        for kind, amount in quota.items():
            if not 0 <= amount <= kind.most:
                raise ValueError(f"a quota of {kind.label} is from 0 to {kind.most}, not {amount}")
        self._quota = dict(quota)
        self._max_leases = max_leases
        self._max_per_holder = max_per_holder
        self._leases: dict[tuple[bytes, bytes], Lease] = {}
        self._taken = dict.fromkeys(Kind, 0)
        self._holders: dict[bytes, int] = {}
        self._look_at = math.inf
        """No lease ends before; may be early."""

    # What there is

    def capacity(self, kind: Kind) -> int:
        """Return the quota of a kind."""
        return self._quota.get(kind, 0)

    def taken(self, kind: Kind) -> int:
        """Return how much of it is reserved or committed."""
        return self._taken[kind]

    def free(self, kind: Kind) -> int:
        """Return how much of it is neither."""
        return self.capacity(kind) - self._taken[kind]

    def left(self, kind: Kind, amount: int = 0) -> float:
        """Return the share of it that would be free after `amount` more; 0 if that does not fit."""
        capacity = self.capacity(kind)
        return max(0, self.free(kind) - amount) / capacity if capacity else 0.0

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is lent."""
        return tuple(kind for kind in Kind if self.capacity(kind))

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Every lease, the oldest first."""
        return tuple(self._leases.values())

    def get(self, holder: bytes, lease_id: bytes) -> Lease | None:
        """Return a lease, None if there is none."""
        return self._leases.get((holder, lease_id))

    def holds(self, holder: bytes, kind: Kind) -> int:
        """Return how much of a kind a node has."""
        return sum(x.amount for x in self._leases.values() if x.holder == holder and x.kind == kind)

    # What can be done

    def refusal(self, holder: bytes, kind: Kind, amount: int) -> Refusal | None:
        """Return why a new lease cannot be; None if it can."""
        if not self.capacity(kind):
            return Refusal.NO_QUOTA
        if amount > self.free(kind):
            return Refusal.FULL
        many = len(self._leases) >= self._max_leases
        return Refusal.TOO_MANY if many or self._holders.get(holder, 0) >= self._max_per_holder else None

    def reserve(
        self, holder: bytes, lease_id: bytes, kind: Kind, amount: int, seconds: float, now: float, hold: float
    ) -> Lease | Refusal:
        """Set `amount` aside for `seconds`, free again in `hold` seconds unless it is committed.

        Asked again with the same id, it is the same lease. Raises `ValueError` for nothing or no time.
        """
        if amount < 1 or not 0 < seconds < math.inf:
            raise ValueError(f"a lease is of 1 or more for some time, not of {amount} for {seconds} s")
        known = self._leases.get((holder, lease_id))
        if known is not None:
            return known if (known.kind, known.amount) == (kind, amount) else Refusal.CONFLICT
        refusal = self.refusal(holder, kind, amount)
        if refusal is not None:
            return refusal
        paid = billable(self.capacity(kind), self.holds(holder, kind), amount)
        return self._book(Lease(lease_id, holder, kind, amount, paid, now, now + seconds, now + hold))

    def take_up(
        self,
        holder: bytes,
        lease_id: bytes,
        kind: Kind,
        amount: int,
        told: int,
        seconds: float,
        now: float,
        hold: float,
    ) -> Lease | Refusal:
        """Book again what was lent before: its holder says how much of it is `told` not to be free.

        As no holder has more than its part free, at least that much is not.
        """
        refusal = self.refusal(holder, kind, amount)
        if refusal is not None:
            return refusal
        others = (x for x in self._leases.values() if x.holder == holder and x.kind == kind)
        free = self.capacity(kind) // FREE_PART - sum(x.amount - x.billable for x in others)
        paid = min(amount, max(told, amount - max(0, free)))
        return self._book(Lease(lease_id, holder, kind, amount, paid, now, now + seconds, now + hold))

    def _book(self, lease: Lease) -> Lease:
        holder, lease_id, kind, amount = lease.holder, lease.id, lease.kind, lease.amount
        self._leases[holder, lease_id] = lease
        self._taken[kind] += amount
        self._holders[holder] = self._holders.get(holder, 0) + 1
        self._look_at = min(self._look_at, lease.until, lease.alive_until)
        return lease

    def commit(self, lease: Lease, alive_until: float) -> None:
        """Let a lease stand until `alive_until` or the end of its term; again for each sign of life."""
        lease.committed = True
        lease.alive_until = max(lease.alive_until, alive_until)

    def renew(self, lease: Lease, serial: int, until: float) -> None:
        """Give a lease another end; one of an earlier or the same serial changes nothing."""
        if serial > lease.serial:
            lease.serial, lease.until = serial, until
            self._look_at = min(self._look_at, until)

    def release(self, lease: Lease) -> None:
        """End a lease; one that has ended stays so."""
        if self._leases.pop((lease.holder, lease.id), None) is None:
            return
        self._taken[lease.kind] -= lease.amount
        self._holders[lease.holder] -= 1
        if not self._holders[lease.holder]:
            del self._holders[lease.holder]

    def expire(self, now: float) -> list[tuple[Lease, Ending]]:
        """End what is over at `now`, and return it with the reason."""
        if now < self._look_at:
            return []
        over = [(x, _ending(x, now)) for x in self._leases.values() if now >= min(x.until, x.alive_until)]
        for lease, _ in over:
            self.release(lease)
        self._look_at = min((min(x.until, x.alive_until) for x in self._leases.values()), default=math.inf)
        return over

    @property
    def deadline(self) -> float:
        """When `expire` wants to be called; may be early."""
        return self._look_at


def _whole(seconds: float) -> int:
    """Round up, but for what floating point has added."""
    return math.ceil(seconds - 1e-6)


def _ending(lease: Lease, now: float) -> Ending:
    if now >= lease.until:
        return Ending.EXPIRED
    return Ending.SILENT if lease.committed else Ending.UNCONFIRMED
