"""`shivya guard`: a guard that runs alone, what a running one shows, and how it is drilled."""

from __future__ import annotations

import json
from typing import Any

import pytest
from shivya import guard_commands
from shivya.cli import main

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

PEER = {
    "id": "cd" * 20, "name": "edge-2\x1b[2J", "state": "quarantined", "seconds_left": 21.5, "strikes": 1,
    "anomalies": 41.2, "threat": 0.88, "kinds": {"forged": 41.2},
}  # fmt: skip
GUARD: dict[str, Any] = {
    "action": "ALERT", "threat": 0.7, "anomalies": 33.0, "kinds": {"replayed": 32.9, "drill": 0.001},
    "vetoes": {"flow": 3}, "granted_seconds": 0.001, "peers": [PEER],
}  # fmt: skip


def answered(monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Let a daemon answer so; returns what it is asked."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def ask(_: object, verb: str, **values: Any) -> dict[str, Any]:
        asked.append((verb, values))
        return document

    monkeypatch.setattr(guard_commands, "ask", ask)
    return asked


def test_a_guard_alone_beats_as_often_as_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guard", "run", "--beats", "3", "--anomalies", "30", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["action"] for row in document["beats"]] == ["ALERT"] * 3
    assert document["actions"] == {"ALERT": 3}
    assert document["beats"][0]["pulse_seconds"] == pytest.approx(0.0042105263, rel=1e-6)
    assert sum(document["weights"].values()) == pytest.approx(1.0)
    assert main(["guard", "run", "--beats", "2", "--seed-formulas"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["BEAT", "ACTION", "THREAT", "STABILITY", "GAIN", "PULSE", "GRANTED"]
    assert lines[1].split()[:2] == ["1", "APPLY_BALANCE"] and "4.2 ms" in lines[1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--k-flows", "0.1", "--p-nodes", "2"], "above 1"),
        (["--anomalies", "1001"], "anomalies must be"),
        (["--beats", "-2"], "whole number"),
        (["--t-threshold", "0"], "greater than 0"),
    ],
)
def test_a_guard_that_cannot_be_is_a_usage_error(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(["guard", "run", *words])
    except SystemExit as end:
        code = end.code
    assert code == 2
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1


def test_with_mesh_it_judges_what_the_running_node_sees(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    links = [{"reported": -3.0, "breaker": "open"}, {"reported": 1.0, "breaker": "closed"}]
    asked = answered(monkeypatch, {"guard": GUARD, "links": links})
    assert main(["guard", "run", "--beats", "2", "--mesh", "--json"]) == 0
    beat = json.loads(capsys.readouterr().out)["beats"][-1]
    assert (beat["action"], beat["urgency"]) == ("ALERT", 0.75), "the peer in quarantine counts no more"
    assert len(asked) == 1
    answered(monkeypatch, {"guard": None})
    assert main(["guard", "run", "--beats", "2", "--mesh"]) == 1
    assert "another version" in capsys.readouterr().err


def test_what_a_guard_sees_is_shown_in_plain_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, {"guard": GUARD})
    assert main(["guard", "show"]) == 0
    text = capsys.readouterr().out
    for part in ("ALERT", "0.700", "33.0 of this node: replayed 32.9", "flow 3", "quarantined", "cdcdcdcd"):
        assert part in text
    assert "\x1b" not in text and "drill" not in text
    answered(monkeypatch, {"guard": GUARD | {"peers": [], "vetoes": {}}})
    assert main(["guard", "show"]) == 0
    assert "nothing against any peer" in capsys.readouterr().out
    answered(monkeypatch, {"guard": None})
    assert main(["guard", "show"]) == 4


def test_a_drill_is_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answered(monkeypatch, {"drill": True, "anomalies": 45.0, "peer": "cd" * 20})
    assert main(["guard", "inject", "45", "--weight", "0.2", "--peer", "edge-2"]) == 0
    assert asked == [("INJECT", {"anomalies": 45.0, "weight": 0.2, "peer": "edge-2"})]
    assert capsys.readouterr().out == "drill: 45 anomalies against cdcdcdcd\n"


def test_without_a_daemon_there_is_nobody_to_drill() -> None:
    assert main(["guard", "inject", "1"]) == 3
