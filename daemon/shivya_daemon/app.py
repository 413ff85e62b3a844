"""The composition root: one daemon, one task group, one monotonic clock.

The node and the control socket are up before JAX is imported; the law starts in a thread and takes over
when its first compiled step has run. Whatever goes wrong in the law, the mesh goes on with shortest expected
delay.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from shivya_daemon import logs
from shivya_daemon.control import ControlError, ControlServer
from shivya_daemon.core.events import Event, PeerJoined, PeerLeft, PeerRestarted
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.desk import NodeDesk
from shivya_daemon.keyfile import KeyFileError, load_or_create_identity
from shivya_daemon.mind.record import Recorder, conditions
from shivya_daemon.net.udp import UdpDriver
from shivya_daemon.services import ServiceBook, ServiceView
from shivya_daemon.settings import (
    DaemonSettings,
    SettingsError,
    check_name,
    socket_path,
    state_directory,
)
from shivya_daemon.telemetry import HostSample, TelemetrySampler
from shivya_daemon.verdict import Verdict
from shivya_daemon.world import World

if TYPE_CHECKING:
    from shivya_daemon.mind.law import Law
    from shivya_daemon.mind.learn import Learner
    from shivya_daemon.mind.programs import Programs

_log = logging.getLogger(__name__)
_TELEMETRY_INTERVAL = 1.0
_VIEW_INTERVAL = 0.25
_TICKS_REMEMBERED = 256
_FAILED, _REFUSED = 1, 4


def run(settings: DaemonSettings) -> int:
    """Run a daemon until SIGINT or SIGTERM; return the exit code."""
    try:
        code = anyio.run(_main, settings)
    except* (SettingsError, KeyFileError) as group:
        code = _complain(group)
    except* ControlError as group:
        code = _complain(group, _REFUSED)
    except* OSError as group:
        code = _complain(group)
    # A compilation under way in a thread cannot be interrupted; the interpreter's own exit would wait for it.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _complain(group: BaseExceptionGroup[BaseException], code: int = _FAILED) -> int:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    sys.stderr.write(f"shivya: {error}\n")
    return code


async def _main(settings: DaemonSettings) -> int:
    directory = state_directory(settings)
    daemon = Daemon(settings, load_or_create_identity(directory))
    logs.configure(settings.log_format, directory / "daemon.log" if settings.tui else None)
    await daemon.serve()
    return 0


class Daemon:
    """One running node and its tasks."""

    def __init__(self, settings: DaemonSettings, identity: Identity) -> None:
        host = platform.node().split(".")[0][:24]
        name = settings.name or f"{host or 'node'}-{identity.node_id.hex()[:4]}"
        self._settings = settings
        self._node = Node(
            identity,
            NodeSettings(name=check_name(name), heartbeat_interval=settings.law.tick_interval),
            os.urandom,
            time.time_ns() // 1_000_000,
        )
        self._driver = _bind(self._node, settings, self._hear)
        host, port = self._driver.address
        self._desk = NodeDesk(
            self._node,
            ServiceBook(settings.service_rate),
            settings.law,
            (settings.advertise or host, port),
            version("shivya"),
            time.monotonic,
        )
        self._control = ControlServer(self._desk, socket_path(settings.socket, port))
        self._law: Law | None = None
        self._learner: Learner | None = None
        self._recorder = _open_record(settings, identity.node_id)
        self._durations: deque[float] = deque(maxlen=_TICKS_REMEMBERED)

    async def serve(self) -> None:
        """Run every task until a signal comes; then tell the peers and leave."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            for host, port in self._settings.peers:
                self._node.connect(await _resolve(host, port), time.monotonic())
            async with anyio.create_task_group() as tasks:
                await tasks.start(self._control.serve)
                tasks.start_soon(self._driver.run)
                tasks.start_soon(self._sense)
                tasks.start_soon(self._tick)
                tasks.start_soon(self._start_law)
                if self._settings.tui:
                    tasks.start_soon(self._show)
                _log.info(
                    "node %s (%s) on UDP %s, control socket %s",
                    self._node.settings.name,
                    self._node.id.hex()[:8],
                    self._desk.snapshot(time.monotonic()).address,
                    self._control.path,
                )
                async for number in signals:
                    _log.info("%s: leaving the mesh", number.name)
                    break
                self._node.leave(time.monotonic())
                self._driver.wake()
                if self._recorder is not None:
                    self._recorder.close()
                tasks.cancel_scope.cancel()

    def _hear(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case PeerJoined(id=peer):
                    _log.info("peer %s joined", peer.hex()[:8])
                case PeerLeft(id=peer, reason=reason):
                    _log.info("peer %s is gone (%s)", peer.hex()[:8], reason)
                case PeerRestarted(id=peer):
                    _log.info("peer %s restarted", peer.hex()[:8])
                case _:
                    pass
        if self._desk.take(events):
            self._control.notify()

    async def _sense(self) -> None:
        sampler = TelemetrySampler()
        while True:
            self._desk.host = sampler.sample(time.monotonic())
            await anyio.sleep(_TELEMETRY_INTERVAL)

    async def _tick(self) -> None:
        """Run the control step at a fixed rate; after a late one comes the next at once, never a burst."""
        interval = self._settings.law.tick_interval
        due = time.monotonic()
        while True:
            now = time.monotonic()
            worlds, host = self._desk.worlds(now), self._desk.host
            swaps = self._learner.swaps() if self._learner is not None else {}
            verdicts = await self._judge(worlds, host, swaps)
            self._record(now, host, tuple(world for world, _ in worlds), verdicts, swaps)
            self._learn(verdicts, now)
            self._desk.conclude(worlds, verdicts, time.monotonic())
            self._driver.wake()
            self._control.notify()
            due = max(due + interval, time.monotonic())
            await anyio.sleep(max(0.0, due - time.monotonic()))

    async def _judge(
        self, worlds: tuple[tuple[World, ServiceView], ...], host: HostSample, swaps: dict[str, Programs]
    ) -> dict[str, Verdict]:
        law = self._law
        if law is None:
            return {}
        started = time.monotonic()

        def tick() -> dict[str, Verdict]:
            for service, programs in swaps.items():
                law.install(service, programs)
            return law.judge(tuple(world for world, _ in worlds), host.cpu, host.memory, host.network)

        try:
            verdicts = await anyio.to_thread.run_sync(tick, abandon_on_cancel=True)
        except Exception as error:  # whatever it is, the mesh goes on without the law
            self._give_up(error)
            return {}
        self._durations.append(time.monotonic() - started)
        self._desk.tick_seconds_p50 = median(self._durations)
        return verdicts

    def _learn(self, verdicts: dict[str, Verdict], now: float) -> None:
        if self._learner is not None:
            self._learner.advance(verdicts, now)
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
        """Import JAX and compile the step on an empty mesh, in a thread."""
        try:
            self._law, self._learner = await anyio.to_thread.run_sync(
                _make_law, self._settings, self._node.id, abandon_on_cancel=True
            )
        except Exception as error:  # a broken JAX must not take the node down
            self._give_up(error)
        else:
            self._desk.law_state = "running"
            _log.info("the law runs")

    def _give_up(self, error: Exception) -> None:
        self._law = self._learner = None
        self._desk.law_state = "failed"
        self._desk.learned = {}
        _log.error("the law failed, falling back to shortest expected delay", exc_info=error)

    async def _show(self) -> None:
        from shivya_daemon.views.tui import Tui

        with Tui() as tui:
            while True:
                snapshot = self._desk.snapshot(time.monotonic())
                # In a thread: a terminal that is held (Ctrl-S) must not hold the node.
                await anyio.to_thread.run_sync(tui.update, snapshot, abandon_on_cancel=True)
                await anyio.sleep(_VIEW_INTERVAL)


def _bind(node: Node, settings: DaemonSettings, hear: Callable[[list[Event]], None]) -> UdpDriver:
    try:
        return UdpDriver(node, settings.bind, settings.port, on_events=hear)
    except OSError as error:
        raise OSError(
            f"cannot use UDP {settings.bind} port {settings.port}: {error.strerror}; "
            "is a daemon running there? choose another with --port"
        ) from error


def _open_record(settings: DaemonSettings, own: bytes) -> Recorder | None:
    if settings.record is None:
        return None
    try:
        return Recorder(settings.record, conditions(settings.law, own))
    except FileExistsError as error:
        raise SettingsError(f"record {settings.record} is there already; name a new file") from error
    except OSError as error:
        raise SettingsError(f"record {settings.record} cannot be written: {error.strerror}") from error


async def _resolve(host: str, port: int) -> tuple[str, int]:
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise SettingsError(f"peer {host}:{port} cannot be resolved: {error.strerror}") from error
    family = socket.AF_INET
    addresses = sorted(found, key=lambda row: row[0] != family)  # the wire is IPv4 unless there is no other
    return addresses[0][4][0], port


def _make_law(settings: DaemonSettings, own: bytes) -> tuple[Law, Learner]:
    from shivya_daemon.mind.start import start_law, start_learner

    return start_law(settings.law, own), start_learner(own)
