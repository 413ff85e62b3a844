"""Canonical JSON and sealed lines: one text for one object, and no other."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from hashlib import sha3_256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import chain, entry_hash
from shivya_daemon.ledgers.audit import head as heads
from shivya_daemon.ledgers.audit.canonical import MAX_DEPTH, NotCanonical, canonical, parse, seal, unseal
from shivya_daemon.ledgers.audit.chain import Tip
from shivya_daemon.ledgers.audit.head import Head

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="session")
def entries(golden: Path) -> list[dict[str, Any]]:
    document: dict[str, Any] = json.loads((golden / "ledger.json").read_text())
    return list(document["entries"])


def fields(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("data", "index", "previous_hash", "timestamp")}


def test_golden_entries_byte_for_byte(entries):
    tip = Tip()
    for expected in entries:
        text = expected["canonical"].encode()
        assert canonical(fields(expected)) == text
        assert entry_hash(fields(expected)) == expected["hash"]
        tip, entry, line = chain.write(tip, expected["data"], expected["timestamp"])
        assert entry == chain.Entry(**{**fields(expected), "hash": expected["hash"]})
        assert line == text[:-1] + b',"hash":"' + expected["hash"].encode() + b'"}\n'
    assert tip.genesis_hash == entries[0]["hash"]
    assert dict(chain.GENESIS) == entries[0]["data"]


def test_what_was_written_is_read_back(entries):
    tip = again = Tip()
    for expected in entries:
        tip, entry, line = chain.write(tip, expected["data"], expected["timestamp"])
        again, read = chain.read(again, line)
        assert read == entry
    assert again == tip


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_one_object_has_one_text(value: dict[str, Any]) -> None:
    text = canonical(value)
    assert text == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    assert canonical(parse(text)) == text
    assert unseal(seal(text)) == (parse(text), sha3_256(text).hexdigest())


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_bounded():
    assert canonical(nested(MAX_DEPTH)) == b"[" * MAX_DEPTH + b"0" + b"]" * MAX_DEPTH
    with pytest.raises(NotCanonical, match="nested deeper"):
        canonical(nested(MAX_DEPTH + 1))
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotCanonical, match="nested deeper"):
        canonical(loop)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        {1: "a"},
        {"a": {None: 1}},
        [{True: 1}],
        b"a",
        {1, 2},
        object(),
        10**5000,
    ],
    ids=["nan", "inf", "-inf", "1", "null", "true", "bytes", "set", "object", "long"],
)
def test_what_has_no_text_of_its_own_is_refused(value):
    with pytest.raises(NotCanonical):
        canonical({"data": value})


def test_subclasses_are_written_as_what_they_are():
    class Action(StrEnum):
        ALERT = "ALERT"

    assert (
        canonical({"a": Action.ALERT, "f": np.float64(0.1), "t": (1, 2)})
        == b'{"a":"ALERT","f":0.1,"t":[1,2]}'
    )


@pytest.mark.parametrize(
    "text",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b' {"a":1}',
        b'{"a":1,"a":1}',
        b'{"a":1.50}',
        b'{"a":1e3}',
        b'{"a":NaN}',
        b'{"a":"\xc3\xa9"}',
        b'{"a":"\\u00E9"}',
        b'{"a":"\\/"}',
        b"[1]",
        b"1",
        b"",
        b"{",
        b"[" * 10**5,
        b'{"a":' + b"1" * 5000 + b"}",
    ],
    ids=lambda text: text[:16].decode(errors="replace"),
)
def test_another_text_of_the_same_object_is_refused_whatever_its_seal(text):
    with pytest.raises(NotCanonical):
        parse(text)
    with pytest.raises(NotCanonical):
        unseal(seal(text))


def test_every_flipped_bit_of_a_line_is_found(entries):
    tip, _, _ = chain.write(Tip(), entries[0]["data"], 1.5)
    _, _, line = chain.write(tip, entries[1]["data"], 2.5)
    assert chain.read(tip, line)
    for bit in range(8 * len(line)):
        flipped = bytearray(line)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotCanonical):
            chain.read(tip, bytes(flipped))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"index": 2}, "calls itself entry 2"),
        ({"index": True}, "four fields"),
        ({"index": 1.0}, "four fields"),
        ({"previous_hash": "f" * 64}, "does not follow"),
        ({"timestamp": 2}, "four fields"),
        ({"timestamp": "2"}, "four fields"),
        ({"data": []}, "four fields"),
        ({"previous_hash": None}, "four fields"),
        ({"more": 1}, "four fields"),
    ],
)
def test_a_sealed_line_must_also_be_the_next_entry(entries, change, reason):
    tip, first, _ = chain.write(Tip(), entries[0]["data"], 1.5)
    good = {"data": {}, "index": 1, "previous_hash": first.hash, "timestamp": 2.0}
    assert chain.read(tip, seal(canonical(good)))
    with pytest.raises(NotCanonical, match=reason):
        chain.read(tip, seal(canonical({**good, **change})))


@pytest.mark.parametrize("timestamp", [math.nan, math.inf, -math.inf, True, "1", None, 10**400])
def test_a_timestamp_is_a_finite_number(timestamp):
    with pytest.raises(NotCanonical, match="timestamp"):
        chain.write(Tip(), {}, timestamp)


@pytest.mark.parametrize("signed", [True, False])
def test_every_flipped_bit_of_a_head_is_found(anna: Identity, signed: bool) -> None:
    tip = Tip()
    for number in range(5):
        tip, _, _ = chain.write(tip, {"number": number}, 1.5)
    line = Head.of(tip, 2, anna if signed else None).encode()
    assert heads.decode(line).tip == tip
    for bit in range(8 * len(line)):
        flipped = bytearray(line)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotCanonical):
            heads.decode(bytes(flipped))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 4),
        ("size", 0),
        ("size", True),
        ("size", 5.0),
        ("size", -5),
        ("first", 5),
        ("first", -1),
        ("first", False),
        ("bytes", 0),
        ("bytes", "1"),
        ("root", "0" * 64),
        ("root", None),
        ("frontier", []),
        ("frontier", ["0" * 64, "1" * 64]),
        ("frontier", "ab"),
        ("latest_hash", "0" * 63),
        ("latest_hash", "F" * 64),
        ("genesis_hash", 1),
        ("public_key", ""),
        ("public_key", "00"),
        ("public_key", "0" * 64),
        ("signature", ""),
        ("signature", "0" * 128),
        ("more", 1),
    ],
)
def test_a_head_whose_parts_do_not_fit_is_refused_whatever_its_seal(anna, field, value):
    tip = Tip()
    for number in range(5):
        tip, _, _ = chain.write(tip, {"number": number}, 1.5)
    good, _ = unseal(Head.of(tip, 2, anna).encode())
    assert heads.decode(seal(canonical(good)))
    with pytest.raises(NotCanonical):
        heads.decode(seal(canonical({**good, field: value})))
