"""What came of a part's last rounds, as plain numbers; and the part of a spirit that has no kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from shivya_daemon.spirits.outlook import Outlook
from shivya_daemon.spirits.settings import Settings


@dataclass
class Books:
    """Where nutrient came from and where it went, in all. What the body holds follows from them."""

    planted: float = 0.0
    intake: float = 0.0
    upkeep: float = 0.0
    dissolved: float = 0.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """The body, padding left out."""

    position: np.ndarray
    """[n, 3]"""
    nutrient: np.ndarray
    phase: np.ndarray
    ends: np.ndarray
    """[m, 2] of the cells above."""
    thickness: np.ndarray
    flow: np.ndarray
    age: np.ndarray


@dataclass(frozen=True, slots=True)
class Round:
    """What the last rounds came to; places without a boundary cell are left out."""

    cells: Mapping[int, tuple[float, float]]
    """Nutrient and phase of the boundary cell, by place."""
    seats: Mapping[int, int]
    """Index in `drawing` of that cell."""
    moved: Mapping[int, int]
    """Billionths that came into the body or left it, by place."""
    drawing: Drawing
    nutrient: float
    """What the body holds in all."""
    efficiency: float
    cost: float
    status: int
    books: Books
    """As of the end of the last round."""


class Body(Protocol):
    """What lives here."""

    def live(self, links: Mapping[int, Outlook], settings: Settings, rounds: int, now: float) -> Round:
        """Let rounds pass."""
        ...


class Still:
    """A spirit that is a picture alone: nothing lives, and nothing is computed."""

    def live(self, links: Mapping[int, Outlook], settings: Settings, rounds: int, now: float) -> Round:
        """Return a part without cells."""
        none = np.zeros(0)
        empty = Drawing(np.zeros((0, 3)), none, none, np.zeros((0, 2), int), none, none, none)
        return Round({}, {}, {}, empty, 0.0, 0.0, 0.0, 0, Books())
