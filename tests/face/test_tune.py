from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shivya import config, tune, tune_file, tune_search, tune_space
from shivya.errors import CommandError
from shivya.simulate_scenario import build
from shivya.tune_search import Outcome, Plan
from tuning import (
    DEFAULTS,
    SCENARIO,
    SMALL,
    Made,
    by_differences,
    end,
    finished,
    made_up,
    options,
    outcome_of,
)

from shivya_kernels.fleet import Params

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


@pytest.fixture(autouse=True)
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO)
    return path


# The box.


def test_the_defaults_lie_inside_and_come_back():
    assert set(tune.NAMES) == set(tune_space.RANGES)
    at = tune_space.point(DEFAULTS, tune.NAMES)
    found = tune_space.parameters(at, tune.NAMES, DEFAULTS)
    for name in tune.NAMES:
        assert float(getattr(found, name)) == pytest.approx(getattr(DEFAULTS, name), rel=1e-5)


def test_no_point_leaves_the_stable_region():
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.normal(0, 3, (500, 12)), np.full((1, 12), 1e4), np.full((1, 12), -1e4)])
    found = tune_space.parameters(points, tune.NAMES, DEFAULTS)
    assert (np.asarray(found.slope_share) <= 1.2).all()
    assert (np.asarray(found.drift_share) < 1).all()
    assert (np.asarray(found.gain) <= 1.5).all()
    for name in tune.NAMES:
        values = np.asarray(getattr(found, name))
        assert np.isfinite(values).all() and (values >= 0).all(), name


# The search, on fleets whose p99 is a known function of the parameters.


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return made_up(monkeypatch)


def test_it_finds_what_is_better_and_tests_it_once_on_worlds_it_never_saw(made):
    found = outcome_of(SMALL)
    assert found.chosen is not None
    assert float(found.parameters.gap) == pytest.approx(0.1, rel=0.3)
    assert float(found.parameters.drift) > 0.6
    assert found.ratio().high < 0.9
    seeds = SMALL.splits
    assert [len(x) for x in seeds.values()] == [4, 2, 4]
    assert len({seed for x in seeds.values() for seed in x}) == 10
    assert not set(replace(SMALL, seed=1).splits["train"]) & {s for x in seeds.values() for s in x}
    asked = [set(seeds_of) <= set(seeds["test"]) for _, seeds_of in made.asked]
    assert asked == [False] * (len(asked) - 4) + [True] * 4
    assert {seed for _, some in made.asked[-2:] for seed in some} == set(seeds["test"])
    assert [r["seed"] for r in found.after] == [r["seed"] for r in found.before] == list(seeds["test"])
    finalists = [c for c in found.candidates if c.everywhere]
    assert 1 <= len(finalists) <= 8 and found.chosen.merit == min(c.merit for c in finalists)
    assert min(c.validation.value for c in found.candidates) in [c.validation.value for c in finalists]


def chosen_of(made: Made, gaps: dict[str, float], trouble: dict[float, int]) -> list[str]:
    """Who is best on the validation worlds, and who after the last choice, of candidates of these gaps.

    p99 is best at a gap of .1, on validation worlds at .2; `trouble` is a training world that a gap wrecks.
    """

    def p99(params: Params, seed: int) -> float:
        gap, aim = round(float(params.gap), 4), 0.2 if seed in SMALL.splits["validation"] else 0.1
        return 1.0 + abs(gap - aim) + (trouble.get(gap) == seed) * 0.1

    made.p99 = p99
    judged = tune_search._Judged(SMALL, tune_search._Fleets(SMALL), DEFAULTS)
    for name, gap in gaps.items():
        judged.validate(name, tune_space.point(replace(DEFAULTS, gap=gap), SMALL.names))
    names = [judged.best.found_by if judged.best else "none"]
    shares = list(judged.weigh_finalists())
    assert shares == sorted(shares) and (not shares or shares[-1] == 1)
    return [*names, judged.best.found_by if judged.best else "none"]


def test_who_was_lucky_on_the_validation_worlds_is_found_out_on_all(made):
    assert chosen_of(made, {"lucky": 0.19, "steady": 0.11}, {}) == ["lucky", "steady"]


def test_who_is_good_on_average_and_wrecks_a_world_is_passed_over(made):
    first = SMALL.splits["train"][0]
    assert chosen_of(made, {"best": 0.1, "steady": 0.095}, {}) == ["best", "best"]
    assert chosen_of(made, {"best": 0.1, "steady": 0.095}, {0.1: first}) == ["best", "steady"]


def test_candidates_that_are_worse_on_all_worlds_are_none(made):
    assert chosen_of(made, {"lucky": 0.3}, {}) == ["lucky", "none"]


def test_the_same_seed_finds_the_same(made):
    one, two = outcome_of(SMALL), outcome_of(SMALL)
    assert tune_space.numbers(one.parameters, tune.NAMES) == tune_space.numbers(two.parameters, tune.NAMES)


def test_line_search_goes_on_where_descent_was_short(made):
    found = outcome_of(replace(SMALL, descent=1, lines=4, sweeps=0))
    assert found.chosen is not None and found.chosen.found_by.startswith("line search")
    assert found.ratio().value < outcome_of(replace(SMALL, descent=1, lines=0, sweeps=0)).ratio().value


def test_sweeps_find_what_a_fluid_that_is_wrong_leads_away_from(made, monkeypatch):
    def wrong(*given: Any) -> tuple[float, np.ndarray]:
        value, slope = by_differences(*given)
        return value, -slope

    monkeypatch.setattr(tune_search, "_slopes", wrong)
    assert outcome_of(replace(SMALL, sweeps=0)).chosen is None
    found = outcome_of(SMALL)
    assert found.chosen is not None and found.ratio().high < 0.9


def test_time_that_is_over_ends_every_stage_but_not_the_test(made):
    found = outcome_of(SMALL, lambda: 2.0)
    assert found.steps == 1
    assert [c.found_by for c in found.candidates] == ["gradient step 1"]
    assert len(found.after) == 4


def test_nothing_is_chosen_where_nothing_is_better(made):
    made.p99 = lambda params, seed: 1.0 + abs(float(params.gap) - 0.05)
    found = outcome_of(SMALL)
    assert found.chosen is None
    assert found.parameters == DEFAULTS
    assert found.after == found.before


def test_jobs_never_done_are_never_better(made):
    made.p99 = lambda params, seed: float("inf") if float(params.gap) > 0.0501 else 1.0
    assert outcome_of(SMALL).chosen is None


# The command.


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Callable[[Outcome | Exception], None]:
    """What the search ends with."""
    return partial(end, monkeypatch)


def test_what_is_better_is_written_and_can_be_used(capsys, tmp_path, ending):
    ending(finished(0.8))
    assert tune.tune(options()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"^gap +0\.05 +0\.03$", out, re.MULTILINE)
    assert re.search(r"^p99, ms +500 +400 +0\.800 +0\.800 - 0\.800$", out, re.MULTILINE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["params.toml", "scenario.toml"]
    document = tomllib.loads((tmp_path / "params.toml").read_text())
    assert document["parameters"]["gap"] == 0.03
    assert document["defaults"]["gap"] == 0.05
    assert document["splits"] == {"train": [0, 63], "validation": [64, 79], "test": [80, 111]}
    assert document["scenario"]["sha256"] == tune_file.scenario_hash(
        build(tomllib.loads(SCENARIO)["scenario"], "")
    )
    assert tune_file.read(tmp_path / "params.toml") == replace(DEFAULTS, gap=0.03, slope_share=0.4)
    settings = tmp_path / "shivya.toml"
    settings.write_text("[law]\n" + "".join(f"{k} = {v}\n" for k, v in document["law"].items()))
    law = config.load({}, environ={}, config_file=settings).law
    assert (law.gap, law.slope_share) == (0.03, 0.4)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (finished(1.02), "not shown to be better"),
        (finished(0.97, spread=0.1), "not shown to be better"),
        (finished(1.0, chosen=False), "none of 1 candidates was better"),
        (finished(float("inf")), "not shown to be better"),
    ],
    ids=["worse", "uncertain", "none", "never done"],
)
def test_what_is_not_better_is_refused(capsys, tmp_path, ending, outcome, words):
    ending(outcome)
    with pytest.raises(CommandError, match=words) as caught:
        tune.tune(options(json=True))
    assert caught.value.code == 1
    assert str(caught.value).endswith("nothing was written")
    assert [p.name for p in tmp_path.iterdir()] == ["scenario.toml"]
    shown = json.loads(capsys.readouterr().out)
    assert shown["written"] is False
    assert shown["test"]["p99_before"] == 0.5


def test_errors_of_the_search_are_told(ending):
    ending(ValueError("edges name nodes outside 0..5"))
    with pytest.raises(CommandError, match="edges name") as caught:
        tune.tune(options())
    assert caught.value.code == 2
    ending(RuntimeError("RESOURCE_EXHAUSTED: Out of memory"))
    with pytest.raises(CommandError, match="too little memory"):
        tune.tune(options())


def test_progress_shows_on_a_terminal_only(monkeypatch, ending):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    ending(finished(0.8))
    assert tune.tune(options()) == 0
    assert "gradient descent" in terminal.getvalue()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output": Path("absent/params.toml")}, "--output cannot be written"),
        ({"output": Path()}, "--output cannot be written"),
        ({"only": ["gap", "speed"]}, "no parameter 'speed'; there are gap, slope_share"),
        ({"file": Path("absent.toml")}, "cannot read absent.toml"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_told_in_one_line(changes, words):
    with pytest.raises(CommandError, match=re.escape(words)) as caught:
        tune.tune(options(**changes))
    assert caught.value.code == 2
    assert "\n" not in str(caught.value)


def test_mistakes_are_told_before_jax_is_imported(scenario):
    scenario.write_text("[scenario]\nlaod = 1\n")
    program = (
        "import sys\nfrom argparse import Namespace\nfrom pathlib import Path\n"
        "from shivya.errors import CommandError\nfrom shivya.tune import tune\n"
        "try:\n    tune(Namespace(file=Path('scenario.toml'), output=Path('p.toml'), minutes=1, only=None))\n"
        "except CommandError as error:\n    assert 'laod' in str(error), error\n"
        "sys.exit(' '.join({'jax', 'numpy', 'rich'} & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


INTERRUPTED = """
import os, signal, sys, threading
from argparse import Namespace
from pathlib import Path
from shivya import tune, tune_search

def search(plan, spent):
    yield tune_search.Progress("gradient descent", .1)
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()

tune_search.search = search
paths = {"file": Path("scenario.toml"), "output": Path("params.toml")}
tune.tune(Namespace(**paths, minutes=15.0, seed=0, only=None, json=False))
"""


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "shivya tune: interrupted, nothing was written\n")
    assert [p.name for p in tmp_path.iterdir()] == ["scenario.toml"]


# Files.


def test_a_hash_is_of_what_a_scenario_means():
    one = build(tomllib.loads(SCENARIO)["scenario"], "")
    two = build(tomllib.loads(SCENARIO.replace("seconds = 2\n", "") + "seconds = 2.0\n")["scenario"], "")
    assert tune_file.scenario_hash(one) == tune_file.scenario_hash(two)
    assert tune_file.scenario_hash(one) != tune_file.scenario_hash(replace(one, load=0.5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[parameters]\ngap = 'x'\n", "gap must be a number"),
        ("[parameters]\ngap = nan\n", "gap must be a number"),
        ("[parameters]\nspeed = 1\n", "no parameter 'speed'"),
        ("[law]\ngap = 1\n", "no table"),
        ("gap = ", "not valid TOML"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, words):
    path = tmp_path / "params.toml"
    path.write_text(text)
    with pytest.raises(tune_file.ParametersError, match=words):
        tune_file.read(path)
    with pytest.raises(tune_file.ParametersError, match="cannot read"):
        tune_file.read(tmp_path / "absent.toml")


# All of it, on fleets so small that nothing need be better.


@pytest.mark.soak  # most of it is compiling derivatives
def test_the_whole_way_on_real_fleets(capsys, tmp_path, monkeypatch):
    small = partial(Plan, train=4, validation=2, test=4, descent=3, fleets=2, lines=1, sweeps=1, group=2)
    monkeypatch.setattr(tune_search, "Plan", small)
    try:
        code = tune.tune(options(json=True))
    except CommandError as error:
        code = error.code
    shown = json.loads(capsys.readouterr().out)
    assert (code == 0) is shown["written"] is (tmp_path / "params.toml").exists()
    assert shown["search"]["gradient_steps"] == 3
    assert shown["search"]["validated"][:3] == [f"gradient step {k}" for k in (1, 2, 3)]
    assert 0 < shown["search"]["fluid_p99_before"] < 2
    assert 0 < shown["test"]["p99_before"] < 2
