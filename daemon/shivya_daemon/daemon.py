"""The composition root: one daemon, one task group, one monotonic clock.

The node and the control socket are up before JAX is imported; the law starts in a thread and takes over
when its first compiled step has run. Whatever goes wrong in the law, the mesh goes on with shortest expected
delay.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import time
from collections import deque
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from shivya_daemon import startup
from shivya_daemon.addresses import announced
from shivya_daemon.chronicle import chronicle, summary
from shivya_daemon.control import ControlServer
from shivya_daemon.core.events import Event
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Address, Node
from shivya_daemon.desk import NodeDesk
from shivya_daemon.detach import Background
from shivya_daemon.guard.sentry import Sentry
from shivya_daemon.guard.sight import Outcome, Sight
from shivya_daemon.histories import Histories
from shivya_daemon.journal import Journal
from shivya_daemon.ledgers.audit.files import FILE_NAME
from shivya_daemon.notify import Manager
from shivya_daemon.operations import NodeOperations, Place
from shivya_daemon.paths import LEDGER_FOLDER
from shivya_daemon.services import ServiceBook, ServiceView
from shivya_daemon.settings import DaemonSettings, SettingsError, socket_path, state_directory
from shivya_daemon.spirits.catalogue import FOLDER as SPIRITS
from shivya_daemon.spirits.spirits import Spirits
from shivya_daemon.status import format_address
from shivya_daemon.telemetry import HostSample, TelemetrySampler
from shivya_daemon.verdict import Verdict
from shivya_daemon.views.words import health
from shivya_daemon.web_views import WebViews
from shivya_daemon.world import World

if TYPE_CHECKING:
    from shivya_daemon.guard.arbiter import Engine
    from shivya_daemon.mind.law import Law
    from shivya_daemon.mind.learn import Learner
    from shivya_daemon.mind.programs import Programs
    from shivya_daemon.purse.treasury import Treasury

_log = logging.getLogger(__name__)
_SUMMARY_INTERVAL = 60.0
_TELEMETRY_INTERVAL = 1.0
_TICKS_REMEMBERED = 256
_GOODBYE = 1.0  # seconds for the link neighbours to hear of a planned end
_ASLEEP = "it runs with --no-law, which leaves JAX out"
_SETTLED = 3.0  # seconds for the ledger to take what a planned end leaves to settle
_EXPOSED = (
    "the open wire listens beyond this host: whoever reaches the port can join, read and mislead the node; "
    "leave out --open-wire, or keep the network closed"
)


class Daemon:
    """One running node and its tasks."""

    def __init__(
        self,
        settings: DaemonSettings,
        identity: Identity,
        mesh_key: bytes | None,
        allow: frozenset[bytes] | None,
        peers: Sequence[Address],
    ) -> None:
        self._settings = settings
        self._node = startup.make_node(settings, identity, mesh_key, allow)
        self._driver = startup.bind(self._node, settings, self._hear)
        self._peers = tuple(peers)
        self._announced = announced(self._driver.address, settings.advertise, peers)
        self._node.advertise(self._announced)
        book = ServiceBook(settings.service_rate, settings.law)
        place = Place(state_directory(settings), self._driver.address, None if allow is None else len(allow))
        self._operations = NodeOperations(self._node, book, settings, place, time.monotonic)
        for address in peers:
            self._connect(address)
        self._desk = NodeDesk(
            self._node,
            book,
            settings.law,
            self._announced[0],
            version("shivya"),
            time.monotonic,
            self._operations,
            (_EXPOSED,) if settings.exposed else (),
        )
        if self._node.settings.heartbeat_silence is not None:
            book.reported = self._renew
        port = self._driver.address[1]
        self._stop = anyio.Event()
        self._control = ControlServer(self._desk, socket_path(settings.socket, port))
        path = state_directory(settings) / LEDGER_FOLDER / FILE_NAME
        self._journal = Journal(path, identity, time.time, self._node.tell_ledger_head)
        self._sentry = Sentry(self._node, settings.law.tick_interval, record=self._journal.note)
        self._desk.guard = self._operations.guard = self._sentry
        wake, clock = self._driver.wake, time.monotonic
        self._operations.leases.acted = wake
        histories = Histories(self._node, self._journal, path, clock, wake)
        self._treasury = _treasury(settings, identity, self._node, wake) if settings.credits.on else None
        self._operations.treasury = self._desk.treasury = self._treasury
        self._beside = (histories,) if self._treasury is None else (histories, self._treasury)
        self._desk.journal = self._journal
        folder, asleep = state_directory(settings) / SPIRITS, _ASLEEP if settings.no_law else None
        self._spirits = Spirits(self._node, settings.spirits, folder, clock, wake, asleep)
        self._desk.spirits = self._operations.spirits = self._spirits
        self._summed_at = time.monotonic()
        self._law: Law | None = None
        self._learner: Learner | None = None
        self._web = WebViews(settings, lambda: self._desk.snapshot(time.monotonic()))
        self._recorder = startup.open_record(settings, identity.node_id)
        self._durations: deque[float] = deque(maxlen=_TICKS_REMEMBERED)
        self._manager = Manager(os.environ)

    async def serve(self, background: Background | None = None) -> None:
        """Run every task until a signal comes or the node is drained; then tell the peers and leave."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with anyio.create_task_group() as tasks:
                await tasks.start(self._control.serve)
                await self._web.start(tasks)
                self._operations.page = self._web.page
                tasks.start_soon(self._driver.run)
                tasks.start_soon(self._journal.run)
                for part in self._beside:
                    tasks.start_soon(part.run)
                tasks.start_soon(self._sense)
                tasks.start_soon(self._tick)
                tasks.start_soon(self._start_law)
                tasks.start_soon(self._spirits.run)
                if self._settings.tui:
                    tasks.start_soon(self._show)
                self._manager.ready(self._in_a_word())
                if background is not None:
                    background.ready(self._control.path)
                self._warn()
                self._journal.note("START", {"name": self._node.settings.name, "version": version("shivya")})
                _log.info(
                    "node %s (%s) on UDP %s, control socket %s",
                    self._node.settings.name,
                    self._node.id.hex()[:8],
                    self._desk.snapshot(time.monotonic()).address,
                    self._control.path,
                )
                tasks.start_soon(self._heed, signals)
                tasks.start_soon(self._drain)
                await self._stop.wait()
                self._manager.stopping()
                self._node.leave(time.monotonic())
                self._driver.wake()
                if self._treasury is not None:
                    await self._treasury.finish(_SETTLED)
                if self._recorder is not None:
                    self._recorder.close()
                tasks.cancel_scope.cancel()
        self._journal.close("STOP")

    def _connect(self, address: Address) -> None:
        try:
            self._node.connect(address, time.monotonic())
        except ValueError as error:
            raise SettingsError(f"peers: {error}") from None
        self._operations.joins_by(address)

    def _warn(self) -> None:
        if self._settings.exposed:
            _log.warning("%s", _EXPOSED)
        elif self._settings.mesh_key_file is None and not self._settings.open_wire:
            _log.info("no mesh key: bound to this host only; 'shivya init' makes one")

    def _in_a_word(self) -> str:
        s = self._desk.snapshot(time.monotonic())
        return f"{health(s.law, s.status)}; {len(s.peers)} peers, {len(s.links)} links"

    async def _heed(self, signals: AsyncIterable[signal.Signals]) -> None:
        async for number in signals:
            _log.info("%s: leaving the mesh", number.name)
            self._stop.set()
            return

    async def _drain(self) -> None:
        """Wait until a drain has emptied the node; then end its links, and stop."""
        interval = self._settings.law.tick_interval
        while not self._operations.emptied:
            await anyio.sleep(interval)
        _log.info("drained: leaving the mesh")
        self._node.drain(time.monotonic())
        self._driver.wake()
        with anyio.move_on_after(_GOODBYE):
            while not self._node.drained:
                await anyio.sleep(interval)
        self._stop.set()

    def _hear(self, events: list[Event]) -> None:
        events = self._spirits.take(events)
        chronicle(events, self._journal, time.monotonic())
        for part in self._beside:
            part.take(events)
        if self._desk.take(events):
            self._control.notify()

    def _renew(self) -> None:
        """Let the neighbours know soon of a wait that has jumped."""
        if self._desk.renew(time.monotonic()):
            self._driver.wake()

    async def _sense(self) -> None:
        sampler = TelemetrySampler()
        while True:
            self._desk.host = sampler.sample(time.monotonic())
            self._operations.look(time.time(), self._desk.host)
            self._sum_up()
            for part in self._beside:
                part.look(self._desk.surveyed)
            with suppress(OSError):  # no descriptor left, say; what was announced stays
                self._announce()
            await anyio.sleep(_TELEMETRY_INTERVAL)

    def _sum_up(self) -> None:
        """Have one summary a minute written down."""
        now = time.monotonic()
        if now - self._summed_at >= _SUMMARY_INTERVAL:
            self._summed_at = now
            guard = self._sentry.arbiter.summary()
            self._journal.note("SUMMARY", {**summary(self._desk.snapshot(now)), "guard": guard})

    def _announce(self) -> None:
        """Tell the fleet when this host has other addresses than before; one without any keeps the old."""
        addresses = announced(self._driver.address, self._settings.advertise, self._peers)
        if addresses != self._announced and not ipaddress.ip_address(addresses[0][0]).is_loopback:
            _log.info("this node is now at %s", ", ".join(map(format_address, addresses)))
            self._announced = addresses
            self._node.advertise(addresses)
            self._desk.move(addresses[0])

    async def _tick(self) -> None:
        """Run the control step at a fixed rate; after a late one comes the next at once, never a burst."""
        interval = self._settings.law.tick_interval
        due = time.monotonic()
        while True:
            now = time.monotonic()
            worlds, host = self._desk.worlds(now), self._desk.host
            offer = self._learner.offer() if self._learner is not None else None
            error, error_after = offer or (0.0, 0.0)
            sight = self._sentry.look(now, (error, 0.0), (error_after, 0.0))
            swaps = {}
            if self._learner is not None and offer is not None and self._sentry.permits("swap"):
                swaps = self._learner.swaps()
            verdicts, outcome = await self._judge(worlds, host, swaps, sight)
            self._record(now, host, tuple(world for world, _ in worlds), verdicts, swaps)
            self._learn(verdicts, now)
            verdicts = self._sentry.act(outcome, worlds, verdicts, time.monotonic())
            self._desk.conclude(worlds, verdicts, time.monotonic())
            self._driver.wake()
            self._control.notify()
            self._manager.alive(time.monotonic(), self._in_a_word)
            due = max(due + interval, time.monotonic())
            await anyio.sleep(max(0.0, due - time.monotonic()))

    async def _judge(
        self,
        worlds: tuple[tuple[World, ServiceView], ...],
        host: HostSample,
        swaps: dict[str, Programs],
        sight: Sight,
    ) -> tuple[dict[str, Verdict], Outcome]:
        law, sentry = self._law, self._sentry
        if law is None:
            return {}, sentry.judge(sight)
        started = time.monotonic()

        def tick() -> tuple[dict[str, Verdict], Outcome]:
            outcome = sentry.judge(sight)
            for service, programs in swaps.items():
                law.install(service, programs)
            verdicts = law.judge(tuple(world for world, _ in worlds), host.cpu, host.memory, host.network)
            return verdicts, outcome

        try:
            judged = await anyio.to_thread.run_sync(tick, abandon_on_cancel=True)
        except Exception as error:  # whatever it is, the mesh goes on without the law
            self._give_up(error)
            return {}, sentry.judge(sight)
        self._durations.append(time.monotonic() - started)
        self._desk.tick_seconds_p50 = median(self._durations)
        return judged

    def _learn(self, verdicts: dict[str, Verdict], now: float) -> None:
        if self._learner is not None:
            self._learner.advance(verdicts, now, self._sentry.share)
            self._desk.learned = self._learner.learned()

    def _record(
        self,
        now: float,
        host: HostSample,
        worlds: tuple[World, ...],
        verdicts: dict[str, Verdict],
        swaps: dict[str, Programs],
    ) -> None:
        if self._recorder is None:
            return
        try:
            self._recorder.tick(now, (host.cpu, host.memory, host.network), worlds, verdicts, swaps)
        except OSError as error:
            _log.error("recording ends: %s", error.strerror or error)
            self._recorder = None

    async def _start_law(self) -> None:
        """Import JAX and compile the step on an empty mesh, in a thread; unless that is not wanted."""
        if self._settings.no_law:
            self._desk.law_state = "off"
            return
        try:
            self._law, self._learner, self._sentry.arbiter.engine = await anyio.to_thread.run_sync(
                _make_law, self._settings, self._node.id, abandon_on_cancel=True
            )
        except Exception as error:  # a broken JAX must not take the node down
            self._give_up(error)
        else:
            self._desk.law_state = "running"
            _log.info("the law runs")
            if self._treasury is not None:
                self._treasury.law_runs()

    def _give_up(self, error: Exception) -> None:
        self._law = self._learner = None
        self._desk.law_state = "failed"
        self._desk.learned = {}
        _log.error("the law failed, falling back to shortest expected delay", exc_info=error)

    async def _show(self) -> None:
        from shivya_daemon.terminal import show

        await show(lambda: self._desk.snapshot(time.monotonic()), self._stop.set)


def _treasury(settings: DaemonSettings, identity: Identity, node: Node, wake: Callable[[], None]) -> Treasury:
    from shivya_daemon.purse.treasury import Treasury  # a tenth of what is imported, for the few that use it

    return Treasury(settings.credits, identity, node, time.monotonic, wake)


def _make_law(settings: DaemonSettings, own: bytes) -> tuple[Law, Learner, Engine]:
    from shivya_daemon.mind.start import let_go, start_guard, start_law, start_learner

    made = start_law(settings.law, own), start_learner(own), start_guard()
    let_go()
    return made
