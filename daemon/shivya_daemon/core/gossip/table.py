"""The lives a node knows, by id and by fingerprint, in the orders in which digests are made of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from shivya_daemon.core.gossip.frames import Entry
from shivya_daemon.core.gossip.state import NodeState


class Table:
    """A bounded table of states; those that are *told* appear in digests.

    A page is one half what changed last, so that news travels in every message, and one half the next stretch
    of a rotation over all, so that everything is compared in the end, however busy some nodes are.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._by_id: dict[bytes, NodeState] = {}
        self._by_fingerprint: dict[bytes, NodeState] = {}
        self.find: Callable[[bytes], NodeState | None] = self._by_fingerprint.get
        """The state with this fingerprint, or None; looked up for every entry of every digest."""
        self._told: OrderedDict[bytes, NodeState] = OrderedDict()
        """By fingerprint, the one that changed last at the end."""
        self._rotation: Iterator[bytes] = iter(())

    def get(self, node: bytes) -> NodeState | None:
        """Return the state of a node."""
        return self._by_id.get(node)

    def add(self, state: NodeState) -> bool:
        """Take a node that is not in the table, and tell of it; False when the table is full."""
        if len(self._by_id) >= self._capacity:
            return False
        self._by_id[state.id] = state
        self._by_fingerprint[state.fingerprint] = state
        self._told[state.fingerprint] = state
        return True

    def remove(self, state: NodeState) -> None:
        """Forget a node."""
        del self._by_id[state.id]
        del self._by_fingerprint[state.fingerprint]
        self._told.pop(state.fingerprint, None)

    def promote(self, state: NodeState) -> None:
        """Tell of `state`, of which is told already, first."""
        self._told.move_to_end(state.fingerprint)

    def changed(self, state: NodeState) -> None:
        """Tell of `state` first."""
        self._told[state.fingerprint] = state
        self._told.move_to_end(state.fingerprint)

    def mute(self, state: NodeState) -> None:
        """Keep `state`, and tell nobody of it."""
        self._told.pop(state.fingerprint, None)

    def page(self, limit: int) -> list[Entry]:
        """Return digest entries of at most `limit` states, the last changed ones first."""
        told = self._told
        if len(told) <= limit:
            return _entries(reversed(told.values()))
        chosen = dict(islice(reversed(told.items()), limit // 2))
        while len(chosen) < limit:
            fingerprint = next(self._rotation, None)
            if fingerprint is None:
                self._rotation = iter(tuple(told))
            elif fingerprint in told:
                chosen[fingerprint] = told[fingerprint]
        return _entries(chosen.values())

    @property
    def told(self) -> int:
        """How many states appear in digests."""
        return len(self._told)

    def __len__(self) -> int:
        return len(self._by_id)


def _entries(states: Iterable[NodeState]) -> list[Entry]:
    return [(state.fingerprint, state.heartbeat, state.through) for state in states]
