"""The state machine: `apply` takes a signed operation, `advance` the time, and nothing else changes a state.

Both are pure and deterministic, so every replica that is fed the same log has the same state, bit for bit.
After every step

    sum of all balances + balance of the pool = minted,
    sum of pending debits = sum of pending credits,
    0 <= available <= balance, for every account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from shivya_daemon.ledgers.credits import operations, quorum, spirits, transfers
from shivya_daemon.ledgers.credits.operations import LIFETIME, Operation
from shivya_daemon.ledgers.credits.persistent import Map
from shivya_daemon.ledgers.credits.refusals import Outcome, Posted, Refusal, Refuse, require
from shivya_daemon.ledgers.credits.signing import authentic, digest, message
from shivya_daemon.ledgers.credits.state import Account, Decision, Receipt, State
from shivya_daemon.ledgers.credits.units import LIMIT, Time

_RULES: Mapping[type, Callable[[State, Operation, Any], State]] = {
    operations.Open: transfers.open_account,
    operations.Transfer: transfers.transfer,
    operations.Reserve: transfers.reserve,
    operations.Post: transfers.post,
    operations.Void: transfers.void,
    operations.Stake: transfers.stake,
    operations.Publish: spirits.publish,
    operations.Offer: spirits.offer,
    operations.Buy: spirits.buy,
    operations.Propose: quorum.propose,
    operations.Vote: quorum.vote,
    operations.Score: quorum.score,
}


def apply(state: State, operation: Operation) -> tuple[State, Outcome]:
    """Return the state after an operation and `Posted`, or the same state and `Refused` with the reason."""
    try:
        return _apply(state, operation)
    except Refuse as refuse:
        return state, refuse.refused


def _apply(state: State, operation: Operation) -> tuple[State, Posted]:
    require(operations.well_formed(operation), Refusal.MALFORMED)
    sender = state.account(operation.sender)
    signed = message(operation, state.ledger)
    require(authentic(operation, signed), Refusal.FORGED)
    content = digest(signed)
    if (receipt := state.receipt(operation.id)) is not None:
        require(receipt.content == content, Refusal.ID_TAKEN)
        raise Refuse(Refusal.REPLAYED, receipt.posted)
    require(state.now < operation.expires, Refusal.EXPIRED)
    require(operation.expires <= state.now + LIFETIME, Refusal.FAR_AHEAD)
    require(operation.counter > sender.counter, Refusal.STALE)

    after = _RULES[type(operation.action)](state, operation, operation.action)

    after = after.book(operation.sender, counter=operation.counter - sender.counter)
    receipt = Receipt(content, state.sequence + 1, after.pool.credits_posted - state.pool.credits_posted)
    after = replace(after, sequence=receipt.sequence, recent=after.recent.set(operation.id, receipt))
    return after, receipt.posted


def advance(state: State, now: Time) -> State:
    """Return the state at a later time: what was due is void, rejected or forgotten. Time never goes back."""
    if now <= state.now:
        return state
    state = replace(state, now=now)
    if now >= state.due:
        state = _void_overdue(_close_overdue(state))
        state = replace(state, due=min(_deadlines(state), default=LIMIT))
    if now - state.rotated >= LIFETIME:
        # An operation accepted before the last rotation has expired by now: it is refused without memory.
        state = replace(state, former=state.recent, recent=Map(), rotated=now)
    return state


def _void_overdue(state: State) -> State:
    for key, held in state.reservations.items():
        if held.deadline <= state.now:
            state = transfers.release(state, key, held)
    return state


def _close_overdue(state: State) -> State:
    """Nobody can approve after the deadline, so what is pending then is rejected; later it is forgotten."""
    for key, proposal in state.proposals.items():
        if proposal.deadline + quorum.KEPT <= state.now:
            state = replace(state, proposals=state.proposals.without(key))
        elif proposal.deadline <= state.now and proposal.decision is Decision.PENDING:
            state = quorum.conclude(state, key, proposal, Decision.REJECTED)
    return state


def _deadlines(state: State) -> Iterator[Time]:
    yield from (held.deadline for held in state.reservations.values())
    for proposal in state.proposals.values():
        yield proposal.deadline + (quorum.KEPT if proposal.deadline <= state.now else 0)


def violations(state: State) -> list[str]:
    """Return what is wrong with a state, one line each; anything means that machine or memory is broken."""
    accounts: list[Account] = [*state.accounts.values(), state.pool]
    total = sum(account.balance for account in accounts)
    debits = sum(account.debits_pending for account in accounts)
    credits = sum(account.credits_pending for account in accounts)
    found = []
    if total != state.minted:
        found.append(f"balances and pool add up to {total}, but {state.minted} were minted")
    if debits != credits:
        found.append(f"pending debits are {debits}, pending credits {credits}")
    for key, account in (*state.accounts.items(), (b"pool", state.pool)):
        if not 0 <= account.available <= account.balance or min(account.debits_pending, account.staked) < 0:
            found.append(f"account {key.hex()} has {account.balance}, of that available {account.available}")
    return found
