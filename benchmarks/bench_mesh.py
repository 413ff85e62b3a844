"""Fifty nodes at 15 % loss: how soon do all know all, at what traffic, at what cost?

Real nodes of the daemon's protocol core on a simulated network in virtual time: seconds of the mesh and bytes
are those of the seeds and repeat exactly; the worst of three seeds is shown. Every node publishes the load of
one service ten times a second, as a daemon does. Processor time is of all nodes and the network together, the
least of the three.
"""

from __future__ import annotations

import math
import random

from shivya_daemon.core.heartbeat import ServiceLoad, service_tag
from shivya_daemon.core.node import LocalLoad, Node
from shivya_daemon.net.memory import MemoryNetwork
from timing import Row, Timing, fix_environment, least, once, publish

NODES = 50
LOSS = 0.15
SECONDS = 15.0
TICK = 0.1
LOOKUPS = 500
SEEDS = (1, 2, 3)


def main() -> None:
    rows = []
    for loss in (0.0, LOSS):
        runs, timings = zip(*(one_run(loss, seed) for seed in SEEDS), strict=True)
        spent = least(timings)
        slowest = max(run["all_know_all_after_s"] or math.inf for run in runs)
        rows.append(
            {
                "nodes": NODES,
                "loss": loss,
                "virtual_s": SECONDS,
                "all_know_all_after_s": slowest if math.isfinite(slowest) else None,
                "bytes_per_node_s": max(run["bytes_per_node_s"] for run in runs),
                "last_5_s": max(run["last_5_s"] for run in runs),
                "lookups": LOOKUPS * len(SEEDS),
                "lookups_found": sum(run["lookups_found"] for run in runs),
                "cpu_s": spent.cpu,
                "wall_s": spent.wall,
                "times_real": SECONDS / spent.wall,
            }
        )
    publish("mesh", rows)


def one_run(loss: float, seed: int) -> tuple[Row, Timing]:
    """Start the mesh, let it live for `SECONDS`, then look up nodes over it."""
    network = MemoryNetwork(seed=seed, loss=loss)
    nodes = network.spawn(NODES)
    known_at: list[float] = []

    def live(until: float) -> None:
        while network.now < until - TICK / 2:
            for number, node in enumerate(nodes):
                node.publish(load(number, network.now), network.now)
                node.events()
            network.run(TICK)
            if not known_at and all_known(nodes):
                known_at.append(round(network.now, 1))

    _, joining = once(lambda: live(SECONDS - 5.0))
    before = network.stats.bytes_sent
    _, steady = once(lambda: live(SECONDS))
    row = {
        "all_know_all_after_s": known_at[0] if known_at else None,
        "bytes_per_node_s": network.stats.bytes_sent / NODES / SECONDS,
        "last_5_s": (network.stats.bytes_sent - before) / NODES / 5.0,
        "lookups_found": found(network, nodes),
    }
    cpu, wall = joining.cpu + steady.cpu, joining.wall + steady.wall
    return row, Timing(cpu, cpu, wall, wall)


def all_known(nodes: list[Node]) -> bool:
    """Whether every node counts every other one among its live peers."""
    return all(len(node.members) == len(nodes) - 1 for node in nodes)


def load(number: int, now: float) -> LocalLoad:
    """One service, its queue moving."""
    queue = (7 * number + int(10 * now)) % 40
    wait = (queue + 1) / 10.0
    service = ServiceLoad(service_tag("default"), queue, 1, 10.0, 9.0, wait, wait, 0.1, wait, 0.1)
    return LocalLoad(services=(service,))


def found(network: MemoryNetwork, nodes: list[Node]) -> int:
    """How many lookups of random pairs, all at once, name the right address within thirty seconds."""
    choose = random.Random(3)
    asked = []
    for _ in range(LOOKUPS):
        asking, wanted = choose.sample(nodes, 2)
        asked.append((asking.find(wanted.id), network.address(wanted)))
    network.run_until(lambda: all(operation.done for operation, _ in asked), 30.0)
    answers = [(operation.result, address) for operation, address in asked]
    return sum(peer is not None and (peer.host, peer.port) == address for peer, address in answers)


if __name__ == "__main__":
    fix_environment()
    main()
