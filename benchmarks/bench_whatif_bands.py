"""Are the bands of `shivya whatif` where they should be? Many simulated minutes: a real one takes a minute.

The demo's five nodes in the simulator, under its rates, bursty as there or steady. After ninety seconds a
node ends, its clients turn to the others, and the jobs of the next minute are measured; beside it the same
minutes in which nobody ends. The twins are told what a daemon knows by then: jobs counted in each second of
the last minute, how many are held, and service rates as far as the jobs of a minute tell them. Where the
jobs wait a simulation does not say: they are put where each would be done first. Ratios are medians of the
twins over what came, geometric means with Student's 95 % interval; `within 20 %` is how often a single one
was, `inside` how often what came lay in the band, which is made for 90 %, and `band` its upper end over its
lower. Bursts of other lengths than twins assume, and machines that slow down, are not in here.
"""

from __future__ import annotations

import argparse
import math
import os
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from shivya import experiments
from shivya.compiled import keep_what_is_compiled
from shivya.demo.plan import Plan, make_plan
from shivya.whatif_mesh import Mesh, Node
from shivya.whatif_twins import CHANGE, DRAIN, STEP, Outlook, Question, outlooks

from bench_whatif import AFTER, BEFORE, MINUTE, NODES, RUNS, TWINS, say
from timing import Row, publish

if TYPE_CHECKING:
    from shivya_kernels.fleet import FleetTrace

MINUTES = 40
"""Of each kind."""
FIRST_SEED = 9000
FIGURES = ("p99", "mean")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=int, default=MINUTES, help="of each kind")
    parser.add_argument("--kinds", default="0,1,2,3", help="which of bench_whatif.RUNS")
    given = parser.parse_args()
    kinds = [RUNS[int(kind)] for kind in given.kinds.split(",")]
    found = [row for kind in kinds for row in rows(*kind, given.minutes)]
    # Minutes in which nobody ends are the same whoever ends in the others.
    publish("whatif_bands", list({(row["arrivals"], row["ends"]): row for row in found}.values()))


def rows(kind: str, victim: int, minutes: int) -> list[Row]:
    """Of one kind of arrivals and one node that ends: as it is, and then."""
    plan = make_plan(NODES, BEFORE, 0)
    links = tuple((i, j) for i in range(NODES) for j in range(i + 1, NODES))
    calm, killed = (_lived(plan, links, kind == "bursty", nodes, minutes) for nodes in ((), (victim,)))
    found: dict[str, list[tuple[Outlook, Row]]] = {"nobody": [], f"n{victim + 1}": []}
    for minute in range(minutes):
        mesh = known(plan.service_rates, links, calm, minute)
        foretold = outlooks(Question(mesh, (victim,), 1.0, TWINS, AFTER, minute))
        for pairs, outlook, lived in zip(found.values(), foretold, (calm, killed), strict=True):
            assert outlook is not None
            pairs.append((outlook, lived.summary(minute)))
        if minute % 10 == 9:
            say(f"{kind}, n{victim + 1}: {minute + 1} of {minutes}")
    return [{"arrivals": kind, "ends": who, **summary(pairs)} for who, pairs in found.items()]


def _lived(
    plan: Plan, links: tuple[tuple[int, int], ...], bursty: bool, failed: tuple[int, ...], minutes: int
) -> FleetTrace:
    """What came of each minute."""
    from shivya_kernels.fleet import Failure, Scenario, simulate, worlds

    scenario = Scenario(
        nodes=NODES,
        edges=links,
        rates=plan.service_rates,
        shares=None,
        arrival_rates=plan.arrival_rates,
        bursts=bursty,
        warm_up=BEFORE,
        seconds=AFTER,
        failure=Failure(failed, BEFORE),
        hop=STEP,
        latency=STEP,
        change=CHANGE,
        drain=DRAIN,
    )
    return simulate(worlds(scenario, range(FIRST_SEED, FIRST_SEED + minutes)), "shivya")


def known(rates: Sequence[float], links: tuple[tuple[int, int], ...], lived: FleetTrace, fleet: int) -> Mesh:
    """What a daemon of that fleet would tell after `BEFORE` seconds."""
    born, node = np.asarray(lived.born), np.asarray(lived.node)
    past = (np.asarray(lived.fleet) == fleet) & (born < BEFORE)
    born, node, done = born[past], node[past], (born + np.asarray(lived.sojourn))[past]
    since = BEFORE - MINUTE
    held = float(np.clip(np.minimum(done, BEFORE) - np.maximum(born, since), 0, None).sum()) / MINUTE
    queue = [0] * len(rates)
    for _ in range(int((done > BEFORE).sum())):
        queue[min(range(len(rates)), key=lambda i: (queue[i] + 1) / rates[i])] += 1
    chance = random.Random(fleet)
    nodes = []
    for i, rate in enumerate(rates):
        mine = born[(node == i) & (born >= since)]
        counts, _ = np.histogram(mine, bins=round(MINUTE), range=(since, BEFORE))
        served = rate * len(born[born >= since]) / sum(rates)
        nodes.append(
            Node(
                id=f"{i:040x}",
                name=f"n{i + 1}",
                queue=queue[i],
                servers=1,
                service_rate=rate * (1 + chance.gauss(0, 1) / math.sqrt(served)),
                arrival_rate=len(mine) / MINUTE,
                counts=tuple(map(float, counts)),
                seconds=MINUTE,
                estimated=False,
                held=held * rate / sum(rates),
            )
        )
    return Mesh("default", tuple(nodes), links, 2 * STEP, {}, ())


def summary(pairs: Sequence[tuple[Outlook, Row]]) -> Row:
    """How medians and bands lie to what came."""
    row: Row = {"minutes": len(pairs)}
    for figure in FIGURES:
        logs = [math.log(outlook[figure].median / came[figure]) for outlook, came in pairs]
        ratio = map(math.exp, experiments.mean([{figure: log} for log in logs], figure))
        inside = [outlook[figure].low <= came[figure] <= outlook[figure].high for outlook, came in pairs]
        width = np.log([outlook[figure].high / outlook[figure].low for outlook, _ in pairs])
        row |= dict(zip((f"{figure} ratio", f"{figure} low", f"{figure} high"), ratio, strict=True))
        row |= {
            f"{figure} typical factor": float(np.exp(np.mean(np.abs(logs)))),
            f"{figure} within 20 %": float(np.mean(np.abs(np.expm1(logs)) <= 0.2)),
            f"{figure} inside": float(np.mean(inside)),
            f"{figure} band": float(np.exp(width.mean())),
        }
    return row


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    keep_what_is_compiled()
    main()
