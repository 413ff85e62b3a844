"""How long does a simulated fleet take, and which law of load sharing is the best, in which regime?

Fleets of 64 nodes with bursts and a hotspot run for 75 simulated seconds and are then drained, on one core:
where XLA finds more, it splits small loops over them at a loss, while a process per core has none. Compiling
is shown apart. Laws run on the same jobs and under the same information; no seed here was used to tune any of
them. `ratio` is the geometric mean over the fleets of the 99th percentile of the time in system over that of
shortest expected delay (sed), with its 95 % interval; `mean ratio` the same for the mean. Refused are jobs
that arrive at a crashed node, lost those that land there. The last rows halve the time step.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shivya_daemon.core.settings import OWN_WAIT_CHANGE, NodeSettings
from shivya_kernels.fleet import (
    LAWS,
    FleetTrace,
    Law,
    LocalView,
    Outage,
    Params,
    Scenario,
    World,
    simulate,
    worlds,
)
from shivya_kernels.fleet.laws import Place, neighbour_view
from timing import Row, fix_environment, once, publish

BATCHES = (1, 8, 32)
SEEDS = range(7000, 7012)
ORACLE_NODES = 256
"""Larger fleets are run without it: it weighs every place of a fleet for every job."""
STUDENT = 2.201
"""0.975 quantile of Student's t with 11 degrees of freedom."""
BASE = Scenario()
LARGE = replace(BASE, nodes=100_000, seconds=3.0, warm_up=1.0, hotspot=0.0)
FAULT = Outage(30.0, 45.0)
REGIMES: dict[str, dict[str, Any]] = {
    "load .5": {"load": 0.5},
    "load .7": {"load": 0.7},
    "load .95": {"load": 0.95},
    "hotspot 10 %": {"hotspot": 0.1},
    "100 ms per hop": {"hop": 0.1},
    "5 to 80 ms per hop": {"hop_spread": 4.0},
    ".3 s older": {"extra_age": 0.3},
    "1 s older": {"extra_age": 1.0},
    "30 % of heartbeats lost": {"loss": 0.3},
    "partition for 15 s": {"partition": (30.0, 45.0)},
    "lognormal sizes, c2 = 10": {"sizes": "lognormal"},
    "the busiest node crashes for 15 s": {"crash": FAULT},
    "the busiest node slows 4x for 15 s": {"slow": FAULT},
    "8 servers per node": {"servers": 8},
    "rates misstated up to 2x": {"misstatement": 2.0},
    "256 nodes": {"nodes": 256},
    "1,024 nodes": {"nodes": 1024},
}
ELSEWHERE = (
    "load .95",
    "1 s older",
    "30 % of heartbeats lost",
    "lognormal sizes, c2 = 10",
    "the busiest node slows 4x for 15 s",
    "rates misstated up to 2x",
)
RIVALS = ("sed", "sedAll", "shivya", "oracle")


def main() -> None:
    parts = {"speed": speed, "laws": laws, "light": light, "regimes": regimes, "telemetry": telemetry}
    parts |= {"build": build, "ablation": ablation, "elsewhere": elsewhere, "ideas": ideas, "step": step}
    chosen = sys.argv[1:] or list(parts)
    publish("fleet", [row for part in chosen for row in parts[part]()])


def speed() -> Iterator[Row]:
    """Seconds per fleet, by batch size."""
    for name in ("sed", "shivya"):
        for fleets in BATCHES:
            world = jax.device_put(worlds(BASE, SEEDS[0] + np.arange(fleets)))
            _, first = once(lambda world=world, name=name: run(world, name))
            _, again = once(lambda world=world, name=name: run(world, name))
            yield {
                "what": "speed",
                "law": name,
                "fleets": fleets,
                "compile_s": max(first.cpu - again.cpu, 0.0),
                "cpu_s_per_fleet": again.cpu / fleets,
                "wall_s_per_fleet": again.wall / fleets,
                "set_up_s_per_fleet": once(lambda n=fleets: worlds(BASE, range(n)))[1].cpu / fleets,
            }
    yield from both_cores()
    yield from one_large()


def one_large() -> Iterator[Row]:
    """As many nodes as a large deployment has, in one rollout; setting up and compiling count."""
    trace, spent = once(lambda: run(worlds(LARGE, SEEDS[:1]), "shivya"))
    jobs = trace.summary(0)
    yield {
        "what": "speed, 100,000 nodes for 4 s, from nothing",
        "law": "shivya",
        "fleets": 1,
        "cpu_s_per_fleet": spent.cpu,
        "jobs": int(jobs["jobs_submitted"]),
        "done": int(jobs["jobs_done"]),
    }


def both_cores() -> Iterator[Row]:
    """A process on each of two cores, at the same time."""
    spawn = multiprocessing.get_context("spawn")
    ready, fleets = spawn.Barrier(2), 2 * BATCHES[-1]
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=_meet_at, initargs=(ready,)) as pool:
        wall = max(pool.map(_timed, (0, 1))) / fleets
    yield {"what": "speed, 2 processes", "law": "shivya", "fleets": fleets, "wall_s_per_fleet": wall}


_ready: Barrier


def _meet_at(ready: Barrier) -> None:
    global _ready
    _ready = ready


def _timed(core: int) -> float:
    """Seconds of wall time for the largest batch, compiled before."""
    os.sched_setaffinity(0, {core})
    world = jax.device_put(worlds(BASE, SEEDS[0] + np.arange(BATCHES[-1])))
    run(world, "shivya")
    _ready.wait()
    return once(lambda: run(world, "shivya"))[1].wall


def laws() -> Iterator[Row]:
    """All laws at load .85."""
    order = ["sed", *(name for name in LAWS if name != "sed")]
    yield from compare("laws", "load .85", BASE, [LAWS[name] for name in order])


def light() -> Iterator[Row]:
    """Where there is little to share: power of two choices by fresh and by stale probes, too."""
    for load in (0.3, 0.5):
        names = ("sed", "jsq2", "jsq2stale", "sedAll", "shivya")
        yield from compare(
            "light", f"load {load:g}", replace(BASE, load=load), [LAWS[name] for name in names]
        )


def build() -> Iterator[Row]:
    """The law put together from the ground: each row has all that the rows above it have."""
    sed, numbers = LAWS["sed"], Params()
    blind = replace(sed, name="shortest expected delay", params=replace(sed.params, own_sent=0.0))
    counted = replace(sed, name="+ jobs under way (sed)")
    plain = replace(numbers, drift=0.0, kappa=0.0, prior_jobs=1e9)
    step = Law("+ gap and potential", LAWS["shivya"].place, potential=True, params=plain)
    steps = [counted, blind, step]
    added: dict[str, dict[str, Any]] = {
        "+ slope": {"slope": True},
        "+ split horizon": {"split": True},
        "+ guarded flow": {"handover": "flow"},
        "+ forecast": {"params": replace(plain, drift=numbers.drift)},
        "+ order of birth": {"order": True},
        "+ requests of idle nodes": {"pull": "guarded"},
        "+ residual times": {"params": replace(numbers, prior_jobs=1e9)},
        "+ measured rates (shivya)": {"params": numbers},
    }
    for name, changes in added.items():
        step = replace(step, name=name, **changes)
        steps.append(step)
    yield from compare("build", "load .85", BASE, steps)


def parts_off() -> dict[str, Law]:
    """The law without one of its parts."""
    whole, numbers = LAWS["shivya"], Params()
    return {
        "own-sent": replace(whole, params=replace(numbers, own_sent=0.0)),
        "slope": replace(whole, slope=False),
        "drift": replace(whole, params=replace(numbers, drift=0.0)),
        "flow": replace(whole, handover="none"),
        "guard": replace(whole, guard=False),
        "pull": replace(whole, pull="none"),
        "order": replace(whole, order=False),
        "potential": replace(whole, potential=False, slope=False, split=False),
        "split horizon": replace(whole, split=False),
        "residual times": replace(whole, params=replace(numbers, kappa=0.0)),
        "measured rates": replace(whole, params=replace(numbers, prior_jobs=1e9)),
    }


def ablation() -> Iterator[Row]:
    """W2 with one thing changed at a time."""
    whole, numbers = LAWS["shivya"], Params()
    changed = {f"no {name}": law for name, law in parts_off().items()} | {
        "no slope, half of own-sent": replace(whole, slope=False, params=replace(numbers, own_sent=0.5)),
        "slope over half of gap + hop": replace(whole, params=replace(numbers, slope_share=0.5)),
        "gap .08": replace(whole, params=replace(numbers, gap=0.08)),
    }
    named = [replace(law, name=f"shivya, {name}") for name, law in changed.items()]
    yield from compare("ablation", "load .85", BASE, [LAWS["sed"], whole, *named])


def elsewhere() -> Iterator[Row]:
    """The parts that show little at load .85, in other regimes."""
    off = parts_off()
    named = [
        replace(off[name], name=f"shivya, no {name}")
        for name in ("pull", "split horizon", "residual times", "measured rates")
    ]
    for regime in ELSEWHERE:
        scenario = replace(BASE, **REGIMES[regime])
        yield from compare("elsewhere", regime, scenario, [LAWS["shivya"], *named])


def regimes() -> Iterator[Row]:
    """The rivals in every regime."""
    for name, changes in REGIMES.items():
        scenario = replace(BASE, **changes)
        rivals = [law for law in RIVALS if law != "oracle" or scenario.nodes <= ORACLE_NODES]
        yield from compare("regimes", name, scenario, [LAWS[law] for law in rivals])


def ideas() -> Iterator[Row]:
    """What was tried and is not in the law; the law as it is is the yardstick here."""
    whole = LAWS["shivya"]

    def changed(name: str, place: Place) -> Law:
        return replace(whole, name=f"shivya, {name}", place=place)

    energetic = [
        changed("by expected free energy, .1 s", _by_free_energy(0.1)),
        changed("by expected free energy, .3 s", _by_free_energy(0.3)),
        changed("by its risk without the entropy, .3 s", _by_free_energy(0.3, entropy=0.0)),
    ]
    gaps = [
        changed("gap by the neighbour's rate", _gap_by_rate(1.0)),
        changed("gap by the root of its rate", _gap_by_rate(0.5)),
        changed("gap against the root of its rate", _gap_by_rate(-0.5)),
    ]
    tried = {"load .85": gaps + energetic, "load .5": energetic, "1 s older": energetic}
    hasty = replace(whole, name="shivya, silent after 3 heartbeats")
    hurried = ("load .85", "30 % of heartbeats lost", "the busiest node crashes for 15 s")
    for name in dict.fromkeys((*tried, *hurried)):
        scenario = replace(BASE, **REGIMES.get(name, {}))
        sooner = (replace(scenario, ttl=0.3), hasty) if name in hurried else None
        yield from compare("ideas", name, scenario, [whole, *tried.get(name, [])], sooner)


def telemetry() -> Iterator[Row]:
    """Heartbeats on change, as daemons send them, in every regime; each law tells of what it goes by."""
    for name in ("load .85", *REGIMES):
        regime = replace(BASE, change=OWN_WAIT_CHANGE, **REGIMES.get(name, {}))
        rivals = [LAWS[law] for law in ("sedAll", "sed")]
        then = (replace(regime, change=NodeSettings().heartbeat_change), LAWS["shivya"])
        yield from compare("telemetry", name, regime, rivals, then)


def _gap_by_rate(power: float) -> Place:
    """A move must gain more, or less, where it makes its neighbour busy for longer."""

    def place(view: LocalView, params: Params) -> Array:
        mean = jnp.where(view.live, view.rate, 0).sum() / view.live.sum()
        gap = params.gap * (mean / view.rate) ** power
        costs = jnp.where(view.live, neighbour_view(view, params) + view.hop + gap, jnp.inf)
        best = jnp.argmin(costs).astype(jnp.int32)
        return jnp.where(costs[best] < view.own, best, jnp.int32(-1))

    return place


def _by_free_energy(scale: float, entropy: float = 1.0) -> Place:
    """Where the divergence of the time in system that is expected from the one that is preferred is least.

    Preferred is 0 with a standard deviation of `scale` seconds; expected is a Gaussian with the mean that the
    law goes by. Its variance: that of as many exponential services, and of what came since the heartbeat.
    """

    def energy(mean: Array, variance: Array) -> Array:
        risk = (mean**2 + variance) / scale**2
        return (risk - 1 - entropy * jnp.log(variance / scale**2)) / 2

    def place(view: LocalView, params: Params) -> Array:
        there = neighbour_view(view, params) + view.hop + params.gap
        since = jnp.maximum(view.net_arrivals, 0) * view.age / view.rate**2
        costs = jnp.where(view.live, energy(there, there / view.rate + since), jnp.inf)
        best = jnp.argmin(costs).astype(jnp.int32)
        return jnp.where(costs[best] < energy(view.own, view.own / view.service_rate), best, jnp.int32(-1))

    return place


def compare(
    what: str,
    regime: str,
    scenario: Scenario,
    contenders: Sequence[Law],
    then: tuple[Scenario, Law] | None = None,
) -> Iterator[Row]:
    """Each law on the same fleets, the first of them the yardstick; `then` one more, in another scenario."""
    world = worlds(scenario, SEEDS)
    runs = [(world, law) for law in contenders]
    if then is not None:
        runs.append((worlds(then[0], SEEDS), then[1]))
    yardstick: dict[str, np.ndarray] = {}
    for world, law in runs:
        trace = run(world, law)
        rows = [trace.summary(fleet) for fleet in range(len(SEEDS))]
        figures = {key: np.array([row[key] for row in rows], float) for key in rows[0]}
        yardstick = yardstick or figures
        log = np.log(figures["p99"] / yardstick["p99"])
        half = STUDENT * log.std(ddof=1) / np.sqrt(len(log))
        yield {
            "what": what,
            "regime": regime,
            "law": law.name,
            "p99_ms": 1e3 * float(figures["p99"].mean()),
            "ratio": float(np.exp(log.mean())),
            "low": float(np.exp(log.mean() - half)),
            "high": float(np.exp(log.mean() + half)),
            "mean_ratio": float(np.exp(np.log(figures["mean"] / yardstick["mean"]).mean())),
            "p999_ratio": float(np.exp(np.log(figures["p999"] / yardstick["p999"]).mean())),
            "moves": float(figures["moves_per_job"].mean()),
            "heartbeats": float(np.mean(trace.heartbeats)) / world.shape.nodes / float(trace.seconds),
            "refused": int(figures["jobs_refused"].sum()),
            "lost": int(figures["jobs_lost"].sum()),
        }


def step() -> Iterator[Row]:
    """The time step halved, on the same fleets."""
    for name in ("sed", "shivya"):
        p99 = []
        for seconds in (0.005, 0.0025):
            trace = run(worlds(replace(BASE, step=seconds), SEEDS), name)
            p99.append(np.array([trace.summary(fleet)["p99"] for fleet in range(len(SEEDS))]))
        log = np.log(p99[1] / p99[0])
        half = STUDENT * log.std(ddof=1) / np.sqrt(len(log))
        ratio, low, high = (float(np.exp(x)) for x in (log.mean(), log.mean() - half, log.mean() + half))
        yield {"what": "step 2.5 over 5 ms", "law": name, "ratio": ratio, "low": low, "high": high}


def run(world: World, law: Law | str) -> FleetTrace:
    trace: FleetTrace = jax.block_until_ready(simulate(world, law))
    return trace


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
