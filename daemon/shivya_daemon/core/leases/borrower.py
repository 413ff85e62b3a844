"""The borrowing end: asks one node after the other, keeps alive what it got, and knows when it is lost.

What this end believes to hold, the other end still has in its book: its time counts from when it sent what
was answered, the other's from when that arrived, and a part of it is left for clocks that run apart.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from enum import Enum

from msgspec import Struct, field

from shivya_daemon.core.leases.book import Ending, Refusal
from shivya_daemon.core.leases.events import (
    LeaseEvent,
    LeaseObtained,
    LeaseOver,
    LeaseRenewed,
    PaymentDue,
    PaymentEvent,
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
from shivya_daemon.core.leases.kinds import MAX_SECONDS, price
from shivya_daemon.core.leases.settings import LeaseSettings

SAFE = 0.95
"""Share of a time-out of the other end that counts here."""
_KEEPS = 4  # signs of life in a TTL while all is well
_NONCES = 16  # of KEEP remembered
_NEVER = float("inf")

Addressed = tuple[bytes, LeaseFrame]


class Stage(Enum):
    """How far a claim is."""

    ASKING = "asking"
    PAYING = "paying"
    """Granted for credits, which the host reserves."""
    CONFIRMING = "confirming"
    """Granted; the other end does not know yet that this one knows."""
    HELD = "held"


class Claim(Struct):
    """What this node asked others for, or has of them."""

    ask: Ask
    queue: deque[bytes]
    """Nodes that were not asked yet."""
    provider: bytes = b""
    stage: Stage = Stage.ASKING
    asked_at: float = -_NEVER
    sent: int = 0
    next_at: float = -_NEVER
    sure_until: float = -_NEVER
    """Until when the other end keeps it, if nothing more is heard."""
    until: float = _NEVER
    """End of its term."""
    wanted: float | None = None
    """End of its term that was asked for and not agreed yet."""
    serial: int = 0
    ttl: float = 0.0
    price: int = 0
    billable: int = 0
    """Of the amount, what is not free."""
    charged: bool = False
    """Whether that must be paid for."""
    payment: bytes = NO_PAYMENT
    """What was reserved last for it."""
    renewal: tuple[int, float] | None = None
    """Serial and end of a further term that credits are being reserved for."""
    trouble: str = ""
    """Why the last renewal came to nothing."""
    nonces: OrderedDict[int, float] = field(default_factory=OrderedDict)
    tried: list[tuple[bytes, str]] = field(default_factory=list)
    """Who was asked in vain, and what it said."""

    def held(self, now: float) -> bool:
        """Return whether this node can rely on it."""
        return self.stage is Stage.HELD and now < min(self.sure_until, self.until)


class _Farewell(Struct):
    sent: int
    next_at: float
    payment: bytes


class Borrower:
    """The claims of one node on others. `nonce()` gives 32 unpredictable bits; `emit` takes what happens."""

    def __init__(
        self,
        settings: LeaseSettings,
        nonce: Callable[[], int],
        emit: Callable[[LeaseEvent | PaymentEvent], None],
    ) -> None:
        self._settings = settings
        self._nonce = nonce
        self.claims: dict[bytes, Claim] = {}
        self._farewells: OrderedDict[tuple[bytes, bytes], _Farewell] = OrderedDict()
        self._shunned: OrderedDict[tuple[bytes, int], float] = OrderedDict()
        """Until when a node is not asked again for a kind that it does not lend."""
        self._emit = emit
        self._failed: list[tuple[Claim, str]] = []

    def begin(self, ask: Ask, providers: Iterable[bytes], now: float) -> None:
        """Ask `providers`, one after the other."""
        willing = (node for node in providers if self._shunned.get((node, ask.kind), now) <= now)
        claim = Claim(ask, deque(list(willing)[: self._settings.max_tried]))
        self.claims[ask.id] = claim
        self._next(claim, now)

    def renew(self, claim: Claim, seconds: int, now: float) -> None:
        """Ask for another term of `seconds` from now; one that is shorter holds at once."""
        serial, wanted, claim.trouble = claim.serial + 1, now + seconds, ""
        claim.until = min(claim.until, wanted)
        if claim.charged:
            claim.renewal = serial, wanted
            self._pay(claim, serial, seconds)
        else:
            claim.serial, claim.wanted, claim.next_at = serial, wanted, now

    def paid(
        self, lease_id: bytes, provider: bytes, serial: int, payment: bytes, ok: bool, why: str, now: float
    ) -> None:
        """Take the reservation for a term that the host made, or may have made if it is not `ok`."""
        claim = self.claims.get(lease_id)
        first = claim is not None and claim.stage is Stage.PAYING and serial == 0
        further = claim is not None and claim.renewal is not None and claim.renewal[0] == serial
        if claim is None or claim.provider != provider or not (first or further):
            if payment != NO_PAYMENT:  # too late: the one that may void it is told to
                self._bid_farewell(provider, lease_id, now, payment)
        elif not first and claim.renewal is not None:
            if payment != NO_PAYMENT:
                claim.payment = payment
            if ok:
                claim.serial, claim.wanted = claim.renewal
                claim.next_at = now
            else:
                claim.trouble = f"not renewed: {why}"
            claim.renewal = None
        elif ok:
            claim.payment, claim.stage, claim.next_at = payment, Stage.CONFIRMING, now
        else:
            claim.tried.append((provider, f"wants credits, and {why}"))
            self._bid_farewell(provider, lease_id, now, payment)
            self._next(claim, now)

    def release(self, claim: Claim, now: float) -> None:
        """Give back what there is of a claim."""
        self._end(claim, Ending.RELEASED, now)

    def left(self, node: bytes, now: float) -> None:
        """Take note that a node has said goodbye, and lends nothing any more."""
        for claim in [claim for claim in self.claims.values() if claim.provider == node]:
            self._lost(claim, Ending.DRAINING, now)

    def failed(self) -> list[tuple[Claim, str]]:
        """Return the claims that came to an end, with the reason, and forget them."""
        result, self._failed = self._failed, []
        return result

    def receive(self, node: bytes, frame: Grant | Refuse | Kept | Ended, now: float) -> list[Addressed] | str:
        """Take an answer; returns what to send, or why it was dropped."""
        claim = self.claims.get(frame.id)
        mine = claim is not None and claim.provider == node
        match frame:
            case Ended():
                gone = self._farewells.pop((node, frame.id), None)
                if claim is None or not mine:
                    return [] if gone is not None else "unsolicited"
                self._lost(claim, frame.reason, now)
                return []
            case Grant():
                if claim is not None and mine:
                    return self._granted(claim, frame, now)
                self._bid_farewell(node, frame.id, now)
                return []
            case Refuse() if claim is not None and mine and claim.stage is Stage.ASKING:
                if frame.reason is Refusal.NO_QUOTA:
                    self._shun(node, claim.ask.kind, now)
                claim.tried.append((node, frame.reason.word))
                self._next(claim, now)
                return []
            case Kept() if claim is not None and mine:
                return self._kept(claim, frame, now)
        return "unsolicited"

    def due(self, now: float) -> list[Addressed]:
        """Return what to send now; ends what is lost."""
        frames: list[Addressed] = []
        for claim in list(self.claims.values()):
            if now < claim.next_at and now < min(claim.sure_until, claim.until):
                continue
            frames += self._tend(claim, now)
        for key, farewell in list(self._farewells.items()):
            if now < farewell.next_at:
                continue
            if farewell.sent >= self._settings.attempts:
                del self._farewells[key]
                continue
            farewell.sent += 1
            farewell.next_at = now + self._settings.retry
            frames.append((key[0], Release(key[1], farewell.payment)))
        return frames

    @property
    def deadline(self) -> float:
        """When `due` wants to be called."""
        times = [farewell.next_at for farewell in self._farewells.values()]
        for claim in self.claims.values():
            times.append(claim.next_at)
            if claim.stage is not Stage.ASKING:
                times += (claim.sure_until, claim.until)
        return min(times, default=_NEVER)

    # One claim

    def _tend(self, claim: Claim, now: float) -> list[Addressed]:
        settings = self._settings
        if claim.stage is Stage.ASKING:
            if now < claim.next_at:
                return []
            if claim.sent >= settings.attempts:
                claim.tried.append((claim.provider, "silent"))
                self._bid_farewell(claim.provider, claim.ask.id, now)
                self._next(claim, now)
            if claim.ask.id not in self.claims:
                return []
            if not claim.sent:
                claim.asked_at = now
            claim.sent += 1
            claim.next_at = now + settings.retry
            return [(claim.provider, claim.ask)]
        if now >= claim.until:
            self._end(claim, Ending.EXPIRED, now)
        elif now >= claim.sure_until:
            self._lost(claim, Ending.SILENT, now)
        elif now >= claim.next_at:
            return [self._keep(claim, now)]
        return []

    def _granted(self, claim: Claim, grant: Grant, now: float) -> list[Addressed]:
        if claim.stage is not Stage.ASKING or not claim.sent:
            return []  # a copy
        ask = claim.ask
        claim.billable = min(grant.billable, ask.amount)
        claim.ttl, claim.price = grant.ttl, price(ask.kind, claim.billable, ask.seconds)
        claim.charged = grant.charged and claim.price > 0
        claim.sure_until = claim.asked_at + SAFE * grant.hold
        claim.until = claim.asked_at + claim.ask.seconds
        claim.nonces.clear()
        if claim.charged:
            claim.stage, claim.next_at = Stage.PAYING, _NEVER
            if self._settings.credits:
                self._pay(claim, 0, ask.seconds)
            else:
                why = "this node has no ledger: see [credits]"
                self.paid(ask.id, claim.provider, 0, NO_PAYMENT, False, why, now)
            return []
        claim.stage = Stage.CONFIRMING
        return self._tend_at_once(claim, now)

    def _pay(self, claim: Claim, serial: int, seconds: int) -> None:
        amount = price(claim.ask.kind, claim.billable, seconds)
        self._emit(PaymentDue(claim.ask.id, claim.provider, serial, amount, seconds))

    def _tend_at_once(self, claim: Claim, now: float) -> list[Addressed]:
        claim.next_at = now
        return self._tend(claim, now)

    def _keep(self, claim: Claim, now: float) -> Addressed:
        claim.next_at = now + self._settings.retry
        nonce = self._nonce()
        claim.nonces[nonce] = now
        while len(claim.nonces) > _NONCES:
            claim.nonces.popitem(last=False)
        ask, until = claim.ask, claim.until if claim.wanted is None else claim.wanted
        left = min(max(1, math.ceil(until - now)), MAX_SECONDS)
        keep = Keep(ask.id, ask.kind, ask.amount, claim.serial, left, nonce, claim.billable, claim.payment)
        return claim.provider, keep

    def _kept(self, claim: Claim, kept: Kept, now: float) -> list[Addressed] | str:
        sent_at = claim.nonces.pop(kept.nonce, None)
        if sent_at is None or claim.stage in (Stage.ASKING, Stage.PAYING):
            return "unsolicited"
        claim.ttl, claim.price = kept.ttl, kept.price
        claim.sure_until = max(claim.sure_until, sent_at + SAFE * kept.ttl)
        claim.next_at = max(now, sent_at + kept.ttl / _KEEPS)
        if claim.wanted is not None:
            if kept.serial >= claim.serial:
                claim.until, claim.wanted = claim.wanted, None
                seconds = round(claim.until - now)
                self._emit(
                    LeaseRenewed(claim.ask.id, claim.provider, claim.ask.kind, claim.ask.amount, seconds)
                )
            else:
                claim.next_at = now + self._settings.retry
        if now >= min(claim.sure_until, claim.until):
            return self._tend(claim, now)
        if claim.stage is Stage.CONFIRMING:
            claim.stage = Stage.HELD
            ask = claim.ask
            self._emit(LeaseObtained(ask.id, claim.provider, ask.kind, ask.amount, ask.seconds))
        return []

    def _next(self, claim: Claim, now: float) -> None:
        """Turn to the next node, the one before having nothing to lend."""
        claim.stage, claim.sent, claim.wanted = Stage.ASKING, 0, None
        claim.sure_until, claim.until = -_NEVER, _NEVER
        claim.payment, claim.renewal = NO_PAYMENT, None
        claim.nonces.clear()
        if not claim.queue:
            del self.claims[claim.ask.id]
            self._failed.append((claim, "refused"))
            return
        claim.provider = claim.queue.popleft()
        claim.next_at = now

    def _lost(self, claim: Claim, ending: Ending, now: float) -> None:
        """Take note that the other end has, or may have, ended a lease."""
        if ending is Ending.SILENT:
            self._bid_farewell(claim.provider, claim.ask.id, now, claim.payment)
        if claim.stage is Stage.HELD:
            self._close(claim, ending)
        else:
            claim.tried.append((claim.provider, ending.word))
            self._next(claim, now)

    def _end(self, claim: Claim, ending: Ending, now: float) -> None:
        if claim.sent:
            self._bid_farewell(claim.provider, claim.ask.id, now, claim.payment)
        self._close(claim, ending)

    def _close(self, claim: Claim, ending: Ending) -> None:
        del self.claims[claim.ask.id]
        self._failed.append((claim, ending.word))
        if claim.stage is Stage.HELD:
            ask = claim.ask
            self._emit(LeaseOver(ask.id, claim.provider, ask.kind, ask.amount, ending.word))

    def _bid_farewell(self, node: bytes, lease_id: bytes, now: float, payment: bytes = NO_PAYMENT) -> None:
        before = self._farewells.get((node, lease_id))
        if payment == NO_PAYMENT and before is not None:
            payment = before.payment
        self._farewells[node, lease_id] = _Farewell(0, now, payment)
        if len(self._farewells) > self._settings.max_ended:
            self._farewells.popitem(last=False)  # it is free when nothing is heard for a TTL

    def _shun(self, node: bytes, kind: int, now: float) -> None:
        self._shunned[node, kind] = now + self._settings.shunned
        self._shunned.move_to_end((node, kind))
        if len(self._shunned) > self._settings.max_ended:
            self._shunned.popitem(last=False)
