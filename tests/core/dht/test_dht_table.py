"""The routing table: who is near, who has a place, and who cannot buy one with ids."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.core.dht.subnets import SubnetCount, plausible, private, subnet
from shivya_daemon.core.dht.table import RoutingTable, bucket_index, distance
from shivya_daemon.core.frames import Peer

OWN = bytes(20)
ids = st.binary(min_size=20, max_size=20)


def peer(number: int, host: str = "10.0.0.1", port: int = 8085) -> Peer:
    return Peer(number.to_bytes(20, "big"), host, port)


@given(ids, ids, st.lists(ids, unique=True, max_size=60), st.integers(1, 25), st.integers(0, 159))
def test_closest_is_the_head_of_everybody_by_distance(
    own: bytes, target: bytes, nodes: list[bytes], count: int, near: int
) -> None:
    table = RoutingTable(own, bucket_size=60)
    # Random ids crowd the far buckets; some near ones fill the others.
    nodes += [(int.from_bytes(own, "big") ^ (1 << near >> n)).to_bytes(20, "big") for n in range(0, near, 7)]
    nodes = [node for node in dict.fromkeys(nodes) if node != own]
    for node in nodes:
        table.add(Peer(node, "10.0.0.1", 1), 0.0)
    for wanted in (target, own, *nodes[:3]):
        expected = sorted(nodes, key=lambda node: distance(node, wanted))[:count]
        assert [entry.id for entry in table.closest(wanted, count)] == expected
    if nodes:
        assert nodes[0] not in [entry.id for entry in table.closest(target, 60, exclude=nodes[0])]
        assert table.nearest_bucket == min(bucket_index(own, node) for node in nodes)


def test_the_own_id_has_no_place() -> None:
    table = RoutingTable(OWN)
    assert table.add(Peer(OWN, "10.0.0.1", 1), 0.0) is None
    table.touch(OWN, 0.0)
    table.remove(OWN)
    assert len(table) == 0 and OWN not in table


def test_a_full_bucket_names_its_oldest_and_keeps_it() -> None:
    table = RoutingTable(OWN, bucket_size=3)
    for number in (8, 9, 10):
        assert table.add(peer(number), 0.0) is None
    assert table.add(peer(11), 1.0) == peer(8)
    table.touch(peer(8).id, 2.0)
    assert table.add(peer(12), 3.0) == peer(9), "the oldest is now another one"
    assert table.bucket(3) == (peer(9), peer(10), peer(8))


def test_a_removed_peer_is_replaced_by_the_newest_replacement() -> None:
    table = RoutingTable(OWN, bucket_size=2)
    for number in (8, 9, 10, 11):
        table.add(peer(number), 0.0)
    table.remove(peer(9).id)
    assert table.bucket(3) == (peer(11), peer(8)), "promoted as the one heard longest ago"
    table.remove(peer(10).id)
    table.remove(peer(8).id)
    assert table.bucket(3) == (peer(11),), "a replacement that was removed does not come back"


def test_replacements_are_bounded() -> None:
    table = RoutingTable(OWN, bucket_size=2)
    for number in range(1 << 10, (1 << 10) + 500):
        table.add(peer(number), 0.0)
    for number in range(1 << 10, (1 << 10) + 500):
        table.remove(peer(number).id)
    assert len(table) == 0


def test_a_peer_that_moved_keeps_one_place() -> None:
    table = RoutingTable(OWN, subnet_limit=1)
    table.add(peer(8, "9.1.1.1"), 0.0)
    table.add(peer(8, "9.2.2.2"), 1.0)
    assert table.closest(OWN, 9) == (peer(8, "9.2.2.2"),)
    table.add(peer(9, "9.1.1.9"), 2.0)
    assert len(table) == 2, "the old subnet is free again"


@pytest.mark.parametrize("limit", [1, 2])
def test_a_subnet_has_few_places_over_all_buckets(limit: int) -> None:
    table = RoutingTable(OWN, bucket_size=4, subnet_limit=limit)
    for number in range(1, 200):
        table.add(peer(number, f"9.9.9.{number}"), 0.0)
    assert len(table) == limit
    for number in range(200, 210):
        table.add(peer(number, f"9.9.{number}.1"), 0.0)
    assert len(table) > limit


def test_a_subnet_cannot_crowd_out_the_replacements_of_others() -> None:
    table = RoutingTable(OWN, bucket_size=4, subnet_limit=2)
    honest = [peer(64 + number, f"8.8.{number}.1") for number in range(6)]
    for entry in honest:
        table.add(entry, 0.0)
    for number in range(80, 127):
        table.add(peer(number, f"9.9.9.{number}"), 1.0)
    for entry in honest[:4]:
        table.remove(entry.id)
    assert set(honest[4:]) <= set(table.bucket(6))


def test_the_limit_spares_a_lan_unless_it_is_told_not_to() -> None:
    for spared in (True, False):
        table = RoutingTable(OWN, subnet_limit=2, limit_private=not spared)
        for number in range(1, 20):
            table.add(peer(number, f"192.168.1.{number}"), 0.0)
        assert len(table) == (19 if spared else 2)


def test_random_work_leaves_counts_true() -> None:
    choose = random.Random(5)
    table = RoutingTable(OWN, bucket_size=2, subnet_limit=2)
    for step in range(4000):
        entry = peer(choose.randrange(1, 200), f"9.9.{choose.randrange(20)}.1")
        table.remove(entry.id) if choose.random() < 0.4 else table.add(entry, float(step))
        entries = table.closest(OWN, 500)
        assert len(entries) == len(table)
    places = [subnet(entry.host) for entry in entries]
    assert all(places.count(place) <= 2 for place in places)
    for entry in entries + tuple(peer(number) for number in range(200)):
        table.remove(entry.id)
    assert len(table) == 0 and table.nearest_bucket is None


def test_subnets_and_private_ranges() -> None:
    assert subnet("9.8.7.6") == "9.8.7"
    assert subnet("2001:db8:0:1::5") == subnet("2001:db8:0:1:ffff::1") != subnet("2001:db8:0:2::5")
    for host in ("10.1.2.3", "127.0.0.1", "172.16.0.1", "172.31.9.9", "192.168.0.1", "169.254.1.1"):
        assert private(host)
    for host in ("100.64.0.1", "100.127.1.1", "::1", "fe80::1", "fd00::1"):
        assert private(host)
    for host in ("9.1.1.1", "172.15.0.1", "172.32.0.1", "192.167.0.1", "100.63.0.1", "2606:4700::1"):
        assert not private(host)


def test_addresses_that_no_node_can_have_are_not_plausible() -> None:
    for host, port in (("0.0.0.0", 1), ("224.0.0.1", 1), ("255.255.255.255", 1), ("::", 1), ("ff02::1", 1)):
        assert not plausible(peer(1, host, port))
    assert not plausible(peer(1, "9.9.9.9", 0))
    assert plausible(peer(1, "9.9.9.9")) and plausible(peer(1, "2606:4700::1"))


def test_a_count_never_falls_below_nothing() -> None:
    count = SubnetCount(1, True)
    count.remove("9.9.9.9")
    assert not count.full("9.9.9.9")
    count.add("9.9.9.9")
    assert count.full("9.9.9.1")
