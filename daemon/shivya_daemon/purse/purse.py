"""The purse of a daemon: jobs for its account, one after the other in a thread, tried until they are late.

Nothing waits for the ledger. A job that cannot be done in its time ends with None; a ledger that cannot be
reached is logged once, counted, shown, and tried again ever more slowly.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread

from shivya_daemon.ledgers.credits import Outcome, Refused, State
from shivya_daemon.ledgers.credits.witness import CorruptLog, Trimmed, Unavailable
from shivya_daemon.purse.account import Account

_log = logging.getLogger(__name__)

MAX_WAITING = 256
_REFRESH = 5.0  # seconds between two looks at the own account
_PATIENCE = 60.0
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_TROUBLES = (Unavailable, CorruptLog, Trimmed, OSError)


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do with the account, and who wants to know what came of it."""

    name: str
    """What it is counted as."""
    work: Callable[[Account], Any]
    """Runs in the thread."""
    done: Callable[[Any], None] = lambda result: None
    """Called on the event loop with what `work` returned, or None: it failed, or its time was over."""
    until: float | None = None
    """When it is too late to begin again; a minute from when it was asked for unless said."""


class Purse:
    """Does jobs. `open_account` opens the ledger, in the thread; `place` says in words where that is."""

    def __init__(
        self, open_account: Callable[[], Account], place: str, key: bytes, clock: Callable[[], float]
    ) -> None:
        self._open_account = open_account
        self._place = place
        self._key = key
        self._clock = clock
        self._account: Account | None = None
        self._waiting: deque[Job] = deque()
        self._news = anyio.Event()
        self._busy = False
        self._settled = anyio.Event()
        self._settled.set()
        """Set when nothing is left to do, or the ledger cannot be reached; anew when there is something."""
        self._seen: tuple[float, State] | None = None
        self.trouble: str | None = None
        """Why the ledger cannot be used, with what to do."""
        self.counters: Counter[str] = Counter()

    def ask(self, job: Job) -> None:
        """Have a job done, after those that wait; one for which there is no room ends at once."""
        if len(self._waiting) >= MAX_WAITING:
            self.counters["dropped"] += 1
            job.done(None)
            return
        until = self._clock() + _PATIENCE if job.until is None else job.until
        self._waiting.append(Job(job.name, job.work, job.done, until))
        if self.trouble is None and self._settled.is_set():
            self._settled = anyio.Event()
        self._news.set()

    def submitted(self, outcome: Outcome | None) -> None:
        """Count what came of an operation."""
        if isinstance(outcome, Refused):
            self.counters[f"refused_{outcome.reason.code}"] += 1
        elif outcome is not None:
            self.counters["posted"] += 1

    async def run(self) -> None:
        """Do jobs until cancelled; in between look at the account."""
        while True:
            if not self._waiting:
                self.ask(Job("looks", Account.read, self._look))
            job = self._waiting.popleft()
            self._busy = True
            result = await self._do(job)
            self._busy = False
            job.done(result)
            if not self._waiting:
                self._settled.set()
                self._news = anyio.Event()
                with anyio.move_on_after(_REFRESH):
                    await self._news.wait()

    async def finish(self, seconds: float) -> None:
        """Wait until nothing is left to do, or `seconds` are over, or the ledger cannot be reached."""
        with anyio.move_on_after(seconds):
            await self._settled.wait()

    def report(self) -> dict[str, Any]:
        """Return what `CREDITS` on the control socket answers."""
        found: dict[str, Any] = {
            "ledger": self._place,
            "account": self._key.hex(),
            "trouble": self.trouble,
            "waiting": len(self._waiting) + self._busy,
            "counters": dict(self.counters),
            "age_seconds": None,
            "open": False,
            "balance": 0,
            "available": 0,
            "pending_debits": 0,
            "pending_credits": 0,
            "staked": 0,
        }
        if self._seen is None:
            return found
        at, state = self._seen
        found["age_seconds"] = self._clock() - at
        account = state.accounts.get(self._key)
        if account is not None:
            found |= {
                "open": True,
                "balance": account.balance,
                "available": account.available,
                "pending_debits": account.debits_pending,
                "pending_credits": account.credits_pending,
                "staked": account.staked,
            }
        return found

    def _look(self, state: State | None) -> None:
        if state is not None:
            self._seen = self._clock(), state

    async def _do(self, job: Job) -> Any:
        pause, until = _PAUSE, job.until or 0.0
        if self._clock() >= until:
            self.counters["late"] += 1
            return None
        while True:
            try:
                result = await anyio.to_thread.run_sync(self._work, job.work, abandon_on_cancel=True)
            except _TROUBLES as error:
                self._troubled(str(error))
            except Exception:  # a fault must not end the purse
                _log.exception("a job on the ledger failed")
                self.counters["failed"] += 1
                return None
            else:
                self._well()
                self.counters[job.name] += 1
                return result
            if self._clock() + pause >= until:
                self.counters["late"] += 1
                return None
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _work(self, work: Callable[[Account], Any]) -> Any:
        if self._account is None:
            self._account = self._open_account()
        return work(self._account)

    def _troubled(self, text: str) -> None:
        self.counters["unavailable"] += 1
        if self.trouble is None:
            _log.warning("credits: %s", text)
        self.trouble = text
        self._settled.set()

    def _well(self) -> None:
        if self.trouble is not None:
            _log.info("credits: the ledger answers again")
            self._settled = anyio.Event()
        self.trouble = None
