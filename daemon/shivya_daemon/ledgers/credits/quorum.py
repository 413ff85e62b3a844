"""The rules of collective decisions: a fixed roster, one signed vote each, exact rationals.

Of n witnesses, ceil(q n) approvals decide. A proposal is rejected as soon as that many have become
impossible, and pending until then: absent votes count for neither side, but only until the deadline.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

from shivya_daemon.ledgers.credits.operations import Operation, Propose, Score, Vote
from shivya_daemon.ledgers.credits.records import Id, Key
from shivya_daemon.ledgers.credits.refusals import Refusal, Refuse, require
from shivya_daemon.ledgers.credits.reputation import Aspect
from shivya_daemon.ledgers.credits.state import Decision, Proposal, State
from shivya_daemon.ledgers.credits.units import DAY

MAX_VOTING = 30 * DAY
KEPT = 7 * DAY
"""For how long a proposal can still be read after its deadline."""
MAX_PROPOSALS = 64
"""Kept at one time per witness."""


def decide(approvals: int, rejections: int, members: int, threshold: Fraction) -> Decision:
    """Return what `approvals` and `rejections` of a roster of `members` amount to."""
    needed = math.ceil(threshold * members)
    if approvals >= needed:
        return Decision.APPROVED
    if members - rejections < needed:
        return Decision.REJECTED
    return Decision.PENDING


def propose(state: State, operation: Operation, action: Propose) -> State:
    """A witness puts a question to the roster, which may be to grant something from the pool."""
    _witness(state, operation.sender)
    state.account(action.receiver)
    require(state.now < action.deadline <= state.now + MAX_VOTING, Refusal.BAD_DEADLINE)
    own = sum(p.proposer == operation.sender for p in state.proposals.values())
    require(own < MAX_PROPOSALS, Refusal.TOO_MANY)
    return state.ask(
        operation.id,
        Proposal(operation.sender, action.text, action.receiver, action.amount, action.deadline),
    )


def vote(state: State, operation: Operation, action: Vote) -> State:
    """A witness votes, once; the vote that decides takes effect at once, or is refused."""
    _witness(state, operation.sender)
    proposal = state.proposals.get(action.proposal)
    if proposal is None:
        raise Refuse(Refusal.NO_PROPOSAL)
    require(proposal.decision is Decision.PENDING, Refusal.DECIDED)
    require(operation.sender not in (*proposal.approvals, *proposal.rejections), Refusal.VOTED)
    if action.approve:
        proposal = replace(proposal, approvals=(*proposal.approvals, operation.sender))
    else:
        proposal = replace(proposal, rejections=(*proposal.rejections, operation.sender))
    decision = decide(len(proposal.approvals), len(proposal.rejections), len(state.roster), state.threshold)
    if decision is Decision.APPROVED and proposal.amount:
        require(proposal.amount <= state.pool.balance, Refusal.POOL_SHORT)
        state = state.book_pool(debits_posted=proposal.amount).book(
            proposal.receiver, credits_posted=proposal.amount
        )
    return conclude(state, action.proposal, proposal, decision)


def conclude(state: State, key: Id, proposal: Proposal, decision: Decision) -> State:
    """Write a decision down; once there is one, each vote tells how honest the witness is."""
    state = state.ask(key, replace(proposal, decision=decision))
    if decision is Decision.PENDING:
        return state
    for voters, side in ((proposal.approvals, Decision.APPROVED), (proposal.rejections, Decision.REJECTED)):
        for voter in voters:
            state = state.judge(voter, state.reputation(voter).after(Aspect.HONESTY, side is decision))
    return state


def score(state: State, operation: Operation, action: Score) -> State:
    """A witness reports on another account; honesty is not reported but seen in votes."""
    _witness(state, operation.sender)
    require(action.account != operation.sender, Refusal.SELF)
    require(action.aspect is not Aspect.HONESTY, Refusal.MALFORMED)
    state.account(action.account)
    return state.judge(action.account, state.reputation(action.account).after(action.aspect, action.success))


def _witness(state: State, key: Key) -> None:
    require(key in state.roster, Refusal.NOT_WITNESS)
    require(state.account(key).staked >= state.stake, Refusal.UNSTAKED)
