"""The line of waiting jobs: ordered by birth, handed over from the middle, and no job lost or made."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shivya.demo.messages import Task
from shivya.demo.server import Server
from shivya.waiting import Waiting

births = st.lists(st.integers(0, 9).map(float))


@given(births)
def test_the_line_is_ordered_by_birth_and_ties_by_arrival(born: list[float]) -> None:
    line: Waiting[int] = Waiting()
    for number, birth in enumerate(born):
        assert line.ahead(birth) == sum(other <= birth for other in born[:number])
        line.add(number, birth)
    expected = sorted(range(len(born)), key=lambda number: (born[number], number))
    assert list(line) == expected
    assert [line.pop_first() for _ in born] == [(number, born[number]) for number in expected]
    with pytest.raises(IndexError):
        line.pop_first()


@given(births)
def test_the_middle_goes_first_and_the_rest_keeps_its_order(born: list[float]) -> None:
    line: Waiting[int] = Waiting()
    for number, birth in enumerate(born):
        line.add(number, birth)
    rest = list(line)
    while rest:
        taken = rest.pop(len(rest) // 2)
        assert line.pop_middle() == (taken, born[taken])
        assert list(line) == rest and len(line) == len(rest)


def test_a_job_from_elsewhere_is_served_before_those_born_after_it() -> None:
    async def scenario() -> list[int]:
        served: list[int] = []
        over = asyncio.Event()

        def finished(task: Task) -> None:
            served.append(task.id)
            if len(served) == 4:
                over.set()

        server = Server(1e6, False, finished)
        for task, born in (
            (Task(0, 1.0), 5.0),
            (Task(1, 1.0), 7.0),
            (Task(2, 1.0), 6.0),
            (Task(3, 1.0), 4.0),
        ):
            assert server.ahead(born) == {0: 0, 1: 1, 2: 1, 3: 0}[task.id]
            server.add(task, born)
        running = asyncio.create_task(server.run())
        await over.wait()
        running.cancel()
        return served

    assert asyncio.run(scenario()) == [3, 0, 2, 1]


def test_no_job_begins_before_it_came_though_the_server_woke_late() -> None:
    async def scenario() -> float:
        ended: list[float] = []
        over = asyncio.Event()
        loop = asyncio.get_running_loop()

        def finished(task: Task) -> None:
            ended.append(loop.time())
            if len(ended) == 2:
                over.set()

        server = Server(100.0, False, finished)
        running = asyncio.create_task(server.run())
        server.add(Task(0, 1.0), loop.time())
        await asyncio.sleep(0.001)  # it is in service now, until 10 ms
        time.sleep(0.05)  # and its server is held up far beyond
        came = loop.time()
        server.add(Task(1, 1.0), came)
        await over.wait()
        running.cancel()
        return ended[1] - came

    assert asyncio.run(scenario()) >= 0.01 - 1e-6
