"""The packages at hand, by digest, for whoever shows them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from shivya_daemon.spirits.package import installed
from shivya_daemon.views.frames import Frame

_log = logging.getLogger(__name__)
_LOOK_AGAIN = 10.0
"""Seconds until a package that was not there is looked for once more."""


class Shelf:
    """The built-in packages and those in a folder, read when one is first wanted."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._frames: dict[str, Frame] = {}
        self._due = float("-inf")
        self._told: set[tuple[Path, str]] = set()

    def find(self, digest: str) -> Frame | None:
        """Return the picture of the package with this digest, or None where there is none."""
        if digest not in self._frames and self._clock() >= self._due:
            self._due = self._clock() + _LOOK_AGAIN
            self._frames = {
                package.digest.hex(): Frame(package.manifest.entry, package.files)
                for package in installed(self._folder, self._tell)
                if package.digest.hex() == digest  # one is shown at a time, and only that one takes memory
            }
        return self._frames.get(digest)

    def _tell(self, path: Path, why: str) -> None:
        if (path, why) not in self._told and len(self._told) < 64:
            self._told.add((path, why))
            _log.warning("spirit package %s is left out: %s", path.name, why)
