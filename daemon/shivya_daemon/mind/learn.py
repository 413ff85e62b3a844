"""Keeps what every service sensed, has lessons taken in a thread of its own, and says which laws to install.

A lesson is due every minute, or ten seconds after the last one where an observation was a surprise; and never
before the learner's share of a processor allows it. One lesson runs at a time. Whatever goes wrong in it is
counted, and the laws stay as they are.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from shivya_daemon.mind.lesson import LEAST, History, Lesson, Outcome
from shivya_daemon.mind.programs import AS_BEFORE, SENSES, Programs
from shivya_daemon.verdict import Learned, Verdict

if TYPE_CHECKING:
    from shivya_kernels.search import Population

INTERVAL = 60.0
"""Seconds between two lessons of a service that nothing surprises."""

LEAST_INTERVAL = 10.0
"""Seconds between any two lessons."""

SHARE = 0.01
"""Of one processor, on average: a lesson of 0.3 s is followed by 30 s without one. It may be granted less."""

AFTER_FAILURE = 600.0
"""Seconds without a lesson after one that failed."""

_BREATH = 0.02
"""Seconds between two compiled calls of a lesson."""

_WORST = 1e9
"""Of an error that is not finite, for comparison."""

Study: TypeAlias = Callable[[Lesson, Callable[[], None]], Outcome]
"""Takes a lesson, and what to call between two compiled calls."""

_log = logging.getLogger(__name__)


@dataclass
class _Pupil:
    """One service."""

    history: History = field(default_factory=History)
    running: Programs = AS_BEFORE
    populations: tuple[Population, ...] = ()
    lessons: int = 0
    """Begun, failed ones too."""
    due: float = -math.inf
    surprised: bool = False
    learned: Learned = field(default_factory=lambda: Learned(dict.fromkeys(SENSES, "last")))


class Learner:
    """Lessons for all services. Every method is for the one thread that ticks.

    `load` compiles and returns the study; it runs in `executor`, which has one thread, before the first
    lesson. `clock` and `sleep` serve that thread.
    """

    def __init__(
        self,
        load: Callable[[], Study],
        executor: Executor,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._load = load
        self._executor = executor
        self._clock = clock
        self._sleep = sleep
        self._study: Study | None = None
        self._pupils: dict[str, _Pupil] = {}
        self._lesson: tuple[_Pupil, str, Future[tuple[Outcome, float]]] | None = None
        self._free = -math.inf
        self._swaps: dict[str, Programs] = {}
        self._gains: dict[str, tuple[float, float]] = {}
        self._granted = threading.Event()
        """Set while lessons may use a processor; the one under way waits for it."""
        self._granted.set()
        self._owed = 0.0
        """Seconds of lessons that have yet to be made up for."""
        self._advanced = -math.inf

    def advance(self, verdicts: Mapping[str, Verdict], now: float, share: float = SHARE) -> None:
        """Remember a tick, end the lesson that is done, and begin the next one that is due.

        Services without a verdict are forgotten, as the law forgets them. `share` of a processor is what
        lessons may use from now on; at 0 the one under way waits.
        """
        if share > 0.0:
            self._granted.set()
        else:
            self._granted.clear()
        if self._owed > 0.0:
            self._owed = max(0.0, self._owed - share * (now - self._advanced))
        self._advanced = now
        self._pupils = {name: self._pupils.get(name) or _Pupil() for name in verdicts}
        for name, verdict in verdicts.items():
            pupil = self._pupils[name]
            pupil.history.add(verdict.senses)
            pupil.surprised = pupil.surprised or verdict.novel
        if self._lesson is not None and self._lesson[2].done():
            self._conclude(*self._lesson, now)
            self._lesson = None
        if self._lesson is None and now >= self._free and not self._owed and share > 0.0:
            self._begin(now)

    def swaps(self) -> dict[str, Programs]:
        """Return the laws to be installed before the next tick, by service; each is returned once."""
        swaps, self._swaps, self._gains = self._swaps, {}, {}
        return swaps

    def offer(self) -> tuple[float, float] | None:
        """Return the error of the law that runs and of the one that is to be installed, as shares of that of
        "as before", for the service with most to gain; None if there is nothing to install."""
        return min(self._gains.values(), key=lambda pair: pair[1] / pair[0], default=None)

    def learned(self) -> dict[str, Learned]:
        """Return how the predictor of each service stands."""
        return {name: pupil.learned for name, pupil in self._pupils.items()}

    def _begin(self, now: float) -> None:
        ready = [
            (pupil.due - INTERVAL * pupil.surprised, name)
            for name, pupil in self._pupils.items()
            if len(pupil.history) >= LEAST
        ]
        if not ready or min(ready)[0] > now:
            return
        name = min(ready)[1]
        pupil = self._pupils[name]
        lesson = Lesson(pupil.history.rows(), pupil.running, pupil.populations, pupil.lessons)
        pupil.surprised = False
        pupil.lessons += 1
        try:
            self._lesson = pupil, name, self._executor.submit(self._take, lesson)
        except RuntimeError as error:  # the thread could not start, or broke
            self._fail(pupil, name, error, now)

    def _take(self, lesson: Lesson) -> tuple[Outcome, float]:
        """What it comes to and the seconds it took, breaths and compilation apart. In the executor."""
        if self._study is None:
            self._study = self._load()
        rested = 0.0

        def breathe() -> None:
            nonlocal rested
            began = self._clock()
            self._sleep(_BREATH)
            self._granted.wait()
            rested += self._clock() - began

        began = self._clock()
        outcome = self._study(lesson, breathe)
        return outcome, self._clock() - began - rested

    def _conclude(self, pupil: _Pupil, name: str, job: Future[tuple[Outcome, float]], now: float) -> None:
        if (error := job.exception()) is not None:
            self._fail(pupil, name, error, now)
            return
        outcome, seconds = job.result()
        self._free = now + LEAST_INTERVAL
        self._owed += seconds
        if outcome.programs != pupil.running and self._pupils.get(name) is pupil:
            _log.info("service %s: the wait is foretold by %s", name, outcome.texts[0])
            self._swaps[name] = outcome.programs
            self._gains[name] = _gain(outcome)
        pupil.due = now + INTERVAL
        pupil.running, pupil.populations = outcome.programs, outcome.populations
        learned = pupil.learned
        pupil.learned = Learned(
            laws=dict(zip(SENSES, outcome.texts, strict=True)),
            error_ratio=dict(zip(SENSES, outcome.ratios, strict=True)),
            searches=learned.searches + 1,
            accepted=learned.accepted + outcome.accepted,
            dropped=learned.dropped + outcome.dropped,
            failed=learned.failed,
        )

    def _fail(self, pupil: _Pupil, name: str, error: BaseException, now: float) -> None:
        _log.warning("no law for service %s was searched", name, exc_info=error)
        pupil.due = self._free = now + AFTER_FAILURE
        pupil.learned = replace(pupil.learned, failed=pupil.learned.failed + 1)


def _gain(outcome: Outcome) -> tuple[float, float]:
    """Return (error before, error after) of the sense whose error falls most."""
    pairs = [
        (min(before, _WORST), min(after, _WORST))
        for before, after in zip(outcome.before, outcome.ratios, strict=False)
        if before > 0.0
    ]
    return min(pairs, key=lambda pair: pair[1] / pair[0], default=(1.0, 1.0))
