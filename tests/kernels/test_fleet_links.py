"""Links that differ: how long a job is on its way, what nodes know of it, and who goes by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse.csgraph import shortest_path
from watching import SHIVYA, real

from shivya_kernels.fleet import LAWS, Law, LocalView, Params, Scenario, simulate, worlds
from shivya_kernels.fleet.fluid_feed import feed
from shivya_kernels.fleet.omniscience import omniscience

SMALL = Scenario(nodes=12, mean_degree=3.5, seconds=6.0, warm_up=0.0, hotspot=0.2)
RING = (*((i, (i + 1) % 6) for i in range(6)), (0, 3))


def away(view: LocalView, params: Params) -> np.ndarray:
    """To the first neighbour that was heard, always."""
    return view.live.argmax().astype(np.int32)


@pytest.mark.parametrize("hop", [0.005, 0.06, 0.4])
def test_a_job_is_on_its_way_for_as_long_as_its_link_takes(hop: float) -> None:
    """The second job finds node 0 busy, and goes to node 1 at 20 jobs/s."""
    scenario = Scenario(
        nodes=3, edges=((0, 1), (1, 2)), hops=(hop, 0.02), rates=(20.0,) * 3, shares=None,
        arrivals=((0, 0.3, 100.0), (0, 0.5, 1.0)), seconds=1.0, warm_up=0.0,
    )  # fmt: skip
    trace = simulate(worlds(scenario, [0]), Law("away", away, params=replace(SHIVYA.params, hops=1)))
    assert_allclose(np.asarray(trace.sojourn)[1], hop + 0.05, atol=1e-5)


@pytest.mark.parametrize("law", ["sed", "shivya", "oracle"])
@pytest.mark.parametrize("cut", [None, (2.0, 4.0)])
def test_links_that_are_told_one_by_one_and_are_alike_change_nothing(
    law: str, cut: tuple[float, float] | None
) -> None:
    """Rates are odd, as programs may round differently where two ways cost the same."""
    rates = (10.1, 19.7, 38.3, 11.9, 20.9, 43.1)
    whole = Scenario(nodes=6, edges=RING, rates=rates, shares=None, seconds=6.0, warm_up=0.0, hotspot=0.4)
    whole = replace(whole, partition=cut)
    told = replace(whole, hops=(whole.hop,) * len(RING))
    one, other = (simulate(worlds(scenario, [4]), law) for scenario in (whole, told))
    for name in ("sojourn", "moves", "sent", "requests", "heartbeats"):
        assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_job_that_cannot_cross_comes_back_over_the_same_link() -> None:
    """Cut for good: there and back take two hops, and then it waits where it came from."""
    scenario = Scenario(
        nodes=2, edges=((0, 1),), hops=(0.06,), rates=(20.0, 20.0), shares=None, partition=(0.45, 99.0),
        arrivals=((0, 0.3, 10.0), (0, 0.5, 1.0)), seconds=1.0, warm_up=0.0,
    )  # fmt: skip
    trace = simulate(worlds(scenario, [0]), Law("away", away, params=replace(SHIVYA.params, hops=1)))
    # It came back at .62, when the first was still in service until .8.
    assert_allclose(np.asarray(trace.sojourn)[1], 0.8 + 0.05 - 0.5, atol=1e-5)
    assert int(np.asarray(trace.moves)[1]) == 1


def test_both_ends_of_a_link_have_it_alike_in_any_company_and_as_wide_as_asked() -> None:
    scenario = replace(SMALL, nodes=40, hop_spread=4.0)
    both, alone = worlds(scenario, [3, 8]), worlds(scenario, [8])
    for world in (both, alone):
        back, linked = world.hop.reshape(-1)[world.back].reshape(world.hop.shape), world.linked
        steps = world.hop[linked] / scenario.step
        assert_array_equal(back[linked], world.hop[linked])
        assert_allclose(steps, np.rint(steps), rtol=1e-5)
        assert steps.min() > 0.99 and steps.max() < 16.01 and world.shape.longest == 16
    second = both.linked & (both.fleet == 1)[:, None]
    assert sorted(both.hop[second]) == sorted(alone.hop[alone.linked])
    spread = np.log(alone.hop[alone.linked] / scenario.hop) / np.log(4.0)
    assert abs(spread.mean()) < 0.2 and 0.4 < spread.std() < 0.75
    assert not worlds(replace(scenario, hop_spread=1.0), [8]).shape.unlike


def test_the_oracle_goes_by_the_shortest_times_and_not_by_the_fewest_links() -> None:
    scenario = Scenario(
        nodes=4, edges=((0, 1), (0, 2), (1, 2), (2, 3)), hops=(0.3, 0.05, 0.05, 0.1),
        rates=(10.0,) * 4, shares=None,
    )  # fmt: skip
    world = worlds(scenario, [1])
    sees = omniscience(world, LAWS["oracle"])
    at = np.asarray(real(world))
    at = at[np.argsort(world.name[at])]
    direct = np.zeros((4, 4))
    for (a, b), hop in zip(scenario.edges or (), scenario.hops or (), strict=True):
        direct[a, b] = hop
    assert_allclose(sees.distance[0, at], shortest_path(direct, directed=False), rtol=1e-6)
    first = world.neighbour[at[0], sees.route[0, at[0], 1]]
    assert world.name[first] == 2


def test_nodes_prefer_the_near_one_of_two_neighbours() -> None:
    scenario = Scenario(
        nodes=3, edges=((0, 1), (0, 2)), hops=(0.2, 0.02), rates=(10.0,) * 3, shares=None,
        arrivals=tuple((0, 0.5 + 0.1 * k, 2.0) for k in range(8)), seconds=4.0, warm_up=0.0,
    )  # fmt: skip
    trace = simulate(worlds(scenario, [0]), "sed")
    moved = np.asarray(trace.moves) > 0
    sojourn = np.asarray(trace.sojourn)[moved]
    near, far = (np.isclose(sojourn, hop + 0.2, atol=1e-5).sum() for hop in (0.02, 0.2))
    assert near > 2 * far


@pytest.mark.parametrize("law", ["shivya", "sedAll", "oracle"])
@pytest.mark.parametrize("changes", [{}, {"partition": (2.0, 4.0)}, {"change": 0.03}, {"loss": 0.3}])
def test_no_job_is_lost_between_unlike_links(law: str, changes: dict[str, object]) -> None:
    world = worlds(replace(SMALL, hop_spread=5.0, **changes), [1, 2])  # type: ignore[arg-type]
    trace = simulate(world, law)
    assert_array_equal(trace.done, trace.arrived)
    assert_array_equal(trace.sent, trace.received)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hop_spread": 0.5}, "hop_spread must be 1 or more"),
        ({"hop_spread": float("nan")}, "hop_spread must be 1 or more"),
        ({"hop_spread": 501.0}, "keep every link within 10 s"),
        ({"hop": 10.005}, "keep every link within 10 s"),
        ({"edges": ((0, 1),), "hops": (11.0,)}, "keep every link within 10 s"),
        ({"hops": (0.02,)}, "one entry for each of edges"),
        ({"edges": ((0, 1), (1, 2)), "hops": (0.02,)}, "one entry for each of edges"),
        ({"edges": ((0, 1),), "hops": (0.02,), "hop_spread": 2.0}, "no room for hop_spread"),
        ({"edges": ((0, 1),), "hops": (0.0,)}, "hops must be positive"),
        ({"edges": ((0, 1),), "hops": (float("inf"),)}, "hops must be positive"),
    ],
)
def test_transfer_times_that_no_link_has_are_rejected(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Scenario(nodes=12, **changes)  # type: ignore[arg-type]


def test_the_fluid_takes_links_for_typical_ones() -> None:
    edges, hops = ((0, 1), (1, 2), (0, 2)), (0.1, 0.02, 0.05)
    scenario = Scenario(
        nodes=3, edges=edges, hops=hops, rates=(10.0,) * 3, shares=None, seconds=2.0, warm_up=0.0
    )
    assert feed(worlds(scenario, [0])).hop == pytest.approx(0.05)
    assert feed(worlds(replace(SMALL, hop_spread=3.0), [0])).hop == pytest.approx(SMALL.hop)
