"""What a daemon serves to browsers and probes, each where the settings want it."""

from __future__ import annotations

import logging
import secrets
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from anyio.abc import TaskGroup

from shivya_daemon.paths import SPIRITS_FOLDER
from shivya_daemon.settings import DaemonSettings, state_directory
from shivya_daemon.snapshot import Snapshot

if TYPE_CHECKING:
    from shivya_daemon.views.web import PageServer

_log = logging.getLogger(__name__)
_TOKEN_BYTES = 16


class WebViews:
    """The page and the metrics of one daemon; libraries that neither needs are not imported."""

    def __init__(self, settings: DaemonSettings, look: Callable[[], Snapshot]) -> None:
        self._settings = settings
        self._look = look
        self._page: PageServer | None = None

    @property
    def page(self) -> str | None:
        """The link that opens the page, with its token."""
        return None if self._page is None else self._page.url

    async def start(self, tasks: TaskGroup) -> None:
        """Start what is wanted, then tell where it is; raises `OSError` with what to do about a port."""
        settings, told = self._settings, []
        if settings.visualize is not None:
            from shivya_daemon.spirits.shelf import Shelf
            from shivya_daemon.views.web import PageServer

            token = secrets.token_urlsafe(_TOKEN_BYTES)
            self._page = PageServer(
                self._look,
                settings.visualize,
                token,
                time.monotonic,
                time.time,
                find=Shelf(state_directory(settings) / SPIRITS_FOLDER, time.monotonic).find,
            )
            await tasks.start(self._page.serve)
            told.append(f"live page at {self._page.url}")
        if settings.metrics is not None:
            from shivya_daemon.views.scrape import MetricsServer

            counts = None if self._page is None else self._page.counts
            server = MetricsServer(
                self._look, settings.metrics_bind, settings.metrics, time.monotonic, counts
            )
            await tasks.start(server.serve)
            told.append(f"metrics at {server.url}")
        for line in told:
            _log.info("%s", line)
            if settings.tui:  # log lines go to a file then
                sys.stderr.write(f"{line}\n")
