"""Merkle trees as in RFC 6962, section 2.1, over SHA3-256: roots, proofs, and their verification.

    MTH()         = SHA3-256()
    MTH(d)        = SHA3-256(0x00 || d)                          d: the 32 bytes of an entry's hash
    MTH(D[0:n])   = SHA3-256(0x01 || MTH(D[0:k]) || MTH(D[k:n]))  k: the largest power of two below n

The two prefixes keep leaves and nodes apart, and no leaf is ever doubled, so that no two logs share a root
(CVE-2012-2459 is what happens otherwise).

A log grows by its `Frontier`: the roots of the perfect subtrees into which the bits of n divide it, at most
64 hashes. A frontier is also all that later proofs need of a beginning that is kept no longer (`Tree`): the
left sibling on a path is either one of these subtrees, or lies behind them, or consists of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from hashlib import sha3_256
from typing import NamedTuple

HASH_BYTES = 32
MAX_SIZE = 2**63 - 1
EMPTY_ROOT = sha3_256().digest()

Hashes = Sequence[bytes]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha3_256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha3_256(b"\1" + left + right).digest()


def split(size: int) -> int:
    """Return k, the largest power of two below `size` (2 or more)."""
    return 1 << (size - 1).bit_length() - 1


class Frontier(NamedTuple):
    """The right edge of a tree: its size, and the roots of its perfect subtrees from left to right."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Frontier:
        """Return the frontier with one more leaf: as one is added to a binary number, carries merge."""
        peaks, node, size = list(self.peaks), leaf, self.size
        while size & 1:
            node = node_hash(peaks.pop(), node)
            size >>= 1
        return Frontier(self.size + 1, (*peaks, node))

    def root(self) -> bytes:
        """Return MTH of all leaves."""
        if not self.peaks:
            return EMPTY_ROOT
        return reduce(lambda right, left: node_hash(left, right), reversed(self.peaks))

    def subtree(self, start: int, end: int) -> bytes:
        """Return MTH(D[start:end]) of one of the peaks; raises `KeyError` for any other range."""
        at = 0
        for peak, bit in zip(self.peaks, _bits(self.size), strict=True):
            if (at, at + bit) == (start, end):
                return peak
            at += bit
        raise KeyError((start, end))


def _bits(size: int) -> list[int]:
    """The powers of two whose sum is `size`, the largest first."""
    return [1 << i for i in reversed(range(size.bit_length())) if size >> i & 1]


class Tree:
    """A tree of which the frontier `base` and all leaves behind it are known; proofs are for all of it."""

    def __init__(self, base: Frontier, leaves: Sequence[bytes]) -> None:
        self._base, self._leaves = base, leaves
        self.size = base.size + len(leaves)

    def root(self) -> bytes:
        """Return MTH(D[0:size])."""
        return self._subtree(0, self.size)

    def inclusion(self, index: int) -> list[bytes]:
        """Return PATH(index, D[0:size]); raises `KeyError` for a leaf that is not kept."""
        if not self._base.size <= index < self.size:
            raise KeyError(index)
        return self._path(index, 0, self.size)

    def consistency(self, old: int) -> list[bytes]:
        """Return PROOF(old, D[0:size]); raises `KeyError` for an `old` before the base or beyond the end."""
        if not max(self._base.size, 1) <= old <= self.size:
            raise KeyError(old)
        return self._subproof(old, 0, self.size, whole=True)

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + split(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self._subtree(middle, end)]
        return [*self._path(index, middle, end), self._subtree(start, middle)]

    def _subproof(self, old: int, start: int, end: int, *, whole: bool) -> list[bytes]:
        if old == end:
            return [] if whole else [self._subtree(start, end)]
        middle = start + split(end - start)
        if old <= middle:
            return [*self._subproof(old, start, middle, whole=whole), self._subtree(middle, end)]
        return [*self._subproof(old, middle, end, whole=False), self._subtree(start, middle)]

    def _subtree(self, start: int, end: int) -> bytes:
        kept = self._base.size
        if start >= kept:
            return _mth(self._leaves[start - kept : end - kept])
        if end <= kept and (end - start).bit_count() == 1:
            return self._base.subtree(start, end)
        middle = start + split(end - start)
        return node_hash(self._subtree(start, middle), self._subtree(middle, end))


def _mth(leaves: Sequence[bytes]) -> bytes:
    """MTH of some leaves, level by level: where k is a power of two, an odd last one just moves up."""
    level = list(leaves)
    while len(level) > 1:
        odd = level[-1:] if len(level) & 1 else []
        level = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)] + odd
    return level[0] if level else EMPTY_ROOT


def verify_inclusion(leaf: bytes, index: int, size: int, path: Hashes, root: bytes) -> bool:
    """Return whether `path` shows that `leaf` is leaf `index` of the tree of that size and root."""
    try:
        return 0 <= index < size <= MAX_SIZE and _root_by_path(leaf, index, size, path) == root
    except ValueError:
        return False


def _root_by_path(leaf: bytes, index: int, size: int, path: Hashes) -> bytes:
    """PATH read backwards; raises `ValueError` unless the path is as long as it must be."""
    if size == 1:
        () = path
        return leaf
    *rest, sibling = path
    middle = split(size)
    if index < middle:
        return node_hash(_root_by_path(leaf, index, middle, rest), sibling)
    return node_hash(sibling, _root_by_path(leaf, index - middle, size - middle, rest))


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Hashes) -> bool:
    """Return whether `proof` shows that the first `old` leaves of the new tree are those of the old one.

    The empty tree is the beginning of every tree.
    """
    if old == 0:
        return new >= 0 and old_root == EMPTY_ROOT and not proof
    try:
        return 0 < old <= new <= MAX_SIZE and (
            _roots_by_proof(old, new, proof, old_root) == (old_root, new_root)
        )
    except ValueError:
        return False


def _roots_by_proof(old: int, new: int, proof: Hashes, whole: bytes | None) -> tuple[bytes, bytes]:
    """PROOF read backwards: both roots. `whole` is the old root while the old tree is all on the left."""
    if old == new:
        if whole is not None:
            () = proof
            return whole, whole
        (same,) = proof
        return same, same
    *rest, sibling = proof
    middle = split(new)
    if old <= middle:
        left, all_left = _roots_by_proof(old, middle, rest, whole)
        return left, node_hash(all_left, sibling)
    left, all_left = _roots_by_proof(old - middle, new - middle, rest, None)
    return node_hash(sibling, left), node_hash(sibling, all_left)


def merkle_root(hashes: Sequence[str]) -> str:
    """Return the root over entry hashes, all as hexadecimal digits; raises `ValueError`."""
    leaves = [bytes.fromhex(digits) for digits in hashes]
    if any(len(leaf) != HASH_BYTES for leaf in leaves):
        raise ValueError(f"a hash is {HASH_BYTES} bytes")
    return _mth([leaf_hash(leaf) for leaf in leaves]).hex()
