"""Which job is where: the generator's books, and the only place that decides on doing a job again.

The generator keeps a job until its first completion. A job is submitted again, under its id, only when it was
last known at a process that is dead. No clock and no input or output in here: events in, deliveries out.
"""

from __future__ import annotations

from dataclasses import dataclass

from shivya.demo.messages import Moved, Task
from shivya.demo.plan import Arrival


@dataclass(frozen=True, slots=True)
class Delivery:
    """A task to send to the worker of `node`."""

    node: int
    task: Task


@dataclass(slots=True)
class _Entry:
    task: Task
    node: int | None
    submitted: float
    done: float | None = None
    resubmitted: bool = False


class Accounts:
    """The books of one phase over `nodes` workers, all alive at first."""

    def __init__(self, nodes: int) -> None:
        self.moves = 0
        self.twice = 0
        """Second completions of jobs that were never resubmitted."""
        self.resubmitted = 0
        self.unknown = 0
        """Messages about jobs that were never submitted."""
        self.dead: set[int] = set()
        self._nodes = nodes
        self._next = 0
        self._entries: dict[int, _Entry] = {}
        self._open: set[int] = set()

    @property
    def submitted(self) -> int:
        """Jobs handed in so far."""
        return len(self._entries)

    @property
    def open(self) -> int:
        """Jobs submitted and not done."""
        return len(self._open)

    @property
    def done(self) -> int:
        """Jobs completed at least once."""
        return len(self._entries) - len(self._open)

    def waits(self) -> list[float]:
        """Seconds from submission to first completion, for each job that is done."""
        return [entry.done - entry.submitted for entry in self._entries.values() if entry.done is not None]

    def age(self, job: int, now: float) -> float:
        """Seconds since a job was submitted for the first time."""
        return max(0.0, now - self._entries[job].submitted)

    def submit(self, arrival: Arrival, now: float) -> Delivery | None:
        """Take a new job in; when its node is dead a live one gets it, as a client that retries would do."""
        task = Task(arrival.id, arrival.size)
        node = arrival.node if arrival.node not in self.dead else self._some_live_node()
        self._entries[task.id] = _Entry(task, node, now)
        self._open.add(task.id)
        return None if node is None else Delivery(node, task)

    def completed(self, job: int, now: float) -> None:
        """A worker reports a job done."""
        entry = self._entries.get(job)
        if entry is None:
            self.unknown += 1
        elif entry.done is None:
            entry.done = now
            self._open.discard(job)
        elif not entry.resubmitted:
            self.twice += 1

    def moved(self, news: Moved, node: int) -> Delivery | None:
        """A worker handed a job over to `node`, or may have; what must be sent because of it, if anything."""
        entry = self._entries.get(news.id)
        if entry is None:
            self.unknown += 1
            return None
        self.moves += 1
        # The next worker's news can overtake this one's: the hop count tells which is later.
        if (news.attempt, news.hops) <= (entry.task.attempt, entry.task.hops):
            return None
        entry.task = Task(news.id, entry.task.size, news.attempt, news.hops)
        entry.node = node
        if entry.done is not None:
            return None
        if node in self.dead:
            return self._resubmit(entry)
        # Not sure that it arrived: once more, as the same hand-over, which its worker takes only once.
        return None if news.sure else Delivery(node, entry.task)

    def died(self, node: int) -> list[Delivery]:
        """The worker of `node` is dead: what was last known there goes to the living."""
        self.dead.add(node)
        there = [entry for job in sorted(self._open) if (entry := self._entries[job]).node == node]
        return [delivery for entry in there if (delivery := self._resubmit(entry)) is not None]

    def _resubmit(self, entry: _Entry) -> Delivery | None:
        entry.node = self._some_live_node()
        if entry.node is None:
            return None
        entry.task = Task(entry.task.id, entry.task.size, entry.task.attempt + 1)
        entry.resubmitted = True
        self.resubmitted += 1
        return Delivery(entry.node, entry.task)

    def _some_live_node(self) -> int | None:
        """The living in turn; None when every worker is dead."""
        for _ in range(self._nodes):
            node, self._next = self._next, (self._next + 1) % self._nodes
            if node not in self.dead:
                return node
        return None
