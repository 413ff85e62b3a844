"""The Merkle tree against the definitions of RFC 6962 and the algorithms of RFC 9162, written down again."""

from __future__ import annotations

import json
from hashlib import sha3_256
from pathlib import Path

import pytest

from shivya_daemon.ledgers.audit import merkle_root
from shivya_daemon.ledgers.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    Tree,
    leaf_hash,
    node_hash,
    split,
    verify_consistency,
    verify_inclusion,
)

SIZES = range(1, 20)
LEAVES = [leaf_hash(bytes([number]) * 32) for number in range(40)]


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return sha3_256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha3_256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def frontier(leaves: list[bytes]) -> Frontier:
    found = Frontier()
    for leaf in leaves:
        found = found.append(leaf)
    return found


def included(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2, word for word."""
    if index >= size:
        return False
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def consistent(first: int, first_hash: bytes, second: int, second_hash: bytes, path: list[bytes]) -> bool:
    """RFC 9162, 2.1.4.2, word for word, for 0 < first < second."""
    if not path:
        return False
    if first & (first - 1) == 0:
        path = [first_hash, *path]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return fr == first_hash and sr == second_hash and sn == 0


def test_golden_roots(golden: Path) -> None:
    document = json.loads((golden / "ledger.json").read_text())
    hashes = [entry["hash"] for entry in document["entries"]]
    for size, root in enumerate(document["merkle_rfc6962_sha3_256_over_raw_hash_bytes_prefix"]):
        assert merkle_root(hashes[:size]) == root
        assert frontier([leaf_hash(bytes.fromhex(digits)) for digits in hashes[:size]]).root().hex() == root
    assert document["sha3_256_empty"] == EMPTY_ROOT.hex()
    assert document["odd_leaf_collision"]["equal"], "the tree of the first seed"
    assert merkle_root(hashes[:3]) != merkle_root([*hashes[:3], hashes[2]])


@pytest.mark.parametrize("hashes", [["00"], ["zz" * 32], ["00" * 33], [1]])
def test_a_root_is_over_hashes(hashes):
    with pytest.raises((ValueError, TypeError)):
        merkle_root(hashes)


@pytest.mark.parametrize(("size", "k"), [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8)])
def test_split(size, k):
    assert split(size) == k


def test_roots_grow_as_defined():
    found = Frontier()
    for size in range(len(LEAVES) + 1):
        assert found.root() == mth(LEAVES[:size]) == Tree(Frontier(), LEAVES[:size]).root()
        assert found.size == size
        assert len(found.peaks) == size.bit_count()
        if size < len(LEAVES):
            found = found.append(LEAVES[size])


def test_a_node_is_no_leaf():
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_from_what_is_kept(size: int) -> None:
    """Whatever beginning was dropped, every leaf that is left has the same proof as before."""
    root = mth(LEAVES[:size])
    for index in range(size):
        path = Tree(Frontier(), LEAVES[:size]).inclusion(index)
        assert verify_inclusion(LEAVES[index], index, size, path, root)
        assert included(LEAVES[index], index, size, path, root)
        for kept in range(size):
            tree = Tree(frontier(LEAVES[:kept]), LEAVES[kept:size])
            assert tree.root() == root
            if index >= kept:
                assert tree.inclusion(index) == path
            else:
                with pytest.raises(KeyError):
                    tree.inclusion(index)


@pytest.mark.parametrize("new", SIZES)
def test_consistency_from_what_is_kept(new: int) -> None:
    new_root = mth(LEAVES[:new])
    for old in range(1, new + 1):
        old_root = mth(LEAVES[:old])
        proof = Tree(Frontier(), LEAVES[:new]).consistency(old)
        assert verify_consistency(old, old_root, new, new_root, proof)
        assert old == new or consistent(old, old_root, new, new_root, proof)
        for kept in range(new + 1):
            tree = Tree(frontier(LEAVES[:kept]), LEAVES[kept:new])
            if old >= kept:
                assert tree.consistency(old) == proof
            else:
                with pytest.raises(KeyError):
                    tree.consistency(old)


def variants(proof: list[bytes]) -> list[list[bytes]]:
    """Proofs that differ in one thing."""
    found = [proof + proof[-1:] or [LEAVES[0]], [LEAVES[39], *proof], proof[::-1], proof[1:], proof[:-1]]
    for at in range(len(proof)):
        changed = bytearray(proof[at])
        changed[at % 32] ^= 1
        found.append([*proof[:at], bytes(changed), *proof[at + 1 :]])
    return [variant for variant in found if variant != proof]


@pytest.mark.parametrize("size", SIZES)
def test_nothing_else_is_included(size: int) -> None:
    root, tree = mth(LEAVES[:size]), Tree(Frontier(), LEAVES[:size])
    for index in range(size):
        path, leaf = tree.inclusion(index), LEAVES[index]
        assert not any(verify_inclusion(leaf, index, size, other, root) for other in variants(path))
        assert not verify_inclusion(LEAVES[39], index, size, path, root)
        assert not verify_inclusion(leaf, index, size, path, LEAVES[39])
        for other in range(-1, size + 1):
            assert other == index or not verify_inclusion(leaf, other, size, path, root)
            if other not in (0, size):  # a path may fit several sizes, as the RFC's words allow
                same = included(leaf, index, other, path, root)
                assert verify_inclusion(leaf, index, other, path, root) == same


@pytest.mark.parametrize("new", SIZES)
def test_nothing_else_is_consistent(new: int) -> None:
    tree, new_root = Tree(Frontier(), LEAVES[:new]), mth(LEAVES[:new])
    for old in range(1, new + 1):
        old_root, proof = mth(LEAVES[:old]), tree.consistency(old)
        for other in variants(proof):
            assert not verify_consistency(old, old_root, new, new_root, other)
        for changed in range(old):  # a log that was rewritten at one place, then continued
            forged = [*LEAVES[:changed], LEAVES[39], *LEAVES[changed + 1 : new]]
            rewritten = Tree(Frontier(), forged)
            assert not verify_consistency(old, old_root, new, rewritten.root(), rewritten.consistency(old))
            assert not verify_consistency(old, old_root, new, rewritten.root(), proof)


def test_the_empty_tree_begins_every_tree():
    assert verify_consistency(0, EMPTY_ROOT, 3, mth(LEAVES[:3]), [])
    assert verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert not verify_consistency(0, LEAVES[0], 3, mth(LEAVES[:3]), [])
    assert not verify_consistency(0, EMPTY_ROOT, 3, mth(LEAVES[:3]), [LEAVES[0]])
    assert not verify_consistency(3, mth(LEAVES[:3]), 2, mth(LEAVES[:2]), [])
    assert not verify_inclusion(LEAVES[0], 0, 0, [], EMPTY_ROOT)


def test_hostile_sizes_end_at_once():
    assert not verify_inclusion(LEAVES[0], 5, 2**63, [LEAVES[1]] * 62, LEAVES[2])
    assert not verify_inclusion(LEAVES[0], 5, 2**5000, [LEAVES[1]] * 5000, LEAVES[2])
    assert not verify_consistency(5, LEAVES[0], 2**5000, LEAVES[1], [LEAVES[1]] * 5000)
    assert not verify_consistency(2**62 + 1, LEAVES[0], 2**63, LEAVES[1], [LEAVES[2]] * 500)
