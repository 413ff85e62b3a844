"""Credits: what a fleet owes to whom, and what its witnesses decided.

`State.genesis` makes a ledger, `sign` an operation, `apply` the next state: pure, deterministic, integers of
10^-6 credit. `witness` is where a ledger lives: in one file (`sqlite_witness`), or in a replicated log
(`etcd_witness`).
"""

from __future__ import annotations

from shivya_daemon.ledgers.credits.machine import advance, apply, violations
from shivya_daemon.ledgers.credits.operations import (
    LIFETIME,
    Action,
    Buy,
    Offer,
    Open,
    Operation,
    Post,
    Propose,
    Publish,
    Reserve,
    Score,
    Stake,
    Transfer,
    Void,
    Vote,
)
from shivya_daemon.ledgers.credits.quorum import decide
from shivya_daemon.ledgers.credits.refusals import Outcome, Posted, Refusal, Refused
from shivya_daemon.ledgers.credits.reputation import Aspect, Reputation
from shivya_daemon.ledgers.credits.shares import apportion, settlement
from shivya_daemon.ledgers.credits.signing import sign
from shivya_daemon.ledgers.credits.state import Account, Decision, Proposal, Reservation, Spirit, State
from shivya_daemon.ledgers.credits.units import CREDIT, LIMIT, fee

__all__ = [
    "CREDIT",
    "LIFETIME",
    "LIMIT",
    "Account",
    "Action",
    "Aspect",
    "Buy",
    "Decision",
    "Offer",
    "Open",
    "Operation",
    "Outcome",
    "Post",
    "Posted",
    "Proposal",
    "Propose",
    "Publish",
    "Refusal",
    "Refused",
    "Reputation",
    "Reservation",
    "Reserve",
    "Score",
    "Spirit",
    "Stake",
    "State",
    "Transfer",
    "Void",
    "Vote",
    "advance",
    "apply",
    "apportion",
    "decide",
    "fee",
    "settlement",
    "sign",
    "violations",
]
