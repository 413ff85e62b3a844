"""Why the machine leaves the state as it is: each reason has a name for programs and a line for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Refusal(Enum):
    """A reason; its value says it in one line. What is wrong with the envelope is said first."""

    MALFORMED = "a field is out of range"
    NO_ACCOUNT = "there is no such account; have one opened"
    FORGED = "the signature is not the sender's over every field, for this ledger"
    REPLAYED = "this very operation was accepted before; it took effect once"
    ID_TAKEN = "another operation has this id; draw a new one"
    EXPIRED = "it came after the time that it was meant to be valid until; sign it anew"
    FAR_AHEAD = "it would be valid for more than an hour; check the clock, or let it expire sooner"
    STALE = "its counter is not above that of the sender's last operation; count on from there"

    NOTHING = "the amount is zero"
    SELF = "payer and payee are the same account"
    OVERDRAWN = "the balance is less than amount and fee"
    LOCKED = "the balance would do, but part of it is reserved or staked"
    OVERFLOW = "a lifetime total would pass the largest number"
    ACCOUNT_EXISTS = "the account is open already"

    BAD_DEADLINE = "the deadline is over, or too far ahead"
    TOO_MANY = "the account has as many open as it may have; settle some first"
    NO_RESERVATION = "there is no such reservation: it was posted, voided or timed out, or never was"
    NOT_SETTLER = "only the account that the reservation names may post or void it"
    BEYOND_RESERVATION = "more than was reserved"

    SPIRIT_EXISTS = "the spirit is published already"
    NO_SPIRIT = "there is no such spirit"
    NOT_OWNER = "only its owner may offer a spirit"
    NOT_FOR_SALE = "the owner does not sell this spirit"
    PRICE_CHANGED = "the price is not the one that the buyer agreed to"

    NOT_WITNESS = "only members of the roster may do this"
    UNSTAKED = "a witness must have its stake locked first"
    STAKE_IN_USE = "the stake stays locked while the witness has a part in a pending proposal"
    NO_PROPOSAL = "there is no such proposal"
    DECIDED = "the proposal is decided"
    VOTED = "this witness has voted"
    POOL_SHORT = "the pool has less than the proposal grants"

    @property
    def code(self) -> str:
        """Name of the reason in JSON."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Posted:
    """The operation took effect: as which one of all that did, counted from 1, and for which fee."""

    sequence: int
    fee: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The operation had no effect. `first` is what came of it before, if it was `REPLAYED`."""

    reason: Refusal
    first: Posted | None = None


Outcome: TypeAlias = Posted | Refused


class Refuse(Exception):
    """Raised by the rules, caught by `machine.apply`: nobody else sees it."""

    def __init__(self, reason: Refusal, first: Posted | None = None) -> None:
        super().__init__(reason.value)
        self.refused = Refused(reason, first)


def require(condition: bool, reason: Refusal) -> None:
    """Go on only if `condition` holds; raises `Refuse`."""
    if not condition:
        raise Refuse(reason)
