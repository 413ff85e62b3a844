"""The rivals do what their papers say: one step of each on queues that stand still, worked out by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from watching import between_nodes, handed_over, watched

from shivya_kernels.fleet import LAWS, Scenario, World, simulate, worlds
from shivya_kernels.fleet.omniscience import omniscience
from shivya_kernels.fleet.state import State

# A triangle and a fourth node at its first corner.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3))
SHARES = (1 / 4, 1 / 4, 1 / 3, 1 / 4)
"""1 / (1 + the larger degree): what goes over each link per difference."""
LOADS = (24, 12, 0, 12)
EQUAL, UNEQUAL = (10.0,) * 4, (10.0, 20.0, 10.0, 20.0)


def standing(
    loads: tuple[int, ...], rates: tuple[float, ...], edges: tuple[tuple[int, int], ...]
) -> tuple[World, State, int]:
    """Queues of which nobody is served, when everyone has heard of them; and the next step."""
    jobs = tuple((node, 0.0, 1e3) for node, count in enumerate(loads) for _ in range(count))
    scenario = Scenario(
        nodes=len(loads), edges=edges, rates=rates, shares=None, arrivals=jobs, seconds=1.0, warm_up=0.0
    )
    world = worlds(scenario, [0])
    ((step, now),) = watched(world, LAWS["none"], stops=1, stride=60)
    return world, now, step + 1


@pytest.mark.parametrize("rates", [EQUAL, UNEQUAL])
def test_diffusion_takes_one_step_of_the_first_order_scheme(rates: tuple[float, ...]) -> None:
    """w' = M w (Cybenko 1989), M_ik = 1 / (1 + larger degree); of waits, times the slower rate."""
    loads = tuple(int(w * r / 10) for w, r in zip(LOADS, rates, strict=True))
    world, now, step = standing(loads, rates, EDGES)
    sent = between_nodes(world, handed_over(world, LAWS["diffusion"], now, step))
    # 24 and 12 quarters or thirds of the differences, at 10 jobs/s, the slower rate of every link.
    expected = np.zeros((4, 4))
    expected[0, 1], expected[0, 2], expected[1, 2], expected[0, 3] = 3, 6, 4, 3
    assert_array_equal(sent, expected)
    if rates == EQUAL:
        matrix = np.eye(4)
        for (i, k), share in zip(EDGES, SHARES, strict=True):
            matrix[[i, k], [i, k]] -= share
            matrix[[i, k], [k, i]] += share
        after = np.array(loads) - sent.sum(axis=1) + sent.sum(axis=0)
        assert_allclose(after, matrix @ loads)
        assert_array_equal(after, [12, 11, 10, 15])


def test_the_second_order_scheme_goes_on_with_part_of_the_last_flow() -> None:
    """w'' = beta M w' + (1 - beta) w (Muthukrishnan, Ghosh and Schultz 1998) with beta = 1.5."""
    world, now, step = standing(LOADS, EQUAL, EDGES)
    before = {(0, 1): 1.0, (0, 2): -2.0, (1, 2): 2.0, (0, 3): -11.0}
    table = np.zeros(world.neighbour.shape, np.float32)
    for place, slot in zip(*np.nonzero(world.linked), strict=True):
        i, k = int(world.name[place]), int(world.name[world.neighbour[place, slot]])
        table[place, slot] = before.get((i, k), -before.get((k, i), 0.0))
    now = now._replace(previous=jnp.asarray(table))
    sent = between_nodes(world, handed_over(world, LAWS["second_order"], now, step))
    # Half of the last flow and 1.5 times 3, 6, 4 and 3: 5, 8, 7 and -1.
    expected = np.zeros((4, 4))
    expected[0, 1], expected[0, 2], expected[1, 2], expected[3, 0] = 5, 8, 7, 1
    assert_array_equal(sent, expected)
    earlier = np.array([24 + 1 - 2 - 11, 12 - 1 + 2, 0 + 2 - 2, 12 + 11])
    first_order = np.array([12, 11, 10, 15])
    after = np.array(LOADS) - sent.sum(axis=1) + sent.sum(axis=0)
    assert_array_equal(after, 1.5 * first_order - 0.5 * earlier)


def test_the_global_solve_is_the_least_squares_flow_that_levels_all_waits() -> None:
    """Of all flows that leave queues in proportion to rates the shortest, by numpy's `lstsq`."""
    edges = (*EDGES, (3, 4), (4, 5), (5, 1))
    loads, rates = (31, 4, 0, 12, 0, 7), (10.0, 20.0, 40.0, 10.0, 20.0, 10.0)
    world, now, step = standing(loads, rates, edges)
    surplus = np.array(loads) - np.array(rates) * sum(loads) / sum(rates)
    outward = np.zeros((6, len(edges)))
    for e, (i, k) in enumerate(edges):
        outward[i, e], outward[k, e] = 1, -1
    solved = np.linalg.lstsq(outward, surplus)[0]
    flow = np.zeros((6, 6))
    for (i, k), f in zip(edges, solved, strict=True):
        flow[i, k], flow[k, i] = f, -f
    operator = np.asarray(omniscience(world, LAWS["l2"]).operator[0])
    assert_allclose(between_nodes(world, operator @ surplus), flow, atol=1e-5)
    assert_allclose(flow.sum(axis=1), surplus)
    sent = between_nodes(world, handed_over(world, LAWS["l2"], now, step))
    wanted = np.maximum(flow, 0)
    room = np.maximum(np.array(loads) - 1, 0)
    wanted *= np.minimum(room / np.maximum(wanted.sum(axis=1), 1e-9), 1)[:, None]
    assert (np.abs(sent - wanted) < 1).all()
    assert sent.sum() > 10


def test_who_steals_takes_the_last_job_of_a_queue_and_one_at_a_time() -> None:
    """Four jobs of a second at one node; the other asks when it has heard, and again when it is idle."""
    scenario = Scenario(
        nodes=2, edges=((0, 1),), rates=(10.0, 10.0), shares=None, arrivals=((1, 0.0, 10.0),) * 4,
        seconds=1.0, warm_up=0.0, drain=5.0,
    )  # fmt: skip
    world = worlds(scenario, [0])
    trace = simulate(world, "steal")
    (victim,) = np.nonzero((world.name == 1) & (world.fleet == 0))[0]
    first = int(victim) // world.shape.rows or world.shape.phases
    heard = first + 2
    asked = heard + heard % 2  # it looks every 10 ms, a step being 5
    taken = (asked + 2 + 4) * 0.005  # a request's latency and a job's hop
    again = taken + 1.0 + (2 + 4) * 0.005
    assert_array_equal(trace.moves[:4], [0, 0, 1, 1])
    assert_array_equal(trace.placements[:4], 0)
    assert_allclose(trace.sojourn[:4], [1.0, 2.0, again + 1.0, taken + 1.0], atol=1e-5)


def test_fresh_looks_see_true_queues_and_stale_ones_what_was_said() -> None:
    """A heap that came after the last heartbeat that counts drives off only those who see it."""
    frozen = 1e3
    jobs = [(0, 0.0, frozen)] * 3 + [(2, 0.0, frozen)] + [(1, 1.5, frozen)] * 4 + [(0, 1.6, frozen)]
    scenario = Scenario(
        nodes=3, edges=((0, 1), (0, 2)), rates=(10.0,) * 3, shares=None, arrivals=tuple(jobs), seconds=1.8,
        warm_up=0.0, drain=0.2, extra_age=0.5,
    )  # fmt: skip
    world = worlds(scenario, [0])
    for name, there in (("jsq2", 2), ("jsq2stale", 1)):
        trace = simulate(world, name)
        sent = between_nodes(world, np.asarray(trace.sent).reshape(world.neighbour.shape))
        expected = np.zeros((3, 3))
        expected[0, there] = 1
        assert_array_equal(sent, expected)
        late = (np.asarray(trace.fleet) == 0) & (np.asarray(trace.born) > 1.55)
        assert_array_equal(np.asarray(trace.moves)[late], [1])


def test_a_step_of_no_scheme_moves_what_is_level() -> None:
    """Equal waits stay as they are under every law that hands over."""
    world, now, step = standing((12, 24, 12, 24), UNEQUAL, EDGES)
    now = now._replace(previous=jnp.zeros(world.neighbour.shape, jnp.float32))
    for name in ("diffusion", "second_order", "l2"):
        assert handed_over(world, LAWS[name], now, step).sum() == 0
