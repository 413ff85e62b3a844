"""Spirits on one node: what an operator asks, what the mesh tells, and the task that lets one live here.

Nothing is imported, compiled or kept before the first summoning. The register goes by gossip, what crosses
links by directed signals; the kernel runs in a thread of its own, below the priority of the rest.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.events import Event, IncarnationAdopted, SignalReceived, SpiritTold
from shivya_daemon.core.members import PeerView
from shivya_daemon.core.signals.frame import Directed, Kind
from shivya_daemon.core.signals.signals import SignalRefused
from shivya_daemon.settings import SpiritSettings
from shivya_daemon.spirits import boundary, register
from shivya_daemon.spirits.keeper import Keeper
from shivya_daemon.spirits.life import Life
from shivya_daemon.spirits.package import BUILT_IN, BadPackage, Package, installed, read
from shivya_daemon.spirits.register import Part, Register
from shivya_daemon.spirits.settings import Settings, from_manifest
from shivya_daemon.spirits.steps import Steps

if TYPE_CHECKING:
    from shivya_daemon.spirits.patch import Patch

FOLDER = "spirits"
"""Of the state directory, with packages."""
RETELL = 10.0
"""Seconds between two tellings of how much lives here; more in a large fleet."""
_RETELL_PER_MEMBER = 0.3
_TTL = 2  # links that a message may travel: it is for a link neighbour
_log = logging.getLogger(__name__)


class SpiritRefused(ValueError):
    """What was asked cannot be; the text says why, and what to do."""


class Mesh(Protocol):
    """The node, as far as a spirit touches it."""

    id: bytes

    @property
    def incarnation(self) -> int: ...  # noqa: D102
    @property
    def members(self) -> frozenset[bytes]: ...  # noqa: D102
    @property
    def links(self) -> tuple[bytes, ...]: ...  # noqa: D102
    def peers(self, now: float) -> tuple[PeerView, ...]: ...  # noqa: D102
    def tell_spirit(self, value: bytes) -> None: ...  # noqa: D102
    def signal(  # noqa: D102
        self, kind: Kind, name: str, payload: bytes, now: float, *, ttl: int | None = None
    ) -> bytes: ...


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
        self._folder = folder
        self._clock = clock
        self._wake = wake
        self._unable = unable if settings.follow else "follow = false in [spirits]"
        self._keeper = Keeper()
        self._brought: dict[str, Package] = {}
        """Summoned by path here, by name."""
        self._changed = anyio.Event()
        self._life: Life | None = None
        self._patch: Patch | None = None
        self._package: Package | None = None
        self._steps = Steps(0.0)
        self._since = 0.0
        self._epoch = 0
        self._told_at = float("-inf")
        self._trouble: str | None = None
        self._shown: tuple[object, dict[str, Any]] | None = None

    # What an operator asks

    def summon(self, name: str, given: Mapping[str, float]) -> dict[str, Any]:
        """Let a spirit live on the mesh, by the name of its package or the path of one."""
        self._able()
        package = self._find(name)
        defaults = from_manifest(package.manifest.settings).to_json()
        settings = _settings({**defaults, **given})
        known = self._keeper.register
        self._write(
            lambda: known.summon(self._node.id, package.manifest.name, package.digest, settings)
        )
        return self.show()

    def dismiss(self) -> dict[str, Any]:
        """Let no spirit live on the mesh."""
        known = self._summoned()
        self._write(lambda: known.dismiss(self._node.id))
        return {"dismissed": known.name}

    def tune(self, given: Mapping[str, float]) -> dict[str, Any]:
        """Change the settings of the spirit on the mesh."""
        known = self._summoned()
        settings = _settings({**known.settings.to_json(), **given})
        self._write(lambda: known.tune(self._node.id, settings))
        return self.show()

    def list(self) -> dict[str, Any]:
        """Return the packages that are here, and which spirit is summoned."""
        known, refused = self._keeper.register, []
        packages = installed(self._folder, lambda path, why: refused.append(f"{path.name}: {why}"))
        rows = [_row(package, known) for package in (*packages, *self._brought.values())]
        summoned = {"name": known.name, "digest": known.digest.hex(), **known.settings.to_json()}
        return {
            "spirits": rows,
            "refused": refused,
            "summoned": summoned if known.summoned else None,
            "lives_here": self._life is not None,
            "why_not": self._why_not(),
        }

    def show(self) -> dict[str, Any]:
        """Return the spirit on the mesh, as it is here."""
        return {"spirit": self.report(self._clock()), **{k: v for k, v in self.list().items() if k != "spirits"}}

    def report(self, now: float) -> dict[str, Any] | None:
        """Return the object of the status; None where no spirit lives. It is not changed afterwards."""
        life, patch, package = self._life, self._patch, self._package
        if life is None or package is None or life.round is None or patch is None:
            return None
        if self._shown is None or self._shown[0] is not life.round:
            from shivya_daemon.spirits import picture

            names = {peer.id: peer.name for peer in self._node.peers(now)}
            totals = self._keeper.totals(life.part(), self._node.members)
            self._shown = life.round, picture.body(life, patch.books, totals, names, now)
        known = self._keeper.register
        return {
            "name": package.manifest.name,
            "version": package.manifest.version,
            "digest": package.digest.hex(),
            "age": round(now - self._since, 4),
            "now": round(life.age, 4),
            "settings": known.settings.to_json(),
            **self._shown[1],
        }

    # What the mesh tells

    def take(self, events: Iterable[Event]) -> list[Event]:
        """Hear what is for spirits; returns the rest."""
        rest: list[Event] = []
        for event in events:
            match event:
                case SpiritTold(node, value):
                    self._hear(node, value)
                case SignalReceived(kind=Directed(), type=boundary.TYPE):
                    if self._life is not None:
                        self._life.exchange.hear(event.source, event.payload, self._clock())
                case IncarnationAdopted():
                    if self._life is not None:
                        self._life.exchange.renew()
                    rest.append(event)
                case _:
                    rest.append(event)
        return rest

    def _hear(self, node: bytes, value: bytes) -> None:
        try:
            if self._keeper.hear(node, value) and self._settings.follow:
                self._tell()
                self._changed.set()
        except DecodeError as error:
            _log.debug("register of %s: %s", node.hex()[:8], error.reason)

    # The life here

    async def run(self) -> None:
        """Let what is summoned live here, until cancelled."""
        with ThreadPoolExecutor(1, "spirit", initializer=_step_back) as thread:
            while True:
                package = self._wanted()
                if package is None:
                    await self._changed.wait()
                    self._changed = anyio.Event()
                    continue
                organism = self._keeper.register.organism
                try:
                    await self._host(package, organism, thread)
                except Exception as error:  # whatever it is, the mesh goes on without it
                    self._trouble = f"it failed here: {error}"
                    _log.error("spirit %s failed here", package.manifest.name, exc_info=error)
                self._end()

    async def _host(self, package: Package, organism: bytes, thread: ThreadPoolExecutor) -> None:
        _log.info("spirit %s is summoned", package.manifest.name)
        patch = await _in(thread, _load_patch, secrets.randbits(31), self._settings)
        now = self._clock()
        self._package, self._patch, self._since = package, patch, now
        life = self._life = Life(self._node.id, organism, self._next_epoch, now)
        self._steps = Steps(now)
        while self._keeper.register.summoned and self._keeper.register.organism == organism:
            now, settings = self._clock(), self._keeper.register.settings
            life.see(self._links(now), now)
            rounds, dt = self._steps.due(settings.speed, now)
            if rounds or life.round is None:
                links = life.outlook(settings.speed, dt, now)
                life.took(await _in(thread, patch.live, links, settings, rounds, now), dt)
            self._say(life)
            with anyio.move_on_after(self._steps.wait(settings.speed, self._clock())):
                await self._changed.wait()
            if self._changed.is_set():
                self._changed = anyio.Event()

    def _say(self, life: Life) -> None:
        now, told = self._clock(), False
        for peer, payload in life.messages(now):
            try:
                self._node.signal(Directed(peer), boundary.TYPE, payload, now, ttl=_TTL)
                told = True
            except SignalRefused as error:  # the next message says it all again
                life.exchange.drops[error.reason] += 1
        if now - self._told_at >= max(RETELL, _RETELL_PER_MEMBER * len(self._node.members)):
            self._tell()
        if told:
            self._wake()

    def _end(self) -> None:
        if self._life is not None:
            _log.info("the spirit is gone")
        self._life = self._patch = self._package = self._shown = None
        self._tell()

    def _links(self, now: float) -> dict[bytes, float]:
        """Return the bandwidth score of each link."""
        scores = {peer.id: peer.bandwidth_score for peer in self._node.peers(now)}
        return {peer: max(scores.get(peer) or 0.0, _LEAST_FOOD) for peer in self._node.links}

    def _wanted(self) -> Package | None:
        known = self._keeper.register
        if not known.summoned or self._unable is not None or self._trouble is not None:
            return None
        return self._package_of(known)

    # Helpers

    def _package_of(self, known: Register) -> Package | None:
        """Return the package here of the spirit that is summoned: the same one, or our own of that name."""
        here = (*installed(self._folder), *self._brought.values())
        for package in here:
            if package.digest == known.digest:
                return package
        return next((p for p in here if p.manifest.name == known.name and known.name in BUILT_IN), None)

    def _find(self, name: str) -> Package:
        for package in (*installed(self._folder), *self._brought.values()):
            if package.manifest.name == name:
                return package
        path = Path(name)
        if not path.is_absolute():
            raise SpiritRefused(f"no spirit {name[:64]!r} is installed here; see 'shivya spirit list'")
        try:
            package = read(path)
        except BadPackage as error:
            raise SpiritRefused(f"{path.name}: {error}") from None
        except OSError as error:
            raise SpiritRefused(f"{path} cannot be read: {error.strerror or error}") from None
        if package.manifest.name in BUILT_IN:
            raise SpiritRefused(f"{package.manifest.name} comes with the daemon; give the package another name")
        self._brought = {package.manifest.name: package}
        return package

    def _able(self) -> None:
        if self._unable is not None:
            raise SpiritRefused(f"no spirit can live on this node: {self._unable}; summon it from another node")

    def _summoned(self) -> Register:
        self._able()
        known = self._keeper.register
        if not known.summoned:
            raise SpiritRefused("no spirit is summoned; see 'shivya spirit list'")
        return known

    def _why_not(self) -> str | None:
        """Return why what is summoned does not live here, if it is so."""
        known = self._keeper.register
        if not known.summoned or self._life is not None:
            return None
        if self._unable is not None or self._trouble is not None:
            return self._unable or self._trouble
        if self._package_of(known) is None:
            return f"its package is not installed; put it into {self._folder}"
        return "it is being prepared"

    def _write(self, make: Callable[[], Register]) -> None:
        try:
            self._keeper.write(make())
        except OverflowError as error:
            raise SpiritRefused(str(error)) from None
        self._trouble = None
        self._tell()
        self._changed.set()

    def _tell(self) -> None:
        """Publish the register and how much lives here."""
        if not self._keeper.register.counter:
            return
        self._told_at = self._clock()
        part: Part | None = None if self._life is None else self._life.part()
        try:
            self._node.tell_spirit(register.encode(self._keeper.register, part))
        except EncodeError as error:
            _log.error("the register of spirits cannot be told: %s", error)

    def _next_epoch(self) -> int:
        self._epoch = max(self._epoch + 1, self._node.incarnation)
        return self._epoch


_LEAST_FOOD = 0.05
"""Value of the food at a link whose bandwidth is not known yet, or next to nothing."""


def _settings(given: Mapping[str, float]) -> Settings:
    try:
        return Settings(**given)
    except ValueError as error:
        raise SpiritRefused(str(error)) from None


def _row(package: Package, known: Register) -> dict[str, Any]:
    said = package.manifest
    return {
        "name": said.name,
        "version": said.version,
        "author": said.author,
        "licence": said.licence,
        "tags": list(said.tags),
        "tier": said.tier,
        "price": said.price,
        "kernel": said.kernel,
        "built_in": said.name in BUILT_IN,
        "summoned": known.summoned and known.name == said.name,
        "digest": package.digest.hex(),
    }


def _load_patch(seed: int, settings: SpiritSettings) -> Patch:
    """Import JAX and compile the kernel, or find it in the cache. In the thread."""
    from shivya_daemon.mind.start import prepare, trim

    prepare()
    from shivya_daemon.spirits.patch import Patch

    patch = Patch(seed, settings.cells, settings.tubes)
    patch.rehearse()
    trim()
    return patch


def _step_back() -> None:
    from shivya_daemon.mind.start import step_back

    step_back()
