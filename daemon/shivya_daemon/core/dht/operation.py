"""What the caller of a find, get or put holds on to."""

from __future__ import annotations

from typing import Generic, TypeVar

from shivya_daemon.core.frames import Peer

Result = TypeVar("Result")


class Operation(Generic[Result]):
    """A question put to the mesh: `done` turns True once, then `result` and `closest` stay as they are."""

    __slots__ = ("closest", "done", "result", "target")

    def __init__(self, target: bytes) -> None:
        self.target = target
        self.done = False
        self.result: Result | None = None
        """find: where the node answers; get: the value; put: how many nodes hold it. None is failure."""
        self.closest: tuple[Peer, ...] = ()
        """Nodes that answered, nearest to the target first."""

    @property
    def key(self) -> bytes:
        """The key that is got or put: another name of `target`."""
        return self.target

    def finish(self, result: Result | None, closest: tuple[Peer, ...] = ()) -> None:
        """Settle the operation; later calls change nothing."""
        if not self.done:
            self.result, self.closest, self.done = result, closest, True
