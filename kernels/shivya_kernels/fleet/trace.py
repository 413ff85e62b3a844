"""What became of the jobs of a batch of fleets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from shivya_kernels.fleet.scenario import MICROSECONDS
from shivya_kernels.fleet.state import LOST, REFUSED
from shivya_kernels.fleet.world import World


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FleetTrace:
    """Per job [J], per fleet [B], and per heartbeat period [T, B]; seconds. Padded jobs belong to fleet B."""

    fleet: Int32[Array, "J"]
    node: Int32[Array, "J"]
    """Where it arrived."""
    born: Float[Array, "J"]
    sojourn: Float[Array, "J"]
    """Time in system; NaN for jobs refused or lost, inf for those not done at the end."""
    moves: Int32[Array, "J"]
    placements: Int32[Array, "J"]
    """Moves by placement; the others were handed over while they waited."""
    measured: Array
    """[J] bool: born after the warm-up."""
    arrived: Int32[Array, "B"]
    done: Int32[Array, "B"]
    refused: Int32[Array, "B"]
    lost: Int32[Array, "B"]
    left: Int32[Array, "B"]
    """Jobs still in the fleet when the simulation ended."""
    heartbeats: Int32[Array, "B"]
    requests: Int32[Array, "B"]
    """Requests for jobs by idle nodes."""
    held: Float[Array, "T B"]
    """Jobs in the nodes of each fleet, over time."""
    peak: Float[Array, "T B"]
    """Most jobs in any one of its nodes."""
    sent: Float[Array, "L"]
    """Per link, jobs that its sender counts as sent; at the same index those that its receiver counts."""
    received: Float[Array, "L"]
    seconds: Float[Array, ""]
    """Simulated time."""

    def summary(self, fleet: int | None = None) -> dict[str, float | int]:
        """Figures of the measured jobs of one fleet, or of all: times in seconds, nothing censored.

        jobs_submitted = jobs_done + jobs_lost + refused + left, over all jobs of those fleets.
        """
        owner = np.asarray(self.fleet)
        fleets = len(self.arrived)
        mine = owner < fleets if fleet is None else owner == fleet
        sojourn = np.asarray(self.sojourn)
        counted = mine & np.asarray(self.measured) & ~np.isnan(sojourn)
        times = np.sort(sojourn[counted]).astype(float)
        chosen = slice(None) if fleet is None else slice(fleet, fleet + 1)
        moves = np.asarray(self.moves)[counted]

        def quantile(q: float) -> float:
            return float(times[min(int(q * len(times)), len(times) - 1)]) if len(times) else float("nan")

        def total(values: Any) -> int:
            return int(np.asarray(values)[chosen].sum())

        return {
            "mean": float(times.mean()) if len(times) else float("nan"),
            "p50": quantile(0.5),
            "p99": quantile(0.99),
            "p999": quantile(0.999),
            "moves_per_job": float(moves.mean()) if len(times) else float("nan"),
            "jobs_submitted": total(self.arrived),
            "jobs_done": total(self.done),
            "jobs_lost": total(self.lost),
            "jobs_refused": total(self.refused),
            "jobs_left": total(self.left),
        }


def trace_of(world: World, outcome: Any) -> FleetTrace:
    """The trace of a finished run (``discrete.Outcome``)."""
    shape = world.shape
    owner, born = jnp.asarray(world.owner), jnp.asarray(world.born)
    real = owner < shape.fleets
    done = outcome.done

    def per_fleet(which: Array) -> Array:
        return jnp.zeros(shape.fleets, jnp.int32).at[owner].add((which & real).astype(jnp.int32), mode="drop")

    spent = (done - born).astype(jnp.float32) / MICROSECONDS
    spent = jnp.where(done > 0, spent, jnp.where(done == 0, jnp.inf, jnp.nan))
    back = jnp.asarray(world.back)
    return FleetTrace(
        fleet=owner,
        node=jnp.asarray(world.name)[jnp.asarray(world.home)],
        born=born.astype(jnp.float32) / MICROSECONDS,
        sojourn=jnp.where(real, spent, jnp.nan),
        moves=outcome.tally // 256,
        placements=outcome.tally % 256,
        measured=real & (born > shape.warm_up),
        arrived=per_fleet(real),
        done=per_fleet(done > 0),
        refused=per_fleet(done == REFUSED),
        lost=per_fleet(done == LOST),
        left=per_fleet(done == 0),
        heartbeats=outcome.beats,
        requests=outcome.asks,
        held=outcome.series,
        peak=outcome.peaks,
        sent=outcome.sent,
        received=jnp.where(jnp.asarray(world.linked).reshape(-1), outcome.received[back], 0),
        seconds=outcome.steps * (shape.step / MICROSECONDS),
    )


_PER_JOB_OR_LINK = ("node", "born", "sojourn", "moves", "placements", "measured", "sent", "received")
_PER_FLEET = ("arrived", "done", "refused", "lost", "left", "heartbeats", "requests", "held", "peak")


def joined(traces: Sequence[FleetTrace], fleets: Sequence[int]) -> FleetTrace:
    """One trace of several runs of one scenario, of each the first so many fleets, in a row."""
    firsts, total = accumulate(fleets, initial=0), sum(fleets)
    renumbered = [
        jnp.where(trace.fleet < count, trace.fleet + first, total)
        for trace, count, first in zip(traces, fleets, firsts, strict=False)
    ]
    rows = {name: [getattr(trace, name) for trace in traces] for name in _PER_JOB_OR_LINK}
    columns = {
        name: [getattr(trace, name)[..., :count] for trace, count in zip(traces, fleets, strict=True)]
        for name in _PER_FLEET
    }
    return FleetTrace(
        fleet=jnp.concatenate(renumbered),
        seconds=jnp.max(jnp.stack([trace.seconds for trace in traces])),
        **{name: jnp.concatenate(parts) for name, parts in rows.items()},
        **{name: jnp.concatenate(parts, axis=-1) for name, parts in columns.items()},
    )
