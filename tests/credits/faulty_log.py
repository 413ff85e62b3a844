"""A log in memory that loses requests, loses answers, or stalls, when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from shivya_daemon.ledgers.credits import State
from shivya_daemon.ledgers.credits.log import Replica
from shivya_daemon.ledgers.credits.witness import Trimmed, Unavailable


class FaultyLog:
    """Shared by any number of witnesses; `before` and `after` are called around appends, and may raise."""

    def __init__(self, genesis: State) -> None:
        self.kept: list[bytes] = []
        self.trimmed = 0
        self.saved = Replica.first(genesis)
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._closed = False

    def load(self) -> Replica:
        return self.saved

    def entries(self, after: int) -> Sequence[bytes]:
        with self._changed:
            if self._closed:
                raise Unavailable("closed")
            if after < self.trimmed:
                raise Trimmed(f"entry {after + 1} is gone")
            return self.kept[after : after + 3]

    def append(self, position: int, entry: bytes) -> bool:
        self.before()
        with self._changed:
            if position != len(self.kept) + 1:
                return False
            self.kept.append(entry)
            self._changed.notify_all()
        self.after()
        return True

    def save(self, snapshot: Replica) -> None:
        self.saved = snapshot

    def wait(self, after: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self.kept) > after, timeout=60)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
