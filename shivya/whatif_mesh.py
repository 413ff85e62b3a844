"""A live mesh as one of its nodes knows it, and what is asked about it: names, rates, bursts, overload.

Standard library only: everything that can be wrong with a question is told before JAX is imported.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shivya.errors import CommandError, ExitCode

BURST_SECONDS, CALM_SECONDS = 2.0, 6.0
"""Mean lengths of bursts and of the calm between them. Assumed: a minute is too short to measure them."""
_SHARE = BURST_SECONDS / (BURST_SECONDS + CALM_SECONDS)
_MEMORY = 1 / (1 / BURST_SECONDS + 1 / CALM_SECONDS)
"""Seconds over which the intensity of arrivals forgets itself."""
_WINDOW = 3
"""Seconds of a count from which bursts are measured."""
_LEAST_WINDOWS = 5
_ROUNDS = 20
"""Of weighing nodes by the strength found, and finding it anew."""
_STRONGEST = 1.0 / _SHARE * 0.95
"""Least gap between a burst and the calm that leaves the calm some arrivals, in mean intensities."""
_GUESSED_SPREAD = 0.5
"""How well an arrival rate is known that nobody counted."""
_SHORT_ID = 8


@dataclass(frozen=True)
class Node:
    """One node whose load is known. Rates in jobs per second, means of the last minute where there is one."""

    id: str
    name: str
    queue: int
    servers: int
    service_rate: float
    arrival_rate: float
    """From outside: what applications hand in, not what neighbours pass on."""
    counts: tuple[float, ...]
    """Arrivals in each second of the last minute; none where they are not told."""
    seconds: float
    """How long it has been watched."""
    estimated: bool
    """Two links away: its arrivals are not told, and follow from its queue."""
    held: float
    """Mean number of jobs in the last minute."""

    @property
    def label(self) -> str:
        """Its name, or the first digits of its id."""
        return self.name or self.id[:_SHORT_ID]


@dataclass(frozen=True)
class Mesh:
    """What one node knows; links join indices of `nodes`."""

    service: str
    nodes: tuple[Node, ...]
    """The node asked comes first."""
    links: tuple[tuple[int, int], ...]
    rtts: tuple[float, ...]
    """Round-trip times of the links, seconds: the median where nobody measured, 0 if that is everywhere."""
    rtt: float
    """Their median."""
    law: Mapping[str, float]
    """Numbers of the law that the daemon follows."""
    unknown: tuple[tuple[str, str], ...]
    """Label of each node that is left out, and why."""

    def neighbours(self, node: int) -> list[int]:
        """Return who is linked with a node."""
        return [b if a == node else a for a, b in self.links if node in (a, b)]


def read(document: Mapping[str, Any]) -> Mesh:
    """Read the answer to KNOWN. Raises `CommandError` for a daemon of another version."""
    try:
        return _read(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CommandError(
            ExitCode.FAILED,
            f"the daemon is of another version: what it knows lacks {error}; start it again with this one",
        ) from None


def _read(document: Mapping[str, Any]) -> Mesh:
    working = [row for row in document["nodes"] if row["service_rate"] > 0]
    idle = [row for row in document["nodes"] if not row["service_rate"] > 0]
    index = {row["id"]: i for i, row in enumerate(working)}
    measured: dict[tuple[int, int], float | None] = {}
    inflow = [0.0] * len(working)
    for link in document["links"]:
        if link["from"] in index and link["to"] in index:
            a, b = index[link["from"]], index[link["to"]]
            inflow[a] -= link["traffic"]
            inflow[b] += link["traffic"]
            rtt = link["rtt_seconds"]
            measured[min(a, b), max(a, b)] = None if rtt is None else float(rtt)
    unknown = [(_label(row), str(row["why"])) for row in document["unknown"]]
    unknown += [(_label(row), "it drains, and takes no work") for row in idle]
    rtts = sorted(rtt for rtt in measured.values() if rtt is not None)
    median = rtts[len(rtts) // 2] if rtts else 0.0
    links = tuple(sorted(measured))
    return Mesh(
        service=str(document["service"]),
        nodes=tuple(_node(row, inflow[i]) for i, row in enumerate(working)),
        links=links,
        rtt=median,
        rtts=tuple(median if (rtt := measured[link]) is None else rtt for link in links),
        law={key: float(value) for key, value in document["law"].items()},
        unknown=tuple(unknown),
    )


def _node(row: Mapping[str, Any], inflow: float) -> Node:
    past = row["past"] or {"seconds": 0.0, "queue": row["queue"], "service_rate": 0.0, "counts": ()}
    counts, seconds = tuple(map(float, past["counts"])), float(past["seconds"])
    rate = float(past["service_rate"]) or float(row["service_rate"])
    estimated = row["arrival_rate"] is None
    if estimated:
        # A single server that holds L jobs on average is busy L / (1 + L) of the time.
        busy = past["queue"] / (1 + past["queue"])
        arrivals = min(max(rate * busy - inflow, 0.0), rate)
    else:
        counted = bool(counts) and seconds > 0
        arrivals = max(math.fsum(counts), 0.0) / seconds if counted else float(row["arrival_rate"])
    return Node(
        id=str(row["id"]),
        name=str(row["name"]),
        queue=int(row["queue"]),
        servers=int(row["servers"]),
        service_rate=rate,
        arrival_rate=arrivals,
        counts=counts,
        seconds=seconds,
        estimated=estimated,
        held=float(past["queue"]),
    )


def _label(row: Mapping[str, Any]) -> str:
    return str(row["name"]) or str(row["id"])[:_SHORT_ID]


def find(mesh: Mesh, names: Sequence[str]) -> tuple[int, ...]:
    """Return the nodes that names or ids mean, in order. Raises `CommandError` for what cannot be asked."""
    found: list[int] = []
    for name in names:
        matches = [i for i, node in enumerate(mesh.nodes) if _means(name, node.name, node.id)]
        if len(matches) > 1:
            raise CommandError(ExitCode.USAGE, f"--fail {name}: several nodes have that name; give an id")
        if not matches:
            raise CommandError(ExitCode.USAGE, f"--fail {name}: {_why_not(mesh, name)}")
        found += matches
    chosen = tuple(dict.fromkeys(found))
    if len(chosen) == len(mesh.nodes):
        raise CommandError(ExitCode.USAGE, "--fail names every node that is known here; leave one to survive")
    return chosen


def _means(given: str, name: str, identity: str) -> bool:
    return given in (name, identity) or (len(given) >= _SHORT_ID and identity.startswith(given.lower()))


def _why_not(mesh: Mesh, name: str) -> str:
    for label, why in mesh.unknown:
        if name == label or (len(name) >= _SHORT_ID and name.startswith(label)):
            return f"its load is not known here: {why}; ask the daemon of a node that is linked with it"
    return f"no such node; known here are {', '.join(node.label for node in mesh.nodes)}"


def check_reports(mesh: Mesh) -> None:
    """Raise `CommandError` where no application has reported anything yet: there is nothing to go on from."""
    if not any(node.arrival_rate > 0 or node.queue for node in mesh.nodes):
        raise CommandError(
            ExitCode.REFUSED,
            f"no reports yet: no node known here has had a job of service {mesh.service}; "
            "let applications report first, see docs/socket.md",
        )


@dataclass(frozen=True)
class Bursts:
    """How unevenly jobs come: intensities of bursts and of the calm, in means; equal ones are Poisson."""

    high: float
    low: float
    variance: float
    """Of the intensity."""


@dataclass(frozen=True)
class _Windows:
    """Jobs that came to one node in windows of `_WINDOW` seconds."""

    windows: int
    mean: float
    excess: float
    """Variance of the counts beyond that of a Poisson process."""

    @property
    def square(self) -> float:
        """Of the mean, without what chance adds to it."""
        return self.mean**2 - self.mean / self.windows

    def seen(self, variance: float) -> float:
        """The excess to expect of an intensity of variance 1, if the true one has `variance`.

        What changes slowly moves the mean of all windows, too: it is missing in the excess, and is in the
        square of the mean.
        """
        slow = _kept(self.windows * _WINDOW)
        fast = (_kept(_WINDOW) - slow) * self.windows / (self.windows - 1)
        return self.square * fast / (1 + variance * slow)

    def weight(self, variance: float) -> float:
        """By the inverse variance of the excess."""
        return (self.windows - 1) / (self.mean + self.square * variance * _kept(_WINDOW)) ** 2


def _kept(seconds: float) -> float:
    """Share of the variance of an intensity that is left in its means over so many seconds."""
    return 2 * _MEMORY * (seconds + _MEMORY * math.expm1(-seconds / _MEMORY)) / seconds**2


def _windows(counts: Sequence[float]) -> _Windows:
    windows = len(counts) // _WINDOW
    recent = counts[-windows * _WINDOW :]
    sums = [math.fsum(recent[i * _WINDOW : (i + 1) * _WINDOW]) for i in range(windows)]
    mean = math.fsum(sums) / windows
    return _Windows(windows, mean, math.fsum((count - mean) ** 2 for count in sums) / (windows - 1) - mean)


def bursts(mesh: Mesh) -> Bursts:
    """Measure bursts on all nodes that were watched for long enough, as if they were alike.

    The counts of a process whose intensity varies differ by more than Poisson's. Each node weighs by how well
    its counts tell that, which depends on the strength sought: generalized least squares, iterated.
    """
    watched = (node.counts for node in mesh.nodes if len(node.counts) >= _LEAST_WINDOWS * _WINDOW)
    nodes = [node for node in map(_windows, watched) if node.square > 0]
    variance, strongest = 0.0, _SHARE * (1 - _SHARE) * _STRONGEST**2
    for _ in range(_ROUNDS if nodes else 0):
        weights = [node.weight(variance) * node.seen(variance) for node in nodes]
        excess = math.fsum(w * node.excess for w, node in zip(weights, nodes, strict=True))
        seen = math.fsum(w * node.seen(variance) for w, node in zip(weights, nodes, strict=True))
        variance = min(max(excess / seen, 0.0), strongest)
    # A share p of the time at the one intensity, else at the other, g below: variance p (1 - p) g².
    gap = math.sqrt(variance / (_SHARE * (1 - _SHARE)))
    return Bursts(1 + (1 - _SHARE) * gap, 1 - _SHARE * gap, variance)


def arrival_spreads(mesh: Mesh, shape: Bursts) -> tuple[float, ...]:
    """How well each arrival rate is known: relative standard deviation of a mean over as long as it took."""
    found = []
    for node in mesh.nodes:
        if node.estimated or not node.counts or not node.arrival_rate:
            found.append(_GUESSED_SPREAD if node.arrival_rate else 0.0)
            continue
        variance = (1 / node.arrival_rate + shape.variance * 2 * _MEMORY) / node.seconds
        found.append(min(math.sqrt(variance), _GUESSED_SPREAD))
    return tuple(found)


def rate_spreads(mesh: Mesh) -> tuple[float, ...]:
    """How well each service rate is known: that of a mean over the jobs served meanwhile, of random sizes."""
    served = (1 + node.service_rate * node.held / (1 + node.held) * node.seconds for node in mesh.nodes)
    return tuple(min(1 / math.sqrt(jobs), _GUESSED_SPREAD) for jobs in served)


def turned(mesh: Mesh, failed: Collection[int], factor: float) -> list[float]:
    """Return the arrival rate of each node once clients of failed ones have turned to their neighbours."""
    rates = [factor * node.arrival_rate for node in mesh.nodes]
    survivors = [i for i in range(len(rates)) if i not in failed]
    for dead in failed:
        around = [i for i in mesh.neighbours(dead) if i not in failed] or survivors
        for i in around:
            rates[i] += rates[dead] / len(around)
    return [0.0 if i in failed else rate for i, rate in enumerate(rates)]


@dataclass(frozen=True)
class Overload:
    """Linked nodes that together get more than they can serve."""

    nodes: tuple[str, ...]
    arrivals: float
    capacity: float

    @property
    def growth(self) -> float:
        """Jobs per second by which their queues grow."""
        return self.arrivals - self.capacity


def overloads(mesh: Mesh, failed: Collection[int], factor: float) -> tuple[Overload, ...]:
    """Return the parts of the mesh, without the failed nodes, that get more than they can serve."""
    rates = turned(mesh, failed, factor)
    left = [i for i in range(len(mesh.nodes)) if i not in failed]
    found = []
    while left:
        part, front = set(), [left[0]]
        while front:
            node = front.pop()
            part.add(node)
            front += [i for i in mesh.neighbours(node) if i not in failed and i not in part]
        left = [i for i in left if i not in part]
        arrivals = math.fsum(rates[i] for i in part)
        capacity = math.fsum(mesh.nodes[i].service_rate for i in part)
        if arrivals > capacity:
            found.append(Overload(tuple(mesh.nodes[i].label for i in sorted(part)), arrivals, capacity))
    return tuple(found)
