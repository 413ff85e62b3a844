"""What `links` and `signals` print, and what `signal send` says to the daemon."""

from __future__ import annotations

from typing import Any

import pytest
from shivya import mesh_commands
from shivya.cli import main
from shivya.tables import links_text, signals_text

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")
LINK: dict[str, Any] = {
    "id": "cd" * 20, "name": "edge-2", "state": "established", "breaker": "half-open", "rtt_seconds": 0.0012,
    "bandwidth": 1.25e6, "thickness": 0.5, "conductance": 0.25, "reported": 3.0, "degree": 4,
    "linked_seconds": 90.0,
}  # fmt: skip
SIGNAL: dict[str, Any] = {
    "id": "00" * 16, "type": "backup", "kind": "flood", "age_seconds": 2.0, "payload": b"tonight".hex(),
    "source": "cd" * 20, "name": "edge-2", "hops": 2, "strength": 1.0,
}  # fmt: skip


def test_a_link_is_a_line_with_its_measures() -> None:
    heads, row = links_text({"links": [LINK]}).splitlines()
    assert heads.split()[0] == "LINK"
    for part in ("edge-2", "cdcdcdcd", "half-open", "1.2 ms", "10.0 Mbit/s", "0.25", "1m30s"):
        assert part in row
    assert " - " in links_text({"links": [LINK | {"name": "", "bandwidth": None}]})
    assert "shivya peers" in links_text({"links": []})


def test_payloads_are_shown_as_text_only_if_they_are_text() -> None:
    evil = SIGNAL | {"payload": b"\x1b]0;x\x07".hex(), "type": "\x1b[2J"}
    binary = SIGNAL | {"payload": "ff00", "name": ""}
    text = signals_text({"signals": [SIGNAL, evil, binary], "counts": {"backup": 3}})
    assert "tonight" in text and "0xff00" in text and "since the start: backup 3" in text
    assert "\x1b" not in text
    assert signals_text({"signals": [], "counts": {}}) == "no signals received\n"


def test_a_quorum_has_no_source() -> None:
    row = {key: SIGNAL[key] for key in ("id", "type", "age_seconds", "payload")}
    text = signals_text(
        {"signals": [row | {"kind": "quorum reached", "contributors": []}], "counts": {"a": 1}}
    )
    assert "quorum reached" in text


def test_drain_needs_a_daemon_that_knows_how(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drain"]) == 3
    monkeypatch.setattr(mesh_commands, "ask", lambda *_, **__: {"ok": True})
    assert main(["drain"]) == 1
    assert capsys.readouterr().err.count("\n") == 2


def test_what_is_typed_is_what_the_daemon_hears(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[tuple[str, dict[str, object]]] = []

    def ask(_: object, verb: str, **values: object) -> dict[str, Any]:
        heard.append((verb, {key: value for key, value in values.items() if value is not None}))
        return {"id": "ab" * 16}

    monkeypatch.setattr(mesh_commands, "ask", ask)
    assert main(["signal", "send", "directed", "wake", "two words", "--target", "edge-2", "--ttl", "3"]) == 0
    assert main(["signal", "send", "gradient", "heat", "--decay", "0.5"]) == 0
    assert capsys.readouterr().out == f"sent {'ab' * 16}\n" * 2
    payload = b"two words".hex()
    assert heard == [
        ("SIGNAL", {"kind": "directed", "type": "wake", "payload": payload, "target": "edge-2", "ttl": 3}),
        ("SIGNAL", {"kind": "gradient", "type": "heat", "decay": 0.5}),
    ]
