"""An immutable map whose changed copies share all but the path to the change.

A trie of 16-fold branches over the half-bytes of the key (Bagwell 2001; Okasaki 1998): a copy with one entry
changed costs as many small tuples as two keys have half-bytes in common, never more than twice the length of
a key. The shape depends on the content alone, not on the order in which it came about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

V = TypeVar("V")

_EMPTY: tuple[None, ...] = (None,) * 16
_Node = tuple[Any, ...] | None  # nothing, a leaf (key, value), or a branch of 16 nodes
_LEAF = 2


class Map(Generic[V]):
    """Values by keys of bytes, all keys of one map of the same length; iterated in the order of the keys."""

    __slots__ = ("_root", "_size")

    def __init__(self, entries: Mapping[bytes, V] | None = None) -> None:
        self._root: _Node = None
        self._size = 0
        for key, value in (entries or {}).items():
            self._size += key not in self
            self._root = _set(self._root, 0, key, value)

    def get(self, key: bytes) -> V | None:
        """Return the value of `key`, None if it has none."""
        node, depth = self._root, 0
        while node is not None and len(node) != _LEAF:
            node, depth = node[_half(key, depth)], depth + 1
        return node[1] if node is not None and node[0] == key else None

    def set(self, key: bytes, value: V) -> Map[V]:
        """Return the map with `value` at `key`."""
        return self._with(_set(self._root, 0, key, value), self._size + (key not in self))

    def without(self, key: bytes) -> Map[V]:
        """Return the map without `key`, which may be absent."""
        return self._with(_cut(self._root, 0, key), self._size - 1) if key in self else self

    def items(self) -> Iterator[tuple[bytes, V]]:
        """Iterate over keys and values, in the order of the keys."""
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            if node is None:
                continue
            if len(node) == _LEAF:
                yield node
            else:
                waiting.extend(reversed(node))

    def values(self) -> Iterator[V]:
        """Iterate over the values, in the order of their keys."""
        return (value for _, value in self.items())

    def __iter__(self) -> Iterator[bytes]:
        return (key for key, _ in self.items())

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Map) and self._root == other._root

    def __hash__(self) -> int:
        return hash(self._root)

    def __repr__(self) -> str:
        return f"Map({self._size} entries)"

    def _with(self, root: _Node, size: int) -> Map[V]:
        made: Map[V] = Map()
        made._root, made._size = root, size
        return made


def _half(key: bytes, depth: int) -> int:
    """Return the half-byte number `depth` of a key."""
    byte = key[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def _set(node: _Node, depth: int, key: bytes, value: Any) -> _Node:
    if node is None:
        return (key, value)
    if len(node) == _LEAF:
        if node[0] == key:
            return (key, value)
        node = _replaced(_EMPTY, _half(node[0], depth), node)
    place = _half(key, depth)
    return _replaced(node, place, _set(node[place], depth + 1, key, value))


def _cut(node: _Node, depth: int, key: bytes) -> _Node:
    """Return `node` without a key that it has; a branch that is left with one leaf becomes that leaf."""
    if node is None or len(node) == _LEAF:
        return None
    place = _half(key, depth)
    rest = _replaced(node, place, _cut(node[place], depth + 1, key))
    left = [child for child in rest if child is not None]
    return left[0] if len(left) == 1 and len(left[0]) == _LEAF else rest


def _replaced(branch: tuple[Any, ...], place: int, child: _Node) -> tuple[Any, ...]:
    return (*branch[:place], child, *branch[place + 1 :])
