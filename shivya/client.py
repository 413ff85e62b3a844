"""An application's side of the mesh: report the work that waits, ask for each job where it should run.

The daemon pushes its neighbour table; `Client` decides by it in its own process, and a background thread
tells the daemon what was decided. Standard library only.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from shivya import leasing
from shivya.counts import Counts, count_lines
from shivya.daemon_link import DaemonLink
from shivya_daemon import placement
from shivya_daemon.busy_time import BusyTime
from shivya_daemon.in_service import InService
from shivya_daemon.paths import socket_path

DEFAULT_PORT = 8085
_MAX_NAME = 40
_MAX_SOURCES = 64


@dataclass(frozen=True, slots=True)
class Peer:
    """A neighbour that takes jobs; `address` is where its application does, None when it did not say."""

    id: str
    name: str
    address: str | None


@dataclass(frozen=True, slots=True)
class Load:
    """What a node says of itself beside a job: jobs held, jobs per second, and its potential in seconds."""

    queue: int
    service_rate: float
    potential: float


class Client:
    """One service of this node, as its application sees it.

    A context manager, usable from several threads. No method waits for the daemon; without one, or with a
    table older than a second, every job stays here.

    Args:
        service: name of the kind of job.
        address: where this application takes such jobs from neighbours, as `host:port`.
        port: UDP port of the daemon, which names its socket.
        socket: path of the daemon's socket, if it is not the usual one.

    Between reports the client keeps its own estimate of the queue: a job placed here adds one, `done` and
    `handover` subtract. Nothing is passed on before the first report.
    """

    def __init__(
        self,
        service: str = "default",
        address: str | None = None,
        *,
        port: int = DEFAULT_PORT,
        socket: str | Path | None = None,
    ) -> None:
        self.service = service
        self.ignored = 0
        """Jobs accepted from a source that cannot be a node's name, or one source too many."""
        self.heard: Callable[[], None] | None = None
        """Called after each table that the daemon pushes, in a thread of the client's own."""
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._counts = Counts()
        self._queue: int | None = None
        self._servers = 1
        self._rate: float | None = None
        self._in_service = InService()
        self._busy = BusyTime()
        self._report_due = False
        self._table: placement.Table | None = None
        self._table_at = -math.inf
        self._peers: tuple[Peer, ...] = ()
        self._out: list[int] = []
        """Per row of the table: jobs sent there that it has not acknowledged, with those sent since."""
        self._sent: dict[str, int] = {}
        """Per node id: jobs sent on this connection, less those taken back."""
        self._tick: int | None = None
        self._handed: dict[str, int] = {}
        """Per node id: jobs of this tick's flow that were handed over already."""
        path = socket_path(None if socket is None else Path(socket), port)
        words = ["WATCH", f"service={service}"] + ([f"address={address}"] if address else [])
        self._path = path
        self._link = DaemonLink(
            path,
            (" ".join(words) + "\n").encode(),
            opened=self._on_open,
            collect=self._collect,
            deliver=self._on_table,
            lost=self._on_loss,
        )

    def __enter__(self) -> Client:
        self._link.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()

    @property
    def connected(self) -> bool:
        """Whether a daemon answers."""
        return self._link.connected

    @property
    def last_error(self) -> str | None:
        """What the daemon last objected to, if anything."""
        return self._link.last_error

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait until a table has arrived; False when none did in `timeout` seconds."""
        return self._ready.wait(timeout)

    def report(self, queue: int, servers: int = 1, service_rate: float | None = None) -> None:
        """Say how many jobs are held here (in service included), and how many servers work on them.

        `service_rate` is the node's total in jobs per second as far as known; None leaves it as it was. What
        the daemon measures by `done` counts beside it. Raises `ValueError` for numbers out of range.
        """
        if queue < 0 or servers < 1:
            raise ValueError(f"queue must be at least 0 and servers at least 1, not {queue} and {servers}")
        if service_rate is not None and not 0.0 < service_rate < math.inf:
            raise ValueError(f"service_rate must be a positive number of jobs per second, not {service_rate}")
        with self._lock:
            self._servers = int(servers)
            if service_rate is not None:
                self._rate = float(service_rate)
            self._hold(int(queue))
        self._link.wake()

    def route(
        self, hops: int = 0, ahead: int | None = None, *, lease: leasing.Lease | None = None
    ) -> Peer | None:
        """Decide where a job that is here now should run: None for here, else the neighbour to send it to.

        `hops` is the number of moves the job has made; one with 0 is counted as an arrival. `ahead` is how
        many of the waiting jobs it would have before it here (`shivya.waiting`), None for all of them. The
        answer is counted as obeyed: see `unsent` when a transfer fails.

        A job that uses a `lease` goes to the node that lends it, however dear that is, or stays if that is
        this one. Raises `shivya.LeaseRefused` if the lease is lost, or that node takes no such jobs.
        """
        with self._lock:
            counts, table, queue = self._counts, self._table, self._queue
            index = self._place(table, queue, hops, ahead) if lease is None else self._leased(table, lease)
            if hops == 0:
                counts.arrived += 1
            target = None
            if index is not None:
                target = self._peers[index]
                self._out[index] += 1
                self._sent[target.id] = self._sent.get(target.id, 0) + 1
                counts.sent[target.id] = counts.sent.get(target.id, 0) + 1
            if target is None and queue is not None:
                self._hold(queue + 1)
        self._link.wake()
        return target

    def handover(self) -> list[tuple[Peer, int]]:
        """Return how many waiting jobs to pass on, and to whom; each control step's numbers come once.

        They are counted as sent: see `unsent` when a transfer fails.
        """
        with self._lock:
            table, queue = self._table, self._queue
            if table is None or queue is None:
                return []
            remaining = [row.flow - self._handed.get(row.id, 0) for row in table.neighbours]
            now = time.monotonic()
            moves = placement.hand_over(
                table,
                queue,
                self._servers,
                table.service_rate,
                self._out,
                now - self._table_at,
                remaining,
                overrun=self._overrun(table, now),
            )
            for index, count in moves:
                identity = self._peers[index].id
                self._out[index] += count
                for tally in (self._handed, self._sent, self._counts.sent):
                    tally[identity] = tally.get(identity, 0) + count
                queue -= count
            if moves:
                self._hold(queue)
            answer = [(self._peers[index], count) for index, count in moves]
        if answer:
            self._link.wake()
        return answer

    def whom_to_ask(self) -> Peer | None:
        """Return the neighbour to ask for a job; None: no server is idle here, or nobody has enough."""
        with self._lock:
            table, queue = self._table, self._queue
            if table is None or queue is None:
                return None
            index = placement.ask(table, queue, self._servers, time.monotonic() - self._table_at)
            return None if index is None else self._peers[index]

    def give(self, asker: str) -> Peer | None:
        """Decide whether a neighbour (its name or id) that is idle and asks gets a waiting job.

        If so it is counted as sent: hand over the one in the middle, and see `unsent` when that fails.
        """
        with self._lock:
            table, queue = self._table, self._queue
            rows = [k for k, peer in enumerate(self._peers) if asker in (peer.id, peer.name)]
            if table is None or queue is None or len(rows) != 1:
                return None
            (index,), now = rows, time.monotonic()
            elapsed, overrun = now - self._table_at, self._overrun(table, now)
            rate = table.service_rate
            if not placement.grant(table, index, queue, self._servers, rate, elapsed, overrun=overrun):
                return None
            peer = self._peers[index]
            self._out[index] += 1
            for tally in (self._sent, self._counts.sent):
                tally[peer.id] = tally.get(peer.id, 0) + 1
            self._hold(queue - 1)
        self._link.wake()
        return peer

    def done(self, n: int = 1) -> None:
        """Count jobs completed here."""
        _check_count(n)
        with self._lock:
            self._counts.done += n
            if self._queue is not None:
                queue = max(0, self._queue - n)
                self._in_service.complete(n, queue, self._servers, time.monotonic())
                self._hold(queue)
        self._link.wake()

    def accepted(self, source: Peer | str, n: int = 1) -> None:
        """Count jobs that came from a neighbour (its name or id). `shivya.transfer` does it by itself."""
        _check_count(n)
        name = source.id if isinstance(source, Peer) else source
        usable = (
            0 < len(name) <= _MAX_NAME and name.isascii() and all(c.isalnum() or c in "._-" for c in name)
        )
        with self._lock:
            accepted = self._counts.accepted
            if usable and (name in accepted or len(accepted) < _MAX_SOURCES):
                accepted[name] = accepted.get(name, 0) + n
            else:
                self.ignored += n
        self._link.wake()

    def unsent(self, peer: Peer, n: int = 1) -> None:
        """Take back jobs that `route` or `handover` counted as sent: the transfer failed, they are here."""
        _check_count(n)
        with self._lock:
            self._counts.unsent[peer.id] = self._counts.unsent.get(peer.id, 0) + n
            self._sent[peer.id] = self._sent.get(peer.id, 0) - n
            for index, row in enumerate(self._peers):
                if row.id == peer.id:
                    self._out[index] = max(0, self._out[index] - n)
            if self._queue is not None:
                self._hold(self._queue + n)
        self._link.wake()

    def load(self) -> Load | None:
        """Return this node's load as of now; None before the first report or while its rate is unknown."""
        with self._lock:
            table, queue = self._table, self._queue
            rate = self._rate if table is None else table.service_rate
            if queue is None or rate is None:
                return None
            if table is None:
                return Load(queue, rate, placement.waiting_time(queue, self._servers, rate))
            now = time.monotonic()
            elapsed, overrun = now - self._table_at, self._overrun(table, now)
            potential = placement.own_potential(
                table, queue, self._servers, rate, self._out, elapsed, overrun=overrun
            )
            return Load(queue, rate, potential)

    def allocate(
        self, resource: str, amount: int, seconds: int = 60, *, timeout: float = 30.0
    ) -> leasing.Lease:
        """Lease `amount` of a resource for `seconds`, here or at another node: see docs/allocation.md.

        Unlike the other methods it waits for the daemon, `timeout` seconds at most. `with` keeps what it
        returns renewed and gives it back. Raises `shivya.LeaseRefused` with the reason.
        """
        return leasing.allocate(self._path, resource, amount, seconds, timeout)

    def _place(
        self, table: placement.Table | None, queue: int | None, hops: int, ahead: int | None
    ) -> int | None:
        if table is None or queue is None:
            return None
        now = time.monotonic()
        return placement.place(
            table,
            queue,
            self._servers,
            table.service_rate,
            self._out,
            now - self._table_at,
            hops,
            overrun=self._overrun(table, now),
            ahead=ahead,
        )

    def _leased(self, table: placement.Table | None, lease: leasing.Lease) -> int | None:
        if lease.lost.is_set():
            raise leasing.LeaseRefused(f"the lease is over: {lease.reason}")
        elapsed = time.monotonic() - self._table_at
        index = None if lease.here or table is None else placement.leased(table, lease.provider, elapsed)
        if index is None and not lease.here:
            raise leasing.LeaseRefused(
                f"{lease.name or lease.provider} has the lease and takes no jobs of service {self.service}"
            )
        return index

    def _hold(self, queue: int) -> None:
        """Take another number of jobs held."""
        now = time.monotonic()
        self._queue = queue
        self._in_service.occupy(queue, self._servers, now)
        self._busy.hold(min(queue, self._servers), now)
        self._report_due = True

    def _overrun(self, table: placement.Table, now: float) -> float:
        return self._in_service.overrun(self._servers, table.service_rate, table.kappa, now)

    def _on_open(self) -> None:
        """Begin anew: a daemon that was not there when something was counted has no use for it."""
        with self._lock:
            self._counts = Counts()
            self._busy.take(time.monotonic())
            self._sent.clear()
            self._report_due = self._queue is not None

    def _on_loss(self) -> None:
        with self._lock:
            self._table, self._peers, self._out = None, (), []
            self._tick = None
            self._handed.clear()
        self._ready.clear()

    def _on_table(self, table: placement.Table) -> None:
        with self._lock:
            if table.tick != self._tick:
                self._tick = table.tick
                self._handed.clear()
            rows = table.neighbours
            self._peers = tuple(Peer(row.id, row.name, row.address) for row in rows)
            self._out = [max(0, row.out + self._sent.get(row.id, 0) - row.seen) for row in rows]
            self._table, self._table_at = table, time.monotonic()
        self._ready.set()
        if self.heard is not None:
            self.heard()

    def _collect(self) -> bytes:
        """Return the COUNT lines for what happened since the last call."""
        with self._lock:
            counts, self._counts = self._counts, Counts()
            words = [f"{key}={n}" for key, n in (("arrived", counts.arrived), ("done", counts.done)) if n]
            if self._report_due:
                busy = self._busy.take(time.monotonic())
                words += [f"queue={self._queue}", f"servers={self._servers}", f"busy={busy:.6f}"]
                words += [f"rate={self._rate!r}"] if self._rate is not None else []
                self._report_due = False
        for verb, tally in (("sent", counts.sent), ("unsent", counts.unsent), ("accepted", counts.accepted)):
            words += [f"{verb}.{name}={n}" for name, n in tally.items()]
        return count_lines(self.service, words)


def _check_count(n: int) -> None:
    if n < 0:
        raise ValueError(f"a count of jobs cannot be negative: {n}")
