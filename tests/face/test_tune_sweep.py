from __future__ import annotations

import numpy as np
import pytest
from shivya.tune_sweep import FIRST, LEAST, LONGEST, Walk, begin, sweep


def test_first_steps_go_downhill():
    walk = begin(np.zeros(3), np.array([-0.2, 0.0, 3.0]))
    assert walk.steps.tolist() == [-FIRST, FIRST, FIRST]


def test_what_gains_is_kept_and_doubled_and_the_rest_turned_round_and_halved():
    walks = list(sweep(Walk(np.zeros(2), np.array([1.0, 1.0])), lambda x: float(np.exp(x[1] - x[0]))))
    assert [w.at.tolist() for w in walks] == [[1, 0], [1, 0]]
    assert walks[-1].steps.tolist() == [2, -0.5]


def test_gains_of_several_are_tried_once_more_together():
    *_, last = sweep(Walk(np.zeros(2), np.array([1.0, -1.0])), lambda x: float(np.exp(x[1] - x[0])))
    assert last.at.tolist() == [2, -2]
    # Not where that goes too far.
    *_, last = sweep(Walk(np.zeros(2), np.array([1.0, -1.0])), lambda x: float(np.abs(x - [1, -1]).sum() / 2))
    assert last.at.tolist() == [1, -1]


def test_steps_keep_within_their_bounds():
    steep = Walk(np.zeros(2), np.array([LONGEST, LEAST]))
    *_, last = sweep(steep, lambda x: float(np.exp(x[1] - x[0])))
    assert last.steps.tolist() == [LONGEST, -LEAST]


def test_what_is_not_known_is_no_gain():
    *_, last = sweep(Walk(np.zeros(2), np.array([1.0, 1.0])), lambda x: float("inf"))
    assert last.at.tolist() == [0, 0]


@pytest.mark.parametrize("start", [(0.0, 0.0, 0.0), (3.0, -4.0, 1.0)])
def test_sweep_after_sweep_leads_to_the_bottom_of_a_slanting_valley(start):
    def value(x: np.ndarray) -> float:
        return float((x[0] + x[1]) ** 2 + 0.2 * (x[0] - x[1] - 4) ** 2 + x[2] ** 2)

    walk = begin(np.array(start), np.zeros(3))
    for _ in range(30):
        here = value(walk.at)
        *_, walk = sweep(walk, lambda x, here=here: value(x) / here)
    assert walk.at == pytest.approx([2, -2, 0], abs=2 * LEAST)
