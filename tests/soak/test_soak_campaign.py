"""Long campaigns: a thousand seeds on the open wire, a hundred on the secure one."""

from __future__ import annotations

from typing import Literal

import pytest

from shivya_daemon.net.campaign import attempt, draw, minimise

pytestmark = pytest.mark.soak


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("wire", "first"),
    [("open", first) for first in range(0, 1000, 10)] + [("secure", first) for first in range(0, 100, 10)],
)
def test_meshes_are_whole_again(wire: Literal["open", "secure"], first: int) -> None:
    for seed in range(first, first + 10):
        plan = draw(seed, wire=wire)
        problems = attempt(plan)
        assert not problems, "\n".join([f"seed {seed}", *problems, *map(str, minimise(plan).faults)])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(20))
def test_larger_meshes_under_more_faults(seed: int) -> None:
    plan = draw(seed, nodes=30, count=24, seconds=120.0, wire="secure")
    problems = attempt(plan)
    assert not problems, "\n".join([*problems, *map(str, plan.faults)])
