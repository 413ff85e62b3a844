"""Commands of the pages that compute: simulated fleets, tuning, the flows of a mesh in a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from scripts import SCRIPTS
from shivya import tune_search
from terminal import Run, Terminal

from shown import BLOCKS

SMALL = "[scenario]\nnodes = 6\nmean_degree = 3\nseconds = 2\nwarm_up = 0.5\nhotspot = 0.3\n"


def test_fleets(terminal: Terminal, inside: Callable[[Terminal], Run]) -> None:
    for page, language, name in (("concepts", "json", "mesh.json"), ("simulate", "toml", "scenario.toml")):
        (text,) = (block.text for block in BLOCKS if (block.page, block.language) == (f"{page}.md", language))
        (terminal.home / name).write_text(text)
    terminal.inside(inside(terminal), SCRIPTS["FLEETS"])
    assert (terminal.home / "p99.svg").read_text().startswith("<svg")
    assert len((terminal.home / "rows.csv").read_text().splitlines()) == 1 + 4 * 4 * 2


def test_fleets_shared_by_two_processes(terminal: Terminal, coordinator: str) -> None:
    terminal.known["coordinator"] = coordinator
    first, *rest = SCRIPTS["TOGETHER"].items()
    terminal.type(f"{terminal.altered(first[0])} &", first[1])
    terminal.play(dict(rest))
    terminal.type("wait $!")
    assert len((terminal.home / "rows.csv").read_text().splitlines()) == 1 + 2


def test_tuning(
    terminal: Terminal, inside: Callable[[Terminal], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few worlds and steps: 112 worlds and as many steps as there is time for are what takes long."""
    few = partial(
        tune_search.Plan, train=4, validation=2, test=4, descent=3, fleets=2, lines=1, sweeps=1, group=2
    )
    monkeypatch.setattr(tune_search, "Plan", few)
    (terminal.home / "scenario.toml").write_text(SMALL)
    run = inside(terminal)

    def tune(argv: list[str]) -> tuple[int, str]:
        code, said = run(argv)
        written = (terminal.home / "params.toml").exists()
        assert written if code == 0 else "; nothing was written" in said
        return 0, said

    terminal.inside(tune, SCRIPTS["TUNE"])
