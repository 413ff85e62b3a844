"""Campaigns: many seeds, each a mesh that lives through drawn faults and must be whole again afterwards.

`python -m shivya_daemon.net.campaign --seeds 1000` runs them and, for the first seed that fails, prints the
shortest schedule of faults that still fails: a run is a pure function of seed and schedule.
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from shivya_daemon.core.events import Event, PeerLeft
from shivya_daemon.core.frames import Peer
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.net.memory import MemoryNetwork

Wire = Literal["open", "secure"]

_START = 10.0  # seconds without faults in which the mesh comes together
_SETTLE = 10.0  # seconds after the last fault in which all must know all again
_NEWS = 5.0  # seconds after the last fault in which the verdict on who was away may still come in
_LINKING = 30.0  # further seconds in which the links must be what they should be
_LOOK = 0.25  # seconds between two looks at the mesh
_LOOKUP = 15.0  # seconds in which a lookup must be over
_HARSH = 0.15  # loss up to which everything must hold in the end
_MAX_RATE = 40_000.0  # bytes of payload per node and second, repairs included


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong at `at`, and is over `lasts` seconds later."""

    at: float
    kind: str
    nodes: tuple[int, ...]
    """Numbers of the nodes it strikes; faults of the network itself strike all."""
    lasts: float
    amount: float = 0.0
    """Probability, clock rate, seconds or bytes, as the kind has it."""

    def __str__(self) -> str:
        extra = f" {self.amount:.3g}" if self.amount else ""
        return f"{self.at:7.2f} s  {self.kind}{extra}  nodes {list(self.nodes)}  for {self.lasts:.2f} s"


@dataclass(frozen=True)
class Plan:
    """One mesh and what it has to live through."""

    seed: int
    nodes: int = 12
    seconds: float = 40.0
    """Length of the time with faults, after a start without."""
    loss: float = 0.15
    """All the time; at the end at most 0.15, the loss at which the mesh has to work."""
    faults: tuple[Fault, ...] = ()
    wire: Wire = "open"


_KINDS = (
    *("crash", "sleep", "pause", "skew", "jump", "move"),  # of nodes
    *("partition", "cut", "loss", "duplicate", "reorder", "mtu"),  # of the network
)


def draw(seed: int, nodes: int = 12, count: int = 8, seconds: float = 40.0, wire: Wire = "open") -> Plan:
    """Draw a plan from its seed."""
    chance = random.Random(seed)
    faults = []
    for _ in range(count):
        kind = chance.choice(_KINDS)
        most = max(1, nodes // 2 if kind in ("partition", "cut") else nodes // 4)
        struck = tuple(sorted(chance.sample(range(nodes), chance.randint(1, most))))
        amounts = {
            "loss": chance.uniform(0.1, 0.5),
            "duplicate": chance.uniform(0.05, 0.5),
            "reorder": chance.uniform(0.05, 0.5),
            "skew": chance.choice((0.98, 0.995, 1.005, 1.02)),
            "jump": chance.choice((0.5, 5.0, 60.0, 3600.0)),
            "mtu": 1232.0,
        }
        lasts = chance.uniform(0.5, min(15.0, seconds))
        at = chance.uniform(0.0, seconds - lasts)
        faults.append(Fault(at, kind, struck, lasts, amounts.get(kind, 0.0)))
    loss = chance.choice((0.0, 0.05, 0.15, 0.3))
    return Plan(seed, nodes, seconds, loss, tuple(sorted(faults, key=lambda fault: fault.at)), wire)


def run(plan: Plan) -> list[str]:
    """Live through a plan; return what was wrong in the end, nothing if all was well."""
    network = MemoryNetwork(plan.seed, plan.loss, (0.001, 0.02), settings=NodeSettings(wire=plan.wire))
    nodes = network.spawn(plan.nodes)
    network.on_events = _Departures()
    network.run(_START)
    start = network.now
    for time, action in _timeline(plan, network, nodes):
        network.run(max(0.0, start + time - network.now))
        action()
    network.run(max(0.0, start + plan.seconds - network.now))
    network.heal()
    network.loss = min(network.loss, _HARSH)
    calm = network.now + _NEWS
    problems = _watch(network, lambda: torn(nodes), _SETTLE)
    network.run(max(0.0, calm - network.now))
    network.on_events = departures = _Departures()
    problems += _watch(network, lambda: unlinked(network, nodes), _LINKING)
    problems += _lost(network, nodes) + departures.problems()
    return problems + _unbounded(network, nodes)


def _watch(network: MemoryNetwork, look: Callable[[], list[str]], seconds: float) -> list[str]:
    """Let time pass until nothing is wrong, or `seconds` are over; return what is wrong then."""
    end = network.now + seconds
    while (problems := look()) and network.now < end:
        network.run(_LOOK)
    return problems


def attempt(plan: Plan) -> list[str]:
    """As `run`; an exception is a problem like any other, named with the line that raised it."""
    try:
        return run(plan)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return [f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"]


def minimise(plan: Plan, fails: Callable[[Plan], bool] = lambda plan: bool(attempt(plan))) -> Plan:
    """Return the plan with as few faults as still make it fail (Zeller, Hildebrandt 2002)."""
    faults, parts = list(plan.faults), 2
    while faults:
        size = -(-len(faults) // parts)
        for first in range(0, len(faults), size):
            rest = faults[:first] + faults[first + size :]
            if fails(replace(plan, faults=tuple(rest))):
                faults, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(faults), 2 * parts)
    return replace(plan, faults=tuple(faults))


class _Departures:
    """Counts who is taken for gone; once the mesh is whole, nobody should be."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def __call__(self, node: Node, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, PeerLeft):
                said = f"{node.settings.name} takes a live node for gone ({event.reason})"
                self._seen[said] = self._seen.get(said, 0) + 1

    def problems(self) -> list[str]:
        return [f"{said} {count} times" for said, count in self._seen.items()]


# Faults


def _timeline(
    plan: Plan, network: MemoryNetwork, nodes: Sequence[Node]
) -> list[tuple[float, Callable[[], object]]]:
    """Return when to do what, in order: the beginning and the end of every fault."""
    steps = []
    for fault in plan.faults:
        struck = [nodes[number] for number in fault.nodes]
        others = [node for node in nodes if node not in struck]
        begin, end = _actions(fault, plan, network, struck, others)
        steps += [(fault.at, begin), (fault.at + fault.lasts, end)]
    return sorted(steps, key=lambda step: step[0])


def _actions(
    fault: Fault, plan: Plan, network: MemoryNetwork, struck: list[Node], others: list[Node]
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return how a fault begins and how it ends; a node that is down already stays as it is."""

    def each(do: Callable[[Node], object], up: bool) -> Callable[[], object]:
        return lambda: [do(node) for node in struck if network.up(node) == up]

    def tune(value: float | None) -> Callable[[], object]:
        return lambda: setattr(network, fault.kind, value)

    def every(do: Callable[[Node, float], object], amount: float) -> Callable[[], object]:
        return lambda: [do(node, amount) for node in struck]

    def nothing() -> None:
        """Do nothing: some faults end by themselves."""

    match fault.kind:
        case "crash":
            return each(network.crash, True), each(network.restart, False)
        case "sleep":
            return each(network.crash, True), each(network.wake, False)
        case "pause":
            return each(network.pause, True), each(network.resume, True)
        case "skew":
            return every(network.skew, fault.amount), every(network.skew, 1.0)
        case "jump":
            return every(network.jump, fault.amount), nothing
        case "move":
            # As a daemon does, which looks at its addresses each second.
            return each(lambda node: node.advertise((network.move(node),)), True), nothing
        case "partition":
            return lambda: network.partition([struck, others]), network.heal
        case "cut":
            return lambda: network.cut(struck, others), network.heal
        case "loss":
            return tune(fault.amount), tune(plan.loss)
        case "mtu":
            return tune(int(fault.amount)), tune(None)
        case "duplicate" | "reorder":
            return tune(fault.amount), tune(0.0)
    raise ValueError(f"no fault is called {fault.kind!r}; there are {', '.join(_KINDS)}")


# What must hold in the end


def torn(nodes: Sequence[Node]) -> list[str]:
    """Return who does not know whom."""
    everybody = {node.id for node in nodes}
    problems = []
    for node in nodes:
        missing = everybody - node.members - {node.id}
        strange = node.members - everybody
        if missing or strange:
            name = node.settings.name
            problems.append(f"{name} misses {len(missing)} nodes and knows {len(strange)} that are not there")
    return problems


def unlinked(network: MemoryNetwork, nodes: Sequence[Node]) -> list[str]:
    """Return which nodes have links too few, too many, one-sided, or none that lead to all others."""
    links = {node.id: set(node.links) for node in nodes}
    names = {node.id: node.settings.name for node in nodes}
    problems = []
    for node in nodes:
        limits, degree, name = node.settings.links, len(links[node.id]), names[node.id]
        if not min(limits.min_links, len(nodes) - 1) <= degree <= limits.max_links:
            problems.append(f"{name} has {degree} links")
        one_sided = sorted(names[other] for other in links[node.id] if node.id not in links[other])
        if one_sided:
            problems.append(f"{name} is linked to {', '.join(one_sided)}, who know nothing of it")
        found = node.invariants(network.clock(node))
        problems += [f"{name} reports {violation.rule}" for violation in found]
    seen, front = {nodes[0].id}, [nodes[0].id]
    while front:
        fresh = links[front.pop()] - seen
        seen |= fresh
        front += fresh
    if len(seen) < len(nodes):
        problems.append(f"the links lead from n0 to {len(seen) - 1} of {len(nodes) - 1} others")
    return problems


def _lost(network: MemoryNetwork, nodes: Sequence[Node]) -> list[str]:
    """Return which lookups and values are not found; one lost to bad luck may be tried again."""
    put = nodes[0].put(b"survives")
    wanted = [(node, other) for node, other in zip(nodes, [*nodes[1:], nodes[0]], strict=True)]
    for _ in range(2):
        finds = [(node, other, node.find(other.id)) for node, other in wanted]
        network.run_until(lambda finds=finds: all(find.done for *_, find in finds), _LOOKUP)  # type: ignore[misc]
        wanted = [
            (node, other)
            for node, other, find in finds
            if find.result != Peer(other.id, *network.address(other))
        ]
    problems = [f"{node.settings.name} does not find {other.settings.name}" for node, other in wanted]
    network.run_until(lambda: put.done, _LOOKUP)
    got = nodes[-1].get(put.key)
    network.run_until(lambda: got.done, _LOOKUP)
    if got.result != b"survives":
        problems.append(f"a value stored by n0 is not found by {nodes[-1].settings.name}")
    return problems


def _unbounded(network: MemoryNetwork, nodes: Sequence[Node]) -> list[str]:
    """Return who lost datagrams or events to a queue that was full, or sent more than its share."""
    full = ("events_full", "send_queue_full")
    problems = [
        f"{node.settings.name}: {reason} {node.counters.drops[reason]} times"
        for node in nodes
        for reason in full
        if node.counters.drops.get(reason)
    ]
    rates = {node.settings.name: network.bytes_sent(node) / network.now for node in nodes}
    return problems + [f"{name} sends {rate:.0f} B/s" for name, rate in rates.items() if rate > _MAX_RATE]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds until one fails; exit 1 and print its shortest schedule if one does."""
    parser = argparse.ArgumentParser(
        prog="python -m shivya_daemon.net.campaign",
        description="Simulated meshes under drawn faults; the first seed that fails is reduced and printed.",
        epilog="example: python -m shivya_daemon.net.campaign --first 400 --seeds 100 --nodes 20",
    )
    parser.add_argument("--first", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--nodes", type=int, default=12, help="nodes per mesh (default 12)")
    parser.add_argument("--wire", choices=("open", "secure"), default="open", help="default open, the faster")
    given = parser.parse_args(arguments)
    for seed in range(given.first, given.first + given.seeds):
        plan = draw(seed, given.nodes, wire=given.wire)
        problems = attempt(plan)
        if problems:
            sys.stdout.write(f"seed {seed} fails: {'; '.join(problems)}\nshortest schedule that fails:\n")
            short = minimise(plan)
            sys.stdout.write(f"loss {short.loss}, {short.nodes} nodes, {short.wire} wire\n")
            sys.stdout.write("".join(f"{fault}\n" for fault in short.faults))
            return 1
    sys.stdout.write(f"{given.seeds} seeds, {given.nodes} nodes each: every mesh was whole again\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
