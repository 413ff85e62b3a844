"""This node's account on a ledger: read it, and have something done in its name once, whatever gets lost.

For a thread of its own: every call may take as long as the ledger does. What is done has an id that follows
from its cause, so that whoever begins again after a crash does nothing twice: an id takes effect once.
"""

from __future__ import annotations

from collections.abc import Callable

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.credits import (
    Action,
    Operation,
    Outcome,
    Posted,
    Refusal,
    Refused,
    State,
    advance,
    sign,
)
from shivya_daemon.ledgers.credits.units import Time
from shivya_daemon.ledgers.credits.witness import Unavailable, Witness

VALID: Time = 60_000
"""For how long an operation that got no answer may still take effect."""
_ATTEMPTS = 8
_OVERTAKEN = (Refusal.STALE, Refusal.ID_TAKEN)


class Account:
    """The account of `identity`; `clock` gives milliseconds since 1970. Raises as `Witness` does."""

    def __init__(self, witness: Witness, identity: Identity, clock: Callable[[], Time]) -> None:
        self._witness = witness
        self._identity = identity
        self._clock = clock

    @property
    def key(self) -> bytes:
        """The public key that it is known by."""
        return self._identity.public_key

    def read(self) -> State:
        """Return the ledger as of now."""
        return advance(self._witness.read(), self._clock())

    def do(self, operation: bytes, action: Action) -> Outcome:
        """Have an action take effect under an id, once; another process that signs for the same account,
        such as a command, may come in between: then it is signed anew, under the same id."""
        for _ in range(_ATTEMPTS):
            state = self.read()
            receipt = state.receipt(operation)
            if receipt is not None:
                return receipt.posted
            account = state.accounts.get(self.key)
            if account is None:
                return Refused(Refusal.NO_ACCOUNT)
            signed = sign(
                Operation(operation, self.key, account.counter + 1, state.now + VALID, action),
                self._identity,
                state.ledger,
            )
            outcome = self._witness.submit(signed)
            if isinstance(outcome, Posted) or outcome.reason not in _OVERTAKEN:
                return outcome
        raise Unavailable("others sign for this account all the time; it is tried again later")
