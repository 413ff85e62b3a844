"""Decisions by a fixed roster: distinct signed contributors of one content, counted in exact integers.

With a threshold of two thirds of n = 3 f + 1 members, two contents of one subject can be decided only if more
than f members sign both.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from msgspec import Struct

from shivya_daemon.core.signals.frame import Quorum, Signal
from shivya_daemon.core.signals.settings import SignalSettings

MAX_ROSTER = 1024


class Roster(Struct, frozen=True):
    """Who may contribute to quorums of one type, and how many of them decide."""

    members: frozenset[bytes]
    threshold: int


class _Tally(Struct):
    at: float
    contributors: set[bytes]


_Content = tuple[str, bytes, bytes]  # type, subject, payload


class Quorums:
    """The rosters by type, and the contributions to every open subject."""

    def __init__(self, settings: SignalSettings) -> None:
        self._settings = settings
        self._rosters: dict[str, Roster] = {}
        self._tallies: OrderedDict[_Content, _Tally] = OrderedDict()
        self._fired: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def register(self, name: str, members: Iterable[bytes], threshold: int | None = None) -> None:
        """Fix who decides quorums of type `name`, by default two thirds, rounded up.

        Raises `ValueError` for a threshold that cannot be met, and for too large or too many rosters.
        """
        roster = frozenset(members)
        if threshold is None:
            threshold = two_thirds(len(roster))
        if not 1 <= threshold <= len(roster) <= MAX_ROSTER:
            raise ValueError(
                f"threshold {threshold} of {len(roster)} members: name 1 to {MAX_ROSTER} members "
                "and a threshold from 1 to their number"
            )
        if name not in self._rosters and len(self._rosters) >= self._settings.max_rosters:
            raise ValueError(f"at most {self._settings.max_rosters} types of quorum can be registered")
        self._rosters[name] = Roster(roster, threshold)

    def roster(self, name: str) -> Roster | None:
        """Return the roster of a type, None if this node takes no part in it."""
        return self._rosters.get(name)

    def refusal(self, signal: Signal, source: bytes) -> str | None:
        """Return why `source` cannot contribute `signal`, or None; without a roster it is only relayed."""
        roster = self._rosters.get(signal.type)
        if roster is None or not isinstance(signal.kind, Quorum):
            return None
        if source not in roster.members:
            return "not_in_roster"
        return None if signal.kind.threshold == roster.threshold else "wrong_threshold"

    def count(
        self, name: str, kind: Quorum, payload: bytes, source: bytes, now: float
    ) -> tuple[bool, frozenset[bytes] | None]:
        """Count a contribution that was not refused and is authentic.

        Returns whether it is the first to its content, and the contributors if it decides the subject.
        """
        roster = self._rosters.get(name)
        if roster is None or (name, kind.subject) in self._fired:
            return False, None
        self._expire(now)
        content = (name, kind.subject, payload)
        tally = self._tallies.get(content)
        first = tally is None
        if tally is None:
            if len(self._tallies) >= self._settings.max_tallies:
                self._drop_weakest()
            tally = self._tallies[content] = _Tally(now, set())
        tally.contributors.add(source)
        if len(tally.contributors) < roster.threshold:
            return first, None
        del self._tallies[content]
        if len(self._fired) >= self._settings.max_fired:
            self._fired.popitem(last=False)
        self._fired[name, kind.subject] = None
        return first, frozenset(tally.contributors)

    def __len__(self) -> int:
        return len(self._tallies)

    def _expire(self, now: float) -> None:
        oldest = now - self._settings.quorum_lifetime
        while self._tallies:
            content, tally = next(iter(self._tallies.items()))
            if tally.at >= oldest:
                return
            del self._tallies[content]

    def _drop_weakest(self) -> None:
        """Make room: one member that opens many subjects must not close those of others."""
        del self._tallies[min(self._tallies, key=lambda content: len(self._tallies[content].contributors))]


def two_thirds(members: int) -> int:
    """Return ceil(2 n / 3), in integers: 2 of 3, 3 of 4, 5 of 7."""
    return -(-2 * members // 3)
