"""Spirits on one node: what an operator asks, what the mesh tells, and when one lives here.

Nothing is imported, compiled or kept before the first summoning. The register goes by gossip, what crosses
links by directed signals.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.events import Event, IncarnationAdopted, SignalReceived, SpiritTold
from shivya_daemon.core.signals.frame import Directed
from shivya_daemon.settings import SpiritSettings
from shivya_daemon.spirits import boundary, register
from shivya_daemon.spirits.catalogue import Catalogue
from shivya_daemon.spirits.host import Host, Mesh, new_thread
from shivya_daemon.spirits.keeper import Keeper
from shivya_daemon.spirits.package import Package
from shivya_daemon.spirits.refused import SpiritRefused
from shivya_daemon.spirits.register import Register
from shivya_daemon.spirits.settings import Settings, from_manifest

RETELL = 10.0
"""Seconds between two tellings of how much lives here; more in a large fleet."""
_RETELL_PER_MEMBER = 0.3
_log = logging.getLogger(__name__)


class Spirits:
    """One daemon's; `clock` is the node's, `wake` has its datagrams sent. `unable` says why none can live
    here, if that is so."""

    def __init__(
        self,
        node: Mesh,
        settings: SpiritSettings,
        folder: Path,
        clock: Callable[[], float],
        wake: Callable[[], None],
        unable: str | None = None,
    ) -> None:
        self._node = node
        self._settings = settings
        self._clock = clock
        self._wake = wake
        self._unable = unable if settings.follow else "follow = false in [spirits]"
        self._catalogue = Catalogue(folder)
        self._keeper = Keeper()
        self._changed = anyio.Event()
        self._host: Host | None = None
        self._accounts = 0
        """Opened in this life, for their epochs."""
        self._told_at = float("-inf")
        self._trouble: str | None = None
        self._drops: Counter[str] = Counter()

    # What an operator asks

    def summon(self, name: str, given: Mapping[str, float]) -> dict[str, Any]:
        """Let a spirit live on the mesh, by the name of its package or the absolute path of one.

        Raises `SpiritRefused`, as all that follow.
        """
        self._able()
        package = self._catalogue.find(name)
        settings = _settings({**from_manifest(package.manifest.settings).to_json(), **given})
        known = self._keeper.register
        self._write(lambda: known.summon(self._node.id, package.manifest.name, package.digest, settings))
        return self.look()

    def dismiss(self) -> dict[str, Any]:
        """Let no spirit live on the mesh."""
        known = self._summoned()
        self._write(lambda: known.dismiss(self._node.id))
        return self.look()

    def tune(self, given: Mapping[str, float]) -> dict[str, Any]:
        """Change the settings of the spirit on the mesh."""
        known = self._summoned()
        settings = _settings({**known.settings.to_json(), **given})
        self._write(lambda: known.tune(self._node.id, settings))
        return self.look()

    def catalogue(self) -> dict[str, Any]:
        """Return the packages that are here."""
        return {"spirits": self._catalogue.rows(self._keeper.register), "refused": [*self._catalogue.refused]}

    def look(self) -> dict[str, Any]:
        """Return which spirit is summoned, whether it lives here, and if so what there is of it."""
        known = self._keeper.register
        named = {"name": known.name, "digest": known.digest.hex(), "settings": known.settings.to_json()}
        return {
            "summoned": named if known.summoned else None,
            "lives_here": self._host is not None,
            "why_not": self._why_not(),
            "drops": {**self._drops, **({} if self._host is None else self._host.drops)},
            "spirit": self.report(self._clock()),
        }

    def report(self, now: float) -> dict[str, Any] | None:
        """Return the object of the status; None where no spirit lives. It is not changed afterwards."""
        return None if self._host is None else self._host.report(now)

    @property
    def package(self) -> Package | None:
        """Of the spirit that lives here."""
        return None if self._host is None else self._host.package

    # What the mesh tells

    def take(self, events: Iterable[Event]) -> list[Event]:
        """Hear what is for spirits; returns the rest."""
        rest: list[Event] = []
        for event in events:
            match event:
                case SpiritTold(node, value):
                    self._hear(node, value)
                    continue
                case SignalReceived(kind=Directed(), type=boundary.TYPE):
                    if self._host is not None:
                        self._host.life.exchange.hear(event.source, event.payload, self._clock())
                    continue
                case IncarnationAdopted():
                    if self._host is not None:
                        self._host.life.exchange.renew()
            rest.append(event)
        return rest

    def _hear(self, node: bytes, value: bytes) -> None:
        try:
            news = self._keeper.hear(node, value)
        except DecodeError as error:
            self._drops[f"register_{error.reason}"] += 1
            return
        if news and self._settings.follow:
            self._trouble = None
            self._tell()
            self._changed.set()

    # The life here

    async def run(self) -> None:
        """Let what is summoned live here, until cancelled."""
        thread: ThreadPoolExecutor | None = None
        try:
            while True:
                package = self._wanted()
                if package is None:
                    if thread is not None:
                        thread.shutdown(wait=False)
                        thread = None
                    await self._pause(None)
                    continue
                thread = thread or new_thread()
                try:
                    await self._live(package, thread)
                except Exception as error:  # whatever it is, the mesh goes on without it
                    self._trouble = f"it failed here: {error}"
                    _log.error("spirit %s failed here", package.manifest.name, exc_info=error)
                self._host = None
                self._tell()
        finally:
            if thread is not None:
                thread.shutdown(wait=False, cancel_futures=True)

    async def _live(self, package: Package, thread: ThreadPoolExecutor) -> None:
        name = package.manifest.name
        host = Host(package, self._keeper, self._node, self._next_epoch, self._clock())
        _log.info("spirit %s is summoned", name)
        await host.prepare(thread, self._settings)
        self._host = host
        while host.wanted:
            pause = await host.live(thread, self._clock)
            self._wake()
            due = max(RETELL, _RETELL_PER_MEMBER * len(self._node.members))
            if self._clock() - self._told_at >= due:
                self._tell()
            await self._pause(pause)
        _log.info("spirit %s is gone", name)

    async def _pause(self, seconds: float | None) -> None:
        """Wait until the register changes, or for so many seconds."""
        with anyio.move_on_after(seconds):
            await self._changed.wait()
        if self._changed.is_set():
            self._changed = anyio.Event()

    def _wanted(self) -> Package | None:
        """Return the package of what is to live here."""
        known = self._keeper.register
        if not known.summoned or self._unable is not None or self._trouble is not None:
            return None
        return self._catalogue.of(known)

    # Helpers

    def _able(self) -> None:
        if self._unable is not None:
            raise SpiritRefused(f"no spirit can live on this node: {self._unable}; ask another node")

    def _summoned(self) -> Register:
        self._able()
        known = self._keeper.register
        if not known.summoned:
            raise SpiritRefused("no spirit is summoned; see 'shivya spirit list'")
        return known

    def _why_not(self) -> str | None:
        """Return why what is summoned does not live here, if it is so."""
        known = self._keeper.register
        if not known.summoned or self._host is not None:
            return None
        if self._unable is not None or self._trouble is not None:
            return self._unable or self._trouble
        if self._catalogue.of(known) is None:
            return f"its package is not installed; put it into {self._catalogue.folder}"
        return "it is being prepared"

    def _write(self, make: Callable[[], Register]) -> None:
        try:
            self._keeper.write(make())
        except OverflowError as error:
            raise SpiritRefused(str(error)) from None
        self._trouble = None
        self._tell()
        self._wake()
        self._changed.set()

    def _tell(self) -> None:
        """Publish the register and how much lives here."""
        if not self._keeper.register.counter or not self._settings.follow:
            return
        self._told_at = self._clock()
        part = None if self._host is None else self._host.life.part()
        try:
            self._node.tell_spirit(register.encode(self._keeper.register, part))
        except EncodeError as error:
            _log.error("the register of spirits cannot be told: %s", error)

    def _next_epoch(self) -> int:
        self._accounts += 1
        return boundary.epoch(self._node.incarnation, self._accounts)


def _settings(given: Mapping[str, float]) -> Settings:
    try:
        return Settings(**given)
    except ValueError as error:
        raise SpiritRefused(str(error)) from None
