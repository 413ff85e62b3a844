"""One fleet as its seed draws it: links, machines, phases, jobs; before it is laid out among others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shivya_kernels.fleet import graph
from shivya_kernels.fleet.arrivals import Arrivals, draw_arrivals, spread
from shivya_kernels.fleet.scenario import Outage, Scenario


class Fleet:
    """One fleet, before it is laid out among others."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        rng, jobs, machines = (np.random.default_rng([seed, stream]) for stream in range(3))
        n = scenario.nodes
        self.seed = seed
        if scenario.edges is None:
            points, edges = graph.random_geometric(rng, n, scenario.mean_degree)
            self.side = points[:, 0] < np.median(points[:, 0])
        else:
            edges, self.side = list(scenario.edges), np.arange(n) < n // 2
        if scenario.failure is not None:
            self.side = np.isin(np.arange(n), scenario.failure.nodes)
        self.links = graph.links(n, edges)
        self.hop = _hops(scenario, self.links, edges, np.random.default_rng([seed, 4]))
        """[N, D] transfer times of the links, in steps."""
        self.servers = np.broadcast_to(np.array(scenario.servers, np.int32), (n,))
        rates = np.array(scenario.rates)
        self.rate = rates if scenario.shares is None else machines.choice(rates, n, p=scenario.shares)
        self.nominal = self.rate * scenario.misstatement ** machines.choice([-1.0, 1.0], n)
        if scenario.rate_spread is not None:
            self.rate = spread(machines, self.rate, scenario.rate_spread)
        phases = scenario.steps(scenario.period)
        self.phase = ((machines.permutation(n) + machines.integers(phases)) % phases).astype(np.int32)
        self.near = graph.near(self.links, self.phase, phases, scenario.steps(scenario.latency))
        self.arrivals: Arrivals = draw_arrivals(scenario, jobs, self.rate, self.links.neighbour)
        self.busiest = int(np.argmax(self.arrivals.intensity / self.rate))

    def node(self, outage: Outage) -> int:
        """The node that an outage means."""
        return self.busiest if outage.node == "busiest" else outage.node

    def operators(self, scenario: Scenario) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """[2, N, 1 + D + N2] who is known and [2, N, D, 1 + D + N2] flows: whole, and while broken."""
        own, ends = np.arange(scenario.nodes, dtype=np.int32)[:, None], self.links.neighbour
        members = np.concatenate([own, ends, self.near.member], axis=1, dtype=np.int32)
        there = members >= 0
        whole = graph.flow_operator(self.links, members, there, ends >= 0)
        cut = scenario.partition is not None or scenario.failure is not None
        if scenario.crash is None and not cut:
            return np.stack([there, there]), np.stack([whole, whole])
        dead = np.zeros(scenario.nodes, bool)
        if scenario.crash is not None:
            dead[self.node(scenario.crash)] = True
        side = self.side if cut else np.zeros(scenario.nodes, bool)
        alive = there & ~dead[members] & (side[members] == side[:, None])
        carries = (ends >= 0) & ~dead[ends] & ~dead[:, None] & (side[ends] == side[:, None])
        broken = graph.flow_operator(self.links, members, alive, carries)
        return np.stack([there, alive]), np.stack([whole, broken])


def _hops(
    scenario: Scenario, links: graph.Links, edges: list[tuple[int, int]], rng: np.random.Generator
) -> NDArray[np.int32]:
    if not scenario.unlike:
        return np.full_like(links.neighbour, max(scenario.steps(scenario.hop), 1))
    if scenario.hops is not None:
        hops = np.array(scenario.hops)
    else:
        hops = scenario.hop * scenario.hop_spread ** rng.uniform(-1, 1, len(edges))
    steps = np.maximum(np.round(hops / scenario.step), 1).astype(np.int32)
    return graph.per_slot(links, edges, steps)
