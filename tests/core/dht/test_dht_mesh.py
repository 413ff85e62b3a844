"""Groups of fifty at 15 % loss: everything is found, everything is kept, whoever comes and goes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from shivya_daemon.core.dht.dht import DhtSettings
from shivya_daemon.core.dht.values import signed_key
from shivya_daemon.core.identity import Identity

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time

LOSS = 0.15
HURRIED = DhtSettings(republish_interval=60.0, replicate_interval=60.0, sweep_interval=2.0)
"""An hour of upkeep in a minute."""


def grown(group: Any, seed: int, settings: DhtSettings | None = None, nodes: int = 50) -> Any:
    mesh = group(seed, LOSS, settings)
    mesh.spawn(nodes)
    mesh.run(15.0)
    return mesh


def published(mesh: Any, count: int) -> list[Any]:
    operations = [mesh.put(mesh.random.choice(mesh.alive()), b"value %d" % n) for n in range(count)]
    mesh.settle(operations)
    mesh.run(5.0)
    return operations


@pytest.mark.parametrize("request_ids", [True, False])
def test_lookups_and_values_survive_loss(group: Any, request_ids: bool) -> None:
    mesh = grown(group, 1, DhtSettings(request_ids=request_ids))
    puts = published(mesh, 100)
    assert all(put.result >= 5 for put in puts)
    assert all(len(mesh.holders(put.key)) >= 7 for put in puts)
    choose = random.Random(2)
    gets, finds = [], []
    for _ in range(600):
        number = choose.randrange(100)
        gets.append((mesh.get(choose.randrange(50), puts[number].key), b"value %d" % number))
        asking, wanted = choose.sample(range(50), 2)
        finds.append((mesh.find(asking, mesh.peers[wanted].id), mesh.peers[wanted]))
        if len(gets) % 100 == 0:
            mesh.settle([operation for operation, _ in gets + finds])
    found = sum(operation.result == expected for operation, expected in gets + finds)
    assert found >= 0.999 * 1200
    assert not mesh.drops, "nothing that came was unasked for, nothing was refused"


def test_absent_keys_and_nodes_end_with_nothing(group: Any) -> None:
    mesh = grown(group, 2)
    choose = random.Random(3)
    operations = [mesh.get(choose.randrange(50), choose.randbytes(20)) for _ in range(20)]
    operations += [mesh.find(choose.randrange(50), choose.randbytes(20)) for _ in range(20)]
    begun, before = mesh.now, mesh.messages
    mesh.settle(operations)
    assert {operation.result for operation in operations} == {None}
    assert mesh.now - begun < 10.0
    assert mesh.messages - before < 40 * 100, "no storm"
    assert all(len(operation.closest) >= 15 for operation in operations)


def test_every_message_has_an_encoding(group: Any) -> None:
    for request_ids in (True, False):
        mesh = group(3, 0.1, DhtSettings(request_ids=request_ids))
        mesh.encode = True
        mesh.spawn(12)
        mesh.run(5.0)
        owner = Identity.generate(mesh.random.randbytes)
        puts = [mesh.put(n, bytes((n,)) * 256) for n in range(12)]
        puts.append(mesh._started(0, mesh.tables[0].put_signed(bytes(152), 3, owner)))
        mesh.settle(puts)
        gets = [mesh.get(n, puts[n - 1].key) for n in range(12)] + [mesh.get(5, puts[-1].key)]
        mesh.settle(gets)
        assert all(operation.result for operation in puts + gets)


def test_a_later_signed_record_replaces_the_earlier_everywhere(group: Any) -> None:
    mesh = grown(group, 4, nodes=25)
    owner = Identity.generate(mesh.random.randbytes)
    key = signed_key(owner.public_key)
    for sequence, payload in ((1, b"one"), (2, b"two")):
        put = mesh._started(3, mesh.tables[3].put_signed(payload, sequence, owner))
        mesh.settle([put])
        mesh.run(5.0)
        assert put.key == key and put.result
        gets = [mesh.get(number, key) for number in range(25)]
        mesh.settle(gets)
        assert [operation.result for operation in gets] == [payload] * 25
    stale = mesh._started(9, mesh.tables[9].put_signed(b"old", 1, owner))
    gets = [mesh.get(number, key) for number in range(25)]
    mesh.settle([stale, *gets])
    assert (stale.result or 0) < 4, "nobody who holds it goes back"
    assert [operation.result for operation in gets] == [b"two"] * 25


def test_churn_of_a_third_of_the_nodes(group: Any) -> None:
    mesh = grown(group, 5)
    puts = published(mesh, 60)
    for number in mesh.random.sample(range(50), 15):
        mesh.stop(number)
    choose = random.Random(6)
    gets = [mesh.get(choose.choice(mesh.alive()), put.key) for put in puts]
    finds = []
    for _ in range(100):
        asking, wanted = choose.sample(mesh.alive(), 2)
        finds.append((mesh.find(asking, mesh.peers[wanted].id), mesh.peers[wanted]))
    begun = mesh.now
    mesh.settle(gets + [operation for operation, _ in finds])
    assert mesh.now - begun < 15.0
    held = [bool(mesh.holders(put.key)) for put in puts]
    assert [operation.result is not None for operation in gets] == held and sum(held) >= 59
    assert all(operation.result == peer for operation, peer in finds)


def test_values_outlive_their_holders_while_their_publisher_lives(group: Any) -> None:
    mesh = grown(group, 7, HURRIED, nodes=40)
    put = mesh.put(0, b"kept")
    mesh.settle([put])
    mesh.run(5.0)
    for number in mesh.holders(put.key):
        if number != 0:
            mesh.stop(number)
    mesh.run(80.0)
    assert len(mesh.holders(put.key)) >= 7
    get = mesh.get(mesh.alive()[-1], put.key)
    mesh.settle([get])
    assert get.result == b"kept"


def test_values_outlive_their_publisher_while_holders_replicate_and_then_expire(group: Any) -> None:
    mesh = grown(group, 8, replace(HURRIED, value_lifetime=300.0), nodes=40)
    put = mesh.put(0, b"kept")
    mesh.settle([put])
    mesh.run(5.0)
    mesh.stop(0)
    for number in mesh.holders(put.key)[:4]:
        mesh.stop(number)
    mesh.run(100.0)
    assert len(mesh.holders(put.key)) >= 7, "the other holders made new ones"
    mesh.run(250.0)
    assert mesh.holders(put.key) == [], "replicas pass on the age, so that nothing lives for ever"


def test_a_newcomer_is_given_the_values_it_is_nearest_to(group: Any) -> None:
    mesh = grown(group, 9, nodes=20)
    puts = published(mesh, 60)
    mesh.spawn(10)
    mesh.run(30.0)
    for put in puts:
        nearest = sorted(range(30), key=lambda n: int.from_bytes(mesh.peers[n].id) ^ int.from_bytes(put.key))
        assert set(nearest[:4]) & set(mesh.holders(put.key)) == set(nearest[:4])


def test_a_lone_node_keeps_its_value_until_somebody_comes(group: Any) -> None:
    mesh = group(10)
    mesh.spawn(1)
    put = mesh.put(0, b"early")
    mesh.settle([put])
    assert put.result == 1
    mesh.spawn(3)
    mesh.run(10.0)
    assert len(mesh.holders(put.key)) == 4


def test_a_quiet_group_comes_to_rest(group: Any) -> None:
    mesh = grown(group, 11, nodes=20)
    mesh.run(200.0)
    before = mesh.messages
    mesh.run(100.0)
    assert mesh.messages - before < 20 * 50, "under half a message per node and second"


def test_a_refresh_waits_for_its_next_turn_while_lookups_queue(group: Any) -> None:
    mesh = group(12, settings=DhtSettings(max_running=1, bucket_pause=0.5))
    mesh.spawn(20)
    for _ in range(20):
        mesh.run(0.5)
        mesh.settle([mesh.find(0, mesh.random.randbytes(20)) for _ in range(20)])
