from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shivya import experiments, tune, tune_search
from shivya.tune_search import Plan

from shivya_kernels.fleet import LAWS, Scenario

SCENARIOS = Path(__file__).parents[2] / "benchmarks" / "scenarios"
DEFAULTS = LAWS["shivya"].params
SMALL = Plan(Scenario(nodes=6, seconds=2.0, warm_up=0.5), tune.NAMES, train=4, validation=2, test=4, fleets=2)


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_scenarios_of_the_benchmarks_can_be_simulated(path):
    assert experiments.load_scenario(path).nodes <= 64


def test_a_slope_that_no_delay_has_counts_as_a_steep_one(monkeypatch):
    chaos = np.array([[1e5, 0.3, np.nan]] * 4)
    monkeypatch.setattr(tune_search, "_delays", lambda *given: ((0.0, np.zeros(4)), chaos))
    world = Namespace(fleet=np.zeros(3), servers=np.ones(3), rate=np.full(3, 20.0))
    world.shape = Namespace(fleets=4)
    _, slope = tune_search._slopes(SMALL, Namespace(world=world), DEFAULTS, np.zeros(3))
    assert 1 <= slope[0] <= 3
    assert slope[1:].tolist() == pytest.approx([0.3, 0])


def test_the_time_step_of_the_fluid_goes_with_the_service_times():
    quick = replace(SMALL.scenario, rates=(100.0,), shares=(1.0,), hop=0.005)
    fleets = tune_search._Fleets(replace(SMALL, scenario=quick))
    assert fleets.service == pytest.approx(0.01)
    assert all(0.005 <= fed.seconds <= 0.02 for fed in fleets.feeds)
    scaled = tune_search._scaled(DEFAULTS, fleets.service)
    assert scaled.gap / DEFAULTS.gap == pytest.approx(scaled.pull_wait / DEFAULTS.pull_wait)
    assert 0.005 < scaled.gap < 0.01
    assert replace(scaled, gap=DEFAULTS.gap, pull_wait=DEFAULTS.pull_wait) == DEFAULTS
