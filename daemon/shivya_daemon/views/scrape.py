"""The metrics over HTTP: `/metrics` as OpenMetrics text, `/healthz` for probes."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from http import HTTPStatus

import anyio
import anyio.abc
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Response

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.views.front import listen, refused, response
from shivya_daemon.views.gate import Gate, loopback_gate
from shivya_daemon.views.metrics import CONTENT_TYPE, render
from shivya_daemon.views.web import PageCounts
from shivya_daemon.views.words import health

_STALLED = 10.0
"""Seconds without a tick, from the first request that saw the last one, after which a probe is told so."""


class MetricsServer:
    """Serves what Prometheus and probes ask for; `look` gives the present snapshot."""

    def __init__(
        self,
        look: Callable[[], Snapshot],
        host: str,
        port: int,
        clock: Callable[[], float],
        page: PageCounts | None = None,
    ) -> None:
        self.host, self.port = host, port
        self._look = look
        self._clock = clock
        self._page = page
        self._refused = 0
        self._tick, self._ticked = -1, clock()

    @property
    def url(self) -> str:
        """Where Prometheus finds them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; raises `OSError` with what to do when the port cannot be had."""
        async with listen(
            self.host,
            self.port,
            self._gate,
            self._answer,
            _hang_up,
            flag="--metrics PORT or --metrics-bind ADDRESS",
            turned_away=self._turn_away,
        ) as self.port:
            task_status.started()
            await anyio.sleep_forever()

    def _gate(self, port: int) -> Gate:
        if ipaddress.ip_address(self.host).is_loopback:
            gate = loopback_gate(port)
            assert gate.hosts is not None
            return Gate(gate.hosts | {f"[{self.host}]:{port}", f"{self.host}:{port}"}, frozenset())
        return Gate(None, frozenset())  # scraped under names that only the operator's network knows

    def _turn_away(self) -> None:
        self._refused += 1

    def _answer(self, path: str, query: str, upgrades: bool) -> Response | None:
        del query
        if upgrades or path not in ("/metrics", "/healthz"):
            return refused(HTTPStatus.NOT_FOUND, "There are /metrics and /healthz.\n")
        snapshot = self._look()
        if snapshot.tick != self._tick:
            self._tick, self._ticked = snapshot.tick, self._clock()
        if path == "/metrics":
            return response(HTTPStatus.OK, render(snapshot, self._page, self._refused), CONTENT_TYPE)
        if self._clock() - self._ticked > _STALLED:
            return refused(HTTPStatus.SERVICE_UNAVAILABLE, "stalled\n")
        word = "draining" if snapshot.draining else health(snapshot.law, snapshot.status)
        return refused(HTTPStatus.OK, f"{word}\n")


async def _hang_up(connection: ServerConnection) -> None:
    await connection.close()
