"""This node's part of the organism: the compiled kernel behind plain numbers. It runs in one thread.

JAX is imported and the kernel compiled when the first `Patch` is made, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from shivya_daemon.mind.traced import ahead, blank
from shivya_daemon.spirits.lived import Books, Drawing, Round
from shivya_daemon.spirits.outlook import Outlook
from shivya_daemon.spirits.places import PLACES
from shivya_daemon.spirits.register import UNIT
from shivya_daemon.spirits.settings import Settings
from shivya_daemon.spirits.steps import STEP
from shivya_kernels import body, measures, patch

_MEASURED = 1.0  # seconds of real time between two looks at the whole network

# The kernel's own numbers but for those that let it reach food at distance 1 in a pool of some hundred cells.
_LIVES = body.Params(stride=0.125, reach=0.125, fuse=0.07, least_nutrient=0.01)
_STEP = np.float64(STEP)
_DECAY = float(_LIVES.decay) / Settings().decay  # type: ignore[arg-type]  # the two defaults are one


@dataclass(frozen=True)
class _Calls:
    """What a part calls, compiled in float64 for pools of one size."""

    live: Callable[..., Any]
    measure: Callable[[body.Organism], measures.Measures]


@lru_cache(maxsize=1)
def _compiled(cells: int, tubes: int) -> _Calls:
    """Compile, or load from the cache on disk; wants `jax.enable_x64`."""
    alone, key = _bare(cells, tubes), jax.random.key(0)
    lived = (alone, key, blank(patch.Told))
    return _Calls(
        ahead(patch.live, lived, alone, key, _STEP, _params(Settings()), _as_links({}, 0)),
        ahead(measures.measure, blank(measures.Measures), alone),
    )


@dataclass
class Patch:
    """The part of one node; `live` after `live`, never two at a time."""

    seed: int
    cells: int
    tubes: int
    books: Books = field(default_factory=Books)

    def __post_init__(self) -> None:
        with jax.enable_x64(True):
            self._key = jax.random.key(self.seed)
            self._calls = _compiled(self.cells, self.tubes)
            self._body = _bare(self.cells, self.tubes)
            self._alive = False
            self._measured: tuple[float, float, float] = (float("-inf"), 0.0, 0.0)

    def rehearse(self) -> None:
        """Compile, on a body that is thrown away."""
        once = Patch(0, self.cells, self.tubes)
        once.live({0: Outlook((1.0, 0.0, 0.0), 0.5)}, Settings(), 1, 0.0)

    def live(self, links: Mapping[int, Outlook], settings: Settings, rounds: int, now: float) -> Round:
        """Let `rounds` pass; amounts move at the beginning of the first. `links` go by place.

        A body of which nothing is left begins again from one cell as soon as there is food.
        """
        with jax.enable_x64(True):
            return self._live(links, settings, rounds, now)

    def _live(self, links: Mapping[int, Outlook], settings: Settings, rounds: int, now: float) -> Round:
        if not self._alive and any(link.value > 0.0 for link in links.values()):
            self._body = _bare(self.cells, self.tubes)
            self.books.planted += 1.0
            self._alive = True
        params = _params(settings)
        moved = np.zeros(PLACES)
        told, status = None, 0
        for turn in range(rounds if self._alive else 0):
            self._body, self._key, told = self._calls.live(
                self._body, self._key, _STEP, params, _as_links(links, turn)
            )
            moved += np.asarray(told.moved)
            self.books.intake += float(told.intake)
            self.books.upkeep += float(told.upkeep)
            self.books.dissolved += float(told.dissolved)
            self._alive = bool(told.alive)
            status |= int(told.status)
        if now - self._measured[0] >= _MEASURED:
            found = self._calls.measure(self._body)
            self._measured = now, float(found.efficiency), float(found.cost)
        return self._look(moved, status)

    def _look(self, moved: np.ndarray, status: int) -> Round:
        s: Any = jax.device_get(self._body)  # the same tree, of numpy's arrays
        kept = np.flatnonzero(s.cell_mask) if self._alive else np.zeros(0, int)
        index = np.full(s.cell_mask.shape, -1)
        index[kept] = np.arange(len(kept))
        used = np.flatnonzero(s.tube_mask) if self._alive else np.zeros(0, int)
        places = np.flatnonzero(s.food_cell >= 0).tolist() if self._alive else []
        drawing = Drawing(
            s.position[kept],
            s.nutrient[kept],
            s.phase[kept],
            np.stack([index[s.tail[used]], index[s.head[used]]], axis=1),
            np.maximum(s.conductance[used], 0.0) ** 0.25,
            s.flow[used],
            s.age[used],
        )
        return Round(
            {p: (float(s.nutrient[s.food_cell[p]]), float(s.phase[s.food_cell[p]])) for p in places},
            {p: int(index[s.food_cell[p]]) for p in places},
            {int(p): round(float(moved[p]) * UNIT) for p in np.flatnonzero(moved)},
            drawing,
            float(s.nutrient.sum()) if self._alive else 0.0,
            *self._measured[1:],
            status,
            replace(self.books),
        )


def _bare(cells: int, tubes: int) -> body.Organism:
    """One full cell at the origin, and places for foods."""
    return body.plant(np.zeros(3), np.zeros((PLACES, 3)), np.zeros(PLACES), cells=cells, tubes=tubes)


def _params(settings: Settings) -> body.Params:
    params = _LIVES._replace(exploration=settings.exploration, decay=settings.decay * _DECAY)
    strong: body.Params = jax.tree.map(np.float64, params)
    return strong


def _as_links(links: Mapping[int, Outlook], turn: int) -> patch.Links:
    """Links in the `turn`-th round: amounts move in the first, and neighbours' phases run on to its end."""
    position, value = np.zeros((PLACES, 3)), np.zeros(PLACES)
    amount, phase = np.zeros(PLACES), np.zeros(PLACES)
    heard = np.zeros(PLACES, bool)
    for place, link in links.items():
        position[place], value[place] = link.position, link.value
        amount[place] = link.amount / UNIT if turn == 0 else 0.0
        if link.phase is not None:
            phase[place] = link.phase + (turn + 1) * STEP * float(_LIVES.pulse)  # type: ignore[arg-type]
            heard[place] = True
    return patch.Links(position, value, amount, phase, heard)  # type: ignore[arg-type]  # jit takes numpy
