"""A spirit over three real daemons: it spreads, its parts exchange, a death takes one part, and it goes."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.processes
Start = Callable[..., Any]
PATIENCE = 800.0  # seconds; a bound against hanging, not a claim: a busy machine compiles for minutes


def until(daemon: Any, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Look at the spirit of a daemon until it is as it should be."""
    end = time.monotonic() + PATIENCE
    while True:
        answer: dict[str, Any] = daemon.ask("SPIRIT")
        if holds(answer):
            return answer
        assert time.monotonic() < end, {**answer, "spirit": answer["spirit"] and answer["spirit"]["links"]}
        time.sleep(0.25)


def command(daemon: Any, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "shivya", "spirit", *words, "--socket", str(daemon.socket)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout


def lives(answer: dict[str, Any]) -> bool:
    return answer["spirit"] is not None


def sees(count: int) -> Callable[[dict[str, Any]], bool]:
    """Whether so many neighbours told of a boundary cell of theirs, and gave and took something."""

    def holds(answer: dict[str, Any]) -> bool:
        if not lives(answer):
            return False
        told = [food for food in answer["spirit"]["foods"] if food[4] >= 0 and food[7] is not None]
        books = answer["spirit"]["books"]
        return len(told) == count and books["sent"] > 0 and books["received"] > 0

    return holds


def balanced(answer: dict[str, Any]) -> None:
    books = answer["spirit"]["books"]
    total = books["planted"] + books["intake"] - books["upkeep"] - books["dissolved"]
    total += books["received"] - books["sent"]
    assert books["nutrient"] == pytest.approx(total, abs=1e-6)


def link(daemon: Any, name: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = daemon.ask("SPIRIT")["spirit"]["links"]
    return next(row for row in rows if row["name"] == name)


def crossed_once(one: Any, two: Any, names: tuple[str, str]) -> None:
    """What one knows to have arrived is no more than the other has, and that no more than was sent."""
    acknowledged = link(one, names[1])["acknowledged"]
    received = link(two, names[0])["received"]
    assert 0 <= acknowledged <= received <= link(one, names[1])["sent"]


def test_a_spirit_spreads_outlives_a_death_and_goes(start: Start) -> None:
    a = start("a")
    b, c = start("b", a.address), start("c", a.address)
    for daemon in (a, b, c):
        daemon.until(lambda status: sum(link["state"] == "established" for link in status["links"]) == 2)
    assert "physarum" in command(a, "list")
    assert a.ask("STATUS")["spirit"] is None and a.ask("DISMISS")["error"].startswith("no spirit")
    command(a, "summon", "physarum", "--speed", "2")
    organism = {until(daemon, lives)["spirit"]["digest"] for daemon in (a, b, c)}
    assert len(organism) == 1
    for daemon in (a, b, c):
        found = until(daemon, sees(2))
        assert found["summoned"]["settings"]["speed"] == 2.0
        assert all(math.isfinite(food[8]) for food in found["spirit"]["foods"])
        balanced(found)
    for pair in ((a, b, ("a", "b")), (b, c, ("b", "c")), (c, a, ("c", "a"))):
        crossed_once(*pair)
    until(b, lambda answer: answer["spirit"]["panel"]["nodes"] == 3)
    shown = command(b, "show")
    assert "efficiency" in shown and "NEIGHBOUR" in shown
    assert json.loads(command(b, "show", "--json"))["spirit"]["panel"]["mesh_cells"] > 0

    port = int(c.address.rpartition(":")[2])
    c.stop(signal.SIGKILL)
    for daemon in (a, b):
        alone = until(daemon, lambda answer: len(answer["spirit"]["links"]) == 1)
        age = alone["spirit"]["now"]
        balanced(until(daemon, lambda answer, age=age: answer["spirit"]["now"] > age + 2.0))  # type: ignore[misc]
    crossed_once(a, b, ("a", "b"))
    crossed_once(b, a, ("b", "a"))

    again = start("c", a.address, port=port)
    found = until(again, lives)
    assert found["spirit"]["digest"] in organism and found["summoned"]["settings"]["speed"] == 2.0
    until(again, sees(2))
    command(again, "set", "speed", "3")
    until(a, lambda answer: answer["summoned"]["settings"]["speed"] == 3.0)

    command(b, "dismiss")
    for daemon in (a, b, again):
        gone = until(daemon, lambda answer: not lives(answer))
        assert gone["summoned"] is None and not gone["lives_here"]
        assert daemon.ask("STATUS")["spirit"] is None
    counts = a.ask("SIGNALS")
    assert not counts["counts"] and not counts["signals"], "applications do not see what spirits say"
    for daemon in (a, b, again):
        assert daemon.stop() == 0


def test_a_node_without_the_law_says_why_none_lives_there(start: Start) -> None:
    lawless = start("lawless", flags=("--no-law",))
    assert "--no-law" in lawless.ask("SUMMON name=physarum")["error"]
    assert lawless.ask("SPIRITS")["spirits"][0]["name"] == "physarum"
    assert lawless.stop() == 0
