"""Fifty to a thousand nodes: how soon do all know all, at what traffic, at what cost?

Real nodes of the daemon's protocol core, on the secure wire, on a simulated network in virtual time: seconds
of the mesh and bytes (of UDP payload, seals and handshakes included) are those of the seeds and repeat
exactly; the worst of the seeds is shown. Every node publishes the load of one service ten times a second, as
a daemon does, and seeks six links. The busiest second is that of one node, while the fleet comes together;
lookups are of random pairs, all at once. The last row lives for an hour and counts the live nodes that
somebody took for dead. Processor time is of all nodes and the network together, the least of the seeds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from shivya_daemon.core.events import Event, PeerLeft
from shivya_daemon.core.heartbeat import ServiceLoad, service_tag
from shivya_daemon.core.node import LocalLoad, Node
from shivya_daemon.net.memory import MemoryNetwork
from timing import Row, Timing, fix_environment, least, once, publish

TICK = 0.1
SETTLED = 5.0  # seconds at the end in which the traffic of a settled fleet is measured


@dataclass(frozen=True)
class Case:
    """One fleet: its size and loss, how long it lives, how many lookups follow, and the seeds."""

    nodes: int
    loss: float
    seconds: float
    lookups: int
    seeds: tuple[int, ...]


CASES = (
    Case(50, 0.0, 15.0, 500, (1, 2, 3)),
    Case(50, 0.15, 15.0, 500, (1, 2, 3)),
    Case(200, 0.0, 20.0, 500, (1,)),
    Case(1000, 0.0, 45.0, 500, (1,)),
)
HOUR = Case(12, 0.10, 3600.0, 0, (1,))


def main() -> None:
    publish("mesh", [*map(fleet, CASES), hour(HOUR)])


def fleet(case: Case) -> Row:
    """Run a case with all its seeds; returns the worst of them."""
    runs, timings = zip(*(one_run(case, seed) for seed in case.seeds), strict=True)
    spent = least(timings)
    slowest = max(run["all_know_all_after_s"] or math.inf for run in runs)
    return {
        "nodes": case.nodes,
        "loss": case.loss,
        "virtual_s": case.seconds,
        "all_know_all_after_s": slowest if math.isfinite(slowest) else None,
        "bytes_per_node_s": max(run["bytes_per_node_s"] for run in runs),
        "last_5_s": max(run["last_5_s"] for run in runs),
        "busiest_second_joining": max(run["busiest_second_joining"] for run in runs),
        "links_per_node": max(run["links_per_node"] for run in runs),
        "lookups": case.lookups * len(runs),
        "lookups_found": sum(run["lookups_found"] for run in runs),
        "cpu_s": spent.cpu,
        "wall_s": spent.wall,
        "times_real": case.seconds / spent.wall,
    }


def one_run(case: Case, seed: int) -> tuple[Row, Timing]:
    """Start the mesh, let it live, then look up nodes over it."""
    network = MemoryNetwork(seed=seed, loss=case.loss)
    nodes = network.spawn(case.nodes)
    known_at: list[float] = []
    busiest = [0]
    counted = dict.fromkeys((node.id for node in nodes), 0)

    def each_second() -> None:
        if known_at:
            return
        for node in nodes:
            sent = network.bytes_sent(node)
            busiest[0] = max(busiest[0], sent - counted[node.id])
            counted[node.id] = sent

    def each_tick() -> None:
        if not known_at and all_known(nodes):
            known_at.append(round(network.now, 1))

    _, joining = once(lambda: live(network, nodes, case.seconds - SETTLED, each_tick, each_second))
    before = network.stats.bytes_sent
    _, steady = once(lambda: live(network, nodes, case.seconds, each_tick, each_second))
    row = {
        "all_know_all_after_s": known_at[0] if known_at else None,
        "bytes_per_node_s": network.stats.bytes_sent / case.nodes / case.seconds,
        "last_5_s": (network.stats.bytes_sent - before) / case.nodes / SETTLED,
        "busiest_second_joining": busiest[0],
        "links_per_node": sum(len(node.links) for node in nodes) / case.nodes,
        "lookups_found": found(network, nodes, case.lookups),
    }
    cpu, wall = joining.cpu + steady.cpu, joining.wall + steady.wall
    return row, Timing(cpu, cpu, wall, wall)


def hour(case: Case) -> Row:
    """Let a small fleet live for long; returns how often a live node was taken for dead."""
    network = MemoryNetwork(seed=case.seeds[0], loss=case.loss)
    nodes = network.spawn(case.nodes)
    network.run(30.0)
    deaths = [0]

    def note(_: Node, events: list[Event]) -> None:
        deaths[0] += sum(isinstance(event, PeerLeft) for event in events)

    network.on_events = note
    before = network.stats.bytes_sent
    _, spent = once(lambda: network.run(case.seconds))
    return {
        "nodes": case.nodes,
        "loss": case.loss,
        "virtual_s": case.seconds,
        "bytes_per_node_s": (network.stats.bytes_sent - before) / case.nodes / case.seconds,
        "links_per_node": sum(len(node.links) for node in nodes) / case.nodes,
        "cpu_s": spent.cpu,
        "wall_s": spent.wall,
        "times_real": case.seconds / spent.wall,
        "live_taken_for_dead": deaths[0],
    }


def live(
    network: MemoryNetwork,
    nodes: list[Node],
    until: float,
    each_tick: Callable[[], None],
    each_second: Callable[[], None],
) -> None:
    """Let the mesh live until a time, every node publishing its load each tick."""
    while network.now < until - TICK / 2:
        tick = round(network.now / TICK)
        for number, node in enumerate(nodes):
            node.publish(load(number, network.now), network.now)
            node.events()
        network.run(TICK)
        each_tick()
        if tick % 10 == 9:
            each_second()


def all_known(nodes: list[Node]) -> bool:
    """Whether every node counts every other one among its live peers."""
    return all(len(node.members) == len(nodes) - 1 for node in nodes)


def load(number: int, now: float) -> LocalLoad:
    """One service, its queue moving."""
    queue = (7 * number + int(10 * now)) % 40
    wait = (queue + 1) / 10.0
    service = ServiceLoad(service_tag("default"), queue, 1, 10.0, 9.0, wait, wait, 0.1, wait, 0.1)
    return LocalLoad(services=(service,))


def found(network: MemoryNetwork, nodes: list[Node], lookups: int) -> int:
    """How many lookups of random pairs, all at once, name the right address within thirty seconds."""
    choose = random.Random(3)
    asked = []
    for _ in range(lookups):
        asking, wanted = choose.sample(nodes, 2)
        asked.append((asking.find(wanted.id), network.address(wanted)))
    network.run_until(lambda: all(operation.done for operation, _ in asked), 30.0)
    answers = [(operation.result, address) for operation, address in asked]
    return sum(peer is not None and (peer.host, peer.port) == address for peer, address in answers)


if __name__ == "__main__":
    fix_environment()
    main()
