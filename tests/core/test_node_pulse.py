"""When a node sends a heartbeat: at once if it has news, else seldom, and never in a flood."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from shivya_daemon.core.heartbeat import Heartbeat
from shivya_daemon.core.node import LocalLoad, NodeSettings, Told


def waits(stage: Any, wait: float, name: str = "a") -> LocalLoad:
    return LocalLoad(services=(replace(stage.load(name), waiting=wait),))


def beats_of(stage: Any, number: int = 1) -> list[Heartbeat]:
    return [payload for payload in stage.heard(number) if isinstance(payload, Heartbeat)]


def quiet_stage(stage: Any) -> Any:
    stage = stage.again(NodeSettings(heartbeat_silence=0.3))
    stage.link(1)
    stage.node.publish(waits(stage, 0.5), stage.now)
    stage.wait(0.4)
    stage.node.datagrams()
    return stage


def test_while_nothing_changes_heartbeats_are_few_and_no_silence_is_long(stage: Any) -> None:
    stage = quiet_stage(stage)
    times = []
    for tick in range(1000):  # a publication about every tenth of a second, and waits that hardly move
        if tick % 10 == 0:
            stage.node.publish(waits(stage, 0.5 + 0.07 * (tick % 20 == 0)), stage.now)
            stage.beat(1, tick + 1)
        times += [stage.now] * len(beats_of(stage))
        stage.wait(0.0101)
        times += [stage.now] * len(beats_of(stage))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) <= 0.3 + 0.025 + 0.0101 * 2
    assert 30 <= len(times) <= 40


def test_a_wait_that_moved_is_told_at_once_but_not_in_a_flood(stage: Any) -> None:
    stage = quiet_stage(stage)
    stage.wait(0.1)
    stage.node.datagrams()
    stage.now += 0.06
    stage.node.publish(waits(stage, 0.63), stage.now)
    assert [beat.services[0].waiting for beat in beats_of(stage)] == [pytest.approx(0.63)]
    stage.now += 0.01
    stage.node.publish(waits(stage, 0.76), stage.now)
    assert beats_of(stage) == []
    stage.node.publish(waits(stage, 0.8), stage.now)
    stage.wait(0.041)
    assert [beat.services[0].waiting for beat in beats_of(stage)] == [pytest.approx(0.8)], "the latest"
    count = 0
    for step in range(100):
        stage.now += 0.01
        stage.node.publish(waits(stage, step % 2), stage.now)
        stage.node.handle_timer(stage.now)
        count += len(beats_of(stage))
    assert 15 <= count <= 21


@pytest.mark.parametrize(
    ("potential", "slope", "told"), [(0.02, 0.0, 0), (0.02, 0.011, 1), (-0.05, 0.019, 1)]
)
def test_what_a_neighbour_reckons_with_is_told_at_once(
    stage: Any, potential: float, slope: float, told: int
) -> None:
    stage = quiet_stage(stage)
    stage.now += 0.06
    before = waits(stage, 0.5)
    stage.node.publish(before, stage.now)
    beats_of(stage)
    stage.now += 0.06
    load = before.services[0]
    moved = replace(load, potential=load.potential + potential, slope=load.slope + slope)
    stage.node.publish(replace(before, services=(moved,)), stage.now)
    assert len(beats_of(stage)) == told


@pytest.mark.parametrize(
    ("told", "waiting", "doubt"),
    [
        (Told(0.05, 0.1), 0.07, False),  # hardly moved
        (Told(0.05, 0.1), 0.1, True),  # below the price: that may have moved as well
        (Told(0.5, 0.1), 0.6, False),  # far above: a neighbour sets the price
        (Told(0.5, 0.1), 0.63, True),  # far above, and far off
        (Told(0.15, 0.1), 0.09, True),  # has come down below it
    ],
)
def test_a_wait_that_moves_is_in_doubt_where_it_may_matter(told: Told, waiting: float, doubt: bool) -> None:
    assert told.in_doubt(waiting, 0.03) is doubt


def test_small_changes_add_up_and_a_new_service_or_neighbour_is_news(stage: Any) -> None:
    stage = quiet_stage(stage)
    stage.now += 0.06
    stage.node.publish(waits(stage, 0.5), stage.now)
    beats_of(stage)
    sent = []
    for step in range(1, 4):
        stage.now += 0.03
        stage.node.publish(waits(stage, 0.5 + 0.045 * step), stage.now)
        sent.append(len(beats_of(stage)))
    assert sent == [0, 0, 1]
    stage.now += 0.06
    stage.node.publish(waits(stage, 0.59, "b"), stage.now)
    assert len(beats_of(stage)) == 1
    stage.link(2)
    stage.now += 0.06
    stage.node.publish(waits(stage, 0.59, "b"), stage.now)
    assert len(beats_of(stage, 2)) == 1
