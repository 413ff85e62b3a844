"""How the page and the metrics are asked for on the command line, and where their link is found."""

from __future__ import annotations

from typing import Any

import pytest
from shivya import commands, config, mesh_commands
from shivya.cli import main, parser

from shivya_daemon.settings import DaemonSettings, SettingsError

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], (None, None, "127.0.0.1")),
        (["--visualize", "--metrics"], (9002, 8000, "127.0.0.1")),
        (["--visualize", "0", "--metrics", "9100", "--metrics-bind", "::"], (0, 9100, "::")),
    ],
)
def test_ports_are_the_usual_ones_or_those_given(
    flags: list[str], expected: tuple[int | None, int | None, str]
) -> None:
    options = parser().parse_args(["daemon", *flags])
    settings = config.load({key: getattr(options, key) for key in commands._DAEMON_FLAGS})
    assert (settings.visualize, settings.metrics, settings.metrics_bind) == expected


def test_a_variable_turns_them_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIVYA_VISUALIZE", "9102")
    monkeypatch.setenv("SHIVYA_METRICS", "8100")
    settings = config.load({})
    assert (settings.visualize, settings.metrics) == (9102, 8100)


@pytest.mark.parametrize("wrong", [{"visualize": 65536}, {"metrics": -1}, {"metrics_bind": "everywhere"}])
def test_what_cannot_be_a_port_or_an_address_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        DaemonSettings(**wrong)


def test_the_link_is_printed_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["visualize"]) == 3
    facts = {"page": "http://127.0.0.1:9002/?token=x"}
    monkeypatch.setattr(mesh_commands, "ask", lambda *_, **__: facts)
    capsys.readouterr()
    assert main(["visualize"]) == 0
    assert capsys.readouterr().out == "http://127.0.0.1:9002/?token=x\n"
    facts["page"] = ""
    assert main(["visualize"]) == 1
    assert "--visualize" in capsys.readouterr().err
