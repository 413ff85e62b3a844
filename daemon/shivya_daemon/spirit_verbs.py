"""The verbs of the control socket about spirits: SPIRITS, SPIRIT, SUMMON, DISMISS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shivya_daemon.line import CommandError, Fields
from shivya_daemon.spirits.refused import SpiritRefused
from shivya_daemon.spirits.settings import LIMITS

Reply = dict[str, Any]


class Summons(Protocol):
    """What the verbs ask of the daemon; each may raise `SpiritRefused`."""

    def summon(self, name: str, given: Mapping[str, float]) -> Reply:
        """Let a spirit live on the mesh."""
        ...

    def dismiss(self) -> Reply:
        """Let none live on it."""
        ...

    def tune(self, given: Mapping[str, float]) -> Reply:
        """Change the settings of the one that is summoned."""
        ...

    def catalogue(self) -> Reply:
        """Return the packages that are here."""
        ...

    def look(self) -> Reply:
        """Return which spirit is summoned, and what there is of it here."""
        ...


class SpiritVerbs:
    """Obeys the verbs about spirits."""

    def __init__(self, summons: Callable[[], Summons | None]) -> None:
        self._find = summons
        self.actions: Mapping[str, Callable[[Fields, object], Reply]] = {
            "SPIRITS": self._list,
            "SPIRIT": self._spirit,
            "SUMMON": self._summon,
            "DISMISS": self._dismiss,
        }

    def _list(self, fields: Fields, _: object) -> Reply:
        fields.finish()
        return self._summons().catalogue()

    def _spirit(self, fields: Fields, _: object) -> Reply:
        given = _settings(fields)
        fields.finish()
        return _refusable(lambda: self._summons().tune(given) if given else self._summons().look())

    def _summon(self, fields: Fields, _: object) -> Reply:
        name = fields.required("name", "the spirit's name, or the absolute path of its package")
        given = _settings(fields)
        fields.finish()
        return _refusable(lambda: self._summons().summon(name, given))

    def _dismiss(self, fields: Fields, _: object) -> Reply:
        fields.finish()
        return _refusable(lambda: self._summons().dismiss())

    def _summons(self) -> Summons:
        found = self._find()
        if found is None:
            raise CommandError("this daemon knows no spirits")
        return found


def _settings(fields: Fields) -> dict[str, float]:
    """Take the settings that are given."""
    nothing = -1.0
    taken = {key: fields.number(key, nothing, *LIMITS[key]) for key in LIMITS}
    return {key: value for key, value in taken.items() if value != nothing}


def _refusable(action: Callable[[], Reply]) -> Reply:
    try:
        return action()
    except SpiritRefused as error:
        raise CommandError(str(error)) from None
