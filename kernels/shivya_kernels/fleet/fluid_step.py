"""One time step of a fluid fleet: what arrives and lands is placed, what waits is handed over or served.

Jobs and their work are real numbers that move together, and carry the time that they have spent. A step is
seen from its middle. Moves by placement have no cap: there are no single jobs to count them of.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from shivya_kernels import flow
from shivya_kernels.fleet import fluid_law as law
from shivya_kernels.fleet import fluid_state as st
from shivya_kernels.fleet import views
from shivya_kernels.fleet.fluid_feed import Feed
from shivya_kernels.fleet.fluid_state import JOBS, SPENT, WORK, Fluid, Heard, Record
from shivya_kernels.fleet.handover import SMALLEST_VICTIM
from shivya_kernels.fleet.laws import Params
from shivya_kernels.fleet.scenario import MICROSECONDS

_ASKING_SECONDS = 0.1
"""From one request of an idle node over its answer to the next."""
_PARTLY_DONE = 0.2
"""Jobs left of those in service where half of them are seen as whole ones: a job counts until it is done."""
_IDLE_WIDTH = 0.25
"""Jobs within which a server turns from idle to busy."""
_QUEUE_WIDTH = 0.5
"""Jobs within which a queue becomes long enough to be asked."""


class Here(NamedTuple):
    """What nodes know of themselves; see ``views.Here``."""

    held: Float[Array, "M"]
    waiting: Float[Array, "M"]
    full: Float[Array, "M"]
    """1 where no server is free."""
    residual: Float[Array, "M"]
    """Expected time until one of busy servers is free."""
    rate: Float[Array, "M"]
    slots: Int32[Array, "M"]

    @property
    def own(self) -> Float[Array, "M"]:
        """Expected time in system of a job that would be the last."""
        return self.full * self.residual + (self.waiting + self.slots) / self.rate

    @property
    def tail(self) -> Float[Array, "M"]:
        """That of the last job here."""
        return jnp.maximum(self.own - 1 / self.rate, 0)


def advance(
    fed: Feed,
    params: Params,
    width: Float[Array, ""],
    now: Fluid,
    step: Int32[Array, ""],
    arriving: Float[Array, "2 M"],
) -> tuple[Fluid, Record]:
    """One time step in which `arriving` jobs and work come.

    Parameters are per place [M]; choices are smooth within `width` seconds.
    """
    per_link = jax.tree.map(lambda x: x[:, None], params)
    world, dt, hop, slots = fed.world, fed.seconds, fed.hop, fed.world.servers
    kind = now.jobs.dtype
    time = ((step.astype(kind) + 0.5) * dt * MICROSECONDS).astype(jnp.int32)
    up = jnp.ones(world.shape.places, bool)
    if world.shape.crash:
        up = ~views.within(world.down, time)
    speed = world.rate
    if world.shape.slow:
        speed = speed / jnp.where(views.within(world.slow, time), world.factor, 1)
    capacity = jnp.where(up, speed * dt, 0)
    if world.shape.servers > 1:
        capacity = capacity * jnp.where(slots > 1, jnp.minimum(now.jobs / slots, 1), 1)

    heard = _hear(fed, now.heard, step, time, up)
    landing, bounced = _land(fed, now, time)
    came = landing.sum(axis=1) + now.returned
    lost = jnp.where(up, 0, came[:, JOBS])
    came = jnp.where(up[:, None], came, 0)
    fresh, fresh_work = jnp.where(up, arriving, 0)
    inflow, inwork = fresh + came[:, JOBS], fresh_work + came[:, WORK]

    me = _here(fed, params, now, now.jobs * law.share_within(now.work, capacity) / 2)
    live, drift = _sight(fed, per_link, now, heard, step)
    table = heard.table

    def there(sent: Array, drift: Array) -> Array:
        out = (sent - table[:, :, st.COUNTED]) * per_link.own_sent
        seen: Array = flow.priced(
            table[:, :, st.POTENTIAL], table[:, :, st.SLOPE], out, table[:, :, st.RATE], drift
        )
        return seen

    # What finds a server idle starts there; the rest is placed where it costs least.
    idle = law.hinge(slots - me.held, _IDLE_WIDTH)
    starts = law.share_within(inflow, idle)
    placed = inflow * (1 - starts)
    busier = me._replace(full=jnp.maximum(me.full, jnp.minimum(inflow * starts / slots, 1)))
    dearer = table[:, :, st.SLOPE] * per_link.own_sent
    ways = there(now.sent, drift) + hop + per_link.gap
    stays, goes = law.fill(busier.own, me.rate, ways, dearer, live, placed, width)
    part, goes = starts + (1 - starts) * stays, (1 - starts)[:, None] * goes
    going = inflow[:, None] * goes
    sent = now.sent + going

    # What waits is handed over along the flow, and to idle nodes that ask.
    before = jnp.minimum(me.waiting, now.jobs)
    wanted = _outflow(fed, now, heard, me, live, sent, time) * per_link.gain / fed.turns
    wanted = jnp.where(live & up[:, None], wanted, 0)
    ways = there(sent, jnp.maximum(drift, -per_link.drift_share * hop)) + hop
    handed = law.hand_over(wanted, me.tail, me.rate, ways, dearer, before, width)
    asked = jnp.where(up[:, None], _asked(fed, per_link, table, live, me, jnp.where(up, idle, 0), width), 0)
    left = before - handed.sum(axis=1)
    handed = handed + asked * law.share_within(asked.sum(axis=1), left)[:, None]
    gone = handed.sum(axis=1)
    sent = sent + handed

    jobs = jnp.maximum(now.jobs - gone + inflow * part, 0)
    per_job = now.work / (now.jobs + law.TINY)
    work = jnp.maximum(now.work - gone * per_job + inwork * part, 0)
    share = law.share_within(work, capacity)
    served = share * jobs
    ahead = jnp.maximum(now.work - capacity / 2, 0)
    # Of what comes in one step, a job has the half of the others ahead of it.
    others = inwork * part * (1 - 1 / jnp.maximum(inflow, 1)) / 2

    moving = jnp.stack(
        [
            going + handed,
            inwork[:, None] * goes + handed * per_job[:, None],
            came[:, SPENT, None] * goes + going * hop + handed * (ahead / speed / 2 + hop)[:, None],
        ],
        axis=2,
    )
    whole, late = st.flight_steps(fed)
    flight = jnp.concatenate([now.flight[1:], jnp.zeros_like(now.flight[:1])])
    flight = flight.at[whole - 1].add((1 - late) * moving).at[whole].add(late * moving)

    forget = jnp.exp(-dt / params.rate_seconds)
    fade = jnp.exp(-dt / params.drift_seconds)
    link_fade = fade[:, None]
    after = Fluid(
        jobs=jobs * (1 - share),
        work=work * (1 - share),
        flight=flight,
        returned=bounced.sum(axis=1),
        sent=sent - bounced[:, :, JOBS],
        received=now.received + landing[:, :, JOBS],
        pace=now.pace * link_fade + (going + handed) * (1 - link_fade) / dt,
        net=now.net * fade + (inflow * part - gone) * (1 - fade) / dt,
        finished=now.finished * forget + served,
        busy=now.busy * forget + share * work / speed,
        running=(now.running + dt) * jnp.exp(-served / slots) * jobs / (jobs + _PARTLY_DONE),
        heard=heard,
    )
    heard = _publish(fed, params, width, after, live, there(after.sent, drift) + hop + per_link.gap)
    record = Record(
        wait=(ahead + others) / speed,
        fresh=fresh * part,
        moved=came[:, JOBS] * part,
        spent=came[:, SPENT] * part,
        handed=gone,
        sent=(going + handed).sum(axis=1),
        done=served,
        refused=arriving[0] - fresh,
        lost=lost,
    )
    return after._replace(heard=heard), record


def _here(fed: Feed, params: Params, now: Fluid, served: Float[Array, "M"] | float) -> Here:
    """The own state of nodes after `served` jobs of those here."""
    slots = fed.world.servers
    held = now.jobs * (1 + slots / 2 / (now.jobs + slots * _PARTLY_DONE)) - served
    rate = flow.measured_rate(now.finished, now.busy, fed.world.nominal, params.prior_jobs)
    residual = flow.residual_time(now.running, rate / slots, params.kappa) / slots
    full = jnp.clip(held - slots + 1, 0, 1)
    return Here(held, jnp.maximum(held - slots, 0), full, residual, rate, slots)


def _sight(
    fed: Feed, params: Params, now: Fluid, heard: Heard, step: Int32[Array, ""]
) -> tuple[Bool[Array, "M D"], Float[Array, "M D"]]:
    """Which neighbours are heard, and how their potentials are forecast to have changed."""
    world, table = fed.world, heard.table
    age = (step.astype(heard.stamp.dtype) + 0.5 - heard.stamp) * fed.seconds
    live = world.linked & (age <= world.expiry * (world.shape.step / MICROSECONDS))
    drift = flow.forecast(
        jnp.where(live, age, 0),
        table[:, :, st.NET],
        now.pace,
        table[:, :, st.RATE],
        jnp.full_like(age, fed.hop) + params.gap,
        params.drift,
        params.drift_fade,
        params.drift_share,
    )
    return live, drift


def _hear(
    fed: Feed, heard: Heard, step: Int32[Array, ""], time: Int32[Array, ""], up: Bool[Array, "M"]
) -> Heard:
    """Put down the heartbeats that count from this step on."""
    world, shape = fed.world, fed.world.shape
    left = step - fed.lag
    arrives = world.linked & (left >= 1) & (left % fed.turns == fed.turn[world.neighbour])
    if shape.loss:
        slot = jnp.arange(shape.degree, dtype=jnp.int32)
        drawn = views.uniform(world.key[:, None], left // fed.turns, slot)
        arrives &= drawn >= world.loss
    if shape.crash:
        gone = views.within(world.down, time - round(fed.lag * fed.seconds * MICROSECONDS))
        arrives &= up[:, None] & ~gone[world.neighbour]
    if shape.cut:
        arrives &= ~(_divided(fed) & views.within(world.cut, time))
    table = jnp.where(arrives[:, :, None], st.across(world, heard.published[fed.lag]), heard.table)
    return heard._replace(table=table, stamp=jnp.where(arrives, left.astype(heard.stamp.dtype), heard.stamp))


def _divided(fed: Feed) -> Bool[Array, "M D"]:
    """Links from one side of the cut to the other."""
    side = fed.world.side
    divided: Array = side[:, None] != side[fed.world.neighbour]
    return divided


def _land(
    fed: Feed, now: Fluid, time: Int32[Array, ""]
) -> tuple[Float[Array, "M D 3"], Float[Array, "M D 3"]]:
    """What lands at each place by its links, and what will come back to it from a cut."""
    flight = now.flight[0]
    bounced = jnp.zeros_like(flight)
    if fed.world.shape.cut:
        stopped = (_divided(fed) & views.within(fed.world.cut, time))[:, :, None]
        bounced = jnp.where(stopped, flight, 0)
        bounced = bounced.at[:, :, SPENT].add(bounced[:, :, JOBS] * fed.hop)
        flight = jnp.where(stopped, 0, flight)
    return st.across(fed.world, flight), bounced


def _outflow(
    fed: Feed,
    now: Fluid,
    heard: Heard,
    me: Here,
    live: Bool[Array, "M D"],
    sent: Float[Array, "M D"],
    time: Int32[Array, ""],
) -> Float[Array, "M D"]:
    """The least-squares flow that levels the waiting of all within two hops, jobs per heartbeat period."""
    world, table = fed.world, heard.table
    direct = jnp.where(live, table[:, :, st.QUEUE] + sent - table[:, :, st.COUNTED], 0)
    rates = jnp.where(live, table[:, :, st.RATE], 0)
    told = heard.relayed[fed.lag].reshape(-1, 2)[world.source]
    told = jnp.where(jnp.take_along_axis(live, world.through, axis=1)[:, :, None], told, 0)
    load = jnp.concatenate([me.held[:, None], direct, told[:, :, 0]], axis=1)
    rate = jnp.concatenate([me.rate[:, None], rates, told[:, :, 1]], axis=1)
    operator, known = world.operator[0], world.known[0]
    if world.shape.crash or world.shape.cut:
        broken = views.within(world.broken, time // world.shape.step)
        operator, known = (jnp.where(broken, x[1], x[0]) for x in (world.operator, world.known))
    load, rate = jnp.where(known, load, 0), jnp.where(known, rate, 0)
    level = load.sum(axis=1) / jnp.maximum(rate.sum(axis=1), law.TINY)
    outflow: Array = jnp.einsum("mdr,mr->md", operator, load - rate * level[:, None])
    return outflow


def _asked(
    fed: Feed,
    params: Params,
    table: Float[Array, "M D 6"],
    live: Bool[Array, "M D"],
    me: Here,
    idle: Float[Array, "M"],
    width: Float[Array, ""],
) -> Float[Array, "M D"]:
    """Jobs that idle neighbours ask of each place and that gain by it."""
    wait = table[:, :, st.QUEUE] / table[:, :, st.RATE]
    worth = law.step_up(wait - params.pull_wait, width)
    worth = worth * law.step_up(table[:, :, st.QUEUE] - SMALLEST_VICTIM, _QUEUE_WIDTH)
    worth = jnp.where(live, worth, 0)
    best = jnp.max(jnp.where(live, wait, -jnp.inf), axis=1, initial=0)
    weight = jnp.where(live, worth * jnp.exp(-(best[:, None] - wait) / width), 0)
    shares = worth * weight / (weight.sum(axis=1) + law.TINY)[:, None]
    alone = jnp.broadcast_to((me.slots / me.rate)[:, None], wait.shape)
    asking = jnp.stack([(idle * fed.seconds / _ASKING_SECONDS)[:, None] * shares, alone], axis=2)
    asked = st.across(fed.world, asking)
    gain = me.tail[:, None] - asked[:, :, 1] - fed.hop - params.gap
    return asked[:, :, 0] * jnp.where(asked[:, :, 0] > 0, law.step_up(gain, width), 0)


def _publish(
    fed: Feed,
    params: Params,
    width: Float[Array, ""],
    after: Fluid,
    live: Bool[Array, "M D"],
    ways: Float[Array, "M D"],
) -> Heard:
    """What nodes would say at the end of the step."""
    heard, me = after.heard, _here(fed, params, after, 0.0)
    spare = jnp.maximum(me.slots - me.held - 1, 0)
    slopes = heard.table[:, :, st.SLOPE]
    window = jnp.asarray(params.slope_share * (params.gap + fed.hop))
    said = law.advertise(me.own, me.rate, spare, ways, slopes, live, window, width)
    of_all = (jnp.broadcast_to(x[:, None], live.shape) for x in (me.rate, after.net, me.held))
    news = jnp.stack([said.potential, said.slope, after.received, *of_all], axis=2)
    told = heard.table[:, :, st.QUEUE], heard.table[:, :, st.RATE]
    return heard._replace(
        published=jnp.concatenate([news[None], heard.published[:-1]]),
        relayed=jnp.concatenate([jnp.stack(told, axis=2)[None], heard.relayed[:-1]]),
    )
