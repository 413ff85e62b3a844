"""Observe, step, judge: sticky slots, and verdicts on small worlds that can be checked by hand."""

from __future__ import annotations

import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.mind.law import Law
from shivya_daemon.mind.observe import HostLoad, Observer
from shivya_daemon.mind.slots import OWN_SLOTS, SlotMap
from shivya_daemon.settings import LawSettings
from shivya_daemon.verdict import Verdict
from shivya_daemon.world import Link, Vertex, World
from shivya_kernels.complex import Capacity

OWN = b"\x01" * 20
SMALL = Capacity(vertices=24, edges=20, triangles=12)


def vertex(number: int, queue: int = 0, rate: float = 10.0, **more: object) -> Vertex:
    node = bytes([number]) * 20
    own = number == 1
    values = {"direct": not own, "potential": (queue + 1) / rate, "slope": 1 / rate, "hop": 0.001, **more}
    return Vertex(node, queue, 1, rate, 0.0, 0.0 if own else 0.05, **({} if own else values))


def world(
    vertices: list[Vertex], pairs: list[tuple[int, int]], traffic: dict[tuple[int, int], float] | None = None
) -> World:
    links = tuple(
        Link(bytes([a]) * 20, bytes([b]) * 20, 0.001, None, (traffic or {}).get((a, b), 0.0))
        for a, b in sorted(pairs)
    )
    return World("default", tuple(vertices), links, 1.0)


TRIANGLE = [(1, 2), (1, 3), (2, 3)]


@pytest.fixture(scope="module")
def judge_law() -> Law:
    return Law(LawSettings(), seed=7, capacity=SMALL)


def judge(law: Law, what: World) -> Verdict:
    return law.judge((what,), 0.1, 0.2, 1000.0)["default"]


def test_the_hot_node_hands_over_what_equalises_waiting(judge_law: Law) -> None:
    """Queues 200/20/5 at equal rates: 60 and 65 to move, as in the golden triangle."""
    verdict = judge(judge_law, world([vertex(1, 200), vertex(2, 20), vertex(3, 5)], TRIANGLE))
    flows = {(e.tail[0], e.head[0]): e.balancing for e in verdict.edges}
    assert flows == pytest.approx({(1, 2): 60.0, (1, 3): 65.0, (2, 3): 5.0})
    assert sum(verdict.release.values()) == 125
    assert verdict.waiting == pytest.approx(20.1)
    assert verdict.next_hop == b"\x03" * 20
    assert verdict.potential < 1.0


def test_own_sent_jobs_count_as_there_already(judge_law: Law) -> None:
    what = world([vertex(1, 200), vertex(2, 20, own_sent=100), vertex(3, 5)], TRIANGLE)
    flows = {(e.tail[0], e.head[0]): e.balancing for e in judge(judge_law, what).edges}
    assert flows[1, 2] == pytest.approx((2 * 200 - 120 - 5) / 3 - flows[1, 3])


def test_a_silent_neighbour_gets_nothing(judge_law: Law) -> None:
    quiet = Vertex(b"\x02" * 20, 0, 1, 100.0, 0.0, 1.5, direct=True, potential=0.01, slope=0.01, hop=0.001)
    verdict = judge(judge_law, world([vertex(1, 50), quiet], [(1, 2)]))
    assert verdict.next_hop is None
    assert verdict.release == {}
    assert verdict.potential == verdict.waiting


def test_reported_circulation_is_shown_and_not_recommended(judge_law: Law) -> None:
    traffic = {(1, 2): 9.0, (2, 3): 9.0, (1, 3): -9.0}
    verdict = judge(judge_law, world([vertex(1, 5), vertex(2, 5), vertex(3, 5)], TRIANGLE, traffic))
    assert verdict.curl_norm == pytest.approx(9 * np.sqrt(3))
    assert all(abs(e.recommended) < 1e-9 for e in verdict.edges)


def test_nothing_is_compiled_when_nodes_and_services_come_and_go(
    judge_law: Law, compilations: list[str]
) -> None:
    judge(judge_law, world([vertex(1, 5)], []))
    jax.jit(lambda x: x + len(compilations))(1.0)
    assert compilations, "what is compiled is seen here"
    compilations.clear()
    judge_law.judge((), 0.0, 0.0, 0.0)
    for last in (3, 5, 2, 7):
        vertices = [vertex(n, 3 * n) for n in range(1, last + 1)]
        judge(judge_law, world(vertices, [(1, n) for n in range(2, last + 1)]))
    assert compilations == []


_AFTER_LETTING_GO = """
import jax.monitoring
from dataclasses import replace
from shivya_daemon.daemon import _make_law
from shivya_daemon.guard.sight import Loop, Sight, Threat
from shivya_daemon.settings import DaemonSettings
from shivya_daemon.world import Link, Vertex, World

seen = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **__: seen.append(event) if "backend_compile_duration" in event else None
)
own, peer = bytes([1]) * 20, bytes([2]) * 20
law, _, guard = _make_law(DaemonSettings(), own)
assert seen, "what is compiled is seen here"
seen.clear()
near = Vertex(peer, 1, 1, 10.0, 0.0, 0.05, direct=True, potential=0.1, slope=0.1, hop=0.001)
world = World("default", (Vertex(own, 9, 1, 10.0, 0.0, 0.0), near), (Link(own, peer, 0.001, None, 0.0),), 1.0)
assert law.judge((world,), 0.1, 0.2, 1000.0)["default"].release
assert len(law.judge((world, replace(world, service="resize")), 0.1, 0.2, 1000.0)) == 2
law.judge((), 0.1, 0.2, 1000.0)
guard.beat(Sight(), Threat(), Loop())
guard.train(Threat(), [1.0], [0.0])
assert seen == [], seen
"""


def test_a_daemons_law_compiles_nothing_once_tracing_is_let_go() -> None:
    """In a process of its own, as this one's memory of tracing serves the other tests."""
    done = subprocess.run(
        [sys.executable, "-c", _AFTER_LETTING_GO], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_world_too_large_drops_the_far_end_and_says_so(judge_law: Law) -> None:
    vertices = [vertex(n, n) for n in range(1, 14)]
    pairs = [(1, n) for n in range(2, 14)] + [(2, n) for n in range(3, 14)]
    verdict = judge(judge_law, world(vertices, pairs))
    assert any("capacity" in text.lower() or "overflow" in text.lower() for text in verdict.status)
    assert {e.head[0] for e in verdict.edges if e.tail == OWN} == set(range(2, 10)), "eight slots for others"


def test_edges_carry_their_memory_when_they_move() -> None:
    observer = Observer(SMALL)
    first = observer.observe(world([vertex(1), vertex(3)], [(1, 3)]), HostLoad())
    second = observer.observe(world([vertex(1), vertex(2), vertex(3)], TRIANGLE), HostLoad())
    assert first.moved is not None and second.moved is not None
    assert second.moved[:3].tolist() == [-1, 0, -1], "1-3 was edge 0 and is edge 1"
    again = observer.observe(world([vertex(1), vertex(2), vertex(3)], TRIANGLE), HostLoad())
    assert again.moved is None


@given(st.lists(st.sets(st.integers(2, 30), max_size=12), min_size=1, max_size=12))
def test_slots_are_sticky_unique_and_cool_for_one_tick(rounds: list[set[int]]) -> None:
    slots = SlotMap(OWN_SLOTS + 10)
    before: dict[bytes, int] = {}
    for members in rounds:
        nodes = [bytes([n]) for n in sorted(members)]
        now, crowded = slots.assign(b"own", nodes)
        assert now.pop(b"own") == 0
        assert len(set(now.values())) == len(now)
        assert all(OWN_SLOTS <= slot < OWN_SLOTS + 10 for slot in now.values())
        for node, slot in now.items():
            if node in before:
                assert before[node] == slot
            else:
                assert slot not in before.values(), "a slot just left, or still held, goes to nobody new"
        assert crowded == (len(now) < len(nodes))
        before = now
