"""The store: what is kept, what makes room, and what a flood cannot do."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.store import Store
from shivya_daemon.core.dht.table import distance
from shivya_daemon.core.dht.token_frames import Outcome
from shivya_daemon.core.dht.values import Record, claim, content_record, signed_record
from shivya_daemon.core.identity import Identity

OWN = bytes(20)
WRITER = b"w" * 20
OWNER = Identity.generate(random.Random(1).randbytes)
SMALL = DhtSettings(max_records=20, writer_records=1000, writer_bytes=1 << 20)


def store(settings: DhtSettings | None = None) -> Store:
    return Store(OWN, settings or DhtSettings(), lambda interval: interval)


def contents(count: int, size: int = 100) -> list[Record]:
    choose = random.Random(3)
    return [content_record(choose.randbytes(size)) for _ in range(count)]


def nearest(records: list[Record], count: int) -> set[bytes]:
    return set(sorted((record.key for record in records), key=lambda key: distance(key, OWN))[:count])


def test_what_is_kept_is_found_until_it_expires() -> None:
    values, day = store(), DhtSettings().value_lifetime
    (record,) = contents(1)
    assert values.offer(record, WRITER, 0.0, 10.0) is Outcome.STORED
    assert values.get(record.key, day + 9.9) == record
    assert values.get(record.key, day + 10.0) is None
    assert len(values) == 0 and values.size == 0


def test_a_replica_does_not_prolong_a_life_and_its_publisher_does() -> None:
    values, day = store(), DhtSettings().value_lifetime
    (record,) = contents(1)
    values.offer(record, WRITER, day / 2, 0.0)
    assert values.offer(record, WRITER, day * 0.75, day / 4) is Outcome.STORED
    assert values.get(record.key, day / 2) is None
    values.offer(record, WRITER, day / 2, 0.0)
    values.offer(record, WRITER, 0.0, 100.0)
    assert values.get(record.key, day) is not None
    assert values.offer(record, WRITER, day, 100.0) is Outcome.STALE


def test_the_higher_sequence_wins_whatever_comes_first() -> None:
    old, new = signed_record(b"old", 1, OWNER), signed_record(b"a longer new one", 2, OWNER)
    for order in ((old, new), (new, old)):
        values = store()
        outcomes = [values.offer(record, WRITER, 0.0, 0.0) for record in order]
        assert outcomes == [Outcome.STORED, Outcome.STORED if order[1] is new else Outcome.STALE]
        assert values.get(old.key, 1.0) == new
        assert values.size == 20 + len(new.value)


def test_a_forged_record_is_not_kept_and_does_not_harm_the_true_one() -> None:
    values = store()
    record = signed_record(b"true", 1, OWNER)
    values.offer(record, WRITER, 0.0, 0.0)
    forged = claim(record.key, record.value[:32] + (9).to_bytes(8, "big") + record.value[40:])
    assert forged is not None and forged.rank() > record.rank()
    assert values.offer(forged, WRITER, 0.0, 0.0) is Outcome.INVALID
    assert values.get(record.key, 0.0) == record


def test_a_full_store_keeps_the_nearest_keys_whatever_the_order() -> None:
    records = contents(200)
    values = store(SMALL)
    for record in records:
        values.offer(record, WRITER, 0.0, 0.0)
    assert set(values.keys()) == nearest(records, 20)
    assert values.keys() == sorted(values.keys(), key=lambda key: distance(key, OWN))


def test_a_farther_key_is_refused_when_there_is_no_room() -> None:
    values = store(SMALL)
    records = sorted(contents(30), key=lambda record: distance(record.key, OWN))
    for record in records[:20]:
        assert values.offer(record, WRITER, 0.0, 0.0) is Outcome.STORED
    for record in records[20:]:
        assert values.offer(record, WRITER, 0.0, 0.0) is Outcome.FULL
    assert set(values.keys()) == nearest(records, 20)


def test_bytes_are_bounded_as_well_as_records() -> None:
    values = store(replace(SMALL, max_bytes=1000, max_records=1000))
    records = contents(300, 236)
    short = contents(20, 5)
    for record in records + short:
        values.offer(record, WRITER, 0.0, 0.0)
        assert values.size <= 1000
    assert len(values) >= 3


@pytest.mark.parametrize(("size", "kept"), [(10, 128), (256, 118)])
def test_one_writer_has_a_quota_of_records_and_of_bytes(size: int, kept: int) -> None:
    values = store()
    outcomes = [values.offer(record, WRITER, 0.0, 0.0) for record in contents(300, size)]
    assert outcomes.count(Outcome.STORED) == kept
    assert set(outcomes[kept:]) == {Outcome.FULL}
    (other,) = contents(1, 77)
    assert values.offer(other, b"v" * 20, 0.0, 0.0) is Outcome.STORED


def test_a_quota_is_free_again_when_values_expire() -> None:
    values, day = store(), DhtSettings().value_lifetime
    first, second = contents(128), contents(256)[128:]
    for record in first:
        values.offer(record, WRITER, 0.0, 0.0)
    assert values.offer(second[0], WRITER, 0.0, 1.0) is Outcome.FULL
    values.sweep(day)
    assert len(values) == 0 and values.size == 0
    assert all(values.offer(record, WRITER, 0.0, day) is Outcome.STORED for record in second)


def test_a_flood_by_many_writers_keeps_bounds_and_near_values() -> None:
    """Ids cost nothing where there is no mesh key, so quotas do not stop a flood; distance does."""
    values = store()
    choose = random.Random(4)
    flood = [content_record(choose.randbytes(200)) for _ in range(4000)]
    precious = sorted(flood, key=lambda record: distance(record.key, OWN))[:200]
    for record in precious:
        assert values.offer(record, OWN, 0.0, 0.0) is Outcome.STORED
    for number, record in enumerate(flood):
        values.offer(record, (number % 400).to_bytes(20, "big"), 0.0, 1.0)
        assert len(values) <= 1024 and values.size <= 1 << 20
    assert {record.key for record in precious} <= set(values.keys())


def test_what_nobody_else_stored_for_long_is_to_be_passed_on() -> None:
    values, hour = store(), DhtSettings().replicate_interval
    first, second = contents(2)
    values.offer(first, WRITER, 0.0, 0.0)
    values.offer(second, WRITER, 0.0, 0.0)
    values.offer(second, b"v" * 20, 0.0, hour / 2)
    assert [held.record for held in values.sweep(hour)] == [first]
    assert values.sweep(hour + 1.0) == [], "once an hour each"
    assert [held.record for held in values.sweep(1.5 * hour)] == [second]
