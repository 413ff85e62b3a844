"""Does `shivya whatif --fail` foretell what happens when a node is really killed?

Real daemons and workers of the demo on this machine, under load: the demo's rates, bursty as there or steady
(Poisson). After ninety seconds a survivor is asked what it knows (KNOWN), and at once a node is killed, its
daemon and its worker, as the demo does it. The twins are run afterwards, lest they cost the mesh anything,
from that one answer and nothing later. Measured are the jobs submitted in the minute after the kill; "before"
is the minute before it, beside the twins of the mesh as it was. No minute tells exactly how many jobs the
next one brings, so a row also has what twins say when they are told the arrival rates that came and the
configured service rates ("told"): what is left is the model's own error, and chance. "replayed" leaves chance
out: the survivors in the simulator, with the jobs that really came, to the second and in their sizes. Ratios
are predicted over measured. `--runs` of each kind, two and a half minutes each.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shivya import whatif_mesh
from shivya.compiled import keep_what_is_compiled
from shivya.demo import children
from shivya.demo.children import Child
from shivya.demo.daemons import Daemons, ask
from shivya.demo.generator import Generator
from shivya.demo.links import start_workers
from shivya.demo.plan import Arrival, Plan, make_plan
from shivya.demo.report import quantile
from shivya.experiments import run as simulate
from shivya.whatif_twins import SETTLING, Question, outlooks, params, scenario

from timing import Row, publish

NODES = 5
BEFORE, AFTER = 90.0, 60.0
MINUTE = 60.0
TWINS = 64
RUNS = (("bursty", 4), ("bursty", 0), ("steady", 4), ("steady", 2))
"""Arrivals, and who is killed: nodes of 20 and 10 jobs/s, and the one of 40 without whom all are too slow."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=2, help="of each kind")
    parser.add_argument("--kinds", default="0,1,2,3", help="which of RUNS")
    parser.add_argument("--keep", type=Path, help="folder for what was answered and measured, and reused")
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    kinds = [RUNS[int(kind)] for kind in given.kinds.split(",")]
    plans = [(kind, victim, seed, plan(kind, seed)) for seed in range(given.runs) for kind, victim in kinds]
    records = asyncio.run(measure(plans, given.keep))
    rows = [row(*key, record) for key, record in zip(plans, records, strict=True)]
    publish("whatif", [*rows, *summary(rows)])


def plan(kind: str, seed: int) -> Plan:
    """The demo's plan, long enough; steady ones keep its rates and sizes."""
    drawn = make_plan(NODES, 2 * BEFORE, 1000 + seed)
    if kind == "steady":
        jobs = []
        for node, rate in enumerate(drawn.arrival_rates):
            rng, now = random.Random(f"{seed}/{node}/steady"), 0.0
            while rate and (now := now + rng.expovariate(rate)) < 2 * BEFORE:
                jobs.append((now, node, rng.expovariate(1.0)))
        arrivals = tuple(Arrival(*job, number) for number, job in enumerate(sorted(jobs)))
        drawn = replace(drawn, arrivals=arrivals)
    # The generator kills half-way; what comes after the measured minute is left out.
    return replace(drawn, arrivals=tuple(job for job in drawn.arrivals if job.time < BEFORE + AFTER))


async def measure(plans: Sequence[tuple[str, int, int, Plan]], keep: Path | None) -> list[dict[str, Any]]:
    """Run every plan on one mesh of daemons, which the killed one joins again in between."""
    records: list[dict[str, Any]] = []
    started: list[Child] = []
    daemons: Daemons | None = None
    with tempfile.TemporaryDirectory(prefix="whatif-", dir="/tmp") as name:
        folder = Path(name)
        try:
            for kind, victim, seed, asked in plans:
                path = None if keep is None else keep / f"{kind}-{victim}-{seed}.json"
                if path is not None and path.exists():
                    records.append(json.loads(path.read_text()))
                    continue
                if daemons is None:
                    daemons = Daemons(asked.service_rates, folder, started)
                    await daemons.start_all(say)
                records.append(await one_run(asked, victim, daemons, folder, started))
                if path is not None:
                    path.write_text(json.dumps(records[-1]))
                await daemons.restart(victim)
                await daemons.wait_whole()
        finally:
            await children.stop(started)
    return records


async def one_run(
    asked: Plan, victim: int, daemons: Daemons, folder: Path, started: list[Child]
) -> dict[str, Any]:
    """Load, question, kill, and what came of it."""
    workers = await start_workers(
        asked.service_rates, burn=False, sockets=daemons.sockets, logs=folder, started=started
    )
    await daemons.wait_offered()
    answers: list[dict[str, Any]] = []

    async def kill() -> None:
        answer = await ask(daemons.sockets[asked.hot], "KNOWN")
        assert answer is not None and "error" not in answer, answer
        answers.append(answer)
        await asyncio.gather(workers[victim].child.kill(), daemons.kill(victim))

    generator = Generator(asked, workers)
    say(f"{len(asked.arrivals)} jobs; n{victim + 1} will be killed")
    try:
        outcome = await generator.run(kill)
    finally:
        await children.stop([worker.child for worker in workers])
    if outcome.lost or outcome.twice or outcome.dead != {victim}:
        raise RuntimeError(f"lost {outcome.lost}, twice {outcome.twice}, ended {outcome.dead}")
    load = os.getloadavg()[0]
    return {"known": answers[0], "waits": outcome.waits, "resubmitted": outcome.resubmitted, "load": load}


def row(kind: str, victim: int, seed: int, asked: Plan, record: dict[str, Any]) -> Row:
    """Predicted beside measured."""
    mesh = whatif_mesh.read(record["known"])
    failed = whatif_mesh.find(mesh, [f"n{victim + 1}"])
    question = Question(mesh, failed, 1.0, TWINS, AFTER, seed)
    now, then = outlooks(question)
    came = [
        sum(job.node == node for job in asked.arrivals if job.time >= BEFORE) / AFTER for node in range(NODES)
    ]
    told = replace(
        mesh,
        nodes=tuple(
            replace(node, arrival_rate=came[i], service_rate=asked.service_rates[i], seconds=math.inf)
            for node in mesh.nodes
            for i in (int(node.name[1:]) - 1,)
        ),
    )
    _, informed = outlooks(replace(question, mesh=told))
    assert then is not None and informed is not None
    again = replayed(question, asked, victim)
    timed = list(zip(asked.arrivals, record["waits"], strict=True))
    after = [wait for job, wait in timed if job.time >= BEFORE]
    before = [wait for job, wait in timed if BEFORE - MINUTE <= job.time < BEFORE]
    figures: Row = {
        "arrivals": kind,
        "killed": f"n{victim + 1}",
        "seed": seed,
        "load average": record["load"],
        "utilisation after": sum(came) / (sum(asked.service_rates) - asked.service_rates[victim]),
    }
    for figure in ("p99", "mean"):
        truth, past = measured(after, figure), measured(before, figure)
        band = then[figure]
        figures |= {
            f"{figure} ms": 1000 * truth,
            f"{figure} predicted": 1000 * band.median,
            f"{figure} band": f"{1000 * band.low:.0f} - {1000 * band.high:.0f}",
            f"{figure} inside": int(band.low <= truth <= band.high),
            f"{figure} ratio": band.median / truth,
            f"{figure} told": informed[figure].median / truth,
            f"{figure} replayed": again[figure] / truth,
            f"{figure} before": now[figure].median / past,
        }
    return figures


def replayed(question: Question, asked: Plan, victim: int) -> Row:
    """The survivors with the jobs that came; those of the dead node go to the living in turn."""
    mesh = question.mesh
    number = [int(node.name[1:]) - 1 for node in mesh.nodes]
    living = [i for i in range(NODES) if i != victim]
    place = {node: i for i, node in enumerate(living)}
    hops = scenario(question).hops or ()
    ends = [sorted((number[a], number[b])) for a, b in mesh.links]
    links = {
        (place[low], place[high]): hop
        for (low, high), hop in zip(ends, hops, strict=True)
        if victim not in (low, high)
    }
    turn, sizes = itertools.cycle(living), random.Random(question.seed)
    held = [(node.queue, i) for node, i in zip(mesh.nodes, number, strict=True)]
    waiting = [next(turn) if i == victim else i for queue, i in held for _ in range(queue)]
    jobs = [(place[node], 0.0, sizes.expovariate(1.0)) for node in waiting]
    jobs += [
        (place[next(turn) if job.node == victim else job.node], SETTLING + job.time - BEFORE, job.size)
        for job in asked.arrivals
        if job.time >= BEFORE
    ]
    survivors = replace(
        scenario(question),
        nodes=len(living),
        edges=tuple(links),
        hops=tuple(links.values()),
        rates=tuple(asked.service_rates[i] for i in living),
        rate_spread=None,
        servers=1,
        arrivals=tuple(jobs),
        arrival_rates=None,
        arrival_spread=None,
        backlog=None,
        failure=None,
    )
    return dict(simulate(survivors, "shivya", params=params(mesh)).rows[0])


def measured(waits: Sequence[float], figure: str) -> float:
    """Of jobs in the order they came."""
    found = quantile(waits, 0.99) if figure == "p99" else math.fsum(waits) / len(waits)
    assert found is not None
    return found


def summary(rows: Sequence[Row]) -> list[Row]:
    """Geometric means of the ratios, and how often the truth lay inside the band."""
    found = []
    for key in dict.fromkeys((row["arrivals"], row["killed"]) for row in rows):
        mine = [row for row in rows if (row["arrivals"], row["killed"]) == key]
        mean: Row = {"arrivals": key[0], "killed": key[1], "seed": f"mean of {len(mine)}"}
        for figure in ("p99", "mean"):
            mean[f"{figure} inside"] = sum(row[f"{figure} inside"] for row in mine)
            for what in ("ratio", "told", "replayed", "before"):
                logs = [math.log(row[f"{figure} {what}"]) for row in mine]
                mean[f"{figure} {what}"] = math.exp(math.fsum(logs) / len(logs))
        found.append(mean)
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    keep_what_is_compiled()
    main()
