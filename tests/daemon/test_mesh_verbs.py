"""The operator's verbs: what they hand to the daemon, and what they refuse."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shivya_daemon.commands import Commands, Session
from shivya_daemon.core.signals.frame import ActionPotential, Directed, Flood, Gradient

B = b"\xbb" * 20


def ask(desk: Any, line: str) -> Any:
    return Commands(desk, time.monotonic).obey(line.encode(), Session())


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("SIGNAL kind=flood type=backup", (Flood(), "backup", b"", None)),
        ("signal kind=flood type=backup payload=6869 ttl=3", (Flood(), "backup", b"hi", 3)),
        ("SIGNAL kind=gradient type=heat", (Gradient(0.9), "heat", b"", None)),
        ("SIGNAL kind=gradient type=heat decay=0.5", (Gradient(0.5), "heat", b"", None)),
        ("SIGNAL kind=directed type=wake target=b", (Directed(B), "wake", b"", None)),
        ("SIGNAL kind=action type=fire refractory=2.5", (ActionPotential(2.5), "fire", b"", None)),
    ],
)
def test_signals_go_out_as_they_were_said(desk: Any, line: str, sent: tuple[Any, ...]) -> None:
    assert ask(desk, line) == {"id": "01" * 16}
    assert desk.operations.sent == [sent]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("SIGNAL type=x", "kind is missing"),
        ("SIGNAL kind=quorum type=x", "kind must be"),
        ("SIGNAL kind=flood", "type is missing"),
        ("SIGNAL kind=flood type=x payload=abc", "hexadecimal"),
        ("SIGNAL kind=flood type=x ttl=17", "ttl must be a whole number from 1 to 16"),
        ("SIGNAL kind=flood type=x decay=0.5", "no field 'decay'"),
        ("SIGNAL kind=gradient type=x decay=nan", "decay must be a number from 0 to 1"),
        ("SIGNAL kind=directed type=x", "target is missing"),
        ("SIGNAL kind=directed type=x target=c", "unknown node"),
        ("SIGNAL kind=action type=x refractory=61", "refractory must be"),
        ("DRAIN wait=-1", "wait must be"),
        ("DRAIN wait=1 now=1", "no field 'now'"),
        ("SIGNALS x=1", "no field 'x'"),
        ("FACTS x=1", "no field 'x'"),
        ("CREDITS x=1", "no field 'x'"),
    ],
)
def test_a_bad_line_sends_nothing_and_says_why(desk: Any, line: str, says: str) -> None:
    assert says in ask(desk, line)["error"]
    assert desk.operations.sent == [] and desk.operations.drained == []


def test_a_signal_that_has_to_rest_is_refused_with_the_time(desk: Any) -> None:
    assert ask(desk, "SIGNAL kind=action type=fire") == {"id": "01" * 16}
    assert "can again in" in ask(desk, "SIGNAL kind=action type=fire")["error"]


def test_credits_say_how_the_node_stands(desk: Any) -> None:
    assert ask(desk, "CREDITS") == {"on": False}


def test_drain_has_a_default_wait(desk: Any) -> None:
    assert ask(desk, "DRAIN")["wait_seconds"] == 30.0
    assert ask(desk, "DRAIN wait=0")["wait_seconds"] == 0.0


def test_a_drill_names_what_is_injected_and_against_whom(desk: Any) -> None:
    assert ask(desk, "INJECT anomalies=45 weight=.5 peer=b") == {
        "drill": True,
        "anomalies": 45.0,
        "weight": 0.5,
        "peer": B.hex(),
    }
    assert ask(desk, "INJECT anomalies=3")["peer"] is None
    assert ask(desk, "INJECT anomalies=3")["weight"] is None


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("INJECT anomalies=-1", "anomalies must be a number from 0 to 1000"),
        ("INJECT anomalies=nan", "anomalies must be"),
        ("INJECT anomalies=1 weight=11", "weight must be a number from 0 to 10"),
        ("INJECT anomalies=1 weight=10", "by design"),
        ("INJECT anomalies=1 peer=nobody", "unknown node"),
        ("INJECT count=1", "no field 'count'"),
    ],
)
def test_a_drill_that_cannot_be_is_refused(desk: Any, line: str, complaint: str) -> None:
    assert complaint in ask(desk, line)["error"]
