"""The verbs about spirits: what they hand to the daemon, what they refuse, and the text of answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from shivya.spirit_commands import _list_text, _spirit_text

from shivya_daemon.commands import Commands, Session
from shivya_daemon.spirits.refused import SpiritRefused


class Summons:
    """Written down instead of done."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def summon(self, name: str, given: Mapping[str, float]) -> dict[str, Any]:
        if name == "nobody":
            raise SpiritRefused("no spirit 'nobody' is installed here")
        self.asked.append(("summon", name, dict(given)))
        return {"summoned": {"name": name}}

    def dismiss(self) -> dict[str, Any]:
        raise SpiritRefused("no spirit is summoned")

    def tune(self, given: Mapping[str, float]) -> dict[str, Any]:
        self.asked.append(("tune", dict(given)))
        return {}

    def catalogue(self) -> dict[str, Any]:
        return {"spirits": []}

    def look(self) -> dict[str, Any]:
        return {"summoned": None}


def ask(desk: Any, line: str) -> Any:
    return Commands(desk, time.monotonic).obey(line.encode(), Session())


@pytest.fixture
def summons(desk: Any) -> Summons:
    desk.operations.spirits = Summons()
    found: Summons = desk.operations.spirits
    return found


def test_what_is_asked_reaches_the_daemon(desk: Any, summons: Summons) -> None:
    assert ask(desk, "SUMMON name=physarum speed=2.5 decay=0") == {"summoned": {"name": "physarum"}}
    assert ask(desk, "spirit exploration=0.5") == {}
    assert ask(desk, "SPIRIT") == {"summoned": None}
    assert ask(desk, "SPIRITS") == {"spirits": []}
    assert summons.asked == [
        ("summon", "physarum", {"speed": 2.5, "decay": 0.0}),
        ("tune", {"exploration": 0.5}),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("SUMMON", "name is missing"),
        ("SUMMON name=nobody", "no spirit 'nobody' is installed"),
        ("SUMMON name=physarum speed=11", "speed must be a number from 0.1 to 10"),
        ("SPIRIT decay=nan", "decay must be a number from 0 to 0.5"),
        ("SPIRIT glow=1", "no field 'glow'"),
        ("DISMISS", "no spirit is summoned"),
        ("DISMISS name=x", "no field 'name'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(desk: Any, summons: Summons, line: str, says: str) -> None:
    assert says in ask(desk, line)["error"]
    assert summons.asked == []


def test_a_daemon_without_spirits_says_so(desk: Any) -> None:
    desk.operations.spirits = None
    assert ask(desk, "SPIRITS") == {"error": "this daemon knows no spirits"}


def test_text_for_people() -> None:
    row = {
        "name": "physarum", "version": "1.0.0", "tier": "free", "licence": "MIT", "built_in": True,
        "summoned": True, "digest": "ab" * 32,
    }  # fmt: skip
    listed = _list_text({"spirits": [row], "refused": ["x.spirit: it is no package"]})
    assert "physarum  1.0.0    free  MIT      summoned  built in  abababababab" in listed
    assert listed.endswith("left out: x.spirit: it is no package\n")
    assert "no spirit is summoned" in _spirit_text({"summoned": None, "spirit": None})
    known = {"name": "physarum", "settings": {"speed": 1.0, "exploration": 0.3, "decay": 0.1}}
    waiting = {"summoned": known, "spirit": None, "why_not": "it is being prepared"}
    assert _spirit_text(waiting) == (
        "physarum: speed 1, exploration 0.3, decay 0.1\nit does not live here yet: it is being prepared\n"
    )
    panel = dict.fromkeys(("cells", "tubes", "nodes", "mesh_cells", "mesh_tubes"), 3)
    panel |= dict.fromkeys(("nutrient", "in_transit", "efficiency", "cost", "mesh_nutrient"), 0.5)  # type: ignore[arg-type]
    spirit = {
        "age": 5.0, "now": 5.0, "panel": panel,
        "foods": [[1, 0, 0, 0.5, 2, "cd" * 20, "b", 0.25, 1.5]],
        "links": [{"id": "cd" * 20, "name": "b", "sent": 5 * 10**8, "received": 0, "conductance": 0.1}],
    }  # fmt: skip
    text = _spirit_text({"summoned": known, "spirit": spirit})
    assert "nodes       3\n" in text and "in transit  0.5000\n" in text
    assert text.splitlines()[-1].split() == ["b", "found", "0.250", "1.50", "0.500", "0.000"]
