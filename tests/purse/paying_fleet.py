"""Nodes on a bad network that pay each other on one ledger in memory, which may be late or out of reach."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from shivya_daemon.core.events import Event, LeaseObtained, LeaseOver
from shivya_daemon.core.gossip.resources import Resources
from shivya_daemon.core.leases.kinds import Kind
from shivya_daemon.core.leases.leases import ClaimView
from shivya_daemon.core.leases.settings import LeaseSettings
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.ledgers import credits
from shivya_daemon.ledgers.credits import Operation, Outcome, State, advance, apply, violations
from shivya_daemon.ledgers.credits.witness import Unavailable
from shivya_daemon.net.memory import MemoryNetwork
from shivya_daemon.purse.account import Account
from shivya_daemon.purse.payments import Payments
from shivya_daemon.purse.purse import Job, Purse

CPU = Kind.MILLICORES
LEASES = LeaseSettings(quota={CPU: 4000}, ttl=3.0, confirm=2.0, payment=4.0, max_latency=1.0, credits=True)
RICH = 1000 * credits.CREDIT
START = 1_800_000_000_000


class Ledger:
    """A witness in memory; `mood` may lose a request, or its answer."""

    def __init__(self, state: State, clock: Callable[[], int]) -> None:
        self.state = state
        self.clock = clock
        self.mood: Callable[[], str] = lambda: "well"
        self.dark = False
        """Whether it is out of reach."""

    def submit(self, operation: Operation) -> Outcome:
        mood = self.mood()
        if mood == "lost":
            raise Unavailable("by design")
        self.state, outcome = apply(advance(self.state, self.clock()), operation)
        assert violations(self.state) == []
        if mood == "unanswered":
            raise Unavailable("by design")
        first = getattr(outcome, "first", None)
        return outcome if first is None else first

    def read(self) -> State:
        if self.dark:
            raise Unavailable("by design")
        self.state = advance(self.state, self.clock())
        return self.state

    def watch(self, after: int) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


class SlowPurse(Purse):
    """Does the jobs of one node when the fleet says so, each in up to three attempts."""

    def __init__(self, account: Account, fleet: PayingFleet) -> None:
        super().__init__(lambda: account, "memory", account.key, lambda: fleet.net.now)
        self.account, self.fleet = account, fleet

    def ask(self, job: Job) -> None:
        self.fleet.later(self, job)

    def do(self, job: Job) -> None:
        result = None
        for _ in range(3):
            try:
                result = job.work(self.account)
            except Unavailable:
                continue
            break
        job.done(result)


class PayingFleet:
    """Looked at after every event: what a holder relies on is paid for, or is reserved for who lends it."""

    def __init__(
        self, count: int, seed: int = 1, poor: int = 0, settings: LeaseSettings = LEASES, **faults: Any
    ) -> None:
        self.net = MemoryNetwork(seed=seed, settings=NodeSettings(leases=settings), **faults)
        self.dice = random.Random(seed)
        self.nodes = self.net.spawn(count)
        keys = [node.identity.public_key for node in self.nodes]
        balances = {key: 0 if index < poor else RICH for index, key in enumerate(keys)}
        genesis = State.genesis(balances, roster=keys, now=START)
        self.ledger = Ledger(genesis, lambda: START + round(self.net.now * 1000))
        self.jobs: list[tuple[float, SlowPurse, Job]] = []
        self.delay = 0.05
        self.events: dict[bytes, list[Event]] = {}
        self.payments: dict[bytes, Payments] = {}
        for node in self.nodes:
            self.begin(node)
            self.tell(node)
        self.net.on_events = self.hear
        self.looks = 0
        self.run(9.0)

    def begin(self, node: Node) -> None:
        """Give a node that has started, perhaps again, its purse."""
        account = Account(self.ledger, node.identity, self.ledger.clock)
        purse = SlowPurse(account, self)
        acted = partial(self.net.wake, node)
        self.payments[node.id] = Payments(node, purse, lambda: self.net.clock(node), acted)

    def tell(self, node: Node) -> None:
        node.offer(Resources((1.0, 0.0, 0.0, 0.0), (4000.0, 0.0, 0.0, 0.0)))

    def hear(self, node: Node, events: list[Event]) -> None:
        self.events.setdefault(node.id, []).extend(events)
        self.payments[node.id].take(events)

    def later(self, purse: SlowPurse, job: Job) -> None:
        self.jobs.append((self.net.now + self.dice.uniform(0.0, self.delay), purse, job))

    def run(self, seconds: float) -> None:
        self.until(lambda: False, seconds)

    def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> bool:
        end = self.net.now + seconds
        while self.net.now < end:
            if self.net.run_until(lambda: self.look() or holds(), min(0.02, end - self.net.now)):
                return True
            due = [entry for entry in self.jobs if entry[0] <= self.net.now]
            self.jobs = [entry for entry in self.jobs if entry[0] > self.net.now]
            for _, purse, job in due:
                purse.do(job)
        return holds()

    def look(self) -> bool:
        self.looks += 1
        for node in self.nodes:
            if not self.net.up(node):
                continue
            assert node.leases.taken(CPU) <= node.leases.capacity(CPU)
            for view in self.claims(node, "held"):
                if view.payment is None:
                    assert view.price == 0 or view.provider == node.id
                    continue
                held = self.ledger.state.reservations.get(view.payment)
                assert held is not None, "relied on, and nobody is paid"
                provider = node.public_key(view.provider or b"")
                assert (held.payer, held.payee) == (node.identity.public_key, provider)
        return False

    def claims(self, node: Node, *states: str) -> list[ClaimView]:
        return [view for view in node.leases.claims(self.net.clock(node)) if view.state in states]

    def allocate(self, node: Node, amount: int, seconds: int = 60) -> bytes:
        lease = node.leases.allocate(CPU, amount, seconds, self.net.clock(node))
        self.net.wake(node)
        return lease

    def claim(self, node: Node, lease: bytes) -> ClaimView:
        view = node.leases.claim(lease, self.net.clock(node))
        assert view is not None
        return view

    def becomes(self, node: Node, lease: bytes, state: str, seconds: float = 30.0) -> ClaimView:
        assert self.until(lambda: self.claim(node, lease).state == state, seconds), self.claim(node, lease)
        return self.claim(node, lease)

    def account(self, node: Node) -> credits.Account:
        return self.ledger.read().account(node.identity.public_key)

    def heard(self, node: Node, *kinds: type) -> list[Any]:
        return [event for event in self.events.get(node.id, []) if isinstance(event, kinds)]


__all__ = ["CPU", "LEASES", "RICH", "LeaseObtained", "LeaseOver", "PayingFleet"]
