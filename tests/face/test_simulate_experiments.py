from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats
from shivya import experiments
from shivya.simulate_plot import draw


def rows(law: str, *p99: float, load: float = 0.85) -> list[dict[str, Any]]:
    """As much of the rows of a law as figures are taken from."""
    same = {"law": law, "load": load, "jobs_submitted": 9}
    return [{**same, "seed": seed, "p99": value} for seed, value in enumerate(p99)]


def test_unknown_laws_and_no_seeds_are_refused():
    from shivya_kernels.fleet import Scenario

    scenario = Scenario(nodes=2, seconds=1.0, warm_up=0.0)
    with pytest.raises(ValueError, match="there are none, random"):
        experiments.run(scenario, law="best")
    with pytest.raises(ValueError, match="seeds"):
        experiments.run(scenario, seeds=())


@pytest.mark.parametrize("count", [2, 3, 7, 8, 12, 64])
def test_intervals_are_student_s(count):
    values = np.random.default_rng(count).gamma(4.0, size=count)
    found = experiments.mean(rows("a", *values))
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert found == pytest.approx((values.mean(), low, high), rel=1e-3)


def test_ratios_are_paired():
    """Twice the time in each of very different worlds is a ratio of 2, without doubt."""
    reference = rows("sed", 0.1, 5.0, 0.7)
    twice = rows("x", 0.2, 10.0, 1.4)
    assert experiments.ratio(twice, reference) == pytest.approx((2, 2, 2))
    never = rows("x", 0.2, math.inf, 1.4)
    assert all(map(math.isnan, experiments.ratio(never, reference)))
    assert experiments.mean(never).value == math.inf
    with pytest.raises(ValueError, match="rows of the same fleets"):
        experiments.ratio(rows("x", 0.2, 10.0, 1.4, load=0.5), reference)


def test_one_seed_has_no_interval():
    found = experiments.mean(rows("a", 0.3))
    assert found.value == 0.3
    assert math.isnan(found.low) and math.isnan(found.high)


SVG = "{http://www.w3.org/2000/svg}"


def words(tree: ElementTree.Element) -> list[str]:
    return [str(text.text) for text in tree.iter(f"{SVG}text")]


def test_bars_of_one_load():
    laws = [
        rows("sed", 0.5, 0.6, 0.7),
        rows("<i> & 'j'", 0.25, 0.3, 0.35),
        rows("stuck", math.inf, 1, 1),
    ]
    tree = ElementTree.fromstring(draw(laws, 'a "title" & more'))
    bars = [float(bar.attrib["width"]) for bar in tree.iter(f"{SVG}rect") if "x" in bar.attrib]
    assert len(bars) == 3
    assert bars[0] == pytest.approx(2 * bars[1], abs=0.2)
    assert {"sed", "<i> & 'j'", "0.6", "0.3", "never done", "seconds", 'a "title" & more'} <= set(words(tree))


def test_lines_over_several_loads():
    curves = [
        rows(law, *(scale * load / (1 - load) * x for x in (0.9, 1.0, 1.1)), load=load)
        for law, scale in (("sed", 1.0), ("none", 50.0))
        for load in (0.5, 0.7, 0.95)
    ]
    tree = ElementTree.fromstring(draw(curves, "title"))
    lines = [line.attrib["points"].split() for line in tree.iter(f"{SVG}polyline")]
    assert [len(points) for points in lines] == [3, 3]
    sed, none = ([float(point.split(",")[1]) for point in points] for points in lines)
    assert sed == sorted(sed, reverse=True)  # longer is higher up
    # On a logarithmic axis a factor is a distance.
    assert [a - b for a, b in zip(sed, none, strict=True)] == pytest.approx([sed[0] - none[0]] * 3, abs=0.2)
    assert {"0.5", "0.7", "0.95", "load", "seconds, logarithmic"} <= set(words(tree))


@pytest.mark.parametrize("runs", [[], [rows("sed", math.nan)], [rows("sed", 1.0)]])
def test_a_plot_of_little_is_still_a_picture(runs):
    ElementTree.fromstring(draw(runs, "title"))
