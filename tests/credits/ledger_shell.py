"""Commands as they are typed, on a machine without settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shivya import cli, credits_arguments
from shivya.errors import CommandError, ExitCode

MACHINE = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "SHIVYA_ETCD", "SHIVYA_STATE_DIR", "SHIVYA_PORT")


def leave_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine is read, and nothing written outside of `tmp_path`."""
    for name in MACHINE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


class Shell:
    """Types commands; `node` is whose state directory is meant."""

    def __init__(self, capsys: pytest.CaptureFixture[str], ledger: list[str]) -> None:
        self.capsys, self._ledger = capsys, ledger

    def run(self, node: str, *words: str) -> str:
        top = cli._Parser(prog="shivya")
        credits_arguments.add(top.add_subparsers(dest="command", required=True), cli._command)
        options = top.parse_args([*words, "--state-dir", node, *self._ledger])
        assert options.run(options) == ExitCode.OK
        return self.capsys.readouterr().out

    def json(self, node: str, *words: str) -> Any:
        return json.loads(self.run(node, *words, "--json"))

    def fails(self, code: ExitCode, node: str, *words: str) -> str:
        with pytest.raises(CommandError) as caught:
            self.run(node, *words)
        assert caught.value.code == code
        return str(caught.value)
