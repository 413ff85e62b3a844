"""Worlds: everything that happens to fleets whatever law they follow, drawn on the host, laid out flat.

A batch of fleets is one disjoint graph of M places. Places are sorted by the phase of the node's heartbeat,
so that whoever is due at a time step is one slice: place = phase * rows + row. Jobs of all fleets are one
table in order of birth. Places and jobs beyond those in use are padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from shivya_kernels.fleet.draw import Fleet
from shivya_kernels.fleet.scenario import MICROSECONDS, Scenario

_SIZES = ("rows", "degree", "near", "listeners", "jobs", "burst", "longest")
"""Of a shape, those that are drawn; the others follow from the scenario and the number of fleets."""
_SAMPLES = 8
"""Fleets that are drawn to see how much room a scenario needs."""
NEVER = np.int32(2**31 - 1)
"""A time, in microseconds, that does not come."""


@dataclass(frozen=True)
class Shape:
    """Static sizes of a batch. What compiles once runs for every batch of this shape."""

    fleets: int
    phases: int
    """Time steps per period, in which each node may send one heartbeat; its phase is one of them."""
    rows: int
    """R: places per phase; M = phases * rows."""
    degree: int
    """D: link slots per place."""
    near: int
    """Slots for nodes two hops away."""
    listeners: int
    """L: links on which a heartbeat may arrive in one step."""
    jobs: int
    burst: int
    """Most arrivals in one step."""
    servers: int
    """C: most servers of a place."""
    horizon: int
    """Steps in which jobs arrive."""
    end: int
    """Steps after which the simulation ends at the latest."""
    hop: int
    """Steps of a job over a link, if all are alike; else over a typical one."""
    longest: int
    """Most steps of a job over a link."""
    unlike: bool
    """Whether links differ in that."""
    delay: int
    """Steps from a heartbeat's leaving to its counting: latency and extra age."""
    latency: int
    history: int
    """Heartbeats of each node that are kept."""
    nodes: int
    """Nodes of each fleet."""
    warm_up: int
    """Microseconds."""
    step: int
    """Microseconds per step."""
    repairs: int
    """Periods from one repair to the next."""
    silence: int
    """Longest silence of a node, in periods; 1: a heartbeat in each."""
    crash: bool
    slow: bool
    cut: bool
    loss: bool

    @property
    def places(self) -> int:
        """M."""
        return self.phases * self.rows


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class World:
    """A batch of fleets: M places, M * D links (link = place * D + slot) and J jobs; times in us."""

    shape: Shape = field(metadata={"static": True})
    scenario: Scenario | None = field(metadata={"static": True})
    """What it was drawn from; not needed to run it."""
    seeds: tuple[int, ...] = field(metadata={"static": True})
    """Of its fleets; where there is room for more, the first ones."""

    fleet: Any
    """[M] the fleet of a place; `fleets` for padding."""
    name: Any
    """[M] its node number in that fleet."""
    key: Any
    """[M] uint32: what its random draws are hashed from."""
    rate: Any
    """[M] true service rate, jobs/s, all servers together; 1 for padding."""
    servers: Any
    """[M] jobs that it serves at a time; 1 for padding."""
    nominal: Any
    """[M] the rate it was configured with."""
    neighbour: Any
    """[M, D] place of a neighbour; 0 for padding."""
    linked: Any
    """[M, D] whether the slot leads anywhere."""
    back: Any
    """[M * D] the link back."""
    hop: Any
    """[M, D] float32 seconds of a job over the link, a multiple of the step."""
    hears: Any
    """[phases, L] links on which the heartbeats of each phase arrive (their receiver's); M * D pads."""
    source: Any
    """[M, N2] link, at a neighbour, whose far end is a node two hops away; 0 for padding."""
    through: Any
    """[M, N2] slot of that neighbour."""
    known: Any
    """[2, M, 1 + D + N2] whether it takes part in repair: itself, neighbours, nodes two hops away."""
    operator: Any
    """[2, M, D, 1 + D + N2] float32: flow per surplus, in the whole fleet and while it is broken."""
    broken: Any
    """[2] first and last step for which the second operator holds."""
    down: Any
    """[2, M] from when until when it has crashed."""
    slow: Any
    """[2, M] from when until when it is slow."""
    factor: Any
    """[M] and by how much."""
    side: Any
    """[M] bool: its side of the cut."""
    cut: Any
    """[2] from when until when the cut is there."""
    loss: Any
    """[] share of heartbeats lost."""
    change: Any
    """[] how far a wait must have moved for a heartbeat before the silence is over, seconds."""
    expiry: Any
    """[] age, in steps, above which a neighbour does not exist."""
    born: Any
    """[J] when a job arrives."""
    home: Any
    """[J] the place at which it arrives."""
    size: Any
    """[J] float32, seconds of service at rate 1."""
    owner: Any
    """[J] its fleet; `fleets` for padding."""
    first: Any
    """[horizon + 2] the first job that arrives in a step; step k covers the time from k - 1 to k steps."""


def worlds(scenario: Scenario, seeds: Sequence[int], room: Shape | None = None) -> World:
    """One fleet per seed, side by side; the same seed gives the same fleet in any company.

    `room` asks for arrays of that shape; fleets beyond those of the seeds have neither nodes nor jobs. Raises
    ValueError where they do not hold the fleets, and where the scenario's own graph or trace does not fit it.
    """
    fleets = [Fleet(scenario, int(seed)) for seed in seeds]
    return _lay_out(scenario, fleets, room)


def alike(
    scenario: Scenario, groups: Sequence[Sequence[int]], fleets: int | None = None
) -> tuple[World, ...]:
    """A world per group of seeds, all of one shape, so that they run by one compiled program.

    Groups of unequal size differ in the number of fleets; with `fleets` all have room for so many.
    """
    drawn = [[Fleet(scenario, int(seed)) for seed in seeds] for seeds in groups]
    laid = [_lay_out(scenario, each, None) for each in drawn]
    sizes = {name: max(getattr(world.shape, name) for world in laid) for name in _SIZES}
    rooms = [replace(laid[0].shape, fleets=fleets or len(each), **sizes) for each in drawn]
    return tuple(
        world if world.shape == room else _lay_out(scenario, each, room)
        for each, world, room in zip(drawn, laid, rooms, strict=True)
    )


def roomy(scenario: Scenario) -> Shape:
    """A shape that any one fleet of the scenario fits into, but for the odd one in thousands."""
    shapes = [worlds(scenario, [seed]).shape for seed in range(_SAMPLES)]
    degree = min(_up(3 * max(s.degree for s in shapes) // 2, 4), _up(scenario.nodes, 4))
    return replace(
        shapes[0],
        degree=degree,
        near=_up(3 * max(s.near for s in shapes) // 2, 8),
        listeners=shapes[0].rows * degree,
        jobs=_up(3 * max(s.jobs for s in shapes) // 2, 1024),
        burst=2 * max(s.burst for s in shapes),
    )


def _up(count: int, unit: int) -> int:
    """The next multiple, so that like batches share one compiled program."""
    return max(-(-count // unit), 1) * unit


def _fit(needed: int, unit: int, room: Shape | None, field: str) -> int:
    """What is needed, rounded up, or the room there is in that field of the shape."""
    if room is None:
        return _up(needed, unit)
    there: int = getattr(room, field)
    if needed > there:
        raise ValueError(f"these fleets need {field} {needed}, there is room for {there}: use a larger shape")
    return there


def _lay_out(scenario: Scenario, fleets: list[Fleet], room: Shape | None) -> World:
    n, phases = scenario.nodes, scenario.steps(scenario.period)
    count = _fit(len(fleets), 1, room, "fleets")
    filled = np.zeros(phases, np.int64)
    place = np.zeros((len(fleets), n), np.int32)
    for b, fleet in enumerate(fleets):
        for i in range(n):
            place[b, i] = filled[fleet.phase[i]]
            filled[fleet.phase[i]] += 1
    rows = int(filled.max())
    rows = _fit(rows, 1 if rows < 16 else 4, room, "rows")
    for b, fleet in enumerate(fleets):
        place[b] += fleet.phase * rows
    m = phases * rows
    degree = _fit(max(f.links.neighbour.shape[1] for f in fleets), 4, room, "degree")
    near = _fit(max(f.near.member.shape[1] for f in fleets), 8, room, "near")
    known = 1 + degree + near

    out: dict[str, NDArray[Any]] = {
        "fleet": np.full(m, count, np.int32),
        "name": np.zeros(m, np.int32),
        "key": np.zeros(m, np.uint32),
        "rate": np.ones(m, np.float32),
        "nominal": np.ones(m, np.float32),
        "servers": np.ones(m, np.int32),
        "neighbour": np.zeros((m, degree), np.int32),
        "linked": np.zeros((m, degree), bool),
        "back": np.zeros((m, degree), np.int32),
        "hop": np.ones((m, degree), np.float32),
        "source": np.zeros((m, near), np.int32),
        "through": np.zeros((m, near), np.int32),
        "known": np.zeros((2, m, known), bool),
        "operator": np.zeros((2, m, degree, known), np.float32),
        "down": np.full((2, m), NEVER, np.int32),
        "slow": np.full((2, m), NEVER, np.int32),
        "factor": np.ones(m, np.float32),
        "side": np.zeros(m, bool),
    }
    hears: list[list[int]] = [[] for _ in range(phases)]
    for b, f in enumerate(fleets):
        at, width, two = place[b], f.links.neighbour.shape[1], f.near.member.shape[1]
        out["fleet"][at], out["name"][at], out["side"][at] = b, np.arange(n), f.side
        out["key"][at] = np.random.default_rng([f.seed, 3]).integers(2**32, size=n, dtype=np.uint32)
        out["rate"][at], out["nominal"][at], out["servers"][at] = f.rate, f.nominal, f.servers
        there = f.links.neighbour >= 0
        ends = np.where(there, at[f.links.neighbour], 0)
        out["neighbour"][at, :width], out["linked"][at, :width] = ends, there
        out["back"][at, :width] = np.where(there, ends * degree + f.links.back, 0)
        out["hop"][at, :width] = f.hop * scenario.step
        relay = np.where(f.near.member >= 0, np.take_along_axis(ends, f.near.slot, axis=1), 0)
        out["source"][at, :two] = relay * degree + f.near.there
        out["through"][at, :two] = f.near.slot
        columns = np.r_[0, 1 : 1 + width, 1 + degree : 1 + degree + two]
        seen, flow = f.operators(scenario)
        out["known"][:, at[:, None], columns] = seen
        out["operator"][:, at[:, None, None], np.arange(width)[:, None], columns] = flow
        for i, d in zip(*np.nonzero(there), strict=True):
            hears[f.phase[f.links.neighbour[i, d]]].append(int(at[i]) * degree + int(d))
        for outage, row in ((scenario.crash, "down"), (scenario.slow, "slow")):
            if outage is not None:
                out[row][:, at[f.node(outage)]] = _microseconds([outage.start, outage.end])
        if scenario.slow is not None:
            out["factor"][at[f.node(scenario.slow)]] = scenario.slow.factor

    listeners = _fit(max(map(len, hears)), 8, room, "listeners")
    heard = np.full((phases, listeners), m * degree, np.int32)
    for phase, receivers in enumerate(hears):
        heard[phase, : len(receivers)] = receivers
    jobs, burst = _jobs(scenario, fleets, place, count, room)
    window = _cut(scenario)
    shape = Shape(
        fleets=count,
        phases=phases,
        rows=rows,
        degree=degree,
        near=near,
        listeners=listeners,
        jobs=len(jobs["born"]),
        burst=burst,
        servers=int(np.max(scenario.servers)),
        horizon=scenario.steps(scenario.horizon),
        end=scenario.steps(scenario.end),
        hop=max(scenario.steps(scenario.typical_hop), 1),
        longest=_fit(max(scenario.steps(scenario.longest_hop), 1), 1, room, "longest"),
        unlike=scenario.unlike,
        delay=scenario.steps(scenario.latency + scenario.extra_age),
        latency=scenario.steps(scenario.latency),
        history=-(-scenario.steps(scenario.ttl + 2 * scenario.extra_age) // phases) + 4,
        nodes=n,
        warm_up=round(scenario.warm_up * MICROSECONDS),
        step=round(scenario.step * MICROSECONDS),
        repairs=1 if scenario.change is None else 2,
        silence=1 if scenario.change is None else round(scenario.silence / scenario.period),
        crash=scenario.crash is not None,
        slow=scenario.slow is not None,
        cut=window is not None,
        loss=scenario.loss > 0,
    )
    return World(
        shape=shape,
        scenario=scenario,
        seeds=tuple(f.seed for f in fleets),
        hears=heard,
        broken=_broken(scenario),
        cut=np.full(2, NEVER, np.int32) if window is None else _microseconds(list(window)),
        loss=np.float32(scenario.loss),
        change=np.float32(scenario.change or 0.0),
        expiry=np.int32(scenario.steps(scenario.ttl + scenario.extra_age)),
        **{**out, "back": out["back"].reshape(-1)},
        **jobs,
    )


def _microseconds(seconds: list[float]) -> NDArray[np.int32]:
    times: NDArray[np.int32] = np.round(np.minimum(np.array(seconds) * MICROSECONDS, NEVER)).astype(np.int32)
    return times


def _cut(scenario: Scenario) -> tuple[float, float] | None:
    """From when until when links are cut, if they ever are; a failure is for good."""
    return scenario.partition if scenario.failure is None else (scenario.failure.at, math.inf)


def _broken(scenario: Scenario) -> NDArray[np.int32]:
    """The steps in which nodes know of the one crash or cut: from the expiry of what they heard before."""
    windows = [(o.start, o.end) for o in (scenario.crash,) if o is not None]
    windows += [window for window in (_cut(scenario),) if window is not None]
    if not windows:
        return np.full(2, NEVER, np.int32)
    start, end = windows[0]
    late = scenario.ttl + scenario.extra_age
    longest = scenario.heartbeat if scenario.change is None else scenario.silence
    heard = longest + scenario.latency + scenario.extra_age
    last = NEVER if math.isinf(end) else scenario.steps(end + heard)
    return np.array([scenario.steps(start + late), last], np.int32)


def _jobs(
    scenario: Scenario, fleets: list[Fleet], place: NDArray[np.int32], count: int, room: Shape | None
) -> tuple[dict[str, NDArray[Any]], int]:
    born = np.concatenate([f.arrivals.time for f in fleets])
    owner = np.repeat(np.arange(len(fleets), dtype=np.int32), [len(f.arrivals.time) for f in fleets])
    home = np.concatenate([place[b][f.arrivals.node] for b, f in enumerate(fleets)])
    size = np.concatenate([f.arrivals.size for f in fleets])
    order = np.lexsort((owner, born))
    padded = _fit(len(born), max(1024, 1 << max(len(born).bit_length() - 4, 0)), room, "jobs")
    table: dict[str, NDArray[Any]] = {
        "born": np.full(padded, NEVER, np.int32),
        "home": np.zeros(padded, np.int32),
        "size": np.ones(padded, np.float32),
        "owner": np.full(padded, count, np.int32),
    }
    for name, values in (("born", born), ("home", home), ("size", size), ("owner", owner)):
        table[name][: len(born)] = values[order]
    step = round(scenario.step * MICROSECONDS)
    edges = np.arange(-1, scenario.steps(scenario.horizon) + 1, dtype=np.int64) * step
    table["first"] = np.searchsorted(table["born"][: len(born)], edges, side="right").astype(np.int32)
    return table, _fit(int(np.diff(table["first"]).max(initial=0)), 8, room, "burst")
