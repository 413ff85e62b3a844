from __future__ import annotations

import asyncio
import dataclasses
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from shivya.demo.accounts import Accounts
from shivya.demo.generator import Outcome
from shivya.demo.plan import make_plan
from shivya.demo.report import (
    Display,
    closing_table,
    introduction,
    quantile,
    succeeded,
    summarize,
    verdict,
)

BASELINE = Outcome(
    waits=tuple(float(k) for k in range(1, 101)),
    submitted=100,
    done=100,
    twice=0,
    resubmitted=0,
    moves=0,
    dead=frozenset(),
)
MESH = dataclasses.replace(BASELINE, waits=tuple(k / 10 for k in range(1, 101)), moves=125)


def summary(
    baseline: Outcome = BASELINE, mesh: Outcome = MESH, killed: str | None = None
) -> dict[str, object]:
    return summarize(baseline, mesh, nodes=5, seconds=30.0, seed=0, mode="wait", killed=killed)


def render(item: object) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(item)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_object_of_the_json_flag() -> None:
    found = summary()
    assert json.loads(json.dumps(found)) == found
    counts = [found[f"jobs_{what}"] for what in ("submitted", "done", "lost", "twice")]
    assert counts == [200, 200, 0, 0]
    assert found["baseline"] == {
        "p50": 50.0, "p99": 99.0, "mean": 50.5, "jobs_submitted": 100, "jobs_done": 100, "resubmitted": 0
    }  # fmt: skip
    mesh = found["mesh"]
    assert isinstance(mesh, dict)
    assert (mesh["p99"], mesh["moves_per_job"]) == (9.9, 1.25)
    assert found["speedup_p99"] == pytest.approx(10.0)


def test_lost_or_twice_is_a_failure_and_says_so() -> None:
    assert succeeded(summary())
    lost = summary(mesh=dataclasses.replace(MESH, done=99))
    assert not succeeded(lost) and lost["jobs_lost"] == 1 and "1 jobs lost" in verdict(lost)
    twice = summary(baseline=dataclasses.replace(BASELINE, twice=2))
    assert not succeeded(twice) and "2 done twice" in verdict(twice)


def test_a_phase_without_completions_has_no_times() -> None:
    nothing = dataclasses.replace(BASELINE, waits=(), submitted=0, done=0)
    found = summary(nothing, nothing)
    assert found["speedup_p99"] is None
    assert "-" in render(closing_table(found))
    verdict(found)


def test_the_closing_table_shows_both_phases() -> None:
    text = render(closing_table(summary(killed="n3")))
    for expected in ("99.00 s", "9.90 s", "1.25", "resubmitted", "jobs in", "jobs done"):
        assert expected in text
    assert "10.0 times shorter" in verdict(summary())


def test_the_introduction_names_rates_mode_and_victim() -> None:
    plan = make_plan(3, 5.0, 0)
    assert "n2 20 (hot)" in introduction(plan, False, None)
    assert "waits" in introduction(plan, False, None)
    assert "burns" in introduction(plan, True, None)
    assert "n3 is killed" in introduction(plan, True, "n3")


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_quantile_is_the_smallest_with_enough_below(waits: list[float], q: float) -> None:
    found = quantile(waits, q)
    assert found in waits
    assert sum(w <= found for w in waits) >= q * len(waits) - 1e-9
    assert sum(w < found for w in waits) < q * len(waits) + 1e-9


def test_quantile_of_nothing() -> None:
    assert quantile([], 0.5) is None


def test_progress_follows_the_books_to_their_end() -> None:
    books = Accounts(2)
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    display = Display(console)
    plan = make_plan(2, 5.0, 0)

    async def scenario() -> None:
        following = asyncio.create_task(display.follow("without the mesh", books, 2))
        await asyncio.sleep(0)
        for arrival in plan.arrivals[:2]:
            books.submit(arrival, 0.0)
            books.completed(arrival.id, 1.0)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    with display.running():
        asyncio.run(scenario())
    assert isinstance(console.file, io.StringIO)
    assert "2/2 jobs done, 0 in the fleet" in console.file.getvalue()
