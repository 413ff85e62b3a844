"""A file of parameters that is there is replaced by better ones only, and nothing else is written over."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from shivya import tune, tune_file, tune_search
from shivya.errors import CommandError
from shivya.tune_search import Outcome
from tuning import (
    DEFAULTS,
    SCENARIO,
    SMALL,
    Made,
    end,
    finished,
    made_up,
    options,
    outcome_of,
    p99_of,
)

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

TEXT = "[parameters]\ngap = 0.02\nkappa = 0.1\n"
EXISTING = replace(DEFAULTS, gap=0.02, kappa=0.1)


@pytest.fixture(autouse=True)
def there(tmp_path: Path) -> Path:
    """The file to be written, with parameters in it already."""
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    path = tmp_path / "params.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return made_up(monkeypatch)


def beside(ratio: float, spread: float = 0.0, of_defaults: float = 0.8) -> Outcome:
    """An outcome with so much of the p99 of what is there, more on some fleets than on others."""
    found = finished(of_defaults)
    rows = tuple(
        {**row, "p99": row["p99"] / ratio * (1 + spread * (-1) ** k)} for k, row in enumerate(found.after)
    )
    return replace(found, existing=rows)


# The search.


def test_what_is_there_is_measured_on_the_test_fleets_alone_and_last(made: Made) -> None:
    found = outcome_of(replace(SMALL, existing=EXISTING))
    seeds = set(SMALL.splits["test"])
    tested = [gap for gap, some in made.asked if set(some) <= seeds]
    assert tested == [DEFAULTS.gap] * 2 + [float(found.parameters.gap)] * 2 + [EXISTING.gap] * 2
    assert [gap for gap, _ in made.asked[-6:]] == tested
    assert [row["p99"] for row in found.existing] == [p99_of(EXISTING, seed) for seed in SMALL.splits["test"]]
    expected = p99_of(found.parameters, 0) / p99_of(EXISTING, 0)
    assert found.beside_existing().value == pytest.approx(expected)
    assert found.ratio() == outcome_of(SMALL).ratio(), "it changes nothing else"


def test_nothing_is_compared_where_nothing_was_found(made: Made) -> None:
    made.p99 = lambda params, seed: 1.0 + abs(float(params.gap) - 0.05)
    assert outcome_of(replace(SMALL, existing=EXISTING)).existing == ()
    assert EXISTING.gap not in [gap for gap, _ in made.asked]


def test_sweeps_leave_time_for_the_third_run(made: Made) -> None:
    def sweeps(existing: bool) -> int:
        found = outcome_of(replace(SMALL, existing=EXISTING if existing else None), lambda: 0.75)
        return sum(candidate.found_by.startswith("sweep") for candidate in found.candidates)

    assert sweeps(existing=False) > 0
    assert sweeps(existing=True) == 0


# The command.


def test_better_ones_take_its_place(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = end(monkeypatch, beside(0.9))
    assert tune.tune(options()) == 0
    assert [plan.existing for plan in plans] == [EXISTING]
    out = capsys.readouterr().out
    assert re.search(r"^4 TEST FLEETS +params.toml +TUNED +RATIO +95 %$", out, re.MULTILINE)
    assert re.search(r"^p99, ms +444 +400 +0\.900 +0\.900 - 0\.900$", out, re.MULTILINE)
    assert re.search(r"^p99, ms +500 +400 +0\.800 +0\.800 - 0\.800$", out, re.MULTILINE)
    written = tomllib.loads(there.read_text())
    assert written["parameters"]["gap"] == 0.03
    assert written["existing"]["p99_ratio"] == pytest.approx(0.9)
    assert written["existing"]["p99_before"] == pytest.approx(0.4 / 0.9)
    assert written["test"]["p99_ratio"] == pytest.approx(0.8)
    assert tune_file.read(there) == replace(DEFAULTS, gap=0.03, slope_share=0.4)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (beside(1.05), r"1\.050 \(1\.050 - 1\.050\) of that with the parameters in params\.toml"),
        (beside(0.97, spread=0.1), r"0\.9\d\d \(0\.\d+ - 1\.\d+\) of that with the parameters in"),
        (beside(1.0), "not shown to be better"),
        (beside(0.9, of_defaults=1.1), "of the defaults', which is not shown to be better"),
        (finished(1.0, chosen=False), "none of 1 candidates was better than the defaults"),
    ],
    ids=["worse", "uncertain", "the same", "worse than the defaults", "none"],
)
def test_any_others_leave_it_as_it_is(
    there: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: Outcome,
    words: str,
) -> None:
    end(monkeypatch, outcome)
    with pytest.raises(CommandError, match=words) as caught:
        tune.tune(options(json=True))
    assert caught.value.code == 1
    assert str(caught.value).endswith("; nothing was written, params.toml is as it was")
    assert there.read_text() == TEXT
    shown = json.loads(capsys.readouterr().out)
    assert shown["written"] is False
    assert ("existing" in shown) is bool(outcome.existing)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "params.toml has no table [parameters]"),
        ("notes of mine\n", "params.toml is not valid TOML"),
        ("[law]\ngap = 0.02\n", "params.toml has no table [parameters]"),
        ("[parameters]\ngap = 'wide'\n", "gap must be a number, 0 or more, not 'wide'"),
        ("[parameters]\nspeed = 1\n", "no parameter 'speed'"),
        ("\0\xff", "params.toml is not valid TOML"),
    ],
)
def test_what_holds_no_parameters_is_not_written_over(
    there: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    plans = end(monkeypatch, finished(0.8))
    there.write_text(text, encoding="latin-1")
    with pytest.raises(CommandError, match=re.escape(words)) as caught:
        tune.tune(options())
    assert caught.value.code == 2
    assert str(caught.value).endswith("give another name")
    assert plans == [], "before the search"
    assert there.read_text(encoding="latin-1") == text


def test_what_is_no_file_is_not_written_over(there: Path) -> None:
    there.unlink()
    os.mkfifo(there)
    with pytest.raises(CommandError, match="no ordinary file; give another name") as caught:
        tune.tune(options())
    assert caught.value.code == 2


@pytest.mark.parametrize("before", [None, TEXT])
def test_what_somebody_wrote_meanwhile_is_kept(
    there: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    others = TEXT.replace("0.02", "0.04")
    if before is None:
        there.unlink()

    def search(plan: object, spent: object) -> object:
        there.write_text(others)
        yield beside(0.9) if before else finished(0.8)

    monkeypatch.setattr(tune_search, "search", search)
    with pytest.raises(
        CommandError, match=r"params\.toml was changed meanwhile; nothing was written$"
    ) as caught:
        tune.tune(options())
    assert caught.value.code == 1
    assert there.read_text() == others
