"""One form per record: what is accepted encodes to itself, and nothing else is read."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from enum import Enum
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_people import NOW, Book, people

from shivya_daemon.ledgers.credits import LIMIT, Action, Aspect, Operation, Transfer
from shivya_daemon.ledgers.credits import operations as ops
from shivya_daemon.ledgers.credits import state as states
from shivya_daemon.ledgers.credits.records import DecodeError
from shivya_daemon.ledgers.credits.signing import message

LEDGER = bytes(32)
BY_KIND: dict[str, st.SearchStrategy[Any]] = {
    "Id": st.binary(min_size=16, max_size=16).filter(lambda v: v not in (bytes(16), b"\xff" * 16)),
    "Key": st.binary(min_size=32, max_size=32),
    "Digest": st.binary(min_size=32, max_size=32),
    "Amount": st.integers(0, LIMIT),
    "Time": st.integers(0, LIMIT),
    "Text": st.text(max_size=64),
    "bool": st.booleans(),
    "Aspect": st.sampled_from(Aspect),
}
ACTIONS = st.one_of(
    [st.builds(kind, **{f.name: BY_KIND[str(f.type)] for f in fields(kind)}) for kind in get_args(Action)]
)
OPERATIONS = st.builds(
    Operation, BY_KIND["Id"], BY_KIND["Key"], BY_KIND["Amount"], BY_KIND["Time"], ACTIONS,
    st.binary(min_size=64, max_size=64),
)  # fmt: skip


@settings(deadline=None)
@given(OPERATIONS)
def test_operations_survive_the_way_there_and_back(operation: Operation) -> None:
    data = ops.encode(operation)
    assert len(data) <= ops.MAX_BYTES
    assert ops.decode(data) == operation
    assert json.loads(data)["action"]["kind"] == type(operation.action).__name__.lower()


@settings(deadline=None)
@given(OPERATIONS, st.data())
def test_what_is_signed_covers_every_field(operation: Operation, data: st.DataObject) -> None:
    signed = message(operation, LEDGER)
    assert message(operation, b"\x01" * 32) != signed
    assert message(replace(operation, signature=b""), LEDGER) == signed
    for record in (operation, operation.action):
        field = data.draw(
            st.sampled_from([f for f in fields(record) if f.name not in ("signature", "action")])
        )
        value = getattr(record, field.name)
        other = data.draw(
            BY_KIND.get(str(field.type), BY_KIND["Amount"]).filter(lambda v, value=value: v != value)
        )
        changed = replace(record, **{field.name: other})
        whole = changed if isinstance(changed, Operation) else replace(operation, action=changed)
        assert message(whole, LEDGER) != signed


def test_a_long_text_still_fits() -> None:
    operation = people(1)[0].sign(Transfer(bytes(32), LIMIT, "\x00" * 256), LEDGER)
    assert len(ops.encode(operation)) <= ops.MAX_BYTES
    assert ops.decode(ops.encode(operation)) == operation


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": bytes(16)},
        {"id": b"\xff" * 16},
        {"id": b"\x01" * 15},
        {"id": "0" * 32},
        {"sender": b"\x01" * 31},
        {"counter": -1},
        {"counter": LIMIT + 1},
        {"counter": True},
        {"expires": 1.0},
        {"signature": b"\x00" * 63},
        {"action": None},
        {"action": Transfer(bytes(32), 1.5)},  # type: ignore[arg-type]
        {"action": Transfer(bytes(32), 1, "x" * 257)},
        {"action": Transfer(bytes(32), 1, "\ud800")},
        {"action": Transfer(bytes(32), 1, b"text")},  # type: ignore[arg-type]
        {"action": states.Spirit(bytes(32), 1)},
    ],
)
def test_nothing_malformed_is_well_formed(wrong: dict[str, Any]) -> None:
    operation = people(1)[0].sign(Transfer(bytes(32), 1), LEDGER)
    assert ops.well_formed(operation)
    assert not ops.well_formed(replace(operation, **wrong))


def changed(edit: dict[str, Any]) -> bytes:
    operation = people(1)[0].sign(Transfer(bytes(32), 1), LEDGER)
    document = json.loads(ops.encode(operation))
    return json.dumps(document | edit, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"[" * 2000,
        b"1" * 2000,
        b"\xff\xfe",
        changed({}) + b" ",
        changed({}) * 3,
        changed({}).replace(b'"counter":1', b'"counter":1,"counter":1'),
        changed({}).replace(b'"counter":1', b'"counter":01'),
        changed({}).replace(b'"counter":1', b'"counter":1.0'),
        changed({"more": 1}),
        changed({"counter": None}),
        changed({"counter": 10**400}),
        changed({"id": "AB" * 16}),
        changed({"id": "ab " * 16}),
        changed({"id": 5}),
        changed({"action": {}}),
        changed({"action": {"kind": "mint"}}),
        changed({"action": {"kind": ["transfer"]}}),
        changed({"action": {"kind": "void", "reservation": "01" * 16, "more": 1}}),
        changed({"action": {"kind": "score", "account": "01" * 32, "aspect": "charm", "success": True}}),
    ],
)
def test_only_the_canonical_form_is_read(data: bytes) -> None:
    ops.decode(changed({}))
    with pytest.raises(DecodeError):
        ops.decode(data)


@settings(deadline=None)
@given(st.data())
def test_random_damage_is_never_anything_but_refused(data: st.DataObject) -> None:
    good = bytearray(changed({}))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = ops.decode(bytes(good))
    except DecodeError:
        return
    assert ops.encode(found) == bytes(good)


def test_a_snapshot_holds_everything(book: Book) -> None:
    from shivya_daemon.ledgers.credits import Propose, Publish, Reserve, Score, Stake, Vote

    book.do(book.anna, Reserve(book.ben.key, 5, NOW + 50_000, book.anna.key))
    book.do(book.anna, Publish(b"\x01" * 32, 5))
    book.do(book.anna, Stake(5))
    asked = book.do(book.anna, Propose("šivya", book.ben.key, 0, NOW + 50_000))
    book.do(book.ben, Vote(asked, False))
    book.do(book.ben, Score(book.anna.key, Aspect.DELIVERY, False))
    book.wait(10_000)
    data = states.encode(book.state)
    assert states.decode(data) == book.state
    for name, value in ((f.name, getattr(book.state, f.name)) for f in fields(book.state)):
        empty = isinstance(value, Enum) or (hasattr(value, "__len__") and len(value) == 0)
        assert name == "former" or not empty, f"{name} is not tried"
    with pytest.raises(DecodeError):
        states.decode(data.replace(b'"minted":4000000000', b'"minted":-1'))
    with pytest.raises(DecodeError):
        states.decode(data.replace(book.anna.key.hex().encode(), b"00"))
