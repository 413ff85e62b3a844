"""Laws of load sharing that fleets can follow: what nodes advertise, where jobs go, what is handed over.

A law places each job that finds its node busy: `place(view, params)` returns the slot of a neighbour, or -1
to queue the job here. It sees one node's view and nothing else, and is vectorised over jobs inside. A job
that could start at once is never moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from shivya_kernels import flow


class LocalView(NamedTuple):
    """What one node knows when it places a job: its own state, and its neighbours' last heartbeats."""

    own: Float[Array, ""]
    """Expected time in system if the job is queued here, seconds."""
    ahead: Int[Array, ""]
    """Jobs that would be ahead of it, those in service not counted."""
    waiting: Int[Array, ""]
    """Jobs that wait here."""
    held: Int[Array, ""]
    """Jobs here, those in service included."""
    tail: Float[Array, ""]
    """Expected time in system of the last job here; 0 where there is none."""
    service_rate: Float[Array, ""]
    """Own rate as measured, all servers together, jobs/s."""
    chance: Float[Array, ""]
    """A uniform random number."""
    relayed: Bool[Array, ""]
    """Whether the job came from a neighbour."""

    live: Bool[Array, "D"]
    """Whether the slot leads to a neighbour that was heard from within its time to live."""
    potential: Float[Array, "D"]
    """W as advertised to this node, seconds."""
    slope: Float[Array, "D"]
    """Its rise per job sent there."""
    rate: Float[Array, "D"]
    """Service rate as advertised."""
    net_arrivals: Float[Array, "D"]
    """Rate of jobs that it keeps, as advertised."""
    queue: Float[Array, "D"]
    """Jobs that it holds."""
    out: Float[Array, "D"]
    """Jobs sent to it that it had not counted."""
    own_rate: Float[Array, "D"]
    """Rate of jobs sent to it from here."""
    age: Float[Array, "D"]
    """Age of its heartbeat, seconds."""
    hop: Float[Array, "D"]
    """Transfer time, seconds."""
    random: Float[Array, "D"]
    """Uniform random numbers."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Params:
    """The numbers of the laws; leaves may be arrays. Those of law W2 are the defaults."""

    gap: float | Float[Array, ""] = 0.05
    """Least gain worth a move beyond the hop, seconds."""
    slope_share: float | Float[Array, ""] = 1.0
    """Rise of W over which the advertised slope is taken, as a share of gap + the shortest hop."""
    own_sent: float | Float[Array, ""] = 1.0
    """Weight of jobs under way."""
    drift: float | Float[Array, ""] = 0.5
    """Trust in the forecast of a neighbour's potential; 0: none."""
    drift_fade: float | Float[Array, ""] = 0.4
    """Age at which it is not trusted at all, seconds."""
    drift_share: float | Float[Array, ""] = 0.5
    """Largest forecast fall over hop + gap; below 1."""
    drift_seconds: float | Float[Array, ""] = 1.0
    """Time constant of the measured rates of arrivals and of jobs sent."""
    kappa: float | Float[Array, ""] = 0.3
    """Share of the time a job has run that it is expected to run on; 0: no account of it."""
    prior_jobs: float | Float[Array, ""] = 10.0
    """Weight of the configured rate against the measured one, in jobs; very large: not measured."""
    rate_seconds: float | Float[Array, ""] = 3.0
    """Time constant of the measured service rate."""
    gain: float | Float[Array, ""] = 1.0
    """Of the balancing flow."""
    momentum: float | Float[Array, ""] = 0.5
    """Of second-order diffusion: beta - 1."""
    pull_wait: float | Float[Array, ""] = 0.06
    """Least known queue / rate of a neighbour that an idle node asks for a job, seconds."""
    hops: int | Int[Array, ""] = 8
    """Most moves of a job by placement."""


Place = Callable[[LocalView, Params], Int[Array, ""]]


@dataclass(frozen=True)
class Law:
    """How the nodes of a fleet behave. Hashable; an ablation is `dataclasses.replace(law, flow=...)`."""

    name: str
    place: Place
    potential: bool = False
    """Advertise the least waiting time within reach (min-plus), not just one's own."""
    slope: bool = False
    """Advertise by how much that rises per job (water-filling), not 1 / rate."""
    split: bool = False
    """Split horizon: show the next hop the potential without the way back through it."""
    order: bool = False
    """Queue by birth and hand over the middle job; else by arrival, handing over the last."""
    handover: Literal["none", "flow", "diffusion", "second_order", "global"] = "none"
    """Which flow of waiting jobs is computed at each heartbeat; `global` knows all true queues."""
    guard: bool = True
    """Hand over only what would gain by it."""
    pull: Literal["none", "guarded", "steal"] = "none"
    """Whether idle nodes ask for jobs, and whether the one asked minds its gain."""
    sight: Literal["heartbeats", "fresh", "omniscient"] = "heartbeats"
    """`fresh`: neighbours' true queues; `omniscient`: all true waits, jobs under way included, and `place` is
    not asked."""
    params: Params = field(default=Params(), hash=False, compare=False)
    """What it uses unless told otherwise."""


def keep(view: LocalView, params: Params) -> Int[Array, ""]:
    """Queue it here."""
    return jnp.full_like(view.ahead, -1)


def anywhere(view: LocalView, params: Params) -> Int[Array, ""]:
    """A random one of the neighbours and this node."""
    stay = view.chance * (view.live.sum(dtype=jnp.int32) + 1) < 1
    return _least(jnp.where(view.live, view.random, jnp.inf), jnp.where(stay, -1.0, 2.0))


def neighbour_cost(view: LocalView, params: Params) -> Float[Array, "D"]:
    """Expected time in system by way of each neighbour, jobs under way and gap included; inf: not live."""
    there = neighbour_view(view, params)
    return jnp.where(view.live, there + view.hop + params.gap, jnp.inf)


def drift_of(view: LocalView, params: Params) -> Float[Array, "D"]:
    """The forecast change of each neighbour's potential since its heartbeat."""
    drift: Array = flow.forecast(
        view.age,
        view.net_arrivals,
        view.own_rate,
        view.rate,
        view.hop + params.gap,
        params.drift,
        params.drift_fade,
        params.drift_share,
    )
    return drift


def neighbour_view(view: LocalView, params: Params) -> Float[Array, "D"]:
    """Each neighbour's potential as of now: priced for jobs under way, with its forecast change."""
    drift = drift_of(view, params)
    there: Array = flow.priced(view.potential, view.slope, view.out * params.own_sent, view.rate, drift)
    return there


def shortest(view: LocalView, params: Params) -> Int[Array, ""]:
    """Where the job is expected to be done first; ties go to this node, then to the lowest slot."""
    return _least(neighbour_cost(view, params), view.own)


def shortest_of(looks: int) -> Place:
    """The same among a few random neighbours (Mitzenmacher, "The power of two choices", 2001)."""

    def place(view: LocalView, params: Params) -> Int[Array, ""]:
        return shortest(view._replace(live=_some(view, looks)), params)

    return place


def shortest_queue_of(looks: int) -> Place:
    """The least queue over service rate, and a hop, among a few random neighbours and this node."""

    def place(view: LocalView, params: Params) -> Int[Array, ""]:
        there = jnp.where(_some(view, looks), (view.queue + 1) / view.rate + view.hop, jnp.inf)
        return _least(there, (view.held + 1) / view.service_rate)

    return place


def _some(view: LocalView, looks: int) -> Bool[Array, "D"]:
    """The live neighbours of the `looks` least random numbers."""
    drawn = jnp.where(view.live, view.random, jnp.inf)
    before = drawn[None, :] < drawn[:, None]
    return view.live & (before.sum(axis=1) < looks)


def _least(costs: Float[Array, "D"], own: Float[Array, ""]) -> Int[Array, ""]:
    best = jnp.argmin(costs).astype(jnp.int32)
    return jnp.where(costs[best] < own, best, jnp.int32(-1))


_PLAIN = Params(gap=0.0, drift=0.0, kappa=0.0, prior_jobs=1e9)
_ONE_HOP = replace(_PLAIN, hops=1)
_SHIVYA = Law(
    "shivya",
    shortest,
    potential=True,
    slope=True,
    split=True,
    order=True,
    handover="flow",
    pull="guarded",
)


def _laws() -> Mapping[str, Law]:
    measured = Params(gap=0.0, drift=0.7, own_sent=0.7)
    laws = (
        Law("none", keep, params=_PLAIN),
        Law("random", anywhere, params=_ONE_HOP),
        Law("jsq2", shortest_queue_of(2), sight="fresh", params=_ONE_HOP),
        Law("jsq2stale", shortest_queue_of(2), params=_ONE_HOP),
        Law("jsq6", shortest_queue_of(6), params=_PLAIN),
        Law("sed", shortest, params=_PLAIN),
        Law("sed2", shortest_of(2), params=_PLAIN),
        Law("sed6", shortest_of(6), params=_PLAIN),
        Law("sedF", shortest, params=measured),
        replace(
            _SHIVYA,
            name="sedAll",
            potential=False,
            slope=False,
            split=False,
            params=Params(gap=0.02, own_sent=0.5),
        ),
        Law("steal", keep, pull="steal", params=_PLAIN),
        Law("diffusion", keep, handover="diffusion", guard=False, params=_PLAIN),
        Law("second_order", keep, handover="second_order", guard=False, params=_PLAIN),
        Law("l2", keep, handover="global", guard=False, params=_PLAIN),
        _SHIVYA,
        Law("oracle", keep, sight="omniscient", params=_PLAIN),
    )
    return MappingProxyType({law.name: law for law in laws})


LAWS: Mapping[str, Law] = _laws()
"""Every law by name. `shivya` is law W2; `sed` is shortest expected delay over all neighbours, own-sent jobs
counted until acknowledged; `sedF` adds forecasts, `sedAll` everything of W2 but the potential and its slope.
`jsq2` looks at two neighbours' true queues, `jsq2stale` at what they last said, `jsq6` at six of those."""


def law_of(law: Law | str | Place) -> Law:
    """A law by itself, by name, or from its placement function. Raises ValueError for an unknown name."""
    if isinstance(law, Law):
        return law
    if isinstance(law, str):
        if law not in LAWS:
            raise ValueError(f"no law {law!r}; there are {', '.join(LAWS)}")
        return LAWS[law]
    return Law(getattr(law, "__name__", "custom"), law)
