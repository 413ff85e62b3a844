"""The compiled part of one node: nutrient to the billionth, foods found, and a body that begins again."""

from __future__ import annotations

import pytest

from shivya_daemon.spirits.outlook import Outlook
from shivya_daemon.spirits.patch import Patch
from shivya_daemon.spirits.register import UNIT
from shivya_daemon.spirits.settings import Settings

POOL = (64, 128)
NEAR, FAR = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


@pytest.fixture(scope="module")
def grown() -> tuple[Patch, int]:
    """A part with two links that has found both, and what came over them meanwhile."""
    part, came = Patch(7, *POOL), 0
    for step in range(300):
        amount = 12_345_678 if step % 4 == 0 else 0
        lived = part.live({3: Outlook(NEAR, 0.5, amount), 9: Outlook(FAR, 0.8)}, Settings(), 1, step * 0.25)
        came += lived.moved.get(3, 0)
        assert lived.moved == ({3: amount} if amount else {})
        books = part.books
        total = books.planted + books.intake - books.upkeep - books.dissolved + came / UNIT
        assert lived.nutrient == pytest.approx(total, abs=1e-9)
    assert lived.cells.keys() == lived.seats.keys() == {3, 9}
    assert 0.3 < lived.efficiency <= 1.0 < lived.cost and not lived.status
    return part, came


def test_what_leaves_is_what_was_asked_to_the_billionth(grown: tuple[Patch, int]) -> None:
    part, _ = grown
    lived = part.live({3: Outlook(NEAR, 0.5), 9: Outlook(FAR, 0.8)}, Settings(), 1, 80.0)
    for _ in range(8):
        half = int(lived.cells[9][0] * UNIT / 2)
        before = lived.nutrient
        lived = part.live({3: Outlook(NEAR, 0.5), 9: Outlook(FAR, 0.8, -half)}, Settings(), 1, 80.0)
        assert lived.moved == {9: -half} and half > 0
        assert lived.nutrient < before + 1.0
    assert len(lived.drawing.nutrient) <= POOL[0] and len(lived.drawing.flow) <= POOL[1]
    assert lived.drawing.ends.min() >= 0 and lived.drawing.ends.max() < len(lived.drawing.nutrient)


def test_a_link_that_ends_loses_its_food_and_what_still_comes_is_kept(grown: tuple[Patch, int]) -> None:
    part, _ = grown
    lived = part.live({3: Outlook(NEAR, 0.5), 0: Outlook((0.0, 0.0, 0.0), 0.0, 5)}, Settings(), 1, 81.0)
    assert lived.cells.keys() == {3} and lived.moved == {0: 5}


def test_without_food_nothing_is_planted_and_after_a_famine_it_begins_again() -> None:
    part = Patch(1, *POOL)
    lived = part.live({}, Settings(), 3, 0.0)
    assert part.books.planted == lived.nutrient == 0.0 and not len(lived.drawing.nutrient)
    part.live({0: Outlook(NEAR, 0.5)}, Settings(exploration=0.0), 1, 0.0)
    assert part.books.planted == 1.0
    for second in range(200):  # too far, too timid: it starves
        lived = part.live({0: Outlook(NEAR, 0.5, 7)}, Settings(exploration=0.0), 8, float(second))
        if not lived.nutrient:
            break
    assert not len(lived.drawing.nutrient)
    lived = part.live({0: Outlook(NEAR, 0.5, 7)}, Settings(), 1, 500.0)
    assert part.books.planted == 2.0 and lived.moved == {0: 7}


def test_a_neighbours_phase_pulls() -> None:
    part = Patch(3, *POOL)
    far, apart = 0.0, []
    for step in range(240):
        far += 0.25
        lived = part.live({5: Outlook(NEAR, 0.9, 0, far + 2.0)}, Settings(), 1, step * 0.25)
        if 5 in lived.cells:
            gap = (lived.cells[5][1] - far - 2.25) % 6.283185307
            apart.append(min(gap, 6.283185307 - gap))
    assert apart and apart[-1] < 0.1 < 0.5 < max(apart)
