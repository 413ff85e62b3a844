"""Fifty nodes that lose every seventh datagram: how soon do all know all, at what traffic, at what cost?

Real nodes of the daemon's protocol core on a simulated network: virtual time, so the figures in seconds of the
mesh and in bytes are those of the seed and repeat exactly. Every node publishes one service's load ten times a
second, as a daemon does. Processor time is of all fifty nodes and the network together.
"""

from __future__ import annotations

import random

from timing import Row, Timing, fix_environment, least, once, publish

from shivya_daemon.core.heartbeat import ServiceLoad, service_tag
from shivya_daemon.core.node import LocalLoad, Node
from shivya_daemon.net.memory import MemoryNetwork

NODES = 50
LOSS = 0.15
SECONDS = 15.0
TICK = 0.1
LOOKUPS = 500
RUNS = 2


def main() -> None:
    rows = []
    for loss in (0.0, LOSS):
        runs = [one_run(loss) for _ in range(RUNS)]
        spent = least([timing for _, timing in runs])
        figures = runs[0][0]
        rows.append({**figures, "cpu_s": spent.cpu, "wall_s": spent.wall, "times_real": SECONDS / spent.wall})
    publish("mesh", rows)


def one_run(loss: float) -> tuple[Row, Timing]:
    """Start the mesh, let it live for `SECONDS`, then look up nodes over it."""
    network = MemoryNetwork(seed=1, loss=loss)
    nodes = network.spawn(NODES)
    known_at: list[float] = []

    def live(until: float) -> None:
        while network.now < until - TICK / 2:
            for number, node in enumerate(nodes):
                node.publish(load(number, network.now), network.now)
            end = network.now + TICK
            if not known_at and network.run_until(lambda: all_known(nodes), TICK):
                known_at.append(network.now)
            network.run(end - network.now)

    _, joining = once(lambda: live(SECONDS - 5.0))
    before = network.stats.bytes_sent
    _, steady = once(lambda: live(SECONDS))
    row = {
        "nodes": NODES,
        "loss": loss,
        "virtual_s": SECONDS,
        "all_know_all_after_s": known_at[0] if known_at else None,
        "bytes_per_node_s": network.stats.bytes_sent / NODES / SECONDS,
        "of_which_steady": (network.stats.bytes_sent - before) / NODES / 5.0,
        "lookups": LOOKUPS,
        "lookups_found": found(network, nodes),
    }
    total = Timing(
        joining.cpu + steady.cpu, joining.cpu + steady.cpu, joining.wall + steady.wall, joining.wall + steady.wall
    )
    return row, total


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
    """How many lookups of random pairs name the right address; all are given thirty seconds."""
    choose = random.Random(3)
    right = 0
    for _ in range(LOOKUPS):
        asking, wanted = choose.sample(nodes, 2)
        operation = asking.find(wanted.id)
        network.run_until(lambda operation=operation: operation.done, 30.0)
        peer = operation.result
        right += peer is not None and (peer.host, peer.port) == network.address(wanted)
    return right


if __name__ == "__main__":
    fix_environment()
    main()
