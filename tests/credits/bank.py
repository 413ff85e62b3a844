"""Jepsen's bank: clients transfer at random while things die, and the history they saw is checked.

The log gives every transfer that took effect its place in one order. A history is linearizable if that order
contradicts nobody: everything acknowledged is in it once, reads show exactly what came before them, and what
ended before something else began also comes before it. Checked in one pass along the order.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger_people import Person

from shivya_daemon.ledgers.credits import Operation, Outcome, Posted, Refused, State, Transfer, fee
from shivya_daemon.ledgers.credits.witness import Unavailable, Witness

CLIENTS = 8
START = 10**9
PATIENCE = 120.0  # seconds; a bound against hanging, not a claim


@dataclass(frozen=True)
class Glance:
    """All balances, after so many transfers."""

    sequence: int
    balances: Mapping[bytes, int]
    pool: int

    @classmethod
    def of(cls, state: State) -> Glance:
        balances = {key: account.balance for key, account in state.accounts.items()}
        return cls(state.sequence, balances, state.pool.balance)


class Teller(Protocol):
    """What a client talks to."""

    def submit(self, operation: Operation) -> Outcome: ...
    def look(self) -> Glance: ...


class Counter:
    """A teller that has its witness in the same process."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def submit(self, operation: Operation) -> Outcome:
        return self._witness.submit(operation)

    def look(self) -> Glance:
        return Glance.of(self._witness.read())


@dataclass(frozen=True)
class Sent:
    """A transfer as its client saw it; no outcome where it gave up."""

    operation: Operation
    invoked: float
    returned: float
    outcome: Outcome | None


@dataclass(frozen=True)
class Read:
    """What a client saw."""

    invoked: float
    returned: float
    seen: Glance


class Bank:
    """Eight clients with an account each; `deed` is told of every transfer that ended, by their number."""

    def __init__(self, transfers: int, deed: Callable[[int], None], seed: int = 0) -> None:
        self.people = [Person(1000 * seed + number) for number in range(CLIENTS)]
        self.genesis = State.genesis(
            {person.key: START for person in self.people}, now=time.time_ns() // 1_000_000
        )
        self.sent: list[Sent] = []
        self.reads: list[Read] = []
        self._each = transfers // CLIENTS
        self._deed = deed
        self._lock = threading.Lock()

    def run(self, tellers: Sequence[Teller]) -> None:
        """Let all clients work until each has sent its share; raises what any of them raised."""
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                self._client(number, tellers)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _client(self, number: int, tellers: Sequence[Teller]) -> None:
        me, dice = self.people[number], random.Random(number)
        for turn in range(self._each):
            teller = tellers[(number + turn // 25) % len(tellers)]
            payee = dice.choice([person for person in self.people if person is not me])
            now = time.time_ns() // 1_000_000
            operation = me.sign(Transfer(payee.key, dice.randrange(1, 5000)), self.genesis.ledger, now)
            self._send(operation, teller)
            if turn % 10 == number:
                self._read(teller)

    def _send(self, operation: Operation, teller: Teller) -> None:
        invoked, outcome = time.monotonic(), None
        while outcome is None and time.monotonic() < invoked + PATIENCE:
            try:
                outcome = teller.submit(operation)
            except Unavailable:
                continue  # the same operation again
        returned = math.inf if outcome is None else time.monotonic()
        with self._lock:
            self.sent.append(Sent(operation, invoked, returned, outcome))
            self._deed(len(self.sent))

    def _read(self, teller: Teller) -> None:
        invoked = time.monotonic()
        try:
            seen = teller.look()
        except Unavailable:
            return
        with self._lock:
            self.reads.append(Read(invoked, time.monotonic(), seen))


def check(bank: Bank, log: Iterable[Operation]) -> None:
    """Raise AssertionError unless the clients' history is linearizable in the order of `log`."""
    order = list(log)
    place = {operation.id: number for number, operation in enumerate(order, 1)}
    assert len(place) == len(order), "an operation took effect twice"
    for sent in bank.sent:
        if isinstance(sent.outcome, Posted):
            assert place.get(sent.operation.id) == sent.outcome.sequence, "an acknowledged transfer is lost"
            assert order[sent.outcome.sequence - 1] == sent.operation
        elif isinstance(sent.outcome, Refused):
            assert sent.operation.id not in place, "what was refused took effect"

    # Points of the order: a transfer, then the reads that saw it and nothing later.
    points = [(place[sent.operation.id], 0, sent) for sent in bank.sent if sent.operation.id in place] + [
        (read.seen.sequence, 1, read) for read in bank.reads
    ]
    points.sort(key=lambda point: point[:2])
    assert sum(kind == 0 for _, kind, _ in points) == len(order), "something took effect that nobody sent"
    balances, pool, latest = {person.key: START for person in bank.people}, 0, -math.inf
    for _, _, event in points:
        assert event.returned >= latest, "it ended before something began that the order puts before it"
        latest = max(latest, event.invoked)
        if isinstance(event, Sent):
            action = event.operation.action
            assert isinstance(action, Transfer)
            balances[event.operation.sender] -= action.amount + fee(action.amount)
            balances[action.receiver] += action.amount
            pool += fee(action.amount)
        else:
            seen = event.seen
            assert seen.balances == balances and seen.pool == pool, "a read shows no state of the order"
            assert sum(seen.balances.values()) + seen.pool == CLIENTS * START
