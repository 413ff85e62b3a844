"""People with keys, and a book in which they do things."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from typing import Any

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers import credits
from shivya_daemon.ledgers.credits import Action, Operation, Outcome, Posted, Refusal, Refused, State
from shivya_daemon.ledgers.credits.units import HOUR

NOW = 1_800_000_000_000  # milliseconds: some time in 2027
MINUTE = 60_000
RICH = 1000 * credits.CREDIT


class Person:
    """Somebody with a key, who counts what they sign."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.identity = Identity.generate(self.dice.randbytes)
        self.key = self.identity.public_key
        self.counter = 0

    def sign(self, action: Action, ledger: bytes, now: int = NOW, **fields: Any) -> Operation:
        """The next operation of this person, valid for half an hour; `fields` differ from what is usual."""
        self.counter += 1
        operation = Operation(self.dice.randbytes(16), self.key, self.counter, now + HOUR // 2, action)
        return credits.sign(replace(operation, **fields), self.identity, ledger)


def people(count: int) -> list[Person]:
    return [Person(seed) for seed in range(1, count + 1)]


class Book:
    """A state and the people in it. `stranger` has no account."""

    def __init__(self, stake: int = 0, threshold: Fraction = Fraction(2, 3), roster: int = 3) -> None:
        self.people = people(4)
        self.anna, self.ben, self.cleo, self.dora = self.people
        self.stranger = Person(99)
        self.state = State.genesis(
            {person.key: RICH for person in self.people},
            roster=[person.key for person in self.people[:roster]],
            threshold=threshold,
            stake=stake,
            now=NOW,
        )

    def attempt(self, who: Person, action: Action, **fields: Any) -> Outcome:
        """Sign and apply; the books must balance afterwards, and a refusal leaves the state as it was."""
        return self.apply(who.sign(action, self.state.ledger, self.state.now, **fields))

    def apply(self, operation: Operation) -> Outcome:
        before = self.state
        self.state, outcome = credits.apply(before, operation)
        assert credits.violations(self.state) == []
        assert isinstance(outcome, Posted) or self.state is before
        return outcome

    def do(self, who: Person, action: Action, **fields: Any) -> bytes:
        """What must be accepted; gives the id of the operation."""
        operation = who.sign(action, self.state.ledger, self.state.now, **fields)
        outcome = self.apply(operation)
        assert isinstance(outcome, Posted), outcome
        return operation.id

    def refused(self, who: Person, action: Action, **fields: Any) -> Refusal:
        """What must be refused; gives the reason."""
        outcome = self.attempt(who, action, **fields)
        assert isinstance(outcome, Refused), outcome
        return outcome.reason

    def wait(self, milliseconds: int) -> None:
        self.state = credits.advance(self.state, self.state.now + milliseconds)
        assert credits.violations(self.state) == []

    def balance(self, who: Person) -> int:
        return self.state.account(who.key).balance

    def available(self, who: Person) -> int:
        return self.state.account(who.key).available
