"""The resource gradient and the graph it is read along."""

from __future__ import annotations

import pytest

from shivya_daemon.core.errors import EncodeError
from shivya_daemon.core.gossip.resources import (
    Resource,
    ResourceGradient,
    Resources,
    decode_resources,
    encode_resources,
)
from shivya_daemon.core.gossip.topology import Topology

ME, A, B, C, D = (bytes((number,)) * 20 for number in range(5))
CAPACITY = (4000.0, 100.0, 1e6, 10.0)


def having(compute: float, capacity: float = 4000.0) -> Resources:
    return Resources((compute, 0.0, 0.0, 0.0), (capacity, 0.0, 0.0, 0.0))


def test_resources_survive_the_wire_to_a_65535th() -> None:
    shares = (0.1, 0.2, 1.0, 0.0)
    decoded = decode_resources(encode_resources(Resources(shares, CAPACITY)))
    assert decoded.free == pytest.approx(shares, abs=1 / 131_000)
    assert decoded.capacity == CAPACITY
    for bad in (
        Resources((1.01, 0, 0, 0)),
        Resources((float("nan"), 0, 0, 0)),
        Resources(capacity=(-1, 0, 0, 0)),
    ):
        with pytest.raises(EncodeError):
            encode_resources(bad)


def test_distance_and_age_do_not_touch_the_value() -> None:
    gradient = ResourceGradient(ME)
    gradient.hear(A, (1, 1), having(1.0), 10.0)
    near = gradient.reading(A, Resource.COMPUTE, {A: 1}, 12.0)
    far = gradient.reading(A, Resource.COMPUTE, {A: 20}, 12.0)
    assert near is not None and far is not None
    assert (near.free, near.age, near.hops) == (1.0, 2.0, 1)
    assert near.strength == pytest.approx(0.9)
    # An idle node far away is idle, not saturated.
    assert far.free == 1.0
    assert far.strength == pytest.approx(0.9**20)
    unreachable = gradient.reading(A, Resource.COMPUTE, {}, 12.0)
    assert unreachable is not None and unreachable.strength == 0.0
    assert gradient.reading(B, Resource.COMPUTE, {}, 12.0) is None


def test_version_decides_not_the_clock() -> None:
    gradient = ResourceGradient(ME)
    assert gradient.hear(A, (1, 5), having(0.5), 1e9)
    assert not gradient.hear(A, (1, 5), having(0.9), 2e9)
    assert not gradient.hear(A, (1, 4), having(0.9), 2e9)
    assert gradient.hear(A, (1, 6), having(0.6), 5.0)
    assert gradient.hear(A, (2, 1), having(0.7), 4.0)
    assert not gradient.hear(ME, (9, 9), having(1.0), 5.0)
    reading = gradient.reading(A, Resource.COMPUTE, {A: 1}, 6.0)
    assert reading is not None and reading.free == 0.7


def test_flow_goes_to_the_best_neighbour_above_us_or_nowhere() -> None:
    gradient = ResourceGradient(ME)
    gradient.own = having(0.5)
    gradient.hear(A, (1, 1), having(0.55), 0.0)
    assert gradient.flow_direction(Resource.COMPUTE, [A, B]) is None  # 0.55 * 0.9 is below 0.5
    gradient.hear(B, (1, 1), having(0.7), 0.0)
    gradient.hear(C, (1, 1), having(0.8), 0.0)
    gradient.hear(D, (1, 1), having(0.8), 0.0)
    assert gradient.flow_direction(Resource.COMPUTE, [A, B]) == B
    assert gradient.flow_direction(Resource.COMPUTE, [D, B, C]) == C
    gradient.forget(C)
    assert gradient.flow_direction(Resource.COMPUTE, [D, B, C]) == D


def test_offers_and_requests_are_measured_against_capacity() -> None:
    gradient = ResourceGradient(ME)
    gradient.own = having(0.5, capacity=4000.0)
    # 4000 units at 0.5 and 12000 at 0.1: 0.2 of the fleet is free, not the mean 0.3 of the shares.
    gradient.hear(A, (1, 1), having(0.1, capacity=12_000.0), 0.0)
    assert gradient.average(Resource.COMPUTE) == pytest.approx(0.2)
    assert gradient.should_offer(Resource.COMPUTE)
    assert not gradient.should_offer(Resource.COMPUTE, threshold=3.0)
    assert not gradient.should_request(Resource.COMPUTE, committed=1000.0, amount=1000.0)
    assert gradient.should_request(Resource.COMPUTE, committed=1000.0, amount=1001.0)
    assert gradient.should_request(Resource.STORAGE, committed=0.0, amount=1.0)
    assert not gradient.should_offer(Resource.STORAGE)


def test_hops_follow_links_that_both_ends_list() -> None:
    topology = Topology(ME)
    topology.put(ME, frozenset({A}))
    topology.put(A, frozenset({ME, B}))
    topology.put(B, frozenset({A, C}))
    topology.put(C, frozenset({ME, B, D}))  # claims to be next to us
    assert topology.hops(0.0) == {ME: 0, A: 1, B: 2, C: 3}
    assert topology.links(C) == {B}
    topology.put(D, frozenset({C}))
    assert D not in topology.hops(0.5)  # computed a moment ago
    assert topology.hops(1.0)[D] == 4
    topology.forget(B)
    assert topology.hops(2.0) == {ME: 0, A: 1}
