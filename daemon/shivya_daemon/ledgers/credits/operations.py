"""What an account can ask for. Every operation is signed, counted, named by its sender, and ends by itself.

An operation is an envelope around one action. Its id lets a client ask again when an answer got lost: the
same operation takes effect at most once, however often it is submitted. Its counter rises with every
operation of the sender, so what was overtaken is stale for ever. After `expires` it can no longer take
effect, so a client that never got an answer knows when to stop wondering, and ids need not be kept for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from shivya_daemon.ledgers.credits import records
from shivya_daemon.ledgers.credits.records import Digest, Id, Key, Kind, Signature, Text
from shivya_daemon.ledgers.credits.reputation import Aspect
from shivya_daemon.ledgers.credits.units import HOUR, Amount, Count, Time

LIFETIME = HOUR
"""How far ahead of the ledger's time `expires` may be, and for how long ids are remembered at least."""
MAX_BYTES = 2048
"""Longer than any operation in its canonical form."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open an account for the owner of a key; costs `units.OPENING_FEE`."""

    account: Key


@dataclass(frozen=True, slots=True)
class Transfer:
    """Pay `amount` now; the fee comes on top."""

    receiver: Key
    amount: Amount
    memo: Text = ""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Lock `amount` and its fee for `receiver` until `deadline`; `settler` alone posts or voids it.

    The settler is the sender where the payee trusts the payer, the receiver where it is the other way round,
    and anybody both trust otherwise.
    """

    receiver: Key
    amount: Amount
    deadline: Time
    settler: Key
    memo: Text = ""


@dataclass(frozen=True, slots=True)
class Post:
    """Pay `amount` of a reservation, at most all of it, and release the rest."""

    reservation: Id
    amount: Amount


@dataclass(frozen=True, slots=True)
class Void:
    """Release all of a reservation."""

    reservation: Id


@dataclass(frozen=True, slots=True)
class Stake:
    """Lock `amount` in all as the stake of a witness; less than now releases the difference."""

    amount: Amount


@dataclass(frozen=True, slots=True)
class Publish:
    """Become the owner of a spirit, known by the digest of its manifest; costs `units.PUBLISHING_FEE`."""

    spirit: Digest
    price: Amount


@dataclass(frozen=True, slots=True)
class Offer:
    """Name the price of a spirit of one's own; 0 takes it off the market."""

    spirit: Digest
    price: Amount


@dataclass(frozen=True, slots=True)
class Buy:
    """Pay the price of a spirit and become its owner: both, or neither."""

    spirit: Digest
    price: Amount


@dataclass(frozen=True, slots=True)
class Propose:
    """Ask the roster, until `deadline`; on approval the pool grants `amount` (may be 0) to `receiver`."""

    text: Text
    receiver: Key
    amount: Amount
    deadline: Time


@dataclass(frozen=True, slots=True)
class Vote:
    """Cast a witness's one vote on a proposal."""

    proposal: Id
    approve: bool


@dataclass(frozen=True, slots=True)
class Score:
    """Report, as a witness, that an account kept or broke what one may expect of it."""

    account: Key
    aspect: Aspect
    success: bool


Action: TypeAlias = (
    Open | Transfer | Reserve | Post | Void | Stake | Publish | Offer | Buy | Propose | Vote | Score
)
_ACTIONS: dict[str, type[Action]] = {
    action.__name__.lower(): action
    for action in (Open, Transfer, Reserve, Post, Void, Stake, Publish, Offer, Buy, Propose, Vote, Score)
}


@dataclass(frozen=True, slots=True)
class Operation:
    """An action, and who asks for it. `signature` covers every other field (`signing`)."""

    id: Id
    sender: Key
    counter: Count
    expires: Time
    action: Action
    signature: Signature = b""


_ACTION_KINDS = records.KINDS | {"Aspect": records.choice(Aspect)}


def _pack_action(action: Action) -> dict[str, Any]:
    return {"kind": type(action).__name__.lower()} | records.pack(action, _ACTION_KINDS)


def _unpack_action(packed: dict[str, Any]) -> Action:
    kind = _ACTIONS[packed["kind"]]
    return records.unpack(kind, {name: v for name, v in packed.items() if name != "kind"}, _ACTION_KINDS)


def _is_action(action: object) -> bool:
    return type(action) in _ACTIONS.values() and records.well_formed(action, _ACTION_KINDS)


_KINDS = records.KINDS | {"Action": Kind(_is_action, _pack_action, _unpack_action)}


def well_formed(operation: Operation) -> bool:
    """Return whether every field is of its type and in its range."""
    return records.well_formed(operation, _KINDS)


def pack(operation: Operation) -> dict[str, Any]:
    """Return a well-formed operation as a JSON object."""
    return records.pack(operation, _KINDS)


def unpack(packed: dict[str, Any]) -> Operation:
    """Return the operation that a JSON object describes; for use within `records.decode`."""
    return records.unpack(Operation, packed, _KINDS)


def encode(operation: Operation) -> bytes:
    """Return a well-formed operation as canonical JSON."""
    return records.encode(operation, _KINDS)


def decode(data: bytes) -> Operation:
    """Return the operation that `data` is the canonical form of; raises `records.DecodeError`."""
    if len(data) > MAX_BYTES:
        raise records.DecodeError(f"an operation has at most {MAX_BYTES} bytes, not {len(data)}")
    return records.decode(Operation, data, _KINDS)
