"""The rules of money: pay, reserve, post, void, stake, and open accounts.

Every rule is a function `(state, operation, action) -> state` that is refused by `require`, or whose entries
add up to nothing: what it debits from one account it credits to another or to the pool.
"""

from __future__ import annotations

from dataclasses import replace

from shivya_daemon.ledgers.credits.operations import Open, Operation, Post, Reserve, Stake, Transfer, Void
from shivya_daemon.ledgers.credits.records import Id, Key
from shivya_daemon.ledgers.credits.refusals import Refusal, Refuse, require
from shivya_daemon.ledgers.credits.state import Account, Decision, Reservation, State
from shivya_daemon.ledgers.credits.units import DAY, OPENING_FEE, Amount, fee

MAX_RESERVATION = 30 * DAY
MAX_RESERVATIONS = 256
"""Open at one time per payer."""


def open_account(state: State, operation: Operation, action: Open) -> State:
    """Open an account at the expense of the sender."""
    require(action.account not in state.accounts, Refusal.ACCOUNT_EXISTS)
    state = charge(state, operation.sender, OPENING_FEE)
    return replace(state, accounts=state.accounts.set(action.account, Account()))


def transfer(state: State, operation: Operation, action: Transfer) -> State:
    """Pay at once."""
    return pay(state, operation.sender, action.receiver, action.amount)


def reserve(state: State, operation: Operation, action: Reserve) -> State:
    """Phase one: nothing moves, but nobody can spend it twice."""
    payer, payee, amount = operation.sender, action.receiver, action.amount
    cost = amount + fee(amount)
    _check_payment(state, payer, payee, amount)
    require(state.now < action.deadline <= state.now + MAX_RESERVATION, Refusal.BAD_DEADLINE)
    require(state.account(payer).reservations < MAX_RESERVATIONS, Refusal.TOO_MANY)
    return (
        state.book(payer, debits_pending=cost, reservations=1)
        .book(payee, credits_pending=amount)
        .book_pool(credits_pending=cost - amount)
        .hold(operation.id, Reservation(payer, payee, action.settler, amount, action.deadline))
    )


def post(state: State, operation: Operation, action: Post) -> State:
    """Phase two: what was reserved moves, in whole or in part, and what is left is released."""
    held = _settled_by(state, operation.sender, action.reservation)
    require(action.amount <= held.amount, Refusal.BEYOND_RESERVATION)
    return pay(release(state, action.reservation, held), held.payer, held.payee, action.amount)


def void(state: State, operation: Operation, action: Void) -> State:
    """Phase two, the other end: all of it is released."""
    held = _settled_by(state, operation.sender, action.reservation)
    return release(state, action.reservation, held)


def stake(state: State, operation: Operation, action: Stake) -> State:
    """Lock more as stake, or less: less only while the witness has no part in a pending proposal."""
    account = state.account(operation.sender)
    more = action.amount - account.staked
    if more > 0:
        afford(account, more)
    elif operation.sender in state.roster:
        pending = (p for p in state.proposals.values() if p.decision is Decision.PENDING)
        parts = ((p.proposer, *p.approvals, *p.rejections) for p in pending)
        require(all(operation.sender not in part for part in parts), Refusal.STAKE_IN_USE)
    return state.book(operation.sender, staked=more)


def pay(state: State, payer: Key, payee: Key, amount: Amount) -> State:
    """Move `amount` from payer to payee, and the payer's fee to the pool."""
    cost = amount + fee(amount)
    _check_payment(state, payer, payee, amount)
    return (
        state.book(payer, debits_posted=cost)
        .book(payee, credits_posted=amount)
        .book_pool(credits_posted=cost - amount)
    )


def charge(state: State, payer: Key, amount: Amount) -> State:
    """Move `amount` from an account to the pool."""
    afford(state.account(payer), amount)
    return state.book(payer, debits_posted=amount).book_pool(credits_posted=amount)


def release(state: State, reservation: Id, held: Reservation) -> State:
    """End a reservation without a payment."""
    cost = held.amount + fee(held.amount)
    state = (
        state.book(held.payer, debits_pending=-cost, reservations=-1)
        .book(held.payee, credits_pending=-held.amount)
        .book_pool(credits_pending=held.amount - cost)
    )
    return replace(state, reservations=state.reservations.without(reservation))


def afford(account: Account, cost: Amount) -> None:
    """Go on only if the owner can spend `cost`."""
    require(cost <= account.balance, Refusal.OVERDRAWN)
    require(cost <= account.available, Refusal.LOCKED)


def _check_payment(state: State, payer: Key, payee: Key, amount: Amount) -> None:
    require(amount > 0, Refusal.NOTHING)
    require(payer != payee, Refusal.SELF)
    state.account(payee)
    afford(state.account(payer), amount + fee(amount))


def _settled_by(state: State, settler: Key, reservation: Id) -> Reservation:
    """Return a reservation that `settler` may end."""
    held = state.reservations.get(reservation)
    if held is None:
        raise Refuse(Refusal.NO_RESERVATION)
    require(settler == held.settler, Refusal.NOT_SETTLER)
    return held
