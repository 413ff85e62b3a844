"""Nodes show each other that their audit ledgers only grow: a new checkpoint must continue the one before.

Whoever is ahead of what it has proven is asked for the proof, one node at a time. Proving reads the whole
ledger, so it is done in a thread, one proof after the other, and for at most a hundredth of the time.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from pathlib import Path

import anyio
import anyio.to_thread

from shivya_daemon.core.errors import EncodeError
from shivya_daemon.core.events import Event, HistoryShown, HistoryWanted
from shivya_daemon.core.node import Node
from shivya_daemon.journal import Journal
from shivya_daemon.ledgers.audit.errors import LedgerError
from shivya_daemon.ledgers.audit.proof import prove_consistency

_log = logging.getLogger(__name__)

AGAIN = 600.0
"""Seconds until a node is asked again."""
_PAUSE = 5.0  # seconds between two questions
_MAX_WAITING = 8
_MAX_ASKED = 1024
_REST = 100.0  # times as long as a proof took


class Histories:
    """Asks, answers and judges; `path` is the own ledger's, `acted` is called when the node is to speak."""

    def __init__(
        self, node: Node, journal: Journal, path: Path, clock: Callable[[], float], acted: Callable[[], None]
    ) -> None:
        self._node = node
        self._journal = journal
        self._path = path
        self._clock = clock
        self._acted = acted
        self._asked: OrderedDict[bytes, float] = OrderedDict()
        self._next_at = clock() + _PAUSE
        self._waiting: deque[HistoryWanted] = deque(maxlen=_MAX_WAITING)
        self._wanted = anyio.Event()

    def take(self, events: Iterable[Event]) -> None:
        """Note what is asked for, and judge what is shown."""
        for event in events:
            if isinstance(event, HistoryWanted):
                if len(self._waiting) == _MAX_WAITING:
                    self._node.counters.drop("histories_full")  # the oldest, which will be asked again
                self._waiting.append(event)
                self._wanted.set()
            elif isinstance(event, HistoryShown):
                self._journal.shown(event.public_key, event.old, event.checkpoint, event.path, self._clock())

    def look(self, _: object = None) -> None:
        """Ask a node that is ahead of what it has proven; wants to be called once a second."""
        now = self._clock()
        if now < self._next_at:
            return
        members = self._node.members
        for wanted in self._journal.wanted():
            if wanted.node in members and now - self._asked.get(wanted.node, -AGAIN) >= AGAIN:
                self._next_at = now + _PAUSE
                self._asked[wanted.node] = now
                self._asked.move_to_end(wanted.node)
                if len(self._asked) > _MAX_ASKED:
                    self._asked.popitem(last=False)
                self._node.ask_history(wanted.node, wanted.old, now)
                self._acted()
                return

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._wanted.wait()
            if not self._waiting:
                self._wanted = anyio.Event()
                continue
            asked = self._waiting.popleft()
            began = time.monotonic()
            try:
                checkpoint, path = await anyio.to_thread.run_sync(
                    prove_consistency, self._path, asked.old, abandon_on_cancel=True
                )
                self._node.show_history(asked.id, asked.old, checkpoint.encode(), tuple(path), self._clock())
                self._acted()
            except (LedgerError, EncodeError, OSError) as error:  # a size that is no longer kept, for example
                _log.debug("no proof from %d on: %s", asked.old, error)
            await anyio.sleep(_REST * (time.monotonic() - began))
