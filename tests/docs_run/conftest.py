"""A terminal in a fresh home; and what the tests of this folder import."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shivya import cli

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from terminal import PROGRAMS, Run, Terminal


@pytest.fixture
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    opened = Terminal(tmp_path_factory.mktemp("h"))  # short: the path of a socket has a limit
    try:
        yield opened
    finally:
        opened.close()
    if opened.lacking:
        packages = " ".join(sorted({PROGRAMS[program] for program in opened.lacking}))
        pytest.skip(f"commands of the docs were left out: apt-get install {packages}")


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[Terminal], Run]:
    """What runs commands in this process, where JAX is imported once for all, in the home of a terminal."""

    def of(terminal: Terminal) -> Run:
        for name, value in terminal.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(terminal.home)

        def run(argv: list[str]) -> tuple[int, str]:
            capsys.readouterr()
            code = cli.main(argv)
            captured = capsys.readouterr()
            return code, captured.out + captured.err

        return run

    return of
