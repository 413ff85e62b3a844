"""Leases as an application holds them: allocated through the daemon, renewed while in use, given back.

Standard library only; `shivya.Client.allocate` is the way in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from shivya.ask import ask
from shivya.errors import CommandError

_POLL = 0.05
_LOOK = 1.0
"""Longest time between two looks at a lease that is open."""
_TIMEOUT = 10.0


class LeaseRefused(RuntimeError):
    """Nobody lends it, or the lease is over; the text says why."""


def settle(
    path: Path, row: dict[str, Any], timeout: float, done: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Look at a claim until it is `done` or `timeout` seconds are over; raises `CommandError`."""
    end = time.monotonic() + timeout
    while not done(row) and time.monotonic() < end:
        time.sleep(_POLL)
        row = lease_of(ask(path, "LEASES", _TIMEOUT, lease=row["id"]))
    return row


def lease_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the claim in an answer of the daemon."""
    row = answer.get("lease")
    return row if isinstance(row, dict) else {}


class Lease:
    """A lease that this node holds.

    As a context manager it is renewed while it is open and given back at the end; otherwise it ends with its
    term. `lost` is set when it is over before that: its provider was silent, or the daemon is gone.
    """

    def __init__(self, path: Path, row: dict[str, Any], seconds: int) -> None:
        self.id: str = row["id"]
        self.resource: str = row["resource"]
        self.amount: int = row["amount"]
        self.provider: str = row["provider"]
        """Id of the node that lends it, this one perhaps."""
        self.name: str = row["name"]
        self.seconds = seconds
        self.price: int = row["price"]
        """Of its term, in 10^-6 credit."""
        self.lost = threading.Event()
        self.reason = ""
        """Why it was lost."""
        self._path = path
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        self._thread = threading.Thread(target=self._watch, name=f"lease-{self.id[:8]}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if not self.lost.is_set():
            self.release()

    def renew(self, seconds: int | None = None) -> None:
        """Let it end in `seconds` from now, in as many as at first unless said; raises `LeaseRefused`."""
        self.seconds = self.seconds if seconds is None else seconds
        try:
            ask(self._path, "RENEW", _TIMEOUT, lease=self.id, seconds=self.seconds)
        except CommandError as error:
            self._lose(str(error))
            raise LeaseRefused(str(error)) from None

    def release(self) -> None:
        """Give it back; one that has ended stays so."""
        try:
            ask(self._path, "RELEASE", _TIMEOUT, lease=self.id)
        except CommandError as error:
            self._lose(str(error))

    def _watch(self) -> None:
        """Renew at a third of the term, and look in between whether it is still there."""
        renew_at = time.monotonic() + self.seconds / 3
        while not self._stop.wait(min(_LOOK, self.seconds / 6)):
            try:
                if time.monotonic() >= renew_at:
                    renew_at = time.monotonic() + self.seconds / 3
                    self.renew()
                row = lease_of(ask(self._path, "LEASES", _TIMEOUT, lease=self.id))
            except (CommandError, LeaseRefused) as error:
                self._lose(str(error))
                return
            if row.get("state") != "held":
                self._lose(str(row.get("reason", "")))
                return

    def _lose(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.lost.set()


def allocate(path: Path, resource: str, amount: int, seconds: int, timeout: float) -> Lease:
    """Claim some of a resource through the daemon on `path`; raises `LeaseRefused`."""
    try:
        row = lease_of(ask(path, "ALLOCATE", _TIMEOUT, resource=resource, amount=amount, seconds=seconds))
        row = settle(path, row, timeout, lambda row: row.get("state") != "asking")
        if row.get("state") == "asking":
            ask(path, "RELEASE", _TIMEOUT, lease=row["id"])
            raise LeaseRefused(f"no answer within {timeout:g} s; nodes that were asked did not answer")
    except CommandError as error:
        raise LeaseRefused(str(error)) from None
    if row.get("state") != "held":
        raise LeaseRefused(str(row.get("reason") or "the daemon's answer is none"))
    return Lease(path, row, seconds)
