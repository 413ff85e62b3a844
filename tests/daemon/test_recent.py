"""The last minute of known nodes: jobs counted from fading rates, restarts, silence, bounds."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from shivya_daemon import recent
from shivya_daemon.rates import Arrivals
from shivya_daemon.recent import MAX_NODES, SPAN, Past, Recent
from shivya_daemon.world import Vertex, World

OWN, B, FAR = (bytes([i]) * 20 for i in (5, 2, 9))


def world(*others: Vertex, rate: float = 4.0, queue: int = 2) -> World:
    return World("default", (Vertex(OWN, queue, 1, 10.0, rate, 0.0), *others), (), 1.0)


def direct(rate: float, age: float = 0.0, node: bytes = B, queue: int = 1) -> Vertex:
    return Vertex(node, queue, 1, 20.0, rate, age, direct=True)


def test_jobs_are_counted_from_rates_that_fade() -> None:
    """Against the jobs themselves: bursts and calm, heard a tenth of a second late, at uneven times."""
    jobs, past = watched(seconds=100)
    assert past is not None and len(past.counts) == SPAN and 59 < past.seconds < 61.5
    actual = [sum(99.9 - s - 1 < t <= 99.9 - s for t in jobs) for s in reversed(range(SPAN))]
    assert sum(past.counts) == pytest.approx(sum(actual), rel=0.03)
    mean = sum(actual) / SPAN
    error = sum((a - b) ** 2 for a, b in zip(actual, past.counts, strict=True)) / SPAN
    assert error < 0.25 * sum((a - mean) ** 2 for a in actual) / SPAN, "bursts show"


@pytest.mark.parametrize("silent", [0, 7])
def test_jobs_are_counted_from_the_first_one_on(silent: int) -> None:
    """A rate that is seconds old has not faded for long, and says so by dividing by less than the window."""
    jobs, past = watched(seconds=12, silent=silent)
    assert past is not None
    assert sum(past.counts) == pytest.approx(len(jobs), rel=0.1)


def watched(seconds: int, silent: int = 0) -> tuple[list[float], Past | None]:
    """Jobs that come in bursts, and what is remembered of them."""
    rng, arrivals, memory = random.Random(3), Arrivals(), Recent()
    drawn = sorted(rng.uniform(0, seconds) for _ in range(30 * seconds))
    jobs = [t for t in drawn if t > silent and rng.random() < (1 if t % 8 < 2 else 0.2)]
    told, heard, position = 0.0, 0.0, 0
    for tick in range(10 * seconds + 1):
        now = tick / 10
        while position < len(jobs) and jobs[position] <= now:
            arrivals.add(jobs[position], 1)
            position += 1
        if rng.random() < 0.7:  # a heartbeat
            told, heard = arrivals.rate(now), now
        memory.note([world(direct(told, now - heard))], now)
    return jobs, memory.past("default", B)


def test_own_jobs_and_means() -> None:
    memory = Recent()
    for second in range(5):
        memory.note([world(queue=second)], second + 0.25)
        memory.note([world(queue=99)], second + 0.5)
    past = memory.past("default", OWN)
    assert past is not None
    assert (past.seconds, past.queue, past.service_rate) == (pytest.approx(4.0), 2.0, 10.0)
    assert past.counts == pytest.approx([4.0] * 4, rel=0.01)
    assert memory.past("default", B) is None and memory.past("other", OWN) is None


def test_nodes_two_links_away_do_not_tell_what_comes_to_them() -> None:
    memory = Recent()
    far = Vertex(FAR, 3, 1, 10.0, 0.0, 0.2)
    for second in range(4):
        memory.note([world(far)], float(second))
    past = memory.past("default", FAR)
    assert past is not None and past.counts == () and past.queue == 3.0
    for second in range(4, 7):
        memory.note([world(direct(5.0, node=FAR))], float(second))
    past = memory.past("default", FAR)
    assert past is not None and len(past.counts) == 2, "begun anew as a neighbour"


@pytest.mark.parametrize("then", [pytest.param(direct(0.5), id="restart"), pytest.param(None, id="silence")])
def test_a_new_life_and_a_long_silence_begin_anew(then: Vertex | None) -> None:
    memory = Recent()
    for second in range(10):
        memory.note([world(direct(30.0))], float(second))
    for second in range(10, 15):
        memory.note([world(then if then else direct(30.0, age=second - 9.0))], float(second))
    memory.note([world(then or direct(30.0))], 15.0)
    memory.note([world(then or direct(30.0))], 16.0)
    past = memory.past("default", B)
    assert past is not None
    assert past.seconds == pytest.approx(6.0 if then else 1.0)
    assert min(past.counts) >= 0


def test_what_has_gone_is_forgotten_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Recent()
    memory.note([world(direct(1.0))], 0.0)
    memory.note([world(direct(1.0))], 1.0)
    for second in range(2, SPAN + 4):
        memory.note([world()], float(second))
    assert memory.past("default", B) is None and memory.past("default", OWN) is not None
    monkeypatch.setattr(recent, "MAX_NODES", 3)
    crowd = [direct(1.0, node=bytes([i]) * 20) for i in range(40, 60)]
    for second in range(100, 103):
        memory.note([replace(world(*crowd))], float(second))
    assert sum(memory.past("default", v.id) is not None for v in crowd) <= 3
    assert MAX_NODES > 64
