"""The routing table: order, eviction through the replacement cache, and distances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.core.frames import Peer
from shivya_daemon.core.routing import RoutingTable, bucket_index, distance

OWN = bytes(20)


def peer(number: int) -> Peer:
    return Peer(number.to_bytes(20, "big"), "10.0.0.1", 1 + number % 60000)


# The highest bit makes all of these share bucket 159.
FAR = [peer((1 << 159) + n) for n in range(20)]


def test_bucket_index_counts_shared_leading_bits() -> None:
    assert bucket_index(OWN, OWN) == -1
    assert bucket_index(OWN, peer(1).id) == 0
    assert bucket_index(OWN, peer(255).id) == 7
    assert bucket_index(OWN, FAR[3].id) == 159


def test_the_own_id_never_enters() -> None:
    table = RoutingTable(OWN)
    assert table.add(Peer(OWN, "10.0.0.1", 1)) is None
    assert len(table) == 0


def test_a_peer_seen_again_moves_to_the_end_with_its_new_address() -> None:
    table = RoutingTable(OWN, 3)
    for entry in FAR[:3]:
        assert table.add(entry) is None
    moved = Peer(FAR[0].id, "10.0.0.9", 9)
    assert table.add(moved) is None
    assert table.bucket(159) == (FAR[1], FAR[2], moved)
    table.touch(FAR[1].id)
    assert table.bucket(159) == (FAR[2], moved, FAR[1])


def test_a_full_bucket_names_its_oldest_and_keeps_it_if_it_answers() -> None:
    table = RoutingTable(OWN, 2)
    for entry in FAR[:2]:
        table.add(entry)
    assert table.add(FAR[2]) == FAR[0]
    table.touch(FAR[0].id)
    assert table.bucket(159) == (FAR[1], FAR[0])
    assert FAR[2].id not in table


def test_the_newest_replacement_takes_the_place_of_a_peer_that_is_gone() -> None:
    table = RoutingTable(OWN, 2)
    for entry in FAR[:4]:
        table.add(entry)
    table.remove(FAR[0].id)
    assert table.bucket(159) == (FAR[3], FAR[1])
    table.remove(FAR[1].id)
    assert table.bucket(159) == (FAR[2], FAR[3])
    table.remove(FAR[2].id)
    assert table.bucket(159) == (FAR[3],)


def test_a_removed_replacement_is_not_promoted() -> None:
    table = RoutingTable(OWN, 1)
    table.add(FAR[0])
    table.add(FAR[1])
    table.remove(FAR[1].id)
    table.remove(FAR[0].id)
    assert len(table) == 0


def test_replacements_are_bounded() -> None:
    table = RoutingTable(OWN, 2)
    for entry in FAR:
        table.add(entry)
    survivors = 0
    while table.bucket(159):
        table.remove(table.bucket(159)[0].id)
        survivors += 1
    assert survivors == 4


def test_a_table_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="bucket_size must be at least 1"):
        RoutingTable(OWN, 0)


@given(st.sets(st.binary(min_size=20, max_size=20), max_size=60), st.binary(min_size=20, max_size=20))
def test_closest_is_the_sorted_head_of_what_the_table_holds(ids: set[bytes], target: bytes) -> None:
    table = RoutingTable(OWN, 60)
    for node in ids:
        table.add(Peer(node, "10.0.0.1", 1))
    expected = sorted(ids - {OWN}, key=lambda node: distance(node, target))
    assert [entry.id for entry in table.closest(target, 8)] == expected[:8]
    skipped = expected[:2]
    assert [entry.id for entry in table.closest(target, 3, exclude=skipped)] == expected[2:5]
