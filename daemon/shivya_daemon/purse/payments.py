"""Leases paid for: the holder reserves, the provider looks that it did, and posts what was used.

Every id follows from the lease and the number of the renewal, so a crash of either side repeats nothing. What
nobody ever settles is void at its deadline, `MARGIN` after the term.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from shivya_daemon.core.events import Event, LeaseOver, PaymentClaimed, PaymentDue, SettlementDue
from shivya_daemon.core.leases.book import Ending
from shivya_daemon.core.leases.frames import NO_PAYMENT
from shivya_daemon.core.node import Node
from shivya_daemon.ledgers.credits import Aspect, Outcome, Post, Posted, Refused, Reserve, Score, Void
from shivya_daemon.ledgers.credits.transfers import MAX_RESERVATION
from shivya_daemon.purse.account import Account
from shivya_daemon.purse.purse import Job, Purse

MARGIN = 600
"""Seconds after the end of a term in which a provider may settle it."""
_LABEL = b"shivya/1 lease\0"
_BREACHES = (Ending.SILENT.word, Ending.UNKNOWN.word, Ending.DRAINING.word)
_KEPT = (Ending.RELEASED.word, Ending.EXPIRED.word)


def reservation_id(lease: bytes, holder: bytes, provider: bytes, serial: int) -> bytes:
    """Return the id of the reservation for one term of a lease; `holder` and `provider` are node ids."""
    return _digest(b"reserve", lease, holder, provider, serial.to_bytes(4, "big"))


class Payments:
    """Does with `purse` what the leases of `node` need, and answers them."""

    def __init__(
        self, node: Node, purse: Purse, clock: Callable[[], float], acted: Callable[[], None]
    ) -> None:
        self._node = node
        self._purse = purse
        self._clock = clock
        self._acted = acted
        """Called when the node has something to send."""
        self._patience = node.settings.leases.payment
        self._began = clock()
        self._orphans: frozenset[bytes] | None = None
        purse.ask(Job("looks", _owed, self._remember, self._began + node.settings.leases.ttl))

    def take(self, events: list[Event]) -> None:
        """Do what leases ask for."""
        for event in events:
            match event:
                case PaymentDue():
                    self._reserve(event)
                case PaymentClaimed():
                    self._verify(event)
                case SettlementDue():
                    self._settle(event)
                case LeaseOver(reason=reason) if reason in _BREACHES or reason in _KEPT:
                    self._score(event, reason in _KEPT)
                case _:
                    pass

    def look(self) -> None:
        """Void what was reserved for this node before it started, once no lease can go with it any more."""
        settings = self._node.settings.leases
        if not self._orphans or self._clock() < self._began + settings.ttl + settings.payment:
            return
        live = {lease.payment for lease in self._node.leases.granted}
        for payment in self._orphans - live:
            self._purse.ask(Job("settled", partial(_settle, payment=payment, payer=None, amount=0)))
        self._orphans = None

    def _remember(self, found: frozenset[bytes] | None) -> None:
        self._orphans = found

    def _reserve(self, due: PaymentDue) -> None:
        provider = self._node.public_key(due.provider)
        payment = reservation_id(due.id, self._node.id, due.provider, due.serial)
        if provider is None:
            self._paid(due, payment, None)
            return
        work = partial(_reserve, payment=payment, provider=provider, amount=due.amount, seconds=due.seconds)
        until = self._clock() + self._patience
        self._purse.ask(Job("reserved", work, partial(self._paid, due, payment), until))

    def _paid(self, due: PaymentDue, payment: bytes, outcome: Outcome | None) -> None:
        self._purse.submitted(outcome)
        why = "the ledger cannot be reached in time"
        if isinstance(outcome, Refused):
            why = outcome.reason.value
        ok, refused = isinstance(outcome, Posted), isinstance(outcome, Refused)
        # What got no answer may have taken effect: its provider hears of it with the goodbye, and voids it.
        told = NO_PAYMENT if refused else payment
        self._node.leases.paid(due.id, due.provider, due.serial, told, ok, self._clock(), why)
        self._acted()

    def _verify(self, claimed: PaymentClaimed) -> None:
        expected = reservation_id(claimed.id, claimed.holder, self._node.id, claimed.serial)
        payer = self._node.public_key(claimed.holder)
        if payer is None or claimed.payment != expected:
            self._verified(claimed, None)
            return
        work = partial(_verify, payment=expected, payer=payer, amount=claimed.amount, seconds=claimed.seconds)
        self._purse.ask(
            Job("verified", work, partial(self._verified, claimed), self._clock() + self._patience)
        )

    def _verified(self, claimed: PaymentClaimed, amount: int | None) -> None:
        if amount is None:
            self._purse.counters["unpaid"] += 1
        self._node.leases.verified(claimed.holder, claimed.id, claimed.payment, amount, self._clock())
        self._acted()

    def _settle(self, due: SettlementDue) -> None:
        payer = self._node.public_key(due.holder)
        work = partial(_settle, payment=due.payment, payer=payer, amount=due.amount)
        until = self._clock() + MARGIN
        self._purse.ask(Job("settled", work, self._purse.submitted, until))

    def _score(self, over: LeaseOver, success: bool) -> None:
        provider = self._node.public_key(over.provider)
        if provider is not None:
            work = partial(_score, lease=over.id, provider=provider, success=success)
            self._purse.ask(Job("scored", work, self._purse.submitted))


def _reserve(account: Account, payment: bytes, provider: bytes, amount: int, seconds: int) -> Outcome:
    now = account.read().now
    deadline = min(now + (seconds + MARGIN) * 1000, now + MAX_RESERVATION)
    return account.do(payment, Reserve(provider, amount, deadline, provider, f"lease {seconds} s"))


def _verify(account: Account, payment: bytes, payer: bytes, amount: int, seconds: int) -> int | None:
    """Return what `payer` has reserved for this account under an id; None unless it will do."""
    state = account.read()
    held = state.reservations.get(payment)
    if held is None or (held.payer, held.payee, held.settler) != (payer, account.key, account.key):
        return None
    good = held.amount >= amount and held.deadline >= min(
        state.now + seconds * 1000, state.now + MAX_RESERVATION - MARGIN * 1000
    )
    return held.amount if good else None


def _settle(account: Account, payment: bytes, payer: bytes | None, amount: int) -> Outcome | None:
    """Post `amount` of a reservation, or void it; nothing if it is not there for this account to settle."""
    held = account.read().reservations.get(payment)
    if held is None or held.settler != account.key or payer not in (None, held.payer):
        return None
    action = Post(payment, min(amount, held.amount)) if amount else Void(payment)
    return account.do(_digest(b"settle", payment), action)


def _score(account: Account, lease: bytes, provider: bytes, success: bool) -> Outcome | None:
    """Report how a provider kept its word, if this node is a witness."""
    state = account.read()
    if account.key not in state.roster or provider not in state.accounts:
        return None
    return account.do(_digest(b"score", lease), Score(provider, Aspect.DELIVERY, success))


def _owed(account: Account) -> frozenset[bytes]:
    """Return the reservations for this account that it is to settle itself."""
    found = account.read().reservations.items()
    return frozenset(key for key, held in found if held.payee == held.settler == account.key)


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha3_256(_LABEL + b"".join(parts)).digest()[:16]
