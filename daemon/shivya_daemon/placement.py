"""The placement rule of law W2 for one job at a time, in plain Python.

`shivya_kernels.flow` computes what a node advertises; this module is what uses the advertisements: the daemon
for its ROUTE and HANDOVER lines, and every client in its own process. Times are in seconds, rates in jobs per
second, queues in jobs held (in service included). Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_NEIGHBOURS = 64
SMALLEST_VICTIM = 2
"""Jobs that a neighbour must hold to be asked for one."""
_NODE_ID_DIGITS = 40
_LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One row of the table: what a neighbour advertised, as this node sees it (split horizon applied)."""

    id: str
    """Node id, 40 hexadecimal digits."""
    name: str
    address: str | None
    """Where its application takes jobs of this service; None when it did not say."""
    potential: float
    """Waiting time W that it advertises."""
    slope: float
    """Rise of W per job sent to it."""
    service_rate: float
    queue: int
    servers: int
    hop: float
    """Transfer time to it."""
    age: float
    """Age of its heartbeat when the table was written."""
    out: int
    """Jobs sent to it that its last heartbeat does not count yet."""
    seen: int
    """Jobs sent to it, less those taken back, that this connection reported; a client adds its later ones."""
    flow: int
    """Whole jobs to hand over in this tick."""
    net_arrivals: float | None = None
    """Jobs per second that it takes and does not pass on; None when it did not tell."""
    own_rate: float = 0.0
    """Jobs per second sent there from here, of late."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a node knows of its neighbours for one service, at one instant."""

    service: str
    tick: int
    gap: float
    """Least predicted gain that makes a move worth it."""
    hop_limit: int
    """Most moves of one job by placement."""
    stale_after: float
    """A neighbour whose heartbeat is older does not exist."""
    service_rate: float
    """This node's own."""
    servers: int
    """This node's own."""
    neighbours: tuple[Neighbour, ...]
    draining: bool = False
    """This node is about to stop: whatever a neighbour can take goes there."""
    kappa: float = 0.0
    """Share of the time for which a job has run that it is expected to run on."""
    pull_wait: float = math.inf
    """Least known queue over service rate of a neighbour that an idle node asks for a job."""
    drift: float = 0.0
    """Trust in the forecast of a neighbour's potential; 0: none."""
    drift_fade: float = 0.0
    """Age of its heartbeat at which the forecast is not trusted at all."""
    drift_share: float = 0.0
    """Largest forecast fall over hop + gap."""


def waiting_time(queue: int, servers: int, rate: float, overrun: float = 0.0) -> float:
    """Expected time in system of a job that arrives now; `rate` is the node's total.

    `overrun` is by how much the next server to be free takes longer for it than 1 / `rate`.
    """
    if rate <= 0.0:
        return math.inf
    return (max(0, queue + 1 - servers) + servers) / rate + (overrun if queue >= servers else 0.0)


def tail_time(queue: int, servers: int, rate: float, overrun: float = 0.0) -> float:
    """Expected time in system of the last job already held; 0 when there is none."""
    if queue <= 0:
        return 0.0
    return waiting_time(queue - 1, servers, rate) + (overrun if queue >= servers else 0.0)


def residual_time(elapsed: float, rate: float, kappa: float) -> float:
    """Expected time until a job in service is done: 1 / `rate`, or `kappa` of its time so far if more."""
    return max(1 / rate, kappa * elapsed)


def measured_rate(completions: float, busy_seconds: float, nominal_rate: float, prior_jobs: float) -> float:
    """Jobs done over busy time, beside `prior_jobs` that took as long as the nominal rate says."""
    return (completions + prior_jobs) / (busy_seconds + prior_jobs / nominal_rate)


def forecast(table: Table, neighbour: Neighbour, elapsed: float) -> float:
    """By how much a neighbour's potential has changed since its heartbeat, `elapsed` after the table.

    What others send there beyond what it can serve, over its capacity: trusted less the older it is.
    """
    age, rate = neighbour.age + elapsed, neighbour.service_rate
    if neighbour.net_arrivals is None or age >= table.drift_fade or rate <= 0.0:
        return 0.0
    others = max(neighbour.net_arrivals - neighbour.own_rate, 0.0)
    growth = min(max((others - rate) / rate, -1.0), 1.0)
    change = table.drift * age * (1.0 - age / table.drift_fade) * growth
    return max(change, -table.drift_share * (neighbour.hop + table.gap))


def view(neighbour: Neighbour, out: int, drift: float = 0.0) -> float:
    """Waiting time at a neighbour, priced for the `out` jobs that it has not acknowledged, with its drift."""
    price = neighbour.potential + out * neighbour.slope
    return max(price + drift, min(price, 1.0 / neighbour.service_rate)) if drift else price


def place(
    table: Table,
    queue: int,
    servers: int,
    rate: float,
    out: Sequence[int],
    elapsed: float,
    hops: int,
    *,
    overrun: float = 0.0,
    ahead: int | None = None,
) -> int | None:
    """Index of the neighbour that should run a job which is here now, or None to keep it.

    `queue`, `servers`, `rate`, `overrun` are this node's; `out` is per neighbour; `elapsed` is the time since
    the table was written; `hops` the moves that the job has made; `ahead` the waiting jobs that it would have
    before it here, None for all of them. Ties keep the job, then take the lowest index. A node that drains
    keeps a job only if no neighbour can take it.
    """
    if hops >= table.hop_limit or (queue < servers and not table.draining):
        return None
    before = queue if ahead is None else min(queue, servers + ahead)
    best, least = None, math.inf if table.draining else waiting_time(before, servers, rate, overrun)
    limit, gap = table.stale_after - elapsed, table.gap
    for index, neighbour in enumerate(table.neighbours):
        if neighbour.age <= limit and neighbour.service_rate > 0.0:
            there = view(neighbour, out[index], forecast(table, neighbour, elapsed))
            cost = there + neighbour.hop + gap
            if cost < least:
                best, least = index, cost
    return best


def leased(table: Table, provider: str, elapsed: float = 0.0) -> int | None:
    """Index of the neighbour that lends what a job uses, by its id; None if it takes no jobs."""
    limit = table.stale_after - elapsed
    live = (
        index
        for index, neighbour in enumerate(table.neighbours)
        if neighbour.id == provider and neighbour.age <= limit and neighbour.service_rate > 0.0
    )
    return next(live, None)


def own_potential(
    table: Table,
    queue: int,
    servers: int,
    rate: float,
    out: Sequence[int],
    elapsed: float,
    *,
    overrun: float = 0.0,
) -> float:
    """Potential W of this node: its own waiting time, or the cost of the best live neighbour if less."""
    limit = table.stale_after - elapsed
    costs = (
        view(neighbour, count, forecast(table, neighbour, elapsed)) + neighbour.hop + table.gap
        for neighbour, count in zip(table.neighbours, out, strict=True)
        if neighbour.age <= limit and neighbour.service_rate > 0.0
    )
    return min(waiting_time(queue, servers, rate, overrun), min(costs, default=math.inf))


def hand_over(
    table: Table,
    queue: int,
    servers: int,
    rate: float,
    out: Sequence[int],
    elapsed: float,
    remaining: Sequence[int],
    *,
    overrun: float = 0.0,
) -> list[tuple[int, int]]:
    """Waiting jobs to pass on now: `(index, count)` for each neighbour that gets any.

    `remaining` is what is left of each neighbour's flow of this tick. A job goes only while the last one held
    here would wait longer than it would there, and each one sent makes the neighbour dearer by its slope.
    Queues that nobody serves come to rest by that, whatever is forecast.
    """
    moves = []
    limit = table.stale_after - elapsed
    for index, neighbour in enumerate(table.neighbours):
        if neighbour.age > limit or neighbour.service_rate <= 0.0:
            continue
        # No gap is asked for here: a forecast may take a share of the hop alone.
        drift = max(forecast(table, neighbour, elapsed), -table.drift_share * neighbour.hop)
        count = 0
        while (
            count < remaining[index]
            and queue > servers
            and (
                table.draining
                or tail_time(queue, servers, rate, overrun)
                > view(neighbour, out[index] + count, drift) + neighbour.hop
            )
        ):
            count += 1
            queue -= 1
        if count:
            moves.append((index, count))
    return moves


def ask(table: Table, queue: int, servers: int, elapsed: float) -> int | None:
    """Index of the neighbour that this node asks for a job; None: no server is idle here, or none has enough.

    It is the one with most to wait for, by its last heartbeat: the largest queue over service rate.
    """
    if queue >= servers or table.draining:
        return None
    found, most, limit = None, 0.0, table.stale_after - elapsed
    for index, row in enumerate(table.neighbours):
        if row.age <= limit and row.service_rate > 0.0 and row.queue >= SMALLEST_VICTIM and row.address:
            wait = row.queue / row.service_rate
            if wait >= table.pull_wait and wait > most:
                found, most = index, wait
    return found


def grant(
    table: Table,
    index: int,
    queue: int,
    servers: int,
    rate: float,
    elapsed: float,
    *,
    overrun: float = 0.0,
) -> bool:
    """Whether an idle neighbour that asks gets a job that waits here: the last one held would gain by it."""
    row = table.neighbours[index]
    if queue <= servers or row.service_rate <= 0.0 or row.age > table.stale_after - elapsed:
        return False
    there = waiting_time(0, row.servers, row.service_rate) + row.hop + table.gap
    return table.draining or tail_time(queue, servers, rate, overrun) > there


def parse_table(document: Mapping[str, Any]) -> Table:
    """Return the table that a JSON object holds; a field missing or out of range raises `ValueError`."""
    rows = document.get("neighbours")
    if not isinstance(rows, list) or len(rows) > MAX_NEIGHBOURS:
        raise ValueError(f"neighbours must be a list of at most {MAX_NEIGHBOURS} rows")
    return Table(
        service=_text(document, "service"),
        tick=_count(document, "tick"),
        gap=_number(document, "gap"),
        hop_limit=_count(document, "hop_limit"),
        stale_after=_number(document, "stale_after"),
        service_rate=_number(document, "service_rate"),
        servers=_count(document, "servers"),
        neighbours=tuple(_neighbour(row) for row in rows),
        draining=document.get("draining") is True,
        kappa=_number(document, "kappa", 0.0),
        pull_wait=_number(document, "pull_wait") if "pull_wait" in document else math.inf,
        drift=_number(document, "drift", 0.0),
        drift_fade=_number(document, "drift_fade", 0.0),
        drift_share=_number(document, "drift_share", 0.0),
    )


def is_node_id(text: str) -> bool:
    """Whether `text` is a node id as the tables write it: 40 lower-case hexadecimal digits."""
    return len(text) == _NODE_ID_DIGITS and all(digit in "0123456789abcdef" for digit in text)


def _neighbour(row: object) -> Neighbour:
    if not isinstance(row, dict):
        raise ValueError("neighbours must hold objects")
    identity = _text(row, "id")
    if not is_node_id(identity):
        raise ValueError(f"id must be {_NODE_ID_DIGITS} hexadecimal digits, not {identity[:64]!r}")
    return Neighbour(
        id=identity,
        name=_text(row, "name"),
        address=None if row.get("address") is None else _text(row, "address"),
        potential=_number(row, "potential"),
        slope=_number(row, "slope"),
        service_rate=_number(row, "service_rate"),
        queue=_count(row, "queue"),
        servers=_count(row, "servers"),
        hop=_number(row, "hop"),
        age=_number(row, "age"),
        out=_count(row, "out"),
        seen=_integer(row, "seen") if "seen" in row else 0,
        flow=_count(row, "flow"),
        net_arrivals=None if row.get("net_arrivals") is None else _number(row, "net_arrivals"),
        own_rate=_number(row, "own_rate", 0.0),
    )


def _text(document: Mapping[str, Any], field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str):
        raise ValueError(f"{field} must be a string")
    return value


def _number(document: Mapping[str, Any], field: str, default: float | None = None) -> float:
    value = document.get(field, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LARGEST:
        raise ValueError(f"{field} must be a number that is finite and not negative")
    return float(value)


def _integer(document: Mapping[str, Any], field: str) -> int:
    value = document.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{field} must be a whole number")
    return value


def _count(document: Mapping[str, Any], field: str) -> int:
    value = _integer(document, field)
    if value < 0:
        raise ValueError(f"{field} must not be negative")
    return value
