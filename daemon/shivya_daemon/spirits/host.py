"""The task that lets one organism live on this node, and what can be seen of it.

The kernel runs in a thread of its own, below the priority of the rest; the event loop hands it what the
links brought and takes what came of it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from shivya_daemon.core.members import PeerView
from shivya_daemon.core.signals.frame import Directed, Kind
from shivya_daemon.core.signals.signals import SignalRefused
from shivya_daemon.settings import SpiritSettings
from shivya_daemon.spirits import boundary
from shivya_daemon.spirits.keeper import Keeper
from shivya_daemon.spirits.life import Life
from shivya_daemon.spirits.package import Package
from shivya_daemon.spirits.steps import Steps

if TYPE_CHECKING:
    from shivya_daemon.spirits.lived import Body

LEAST_FOOD = 0.05
"""Value of the food at a link whose bandwidth is next to nothing, or not known yet."""
_TTL = 2  # links that a message may travel: it is for a link neighbour
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Mesh(Protocol):
    """The node, as far as a spirit touches it."""

    id: bytes

    @property
    def incarnation(self) -> int:
        """The present life of the node."""
        ...

    @property
    def members(self) -> frozenset[bytes]:
        """Ids of the nodes that live."""
        ...

    @property
    def links(self) -> tuple[bytes, ...]:
        """Ids of the link neighbours."""
        ...

    def peers(self, now: float) -> tuple[PeerView, ...]:
        """Return the members that are up."""
        ...

    def tell_spirit(self, value: bytes) -> None:
        """Tell the fleet the register."""
        ...

    def signal(self, kind: Kind, name: str, payload: bytes, now: float, *, ttl: int | None = None) -> bytes:
        """Send a signal."""
        ...


class Host:
    """Where one organism lives, from its summoning to its end."""

    def __init__(
        self, package: Package, keeper: Keeper, node: Mesh, epochs: Callable[[], int], now: float
    ) -> None:
        self.package = package
        self.organism = keeper.register.organism
        self.life = Life(node.id, self.organism, epochs, now)
        self.steps = Steps(now)
        self._keeper = keeper
        self._node = node
        self._since = now
        self._body: Body | None = None
        self._shown: tuple[object, dict[str, Any]] | None = None

    @property
    def wanted(self) -> bool:
        """Whether it is still the one that is summoned."""
        known = self._keeper.register
        return known.summoned and known.organism == self.organism

    async def prepare(self, thread: ThreadPoolExecutor, settings: SpiritSettings) -> None:
        """Have the kernel imported and compiled, if the spirit has one."""
        kernel = self.package.manifest.kernel
        self._body = await _in(thread, _load, kernel, secrets.randbits(31), settings)

    async def live(self, thread: ThreadPoolExecutor, clock: Callable[[], float]) -> float:
        """Let what is due happen, and tell the neighbours; returns the seconds until the next time."""
        now, life, settings = clock(), self.life, self._keeper.register.settings
        assert self._body is not None, "prepared"
        life.see(self._links(now), now)
        rounds, dt = self.steps.due(settings.speed, now)
        if rounds or life.round is None:
            links = life.outlook(settings.speed, dt, now)
            life.took(await _in(thread, self._body.live, links, settings, rounds, now), dt)
        self._say(clock())
        return self.steps.wait(settings.speed, clock())

    def report(self, now: float) -> dict[str, Any] | None:
        """Return what is to be seen, or None before the first round. It is not changed afterwards."""
        lived = self.life.round
        if lived is None:
            return None
        if self._shown is None or self._shown[0] is not lived:
            from shivya_daemon.spirits import picture

            names = {peer.id: peer.name for peer in self._node.peers(now)}
            totals = self._keeper.totals(self.life.part(), self._node.members)
            self._shown = lived, picture.body(self.life, totals, names, now)
        said = self.package.manifest
        return {
            "name": said.name,
            "version": said.version,
            "digest": self.package.digest.hex(),
            "age": round(now - self._since, 4),
            "now": round(self.life.age, 4),
            "settings": self._keeper.register.settings.to_json(),
            **self._shown[1],
        }

    @property
    def drops(self) -> dict[str, int]:
        """What was of no use, by reason; `left_out` are seconds of its time that never were."""
        left_out = {"left_out": round(self.steps.left_out)} if self.steps.left_out else {}
        return {**self.life.exchange.drops, **left_out}

    def _say(self, now: float) -> None:
        for peer, payload in self.life.messages(now):
            try:
                self._node.signal(Directed(peer), boundary.TYPE, payload, now, ttl=_TTL)
            except SignalRefused as error:  # the next message says it all again
                self.life.exchange.drops[error.reason] += 1

    def _links(self, now: float) -> dict[bytes, float]:
        """Return the bandwidth score of each link."""
        scores = {peer.id: peer.bandwidth_score or 0.0 for peer in self._node.peers(now)}
        return {peer: max(scores.get(peer, 0.0), LEAST_FOOD) for peer in self._node.links}


def new_thread() -> ThreadPoolExecutor:
    """Return the one thread in which bodies live."""
    return ThreadPoolExecutor(1, "spirit", initializer=_step_back)


async def _in(thread: ThreadPoolExecutor, call: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
    """Run something in the thread; when this is cancelled, it is left to end there."""
    return await asyncio.wrap_future(thread.submit(call, *args, **named))


def _load(kernel: str, seed: int, settings: SpiritSettings) -> Body:
    """Import JAX and compile the kernel, or find it in the cache, if the spirit has one. In the thread."""
    if kernel == "none":
        from shivya_daemon.spirits.lived import Still

        return Still()
    from shivya_daemon.mind.start import let_go, prepare

    prepare()
    from shivya_daemon.spirits.patch import Patch

    patch = Patch(seed, settings.cells, settings.tubes)
    patch.rehearse()
    let_go()
    return patch


def _step_back() -> None:
    from shivya_daemon.mind.start import step_back

    step_back()
