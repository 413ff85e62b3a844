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

from shivya.ask import Talk, ask, line_of, silent
from shivya.errors import CommandError

_TIMEOUT = 10.0


class LeaseRefused(RuntimeError):
    """Nobody lends it, or the lease is over; the text says why."""


def follow(
    path: Path, verb: str, timeout: float, done: Callable[[dict[str, Any]], bool], **values: object
) -> dict[str, Any]:
    """Have the daemon do something about a claim; wait until that is `done` or `timeout` seconds are over.

    Returns the claim as it was told last; raises `CommandError`.
    """
    line, end = line_of(verb, **values, watch=1), time.monotonic() + timeout
    with Talk(path, _TIMEOUT) as talk:
        talk.say(line)
        answer = talk.hear(_TIMEOUT)
        if answer is None:
            raise silent(path, _TIMEOUT)
        row = lease_of(answer)
        while not done(row) and (answer := talk.hear(max(0.0, end - time.monotonic()))) is not None:
            row = lease_of(answer)
    return row


def lease_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the claim in an answer of the daemon."""
    row = answer.get("lease")
    return row if isinstance(row, dict) else {}


class Lease:
    """A lease that this node holds.

    As a context manager it is renewed while it is open and given back at the end; otherwise it ends with its
    term. `lost` is set at once when it is over before that: its provider was silent, or the daemon is gone.
    """

    def __init__(self, path: Path, row: dict[str, Any], seconds: int) -> None:
        self.id: str = row["id"]
        self.resource: str = row["resource"]
        self.amount: int = row["amount"]
        self.provider: str = row["provider"]
        """Id of the node that lends it, this one perhaps."""
        self.name: str = row["name"]
        self.here: bool = row.get("here", False)
        """Whether this node lends it to itself."""
        self.seconds = seconds
        self.price: int = row["price"]
        """Of its term, in 10^-6 credit."""
        self.lost = threading.Event()
        self.reason = ""
        """Why it was lost."""
        self._path = path
        self._talk: Talk | None = None
        self._open = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        try:
            self._talk = Talk(self._path, _TIMEOUT)
        except CommandError as error:
            self._lose(str(error))
            raise LeaseRefused(str(error)) from None
        self._open = True
        self._thread = threading.Thread(target=self._watch, name=f"lease-{self.id[:8]}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._talk is not None and self._thread is not None:
            self._talk.interrupt()
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
        """Renew at a third of the term, and hear in between what becomes of it."""
        talk = self._talk
        if talk is None:
            return
        renew_at = time.monotonic() + self.seconds / 3
        with talk:
            try:
                talk.say(line_of("LEASES", lease=self.id, watch=1))
                while True:
                    answer = talk.hear(_TIMEOUT)
                    if answer is None:
                        raise silent(self._path, _TIMEOUT)
                    while answer is not None:
                        if (row := lease_of(answer)).get("state") != "held":
                            self._lose(str(row.get("reason", "")))
                            return
                        answer = talk.hear(max(0.0, renew_at - time.monotonic()))
                    renew_at = time.monotonic() + self.seconds / 3
                    talk.say(line_of("RENEW", lease=self.id, seconds=self.seconds))
            except CommandError as error:
                if self._open:
                    self._lose(str(error))

    def _lose(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.lost.set()


def allocate(path: Path, resource: str, amount: int, seconds: int, timeout: float) -> Lease:
    """Claim some of a resource through the daemon on `path`; raises `LeaseRefused`."""
    try:
        row = follow(path, "ALLOCATE", timeout, _answered, resource=resource, amount=amount, seconds=seconds)
        if row.get("state") == "asking":
            ask(path, "RELEASE", _TIMEOUT, lease=row["id"])
            raise LeaseRefused(f"no answer within {timeout:g} s; nodes that were asked did not answer")
    except CommandError as error:
        raise LeaseRefused(str(error)) from None
    if row.get("state") != "held":
        raise LeaseRefused(str(row.get("reason") or "the daemon's answer is none"))
    return Lease(path, row, seconds)


def _answered(row: dict[str, Any]) -> bool:
    return row.get("state") != "asking"
