"""The generator against scripted workers: no process, no clock to wait for but the plan's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shivya.demo.generator import Generator, Outcome
from shivya.demo.messages import Done, Finish, Message, Moved, Task
from shivya.demo.plan import Arrival, Plan

Script = Callable[["ScriptedWorker", Task], None]


class ScriptedWorker:
    def __init__(self, node: int, script: Script) -> None:
        self.address = f"worker:{node}"
        self.taken: list[Task] = []
        self._script = script
        self._said: asyncio.Queue[Message | None] = asyncio.Queue()

    def say(self, message: Message) -> None:
        self._said.put_nowait(message)

    def die(self) -> None:
        self._said.put_nowait(None)

    def send(self, message: Message) -> None:
        if isinstance(message, Task):
            self.taken.append(message)
            self._script(self, message)
        elif isinstance(message, Finish):
            self.die()

    async def next_message(self) -> Message | None:
        return await self._said.get()


def serve(worker: ScriptedWorker, task: Task) -> None:
    worker.say(Done(task.id))


def swallow(worker: ScriptedWorker, task: Task) -> None:
    pass


def plan(*nodes: int) -> Plan:
    """One job at each of `nodes`, a millisecond apart."""
    arrivals = tuple(Arrival(time=k / 1000, node=node, size=1.0, id=k) for k, node in enumerate(nodes))
    return Plan(0.01, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), hot=0, victim=1, arrivals=arrivals)


def fleet(*scripts: Script) -> list[ScriptedWorker]:
    return [ScriptedWorker(node, script) for node, script in enumerate(scripts)]


def run(jobs: Plan, workers: list[ScriptedWorker], kill: ScriptedWorker | None = None) -> Outcome:
    async def killing() -> None:
        assert kill is not None
        kill.die()

    return asyncio.run(Generator(jobs, workers).run(killing if kill is not None else None))


def test_all_jobs_are_done() -> None:
    outcome = run(plan(0, 1, 2, 0, 1), fleet(serve, serve, serve))
    assert (outcome.submitted, outcome.done, outcome.lost, outcome.twice) == (5, 5, 0, 0)
    assert len(outcome.waits) == 5 and min(outcome.waits) >= 0
    assert outcome.dead == frozenset()


def test_jobs_at_a_worker_that_dies_are_done_by_the_others() -> None:
    workers = fleet(serve, swallow, serve)
    outcome = run(plan(1, 0, 1, 2, 1), workers, kill=workers[1])
    assert (outcome.done, outcome.lost, outcome.twice) == (5, 0, 0)
    assert outcome.resubmitted == 3
    assert outcome.dead == {1}
    assert all(
        task.attempt == 1 for w in (workers[0], workers[2]) for task in w.taken if task.id in (0, 2, 4)
    )


def test_a_move_that_is_reported_after_the_death_of_its_target() -> None:
    workers = fleet(swallow, swallow, serve)

    def told_late(worker: ScriptedWorker, task: Task) -> None:
        if task.attempt == 0:
            asyncio.get_running_loop().call_later(0.05, worker.say, Moved(task.id, 0, 1, workers[1].address))
        else:
            worker.say(Done(task.id))

    workers[0] = ScriptedWorker(0, told_late)
    outcome = run(plan(0), workers, kill=workers[1])
    assert (outcome.done, outcome.lost, outcome.resubmitted, outcome.moves) == (1, 0, 1, 1)


def test_doing_a_job_twice_shows_even_when_it_is_the_last_thing_to_happen() -> None:
    def serve_twice(worker: ScriptedWorker, task: Task) -> None:
        worker.say(Done(task.id))
        worker.say(Done(task.id))

    outcome = run(plan(0), fleet(serve_twice, serve, serve))
    assert outcome.twice == 1


def test_moves_to_an_address_that_nobody_has_are_ignored() -> None:
    def move_nowhere(worker: ScriptedWorker, task: Task) -> None:
        worker.say(Moved(task.id, 0, 1, "nowhere:1"))
        worker.say(Done(task.id))

    outcome = run(plan(0), fleet(move_nowhere, serve, serve))
    assert (outcome.done, outcome.moves) == (1, 0)


def test_with_every_worker_dead_the_rest_is_lost() -> None:
    workers = fleet(swallow, swallow, swallow)
    for worker in workers:
        worker.die()
    outcome = run(plan(0, 1, 2), workers)
    assert (outcome.submitted, outcome.lost) == (3, 3)
